"""A server of the page and a real browser that looks at it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evals.view.library import Library
from evals.view.server import Server
from tests.evals.view.screenshots import browser, chromium

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@contextmanager
def serving(paths: Sequence[Path]) -> Iterator[Server]:
    """The page of some paths, on a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    server = Server(Library(paths))
    run(server.__aenter__())
    try:
        yield server
    finally:
        run(server.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


class Page:
    """A browser at the page, in words a test reads well."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, address: str) -> Page:
        """Go somewhere and wait until it is shown."""
        self.driver.get("about:blank")
        self.driver.get(address)
        return self.ready()

    def ready(self) -> Page:
        """Wait until the current view is complete."""
        self.until("const m = document.getElementById('main'); return m && m.dataset.ready")
        return self

    def until(self, script: str, seconds: float = 60.0) -> Any:
        """Wait until a script yields something true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.js(script)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page reads: {self.text()[:800]}")

    def js(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def text(self) -> str:
        """What the reader sees."""
        return str(self.js("return document.body.innerText"))

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return int(self.js("return document.querySelectorAll(arguments[0]).length", selector))

    def click(self, selector: str) -> None:
        """Click the first element, if it is there."""
        self.js("document.querySelector(arguments[0]).click()", selector)

    def choose(self, selector: str, value: str) -> None:
        """Set a field as a reader would."""
        script = (
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, {bubbles: true}));"
        )
        self.js(script, selector, value)

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def go(self, place: str) -> Page:
        """Follow a link within the page."""
        before = self.js("return document.getElementById('main').dataset.ready")
        self.js("location.hash = arguments[0]", place)
        self.until(f"const now = document.getElementById('main').dataset.ready; return now && now !== '{before}'")
        return self

    def errors(self) -> list[str]:
        """What the console complained about since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """The addresses that were asked since the last time."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("about:", "data:", "blob:"))]

    def resize(self, width: int, height: int) -> None:
        """Another screen."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """Light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    """One browser for all tests."""
    if chromium() is None:
        pytest.skip("Chromium and its driver are not installed (Debian: apt install chromium chromium-driver)")
    pytest.importorskip("selenium", reason="selenium is not installed (extra dev)")
    with browser(1280, 900) as driver:
        yield driver


@pytest.fixture
def page(chrome: Chrome) -> Page:
    """The browser at an empty place, with its records of the past dropped."""
    page = Page(chrome)
    chrome.get("about:blank")
    page.resize(1280, 900)
    page.prefer("light")
    page.errors()
    page.requests()
    return page


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Serve paths for the length of a test."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda *paths: stack.enter_context(serving(paths))
