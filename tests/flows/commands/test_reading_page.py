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
