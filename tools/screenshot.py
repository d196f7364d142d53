"""Take the picture of the book that README.md shows: the first page, as a reader opens it.

    python tools/screenshot.py [--page intro] [--to screenshot.png]

It needs the built book, and Chromium or Chrome (CHROMIUM names it if it is not on the path). The
picture has a palette of 128 colours: it is text on one ground, and stays small.
"""

import argparse
import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = {"width": 1200, "height": 900}
COLOURS, LARGEST = 128, 200_000  # bytes


def browser_path() -> str:
    """Return where a browser is.

    Raises:
        SystemExit: if there is none.
    """
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit("No Chromium or Chrome found: install one, or set CHROMIUM.")
    return found


def photograph(page: Path) -> Image.Image:
    """Open a page in a browser, in the light theme, and return what is seen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=browser_path(), args=options)
        tab = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")  # type: ignore[arg-type]
        tab.goto(page.as_uri(), wait_until="load")
        tab.wait_for_timeout(1500)  # equations, and what moves in the page, come last
        shot = tab.screenshot()
        browser.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", default="intro", help="name of the page, as in _toc.yml")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "screenshot.png", help="the file to write"
    )
    options = parser.parse_args()
    page = HTML / f"{options.page}.html"
    if not page.exists():
        sys.exit(f"{page} does not exist: run `make book`, or name a page of _toc.yml")
    picture = photograph(page).quantize(COLOURS)
    picture.save(options.to, optimize=True)
    if (size := options.to.stat().st_size) > LARGEST:
        sys.exit(f"{options.to} has {size} bytes: expected at most {LARGEST}; use fewer COLOURS")
    print(f"{options.to.name}: {picture.width} × {picture.height}, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
