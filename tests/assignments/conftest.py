"""Helpers of these tests are imported by their names; an assignment is graded by one worker."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

try:
    from xdist.scheduler import LoadScopeScheduling
except ImportError:  # tests that run one after the other need no scheduler
    pass
else:

    class ByAssignment(LoadScopeScheduling):
        """Keep together what shares graded submissions: an assignment, or a file."""

        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            return test.partition("[")[2] if file.endswith("test_graders.py") else file

    @pytest.hookimpl(optionalhook=True)  # unknown with -p no:xdist
    def pytest_xdist_make_scheduler(config, log):
        return ByAssignment(config, log)
