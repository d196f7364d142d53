"""A browser for the tests that need one; a file is run by one worker, the longest first."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test_pages lends its checks to others

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ORDER = (
    "test_class_bundle.py",
    "test_chapters_check.py",
    "test_results.py",
    "test_pages.py",
    "test_chapters.py",
    "test_questions.py",
    "test_build.py",
    "test_slides.py",
)


@pytest.fixture(scope="module")
def browser():
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium or Chrome found: install one, or set CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


def scope(nodeid):
    return Path(nodeid.partition("::")[0]).name


def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(ORDER)}
    items.sort(key=lambda item: rank.get(scope(item.nodeid), len(ORDER)))


try:
    from xdist.scheduler import LoadScopeScheduling
except ImportError:  # tests that run one after the other need no scheduler
    pass
else:

    class ByFile(LoadScopeScheduling):
        """Keep together what shares a browser, pages that are open, or built slides."""

        def _split_scope(self, nodeid):
            return scope(nodeid)

    @pytest.hookimpl(optionalhook=True)  # unknown with -p no:xdist
    def pytest_xdist_make_scheduler(config, log):
        config.option.loadscopereorder = False  # by the number of tests
        return ByFile(config, log)
