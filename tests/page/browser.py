"""A headless Chromium of the test's own, driven over its debugging pipe: no driver, no library, no port.

What the page says on its console and every address it asks for are kept, so that a test can hold that there is no
error among them and nothing foreign.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium")
PACKAGE = "chromium-headless-shell"
ANSWER_SECONDS = 30.0
WAIT_SECONDS = 60.0  # for something to appear; a limit of patience, not a measure
LOOK_SECONDS = 0.05
STOP_SECONDS = 10.0
FIRST_DESCRIPTOR = 10
_KEYS = {"Tab": (9, "\t"), "Enter": (13, "\r"), "Escape": (27, ""), "Space": (32, " ")}
_SHIFT = 8
_FLAGS = (
    "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--no-first-run", "--disable-background-networking", "--disable-extensions",
    "--force-color-profile=srgb", "--font-render-hinting=none",
)  # fmt: skip


def find_chromium() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    def __init__(self, process: subprocess.Popen[bytes], commands: int, events: int) -> None:
        self._process, self._commands, self._events = process, commands, events
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._session: str | None = None
        self.asked_for: list[str] = []  # every address
        self.complaints: list[str] = []  # errors and warnings of the console, exceptions, blocked addresses
        threading.Thread(target=self._read, daemon=True).start()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """In CSS pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def prefer(self, **features: str) -> None:
        """Media features, underscores for hyphens: prefers_color_scheme="dark"."""
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self._call("Emulation.setEmulatedMedia", features=told)

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, awaited where it is a promise."""
        said = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def text(self, selector: str) -> str:
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        found = f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText)"
        return [str(text) for text in self.value(found)]

    def wait_for(self, expression: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.value(expression):
            assert time.monotonic() < deadline, f"it never came to be: {expression}\n{self.complaints}"
            time.sleep(LOOK_SECONDS)

    def press(self, key: str, shift: bool = False) -> None:
        """A key by its name, as a person presses it."""
        code, text = _KEYS[key]
        facts = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": _SHIFT if shift else 0}
        down = {"type": "keyDown", "text": text} if text and key != "Tab" else {"type": "rawKeyDown"}
        self._call("Input.dispatchKeyEvent", **facts, **down)
        self._call("Input.dispatchKeyEvent", **facts, type="keyUp")

    def type(self, words: str) -> None:
        self._call("Input.insertText", text=words)

    def focused(self) -> str:
        """The id of the element that has the focus, else its name."""
        return str(self.value("document.activeElement.id || document.activeElement.tagName"))

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """PNG of what is seen, or of the whole page."""
        said = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(said["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answers = self._answers[number] = queue.Queue()
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        with self._lock:
            os.write(self._commands, json.dumps(message).encode() + b"\0")
        said = answers.get(timeout=ANSWER_SECONDS)
        assert "error" not in said, (method, said["error"])
        result: dict[str, Any] = said["result"]
        return result

    def _read(self) -> None:
        rest = b""
        while piece := os.read(self._events, 1 << 20):
            *messages, rest = (rest + piece).split(b"\0")
            for message in messages:
                self._take(json.loads(message))

    def _take(self, message: Mapping[str, Any]) -> None:
        told = message.get("params", {})
        if "id" in message:
            self._answers.pop(message["id"]).put(dict(message))
        elif message["method"] == "Network.requestWillBeSent":
            self.asked_for.append(told["request"]["url"])
        elif message["method"] == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif message["method"] == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([one.get("value") for one in told["args"]]))
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))


def _pipe() -> tuple[int, int]:
    """Reading end and writing end, both out of the way of 3 and 4."""
    low = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR) for end in low)
    for end in low:
        os.close(end)
    return high[0], high[1]


@contextmanager
def a_browser(program: str, profile: Path, more: Sequence[str] = ()) -> Iterator[Browser]:
    """Chromium wants its pipe at descriptors 3 and 4; bash puts it there."""
    (from_us, commands), (events, to_us) = _pipe(), _pipe()
    command = ["bash", "-c", f'exec "$@" 3<&{from_us} 4>&{to_us} {from_us}<&- {to_us}>&-', "chromium"]
    process = subprocess.Popen(
        [*command, program, *_FLAGS, f"--user-data-dir={profile}", *more], pass_fds=(from_us, to_us),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(from_us)
    os.close(to_us)
    try:
        browser = Browser(process, commands, events)
        yield browser
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(commands)
