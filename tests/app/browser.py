"""Headless Chromium, driven over its DevTools protocol through two pipes: nothing but Chromium is needed."""

import base64
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 120
# Resolves as soon as the expression is truthy; asked again after every frame.
WAIT = """new Promise((done, fail) => {
  const start = performance.now();
  const ask = () => {
    let found = null;
    try { found = (%s); } catch (error) { found = null; }
    if (found) done(found);
    else if (performance.now() - start > %d) fail(new Error("waited in vain"));
    else setTimeout(ask, 50);
  };
  ask();
})"""


class Browser:
    """One tab."""

    def __init__(self, write: RawIOBase, read: RawIOBase) -> None:
        self._write, self._read = write, read
        self._left, self._number, self._session = b"", 0, ""
        self._loaded = False
        self.problems: list[str] = []  # errors on the console, exceptions, requests that failed
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def evaluate(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, (script, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """The first truthy value of an expression."""
        return self.evaluate(WAIT % (script, 1000 * PATIENCE_S))

    def open(self, url: str, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of this size."""
        self.resize(width, height)
        self._loaded = False
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send("Page.navigate", url=url)
        while not self._loaded:  # events come with answers
            self.send("Browser.getVersion")

    def resize(self, width: int, height: int) -> None:
        """Another window size."""
        phone = width < 600
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def upload(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def click(self, script: str) -> None:
        """Click an element by its `click`, whatever covers it."""
        self.wait(f"(e => e && (e.click(), true))({script})")

    def box(self, script: str) -> dict[str, float]:
        """Where an element is, scrolled into the middle."""
        self.wait(f"(e => e && (e.scrollIntoView({{block: 'center'}}), true))({script})")
        found: dict[str, float] = self.evaluate(f"JSON.parse(JSON.stringify(({script}).getBoundingClientRect()))")
        return found

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 12) -> None:
        """Move the mouse from one place to another with its button pressed."""
        self._mouse("mouseMoved", start)
        self._mouse("mousePressed", start)
        for i in range(1, steps + 1):
            self._mouse("mouseMoved", tuple(a + (b - a) * i / steps for a, b in zip(start, end, strict=True)))
        self._mouse("mouseReleased", end)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """A picture of the whole page, or of the window."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _mouse(self, kind: str, place: tuple[float, ...]) -> None:
        buttons = {"mouseMoved": 1, "mousePressed": 1, "mouseReleased": 0}[kind]
        x, y = place
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            found = os.read(self._read.fileno(), 1 << 20)
            assert found, "Chromium has ended"
            self._left += found
        message, _, self._left = self._left.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Page.loadEventFired":
            self._loaded = True
        elif event["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:1000])
        elif event["method"] == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.problems.append(json.dumps(params["args"])[:1000])
        elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(json.dumps(params["entry"])[:1000])


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    to_read, write = os.pipe()
    read, to_write = os.pipe()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    options += ["--remote-debugging-pipe", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    files: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_DUP2, to_read, 3), (os.POSIX_SPAWN_DUP2, to_write, 4)]
    files += [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    process = os.posix_spawn(str(CHROMIUM), [str(CHROMIUM), *options], os.environ, file_actions=files)
    os.close(to_read)
    os.close(to_write)
    try:
        with os.fdopen(write, "wb", buffering=0) as messages, os.fdopen(read, "rb", buffering=0) as answers:
            yield Browser(messages, answers)
    finally:
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
