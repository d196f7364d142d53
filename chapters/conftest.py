"""What nbval lets pass and a chapter must not do: print to stderr, or outlast its time.

A cell that is expected to print there (a progress bar, a warning the text speaks of)
carries the tag ``remove-stderr``, by which the page leaves that output out as well.

And what a chapter may do: glue numbers in full precision, whose last digits differ from
processor to processor. What a cell prints is compared; what it glues is not.
"""

import os

import pytest
from nbval.plugin import IPyNbCell

if "PYTEST_XDIST_WORKER" in os.environ:  # chapters that run side by side: a core each
    os.environ["OMP_NUM_THREADS"] = "1"

GLUED = "application/papermill.record/text/plain"


def pytest_runtest_setup(item):
    if isinstance(item, IPyNbCell) and GLUED not in item.parent.skip_compare:
        item.parent.skip_compare += (GLUED,)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    if isinstance(item, IPyNbCell):
        if item.parent.timed_out:  # the interrupt can be swallowed by a bare `except:`
            pytest.fail(f"{item.name} ran past its time-out")
        expected = "remove-stderr" in item.cell.metadata.get("tags", [])
        printed = [
            out.text for out in item.test_outputs or [] if out.get("name") == "stderr"
        ]
        if printed and not expected:
            pytest.fail(
                f"{item.name} printed to stderr:\n{''.join(printed)}",
                pytrace=False,
            )
    return result
