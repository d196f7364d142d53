"""What nbval lets pass and a chapter must not do: print to stderr, or outlast its time.

A cell that is expected to print there (a progress bar, a warning the text speaks of)
carries the tag ``remove-stderr``, by which the page leaves that output out as well.

And what a chapter may do: glue numbers in full precision, whose last digits differ from
processor to processor. What a cell prints is compared; what it glues is not, and neither are
figures, in lines no more than in pixels.

A chapter that passes is kept for the build of the book, which then need not run it.
"""

import os
import sys
from pathlib import Path

import nbval.kernel
import pytest
from nbval.plugin import IPyNbCell

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import build_book
from keep_executed import Recorder

if "PYTEST_XDIST_WORKER" in os.environ:  # chapters that run side by side: a core each
    os.environ["OMP_NUM_THREADS"] = "1"

start_kernel = nbval.kernel.start_new_kernel


def start_kernel_patiently(*arguments, **options):
    """Start a kernel once more if it does not answer: the other worker's had taken its port."""
    try:
        return start_kernel(*arguments, **options)
    except RuntimeError:
        return start_kernel(*arguments, **options)


nbval.kernel.start_new_kernel = start_kernel_patiently

GLUED = "application/papermill.record/text/plain"
LINES = "image/svg+xml"
RECORDER = pytest.StashKey[Recorder]()


def pytest_configure(config):
    runs = config.option.nbval or config.option.nbval_lax
    if runs and not hasattr(config, "workerinput"):
        build_book.forget_if_stale()  # once, before any worker keeps a chapter


def pytest_runtest_setup(item):
    if isinstance(item, IPyNbCell) and GLUED not in item.parent.skip_compare:
        item.parent.skip_compare += (GLUED, LINES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not isinstance(item, IPyNbCell):
        return (yield)
    stash = item.parent.stash
    if RECORDER not in stash:
        stash[RECORDER] = Recorder(item.parent, build_book.BUILD / "executed")
    stash[RECORDER].begin(item.cell_num)
    result = yield
    check(item)
    stash[RECORDER].end(item.cell_num)
    return result


def check(item):
    if item.parent.timed_out:  # the interrupt can be swallowed by a bare `except:`
        pytest.fail(f"{item.name} ran past its time-out")
    expected = "remove-stderr" in item.cell.metadata.get("tags", [])
    outputs = item.test_outputs or []
    printed = [out.text for out in outputs if out.get("name") == "stderr"]
    if printed and not expected:
        pytest.fail(
            f"{item.name} printed to stderr:\n{''.join(printed)}", pytrace=False
        )
