"""A real Chromium, driven by the DevTools protocol over a pipe: no further package."""

import base64
import contextlib
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from page_reading import CHROMIUM

QUIET = (
    "no-first-run disable-background-networking disable-component-update disable-sync disable-gpu no-sandbox mute-audio"
    " disable-gpu-compositing disable-software-rasterizer"
    " in-process-gpu no-zygote disable-site-isolation-trials disable-features=BackForwardCache"  # one process a tab
)
FAKE_CAMERA = "use-fake-device-for-media-stream use-fake-ui-for-media-stream"
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}


class Tab:
    """One page in the browser. Every console message and request is kept."""

    def __init__(self, to: int, answers: int) -> None:
        self.to, self.answers = to, answers
        self.number, self.rest = 0, b""
        self.session: str | None = None
        self.messages: list[str] = []
        self.requests: list[str] = []

    def send(self, method: str, **values: Any) -> dict[str, Any]:
        """Call the protocol and return the result."""
        self.number += 1
        call = {"id": self.number, "method": method, "params": values}
        os.write(
            self.to, json.dumps({**call, **({"sessionId": self.session} if self.session else {})}).encode() + b"\0"
        )
        while True:
            message = self._next()
            if message.get("id") == self.number:
                assert "error" not in message, (method, message["error"])
                return message["result"]  # type: ignore[no-any-return]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.answers, 1 << 20)
            assert more, "the browser has gone"
            self.rest += more
        one, self.rest = self.rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(one)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, found: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif method == "Log.entryAdded":
            self.messages.append(found["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(found["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.messages.append(json.dumps(found["args"]))

    def js(self, code: str) -> Any:
        """Return what an expression gives; a promise is awaited."""
        found = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in found, (code, found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, code: str, seconds: float = 20) -> Any:
        """Return what an expression gives once it is true."""
        until = time.monotonic() + seconds
        while not (found := self.js(code)):
            assert time.monotonic() < until, (code, self.js("document.body.innerText"), self.messages)
            time.sleep(0.01)
        return found

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            values: dict[str, Any] = {
                "key": key,
                "code": "Space" if key == " " else key,
                "windowsVirtualKeyCode": KEYS[key],
            }
            text = {" ": " ", "Enter": "\r"}.get(key)
            self.send("Input.dispatchKeyEvent", type="keyDown", **values, **({"text": text} if text else {}))
            self.send("Input.dispatchKeyEvent", type="keyUp", **values)

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        code = f"""(() => {{ const node = document.querySelector({json.dumps(selector)});
            node.scrollIntoView({{block: "center"}}); const r = node.getBoundingClientRect();
            return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        x, y = self.js(code)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drop(self, file: Path) -> None:
        """Drop a file onto the page."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=100, y=300, data=data)

    def size(self, width: int, height: int = 900) -> None:
        """Make the page so many pixels large; below 500 it is a phone."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def dark(self, wanted: bool = True) -> None:
        """Prefer dark, or light, colours."""
        value = "dark" if wanted else "light"
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def speak(self, language: str) -> None:
        """Prefer a language, as "zh-CN"."""
        agent = self.js("navigator.userAgent")
        self.send("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    def open(self, address: str) -> None:
        """Go to an address, from another page, so that a fragment is read anew."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)

    def picture(self, file: Path) -> None:
        """Write a picture of the whole page."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def browser(profile: Path, language: str = "en-US") -> Iterator[Tab]:
    """Start Chromium with a camera that is none, and open an empty page."""
    assert CHROMIUM is not None
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    flags = [f"--{flag}" for flag in (QUIET + " " + FAKE_CAMERA).split()]
    flags += ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", f"--accept-lang={language}"]
    command = f"exec {shlex.join([CHROMIUM, *flags])} 3<&{their_in} 4>&{their_out}"
    started = subprocess.Popen(
        ["/bin/bash", "-c", command],
        pass_fds=(their_in, their_out),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    tab = Tab(our_out, our_in)
    try:
        target = tab.send("Target.createTarget", url="about:blank")["targetId"]
        tab.session = tab.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.send(f"{domain}.enable")
        yield tab
    finally:
        started.terminate()
        started.wait(timeout=30)
        os.close(our_out)
        os.close(our_in)
