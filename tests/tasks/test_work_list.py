import pytest

from tasks.work_list import CODE_CHARACTERS, CODE_LENGTH, work_lists

CASES = [f"sub-{number:02d}" for number in range(1, 22)]


@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.5, 1])
@pytest.mark.parametrize("n_cases", [1, 2, 21])
def test_every_case_comes_once_and_a_repeat_half_a_list_later(n_cases, share):
    cases = CASES[:n_cases]
    for seed in range(5):
        (listed,) = work_lists(cases, ["A"], repeat_share=share, seed=seed).values()
        first = [one.case for one in listed if one.kind == "case"]
        places = {(one.case, one.kind): place for place, one in enumerate(listed)}
        repeats = [one.case for one in listed if one.kind == "repeat"]
        assert sorted(first) == cases
        assert len(set(repeats)) == len(repeats) == -(-round(share * n_cases * 100) // 100)  # rounded up
        half = len(listed) // 2
        assert all(places[case, "repeat"] - places[case, "case"] >= half for case in repeats)


def test_codes_differ_and_say_nothing():
    lists = work_lists(CASES, ["A", "B"], repeat_share=0.2, training=["sub-31", "sub-30"], seed=3)
    for listed in lists.values():
        codes = [one.code for one in listed]
        assert len(set(codes)) == len(codes) == 21 + 5 + 2
        assert all(len(code) == CODE_LENGTH and set(code) <= set(CODE_CHARACTERS) for code in codes)
        assert [(one.case, one.kind) for one in listed[:2]] == [("sub-31", "training"), ("sub-30", "training")]
    first, second = ({(one.case, one.kind): one.code for one in listed} for listed in lists.values())
    assert set(first.values()).isdisjoint(second.values())


def test_readers_have_orders_of_their_own_and_the_same_repeats():
    lists = work_lists(CASES, ["A", "B"], repeat_share=0.2, seed=3)
    orders = [[one.case for one in listed] for listed in lists.values()]
    repeats = [{one.case for one in listed if one.kind == "repeat"} for listed in lists.values()]
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])
    assert repeats[0] == repeats[1]


def test_a_further_reader_changes_no_list_and_the_seed_changes_all():
    lists = work_lists(CASES, ["A", "B"], repeat_share=0.2, seed=3)
    assert work_lists(CASES, ["C", "A"], repeat_share=0.2, seed=3)["A"] == lists["A"]
    for other in ({"seed": 4}, {"seed": 3, "round_name": "second"}):
        (listed,) = work_lists(CASES, ["A"], repeat_share=0.2, **other).values()
        assert [one.case for one in listed] != [one.case for one in lists["A"]]
        assert {one.code for one in listed}.isdisjoint(one.code for one in lists["A"])


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"repeat_share": 1.5}, "repeat_share must be 0 to 1, got 1.5"),
        ({"cases": []}, "cases must not be empty"),
        ({"cases": ["a", "a"]}, "cases must be given once each, got a more than once"),
        ({"training": ["sub-01"]}, "cases must be given once each, got sub-01 more than once"),
        ({"readers": ["A", "A"]}, "readers must be given once each, got A more than once"),
    ],
)
def test_what_cannot_be_listed_is_refused(changed, text):
    given = {"cases": CASES, "readers": ["A"], "repeat_share": 0.2, "training": [], "seed": 1} | changed
    with pytest.raises(ValueError, match=text):
        work_lists(given.pop("cases"), given.pop("readers"), **given)
