"""A page in a headless Chromium, with an eye on what it says, asks for and tries to run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradcheck.gates.gate import Judged
from gradcheck.reports.formatter import RenderOptions, render

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE, DESK = {"width": 375, "height": 720}, {"width": 1240, "height": 900}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; the test is skipped where this machine has none."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]"
    )
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(
            "there is no Chromium on this machine: install one, for example apt-get install chromium"
        )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A report's page, open; ``close`` fails where it said, asked for or ran anything."""

    def __init__(self, browser: Browser, path: Path, **options: Any) -> None:
        self.url = path.as_uri()
        self.context = browser.new_context(viewport=options.pop("viewport", DESK), **options)
        self.trouble: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda said: self.trouble.append(f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)
        self.context.on("request", self._request)
        self.page.goto(self.url)

    def _request(self, request: Any) -> None:
        if request.url.partition("#")[0] != self.url and not request.url.startswith("data:"):
            self.trouble.append(f"request: {request.url}")

    def _dialog(self, dialog: Any) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def close(self) -> None:
        self.context.close()
        assert self.trouble == []


def written(folder: Path, report: Judged, **options: Any) -> Path:
    """The page of ``report`` as a file."""
    path = folder / "report.html"
    path.write_text(render(report, "html", RenderOptions(**options)), "utf-8")
    return path
