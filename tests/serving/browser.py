"""Debian's Chromium, driven by playwright, with a microphone that plays a file."""

import base64
import contextlib
import os
import shutil
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from nafp.audio import decode

MIC_HZ = 48_000
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_STOPPED = "document.getElementById('listen-button').getAttribute('aria-pressed') === 'false'"
_READY = "!document.getElementById('listen-button').disabled"


@contextlib.contextmanager
def opened(folder: Path) -> Iterator["Chromium"]:
    """Starts a browser, or skips the test where there is none. folder: for the sound of its microphone."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no chromium")
    microphone = folder / "microphone.wav"
    play(microphone, np.zeros(MIC_HZ, np.float32))
    arguments = [
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-gpu",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium has no sandbox for root.
    ]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        yield Chromium(browser, microphone)
        browser.close()


def play(path: Path, samples: np.ndarray) -> None:
    """Lets the microphone hear samples at MIC_HZ, again and again."""
    soundfile.write(path, samples, MIC_HZ, subtype="PCM_16")


class Chromium:
    """A running browser."""

    def __init__(self, browser: Any, microphone: Path):
        self.browser, self.microphone = browser, microphone

    def hear(self, recording: Path, *, start_s: float, seconds: float) -> None:
        """Lets the microphone hear a part of a recording."""
        play(self.microphone, decode.load(recording, sample_rate_hz=MIC_HZ, start_s=start_s, seconds=seconds))

    @contextlib.contextmanager
    def page(self, address: str, *, microphone: bool = True, **settings: Any) -> Iterator["OpenPage"]:
        """Opens an address in a browser profile of its own. A complaint on its console fails the test."""
        context = self.browser.new_context(viewport={"width": 420, "height": 900}, **settings)
        if microphone:
            context.grant_permissions(["microphone"])
        page = OpenPage(context.new_page())
        page.tab.goto(address)
        yield page
        context.close()
        assert page.complaints == [], page.complaints


class OpenPage:
    """A page in a tab. complaints: what its console had to say. sent: size of each body that left it, by address."""

    def __init__(self, tab: Any):
        self.tab, self.complaints, self.sent = tab, list[str](), list[tuple[str, int]]()
        tab.set_default_timeout(60_000)
        tab.on("console", lambda message: self._note(message.type, message.text))
        tab.on("pageerror", lambda error: self._note("error", str(error)))
        tab.on("request", lambda request: self.sent.append((request.url, len(request.post_data_buffer or b""))))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def ready(self) -> "OpenPage":
        """Waits until the page can listen."""
        return self.until(_READY)

    def until(self, expression: str, *, within_s: float = 60.0) -> "OpenPage":
        """Waits until an expression holds. The page forbids playwright's own way, which compiles a string in it."""
        end_s = time.monotonic() + within_s
        while not self.tab.evaluate(expression):
            assert time.monotonic() < end_s, expression
            time.sleep(0.05)
        return self

    def text(self, name: str) -> str:
        """Returns the text of an element by its id."""
        return self.tab.inner_text(f"#{name}")

    def listen(self) -> str:
        """Presses the button by its name, and returns the status once the page has stopped listening."""
        self.tab.get_by_role("button", name="Listen").click()
        self.until(f"{_STOPPED} && !document.getElementById('status').textContent.endsWith('…')", within_s=180.0)
        return self.text("status")

    def answered(self) -> types.SimpleNamespace:
        """Waits for an answer and returns it as it is shown."""
        self.tab.wait_for_selector("#answer:not([hidden])")
        names = ("title", "by", "place", "sure", "score")
        return types.SimpleNamespace(**{name: self.text(f"answer-{name}") for name in names})

    def drop(self, name: str, data: bytes) -> None:
        """Lets a file fall onto the page, as a person does."""
        self.run(
            """([name, data]) => {
                const files = new DataTransfer();
                files.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name));
                const event = new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true});
                document.getElementById("drop").dispatchEvent(event);
            }""",
            [name, base64.b64encode(data).decode()],
        )

    def run(self, script: str, given: Any = None) -> Any:
        """Runs a function in the page and returns its result."""
        return self.tab.evaluate(script, given)
