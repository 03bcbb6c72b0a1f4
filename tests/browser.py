"""A browser for tests: Debian's Chromium without a window, spoken to over a pipe in its own protocol (CDP)."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
PATIENCE = 240.0  # seconds; a busy machine starts it slowly


class Browser:
    """One page of one browser. `said`: what it put on its console, `asked`: the addresses that it wanted to load."""

    def __init__(self, profile: Path) -> None:
        to_read, self._to = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in os.pipe())
        self._from, to_write = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in os.pipe())
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--window-size=1300,900", f"--user-data-dir={profile}", "--remote-debugging-pipe")  # fmt: skip
        words = ["bash", "-c", f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}', str(CHROMIUM), *options, "about:blank"]
        self._process = subprocess.Popen(words, pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL)
        for end in (to_read, to_write):
            os.close(end)
        self._numbers, self._rest, self._session = itertools.count(1), b"", ""
        self.said: list[str] = []
        self.asked: list[str] = []
        pages = [found for found in self.call("Target.getTargets")["targetInfos"] if found["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Performance.enable", timeDomain="threadTicks")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its answer. Raises RuntimeError for an error of the browser's."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        found = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.asked.append(found["request"]["url"])
        elif event.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.said.append(json.dumps(found)[:500])

    def open(self, address: str, ready: str) -> None:
        """Go to an address; wait until an expression is true there."""
        self.call("Page.navigate", url=address)
        self.wait(ready)

    def wait(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression on the page. Raises RuntimeError for one that throws."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        text = {"Enter": "\r", " ": " ", "/": "/"}.get(key)
        more = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def seconds(self) -> float:
        """CPU time that the page's thread took since it was opened."""
        metrics = {each["name"]: each["value"] for each in self.call("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    def picture(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path

    def printed(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF")["data"])
