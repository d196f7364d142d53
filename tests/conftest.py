"""Shared by all tests: threads, a generator, and where real data is found."""

import os
from pathlib import Path

import pytest
import torch

# the networks of the tests are small: a second thread costs more than it brings
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_draws():
    """Whatever a test draws from PyTorch's own generator does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def omniglot_root():
    """The folder that METALEARN_OMNIGLOT names; tests that need it skip without it."""
    root = os.environ.get("METALEARN_OMNIGLOT")
    if not root:
        pytest.skip("METALEARN_OMNIGLOT names no folder with images_background.zip")
    return Path(root)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep the tests' cache apart from the user's, so that each run makes its data anew, once."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    patch = pytest.MonkeyPatch()
    patch.setenv("METALEARN_CACHE", str(shared / "cache"))
    yield
    patch.undo()
