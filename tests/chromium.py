"""A headless Chromium, driven by the DevTools protocol over a pipe: what the tests of pages need of it, and no more.

Debian's package ``chromium`` is enough. Users without it skip these tests; ``ASPECTS_REQUIRE_CHROMIUM=1`` makes its
absence an error.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_S, ANSWER_S = 20.0, 60.0
CODES = {
    "Enter": 13,
    " ": 32,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Tab": 9,
    "Escape": 27,
}


def chromium_path():
    """The browser; the test is skipped, or fails where CI requires it, when there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    if os.environ.get("ASPECTS_REQUIRE_CHROMIUM") == "1":
        pytest.fail("ASPECTS_REQUIRE_CHROMIUM=1 but there is no Chromium. Install Debian's package chromium.", False)
    return pytest.skip("there is no Chromium")


class Browser:
    """One browser with one page; ``profile`` is its folder, which keeps what pages store."""

    def __init__(self, profile: Path, width=1280, height=800):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
        options += ["--remote-debugging-pipe", f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "about:blank"]
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'  # the protocol is spoken on 3 and 4
        self.process = subprocess.Popen(
            ["bash", "-c", command, chromium_path(), *options],
            pass_fds=(to_browser, from_browser),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._left, self._session, self.events = 0, b"", None, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.size(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.call("Browser.close", session=None)
            self.process.wait(WAIT_S)
        self._close()

    def kill(self):
        """End the browser and all its helpers at once, as a power cut of the machine would, but for the disk."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_S)
        self._close()

    def _close(self):
        for end in (self._read, self._write):
            os.close(end)
        self._read = self._write = os.open(os.devnull, os.O_RDWR)

    def call(self, method, session="page", **parameters):
        """Send one command and wait for its answer; events on the way are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session and session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        while b"\0" not in self._left:
            if not select.select([self._read], [], [], ANSWER_S)[0]:
                raise TimeoutError("the browser does not answer")
            got = os.read(self._read, 1 << 20)
            if not got:
                raise RuntimeError("the browser ended")
            self._left += got
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)

    def size(self, width, height, *, is_touch=False):
        """Give the page a size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_touch
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=is_touch)

    def open(self, path: Path):
        """Open a file and wait until it is loaded."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def run(self, script):
        """Value of an expression in the page; a promise is waited for."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"])
        return done["result"].get("value")

    def wait(self, condition):
        """Wait until an expression holds."""
        end = time.monotonic() + WAIT_S
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.02)

    def press(self, *keys):
        """Press keys one after another; ``Shift+1`` holds Shift."""
        for name in keys:
            has_shift = name.startswith("Shift+")
            key = name.removeprefix("Shift+")
            code = f"Digit{key}" if key.isdigit() else f"Key{key.upper()}" if len(key) == 1 and key.isalpha() else key
            shown = "!@#$%^"[int(key) - 1] if has_shift and key.isdigit() else key
            of_key = {"key": shown, "code": code, "windowsVirtualKeyCode": CODES.get(key, ord(key[0].upper()))}
            of_key |= {"modifiers": 8 if has_shift else 0}
            text = {"text": "\r" if key == "Enter" else shown} if len(key) == 1 or key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **of_key, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **of_key)

    def place(self, selector):
        """Middle of an element, as seen."""
        seen = f"const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'nearest'}});"
        middle = "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2];"
        return self.run(f"(() => {{ {seen} {middle} }})()")

    def click(self, selector):
        """Click the middle of an element with the mouse."""
        x, y = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, selector, across, down):
        """Drag from the middle of an element."""
        x, y = self.place(selector)
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
        for share in (0.5, 1):
            moved = {"x": x + share * across, "y": y + share * down}
            self.call("Input.dispatchMouseEvent", type="mouseMoved", **moved, button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **moved, button="left", clickCount=1)

    def wheel(self, selector, delta):
        """Turn the wheel over an element."""
        x, y = self.place(selector)
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)

    def screenshot(self, path: Path):
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
