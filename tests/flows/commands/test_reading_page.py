"""A reader is played in a headless Chromium, from the page to ``readings.tsv``."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from cohorts.reading.round import read_round
from flows.commands.reading_collect import collect_readings
from flows.commands.reading_make import make_round
from flows.commands.reading_request import MakeRequest
from flows.sources.registry import read_cohort
from tests.chromium import Browser, chromium_path
from tests.flows.commands.reader import begun, downloaded, kept
from tests.flows.reading_cohort import LEFT_HU, RIGHT_HU, write_reading_cohort

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module", autouse=True)
def _chromium():
    chromium_path()


def made(folder, readers=("A",), n_participants=5, pictures="radiological"):
    """A round of all participants but one for training; the cohort and its pages by reader."""
    cohort = write_reading_cohort(folder / "cohort", n_participants, pictures)
    request = MakeRequest(cohort, tuple(readers), repeat_share=0.3, training=("secret1",))
    make_round(request, 1, Console(file=io.StringIO()))
    return cohort, {one: cohort / f"reading/first/for-readers/reading-{one}.html" for one in readers}


def shades(browser):
    """Grey of the middle of the left and of the right half of the picture, and the window's text."""
    script = "[.35, .65].map((x) => context.getImageData(x * canvas.width, canvas.height / 2, 1, 1).data[0])"
    return browser.run(script), browser.run("$('window').textContent")


def grey(hu, low, high):
    return pytest.approx(255 * np.clip((hu - low) / (high - low), 0, 1), abs=3)


def test_a_reader_reads_changes_a_mind_and_saves(tmp_path):
    cohort, pages = made(tmp_path)
    plan = read_round(cohort / "reading/first")
    with Browser(tmp_path / "profile") as browser:
        begun(browser, pages["A"])
        assert browser.run("[$('case').textContent, codes.length]") == [
            f"Training case T1 · {plan.lists['A'][0].code}",
            5,
        ]
        browser.press("Enter")  # says what is missing, and stays
        assert browser.run("[at, $('state').textContent.slice(0, 20)]") == [0, "Say how sure you are"]
        browser.press("Shift+2", "Enter")
        browser.wait("at === 1 && canvas.dataset.ready === codes[1]")
        # the patient's right is on the left, and every grey is the scan's HU in the window
        assert shades(browser) == ([grey(RIGHT_HU, 0, 80), grey(LEFT_HU, 0, 80)], "Window 80, level 40 HU")
        browser.press("w")
        assert shades(browser) == ([grey(RIGHT_HU, 15, 55), grey(LEFT_HU, 15, 55)], "Window 40, level 35 HU")
        browser.drag("#canvas", 60, -40)
        assert shades(browser)[1] == "Window 66, level 52 HU"  # 255 HU are 600 pixels
        place = browser.run("k")
        browser.wheel("#canvas", -120)
        browser.wait(f"k > {place}")
        browser.press("Home", "ArrowUp")
        assert browser.run("[k, $('number').textContent]") == [1, f"2 / {browser.run('stack.slices.length')}"]
        # keys: the right side first, then the left; then the mouse, and a key that must not press a button again
        browser.press("1", "c", "ArrowRight", "l", "k", "i", "6", "6")
        browser.click("[data-side=right][data-region=m2]")
        browser.click("[data-confidence='4']")
        assert browser.run("[...document.querySelectorAll('output')].map((one) => one.textContent)") == ["7", "7"]
        browser.press("Enter")
        # the next is not readable, the one after has no change; then back, and one region less
        browser.wait("at === 2")
        browser.press("m", "x")
        browser.run("$('not-readable').value = 'motion'; $('not-readable').dispatchEvent(new Event('change'))")
        browser.press("Escape", "1", "Enter")
        browser.wait("at === 3")
        browser.press("Shift+5", "Enter", "p", "p", "p", "c")
        assert browser.run("[at, isOpen(records.get(codes[1]))]") == [1, True]
        browser.press("Enter")
        kept(browser)
        file = downloaded(browser, tmp_path / "saved")
        sent = [one["params"] for one in browser.events if one["method"] == "Network.requestWillBeSent"]
        requests = [one["request"]["url"] for one in sent]
        assert [url for url in requests if not url.startswith(("data:", "file:"))] == []
        assert [one for one in browser.events if one["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")] == []
        # on a tablet nothing lies beside the page
        browser.size(820, 1180, is_touch=True)
        assert browser.run("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
            820,
            1180,
        ]
    content = json.loads(file.read_text())
    assert [len(one["revisions"]) for one in content["cases"]] == [1, 2, 1, 1]
    assert content["cases"][1]["revisions"][0]["time_s"] > 0
    assert collect_readings(cohort, [file], None, Console(file=io.StringIO())) == 0
    names = [(one.participant_id, f"reader:A{':repeat' * (one.kind == 'repeat')}") for one in plan.lists["A"]]
    readings = {(one.participant_id, one.source, one.side): one for one in read_cohort(cohort).readings}
    right, left = (readings[*names[1], side] for side in ("right", "left"))
    assert {region for (_, region), flag in right.flags.items() if flag} == {"m1", "m2"}
    assert {region for (_, region), flag in left.flags.items() if flag} == {"lentiform", "internal_capsule", "insula"}
    assert (right.confidence, readings[*names[2], None].not_readable) == (4, "motion")
    assert (readings[*names[3], "left"].score, readings[*names[3], "left"].confidence) == (10, 5)
    assert len(readings) == 5  # nothing of the training case


