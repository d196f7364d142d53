"""Helpers of these tests are imported by their names; a worker makes an assignment once."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
# what a course draws at random when it is made, so that every run of the tests is the same
os.environ["METALEARN_CHECK_SEED"] = "1"

# the longest first, so that two workers end at about the same time
ORDER = (
    "test_round.py",
    "transfer",
    "reptile_and_prototypes",
    "maml",
    "multi_task",
    "tasks_and_evaluation",
    "test_cell_by_cell.py",
)


def scope(nodeid):
    """Name what shares a course: an assignment, or a file."""
    file, _, test = nodeid.partition("::")
    whole = "test_graders" in file or "test_copying" in file
    return test.partition("[")[2].rstrip("]") if whole else Path(file).name


def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(ORDER)}
    items.sort(key=lambda item: rank.get(scope(item.nodeid), -1))


try:
    from xdist.scheduler import LoadScopeScheduling
except ImportError:  # tests that run one after the other need no scheduler
    pass
else:

    class ByAssignment(LoadScopeScheduling):
        """Keep together what shares a course."""

        def _split_scope(self, nodeid):
            return scope(nodeid)

    @pytest.hookimpl(optionalhook=True)  # unknown with -p no:xdist
    def pytest_xdist_make_scheduler(config, log):
        config.option.loadscopereorder = False  # by the number of tests
        return ByAssignment(config, log)
