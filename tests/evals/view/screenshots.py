"""Pictures of the page, made in a headless Chromium: those of README, and any other.

    python -m tests.evals.view.screenshots PATH... --out docs [--at 'NAME=#/run?set=0&run=run'] [--dark] [--width 1280]

Without `--at` it takes the first run, the table of the first evaluation or saved runs, and the charts and a group of
the first training run that the paths hold. Needs Chromium with its driver, and selenium (extra `dev`).
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evals.view.library import Library
from evals.view.server import Server
from graph.errors import AgentFlowError, ConfigError

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip
"""What keeps a browser to its page: it neither updates itself nor calls home."""


def chromium() -> tuple[str, str] | None:
    """Paths of Chromium and its driver, or None where they are not installed."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def browser(width: int = 1280, height: int = 900, *, dark: bool = False) -> Iterator[Chrome]:
    """A headless Chromium with a profile of its own.

    Raises:
        ConfigError: Chromium, its driver or selenium is not installed.
    """
    found = chromium()
    if found is None:
        raise ConfigError("Chromium and its driver are not installed; on Debian: apt install chromium chromium-driver.")
    try:
        from selenium.webdriver import Chrome, ChromeOptions
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        raise ConfigError("Pictures need selenium: run `pip install selenium`.") from None
    options = ChromeOptions()
    options.binary_location = found[0]
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        if dark:
            options.add_argument("--blink-settings=preferredColorScheme=0")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(found[1]))
        try:
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
            )
            if dark:
                feature = {"name": "prefers-color-scheme", "value": "dark"}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            yield driver
        finally:
            driver.quit()


def wait_until_shown(driver: Chrome, seconds: float = 20.0) -> None:
    """Until the view that the address names is complete.

    Raises:
        ConfigError: it is not after that time.
    """
    script = "return document.getElementById('main') !== null && document.getElementById('main').dataset.ready"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if driver.execute_script(script):
            return
        time.sleep(0.05)
    raise ConfigError(f"The page at {driver.current_url} was not complete after {seconds:.0f} seconds.")


def places(library: Library) -> dict[str, str]:
    """What is pictured of some sets, by file name: one place for each kind of view."""
    found: dict[str, str] = {}
    for number, source in enumerate(library.sources):
        rows = source.index.rows
        if source.kind == "training":
            found.setdefault("view-training", f"#/training?set={number}")
            found.setdefault("view-group", f"#/group?set={number}")
        elif rows:
            found.setdefault("view-runs", f"#/set?set={number}")
            best = max(rows, key=lambda row: row[10])  # the run with the most turns shows most
            found.setdefault("view-run", f"#/run?set={number}&run={best[0].replace('#', '%23')}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Take the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.evals.view.screenshots", description="Pictures of the page.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="as for `python -m evals view`")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="FOLDER")
    parser.add_argument(
        "--at", action="append", metavar="NAME=PLACE", help="a picture's name and the place in the page"
    )
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args(argv)
    try:
        library = Library(given.paths)
        chosen = dict(each.split("=", 1) for each in given.at) if given.at else places(library)
        given.out.mkdir(parents=True, exist_ok=True)
        with browser(given.width, given.height, dark=given.dark) as driver:
            asyncio.run(_take(library, driver, chosen, given.out))
    except AgentFlowError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


async def _take(library: Library, driver: Chrome, chosen: dict[str, str], out: Path) -> None:
    async with Server(library) as server:
        for name, place in chosen.items():
            await asyncio.to_thread(_picture, driver, server.url + place, out / f"{name}.png")
            sys.stderr.write(f"{out / name}.png\n")


def _picture(driver: Chrome, address: str, path: Path) -> None:
    driver.get("about:blank")
    driver.get(address)
    wait_until_shown(driver)
    time.sleep(0.5)  # charts are drawn when their width is known
    driver.save_screenshot(str(path))


if __name__ == "__main__":
    sys.exit(main())