def test_a_browser_that_is_killed_loses_nothing_and_readers_do_not_mix(tmp_path):
    _, pages = made(tmp_path, ("A", "B"))
    browser = Browser(tmp_path / "profile")
    begun(browser, pages["A"])
    browser.press("1", "Shift+3", "Enter")
    browser.wait("at === 1")
    browser.press("2", "c")
    kept(browser)
    browser.kill()
    with Browser(tmp_path / "profile") as again:
        begun(again, pages["B"])
        assert again.run("codes.filter((code) => records.get(code).version > 0).length") == 0
        again.press("Shift+1", "Enter")
        kept(again)
        begun(again, pages["A"])
        assert again.run("at") == 1
        assert again.run("[last(records.get(codes[0])).affected, records.get(codes[1]).draft.affected]") == [
            ["right_m1"],
            ["right_m2", "right_caudate"],
        ]
        file = downloaded(again, tmp_path / "saved")
    # on another computer, from the file: what was finished goes on, and another reader's file is refused
    with Browser(tmp_path / "other") as other:
        for reader, text in (
            ("B", "This file is of reader A; you are reader B."),
            ("A", "1 cases were taken from the file."),
        ):
            begun(other, pages[reader])
            other.run(f"openFile(new File([{json.dumps(file.read_text())}], 'a.json'))")
            assert other.run("$('state').textContent") == text
        assert other.run("isDone(records.get(codes[0]))") is True


def test_the_other_convention_turns_picture_letters_and_panels(tmp_path):
    _, pages = made(tmp_path, pictures="neurological", n_participants=3)
    with Browser(tmp_path / "profile") as browser:
        begun(browser, pages["A"])
        assert browser.run("[...document.querySelectorAll('.letter')].map((one) => one.textContent)") == ["L", "R"]
        assert browser.run("[...document.querySelectorAll('fieldset')].map((one) => one.dataset.side)") == [
            "left",
            "right",
        ]
        assert browser.run("getComputedStyle(canvas).transform") == "matrix(-1, 0, 0, 1, 0, 0)"
        browser.press("1")
        greek = {"key": "ψ", "code": "KeyC", "text": "ψ"}  # the key of C on a keyboard of other letters
        browser.call("Input.dispatchKeyEvent", type="keyDown", **greek)
        assert browser.run("draft().affected") == ["left_m1", "left_caudate"]
        kept(browser)
        # another window of the same page went further: nothing of it is overwritten, and the reader is told
        browser.run("put(`${KEY} ${codes[at]}`, { ...records.get(codes[at]), version: 99 })")
        browser.press("2")
        browser.wait("!$('trouble').hidden")
        assert browser.run("$('trouble').textContent.slice(0, 36)") == "This page is open in another window,"
        downloaded(browser, tmp_path / "saved")
        # a browser that keeps nothing says so, and the file still comes out
        script = "Object.defineProperty(window, 'indexedDB', { value: undefined })"
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        begun(browser, pages["A"])
        assert browser.run("$('trouble').textContent").startswith("This browser keeps nothing of this page")
        browser.press("Shift+2", "Enter")
        assert json.loads(downloaded(browser, tmp_path / "again").read_text())["cases"][0]["is_open"] is False
        assert "Neurological convention: the patient's left is on the left" in browser.run("document.body.textContent")


