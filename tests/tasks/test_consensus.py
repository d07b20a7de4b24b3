import pytest

from tasks.consensus import consensus

YES, NO = {"m1": True}, {"m1": False}


@pytest.mark.parametrize(
    ("readings", "majority", "any_", "all_"),
    [
        ([YES, YES], True, True, True),
        ([YES, NO], None, True, False),
        ([NO, NO], False, False, False),
        ([YES, YES, NO], True, True, False),
        ([YES, NO, NO], False, True, False),
        ([YES, YES, NO, NO], None, True, False),
        ([YES, NO, None], None, True, False),  # who could not read has no vote
        ([YES, YES, None], True, True, True),
    ],
)
def test_a_region_by_each_rule(readings, majority, any_, all_):
    for rule, expected in (("majority", majority), ("any", any_), ("all", all_)):
        found = consensus(readings, rule)
        assert found.affected == ({} if expected is None else {"m1": expected})
        assert found.open == (("m1",) if expected is None else ())


@pytest.mark.parametrize("readings", [[YES, None], [None, None], [YES, None, None]])
def test_a_scan_that_half_of_the_readers_cannot_read_is_not_readable(readings):
    assert consensus(readings, "any").affected is None


@pytest.mark.parametrize(("readings", "text"), [([YES], "at least two"), ([YES, {"m2": True}], "the same regions")])
def test_what_cannot_be_combined_is_refused(readings, text):
    with pytest.raises(ValueError, match=text):
        consensus(readings, "majority")
