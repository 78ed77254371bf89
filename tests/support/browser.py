"""A real browser for the tests of pages: Debian's chromium, driven by playwright, with what goes wrong collected.

It runs where DAGAN_TEST_BROWSER names its program, as `make browser` does. It is no part of `make test`: a browser that
hangs takes the machine with it, as its threads give themselves real-time priority where they may.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the browser. Skips the test if none is asked for."""
    name = os.environ.get("DAGAN_TEST_BROWSER")
    if not name:
        pytest.skip("DAGAN_TEST_BROWSER names no browser")
    program = shutil.which(name)
    assert program, f"there is no program {name}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, file: Path, *, width: int = 1280, height: int = 800, **context: Any) -> Iterator[Page]:
    """Yield a page that was opened from disk. Fails if it logs an error, or requests anything but itself and data."""
    wrong: list[str] = []
    made = browser.new_context(viewport={"width": width, "height": height}, **context)
    page = made.new_page()
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    allowed = ("data:", file.as_uri())
    page.on("request", lambda request: None if request.url.startswith(allowed) else wrong.append(request.url[:200]))
    page.goto(file.as_uri())
    yield page
    made.close()
    assert wrong == []


def axe_findings(page: Page) -> list[str]:
    """Return what axe finds serious or critical: the rule, and the elements."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
