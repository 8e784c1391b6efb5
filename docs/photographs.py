"""Takes the pictures of the HTML report: a real repair of a real model, in a headless Chromium, light and dark.

    python docs/photographs.py FOLDER    # with the weights of SmolLM2, as `make pictures` makes it

Each picture is a part of the page without paths, times and versions.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).resolve().parent / "pictures"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTH = 1000
PARTS = {"page": (None, "Repairs"), "norms": ("Gradient norms", "What changed")}
"""Name of a picture -> the headings that it goes from and to; None: the top of the page."""
MARGIN = 24


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="a model with weights")
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        raise SystemExit("there is no Chromium on this machine; install one to take the pictures")
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        report = reported(parser.parse_args().folder, Path(made) / "report.html")
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = chromium.new_page(
                viewport={"width": WIDTH, "height": 800},
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            page.goto(report.as_uri())
            for name, image in parts(page):
                (PICTURES / f"{name}-{scheme}.png").write_bytes(image)


def reported(folder: str, file: Path) -> Path:
    """The page that ``gradcheck fix`` makes of the classic bug."""
    setup = ["--quant", "4bit", "--checkpointing", "reentrant", "--no-input-grads", "--apply"]
    program = Path(sys.executable).parent / "gradcheck"
    subprocess.run([program, "fix", folder, *setup, "-f", "html", "-o", file], check=True)
    return file


def parts(page: Page) -> Iterator[tuple[str, bytes]]:
    """The pictures by name."""
    for name, (first, following) in PARTS.items():
        top = 0 if first is None else _top(page, first)
        clip = {"x": 0, "y": top, "width": WIDTH, "height": _top(page, following) - top}
        yield name, page.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type]


def _top(page: Page, heading: str) -> int:
    box = page.locator("h2", has_text=heading).first.bounding_box()
    assert box is not None, f"the page has no heading {heading!r}"
    return int(box["y"]) - MARGIN


if __name__ == "__main__":
    main()
