"""A reader of a page in a browser: opens it, presses its keys, saves the file."""

from __future__ import annotations

import time

from tests.chromium import Browser

#: The key of each region.
KEYS = {"insula": "i", "lentiform": "l", "internal_capsule": "k", "caudate": "c"} | {
    f"m{n}": str(n) for n in range(1, 7)
}


def begun(browser, page):
    """Open a page as its reader."""
    browser.open(page)
    browser.wait("$('start').open")
    browser.press("Enter")
    browser.wait("!$('start').open && canvas.dataset.ready === codes[at]")


def downloaded(browser, folder, key="s"):
    """The file that Save file saves, by its key; after the last case the button has the focus."""
    folder.mkdir(exist_ok=True)
    browser.call("Browser.setDownloadBehavior", session=None, behavior="allow", downloadPath=str(folder))
    browser.press(key)
    end = time.monotonic() + 20
    while not (found := list(folder.glob("*.json"))):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found[0]


def kept(browser):
    browser.wait("waiting === 0")


def read_case(browser: Browser, number, side=None, regions=(), unreadable=None):
    """Answer one case as a person does, and go on to the next."""
    browser.wait(f"at === {number} && canvas.dataset.ready === codes[{number}]")
    if unreadable:
        browser.press("x")
        browser.run(f"$('not-readable').value = '{unreadable}'")
        browser.run("$('not-readable').dispatchEvent(new Event('change'))")
        browser.press("Escape")
    else:
        browser.press("ArrowRight" if side == "left" else "ArrowLeft", *(KEYS[one] for one in regions), "Shift+4")
    browser.press("Enter")