#: What a key does in a case that is open to answers: what changes of what is looked at, and to what.
LOOKED_AT = (
    "at", "k", "Math.round(low)", "Math.round(high)", "active", "draft().affected", "draft().confidence",
    "draft().not_readable", "codes.reduce((n, code) => n + records.get(code).revisions.length, 0)", "n_saved",
    "$('start').open", "$('end').open", "$('keys').open", "document.activeElement.id",
)  # fmt: skip
(AT, K, LOW, HIGH, ACTIVE, AFFECTED, CONFIDENCE, NOT_READABLE, N_REVISIONS, N_SAVED, START, END, KEYS_SHOWN, FOCUS) = (
    range(len(LOOKED_AT))
)
N_SLICES, MIDDLE = 8, 3  # of a stack; the slice at which a case opens
REGION_OF = {"1": "m1", "6": "m6", "c": "caudate", "l": "lentiform", "k": "internal_capsule", "i": "insula"}
ALWAYS = {
    "ArrowUp": {K: MIDDLE + 1}, "ArrowDown": {K: MIDDLE - 1}, "PageUp": {K: N_SLICES - 1}, "PageDown": {K: 0},
    "Home": {K: 0}, "End": {K: N_SLICES - 1}, "ArrowLeft": {}, "ArrowRight": {ACTIVE: 1},
    "w": {LOW: 15, HIGH: 55}, ",": {LOW: 5, HIGH: 85}, ".": {LOW: -5, HIGH: 75}, "-": {LOW: 4, HIGH: 76},
    "+": {LOW: -4, HIGH: 84}, "x": {FOCUS: "not-readable"}, "s": {N_SAVED: 1}, "Shift+s": {N_SAVED: 1},
    "?": {KEYS_SHOWN: True}, "z": {}, "Shift+6": {}, "Escape": {},
}  # fmt: skip
DONE = [{"affected": ["right_m2"], "confidence": 4, "not_readable": None, "time_s": 1, "finished_at": "t"}]
#: (which case, draft, whether it was finished before, which others are finished) of each state.
STATES = {
    "first, a training case": (0, ([], None, None), False, []),
    "answered": (2, (["right_m2"], 4, None), False, []),
    "finished": (2, (["right_m2"], 4, None), True, []),
    "not readable": (2, ([], None, "motion"), False, []),
    "last of all": (-1, (["right_m2"], 4, None), False, "all"),
}


def _expected(state, key, n_cases):
    """What changes at a key; everything else stays."""
    place, (affected, confidence, not_readable), is_done, others = STATES[state]
    at = place % n_cases
    is_readable = not_readable is None
    found = dict(ALWAYS.get(key, {}))
    if key in REGION_OF and is_readable:
        found[AFFECTED] = [*affected, f"right_{REGION_OF[key]}"]
    elif key == "2" and is_readable:
        found[AFFECTED] = [] if "right_m2" in affected else ["right_m2"]
    elif key.startswith("Shift+") and key[-1] in "15" and is_readable:
        found[CONFIDENCE] = int(key[-1])
    elif key == "p" and at:
        found[AT] = at - 1
    elif key == "n" and at < n_cases - 1:
        found[AT] = at + 1
    elif key == "Enter" and (confidence is not None or not is_readable):
        found |= {} if is_done else {N_REVISIONS: 1}
        found |= {END: True, FOCUS: "save-at-end"} if others == "all" else {AT: at + 1}
    if found.get(AT, at) != at:
        found.pop(AFFECTED, None)
    return found


