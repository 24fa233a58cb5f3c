"""A browser without a window, and pages opened in it."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., "Page"]
_SECONDS = 60  # that a page may take on a busy machine


class Page:
    """A page that is open in the browser.

    Attributes:
        driver: selenium's.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body of JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, expression: str) -> Any:
        """The value of an expression, once it is true."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if value := self.run(f"return {expression}"):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {expression}")

    def text(self, selector: str) -> str:
        """The text of an element, as it is seen or not."""
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def press(self, selector: str, key: str, **more: bool) -> None:
        """A key, pressed where an element has the focus."""
        self.run(
            "const target = document.querySelector(arguments[0]); target.focus();"
            "target.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[1], bubbles: true,"
            "cancelable: true, ...arguments[2]}))",
            selector,
            key,
            more,
        )

    def click(self, selector: str) -> None:
        """A click by script on a button."""
        self.run("document.querySelector(arguments[0]).click()", selector)

    def log(self) -> list[str]:
        """What the browser complained of: errors, and what the policy refused."""
        return [line["message"] for line in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    """Chromium by selenium; tests that need it are skipped where one of the two is missing."""
    selenium = pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[dev]'")
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of selenium and what it imports
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = str(programs[0])
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        opened = Chrome(options, ChromeService(programs[1]))
    assert selenium.__version__
    yield opened
    opened.quit()


@pytest.fixture
def open_page(driver: Any, tmp_path: Path) -> Open:
    """A function that writes a page, opens it and waits until Graphviz has laid it out."""

    def open_content(content: bytes, is_circuit: bool = True) -> Page:
        file = tmp_path / "page.html"
        file.write_bytes(content)
        driver.get(file.as_uri())
        page = Page(driver)
        page.wait_for("document.documentElement.dataset.interactive")
        if is_circuit:
            page.wait_for("document.documentElement.dataset.layouts")
        return page

    return open_content