def _set_up(browser, state):
    """Bring the page into a state; what is looked at then."""
    place, (affected, confidence, not_readable), is_done, others = STATES[state]
    draft = {"affected": affected, "confidence": confidence, "not_readable": not_readable}
    kept(browser)
    return browser.run(
        f"""(() => {{
        for (const id of ["end", "keys"]) $(id).open = false;
        const place = (codes.length + {place}) % codes.length, others = {json.dumps(others == "all")};
        codes.forEach((code, i) => {{
          const one = records.get(code);
          one.revisions = (i === place ? {json.dumps(is_done)} : others) ? {json.dumps(DONE)} : [];
          one.draft = i === place ? {json.dumps(draft)} : {{ ...EMPTY, ...(last(one) && answersFrom(last(one))) }};
        }});
        if (at !== place) show(place);
        document.activeElement.blur();
        active = 0; n_saved = 0; k = {MIDDLE}; resetWindow(); drawSlice(); paint();
        return [{", ".join(LOOKED_AT)}];
        }})()"""
    )


def _looked_at(browser):
    return browser.run(f"[{', '.join(LOOKED_AT)}]")


def test_every_key_does_in_every_state_what_it_says_and_nothing_else(tmp_path):
    _, pages = made(tmp_path)
    with Browser(tmp_path / "profile") as browser:
        browser.open(pages["A"])
        counted = (
            "URL.createObjectURL = ((make) => (one) => { n_saved += 1; return make(one); })(URL.createObjectURL), 1"
        )
        browser.run(f"globalThis.n_saved = 0; {counted}")
        browser.wait("$('start').open")
        before = _looked_at(browser)
        for key in ("s", "p", "n", "1", "Shift+3", "x", "w", "?", "Escape", "Escape", "Escape"):
            browser.press(key)  # nobody has said yet who reads
            browser.wait("$('start').open")  # closed by a second Escape, it opens again as soon as the page hears of it
            assert _looked_at(browser) == before, key
        browser.press("Enter")
        browser.wait("!$('start').open && canvas.dataset.ready === codes[at]")
        n_cases, n_slices = browser.run("[codes.length, stack.slices.length]")
        assert n_slices == N_SLICES
        keys = [*ALWAYS, *REGION_OF, "2", "Shift+1", "Shift+5", "p", "n", "Enter"]
        for state in STATES:
            for key in keys:
                before = _set_up(browser, state)
                browser.press(key)
                expected = _expected(state, key, n_cases)
                if END in expected:
                    browser.wait("$('end').open")
                after = _looked_at(browser)
                found = {place: after[place] for place in range(len(after)) if after[place] != before[place]}
                if N_REVISIONS in expected:
                    expected[N_REVISIONS] += before[N_REVISIONS]
                if AT in expected:  # another case has its own answers and begins in its own place
                    found = {place: value for place, value in found.items() if place in (AT, N_REVISIONS, N_SAVED, END)}
                assert found == expected, (state, key)
        # behind the last case: what is on top of the page has the keys, and S saves as it says
        for key, expected in {
            "s": {N_SAVED: 1}, "Shift+s": {N_SAVED: 1}, "Enter": {N_SAVED: 1}, "Escape": {END: False},
            "p": {END: False, AT: n_cases - 2}, "n": {}, "x": {}, "1": {}, "2": {}, "c": {}, "Shift+2": {}, "w": {},
            "ArrowUp": {}, "Home": {}, "?": {}, "z": {},
        }.items():  # fmt: skip
            _set_up(browser, "last of all")
            browser.press("Enter")
            browser.wait("$('end').open")
            before = _looked_at(browser)
            browser.press(key)
            after = _looked_at(browser)
            found = {place: after[place] for place in range(FOCUS) if after[place] != before[place]}
            assert {
                place: value for place, value in found.items() if AT not in found or place in (AT, END)
            } == expected, key
        # where the reason is chosen letters choose; Enter and Escape give the keys back
        for key in ("Enter", "Escape"):
            _set_up(browser, "first, a training case")
            browser.press("x", key, "1")
            assert browser.run("[document.activeElement.tagName, draft().affected]") == ["BODY", ["right_m1"]]
