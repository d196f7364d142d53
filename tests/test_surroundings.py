"""Where the package is used: names of folders, encodings, disks that are full or only read."""

import errno
import os
import subprocess
import sys
import tempfile

import pytest
import torch

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint
from metalearn_lite.datasets.cache import cached

# not UTF-8, wherever Python would put it in the place of the C locale
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
USE = """
# coding: utf-8
import sys, torch
from pathlib import Path
from metalearn_lite.checkpoint import load_checkpoint, load_manifest, save_checkpoint
from metalearn_lite.datasets.cache import cached
from metalearn_lite.judging.ledger import fill_ledger, read_ledger, result_path


here = Path.cwd()
saved = here / "run.zip"
save_checkpoint(saved, {"ä": torch.ones(2)}, metadata={"von": "Käthe"})
assert load_checkpoint(saved)["ä"].tolist() == [1, 1]
assert load_manifest(saved)["metadata"]["von"] == "Käthe"
fill_ledger(here / "sizes.json", range(2), lambda: {"wer": "Käthe"}, lambda d, _: {"ä": 1.0 * d})
assert read_ledger(here / "sizes.json").scores("ä").mean == 0.5
assert cached("made", "é", lambda: {"x": torch.ones(1)})["x"].item() == 1
assert any(Path(here, "cache").iterdir()), "nothing was kept"
assert read_ledger(result_path("fair_comparison.json")).draws
"""


@pytest.mark.long
@pytest.mark.parametrize("locale", [{}, NOT_UTF8], ids=["UTF-8", "C"])
def test_files_and_folders_may_have_any_name_in_any_encoding(tmp_path, locale):
    folder = tmp_path / "Käthes Kurs & mehr, 100 % (2)'"
    folder.mkdir()
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(tmp_path / "use.py")],
        cwd=folder,
        env=os.environ | {"METALEARN_CACHE": str(folder / "cache")} | locale,
        capture_output=True,
    )
    assert run.returncode == 0, run.stderr.decode(errors="replace")


@pytest.fixture
def full_disk():
    """Files of more than two kilobytes cannot be written."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_the_old_checkpoint_stays_and_nothing_is_left(tmp_path, request):
    path = tmp_path / "run.zip"
    save_checkpoint(path, {"step": 1})
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match=r"File too large|No space"):
        save_checkpoint(path, {"x": torch.zeros(5000)})
    assert load_checkpoint(path) == {"step": 1} and list(tmp_path.iterdir()) == [path]


def test_on_a_full_disk_the_cache_costs_only_time(tmp_path, monkeypatch, full_disk):
    monkeypatch.setenv("METALEARN_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        assert cached("large", 1, lambda: {"x": torch.ones(5000)})["x"].sum() == 5000
    assert list((tmp_path / "cache").iterdir()) == []


def test_from_a_cache_that_cannot_be_written_one_can_read(tmp_path, monkeypatch):
    monkeypatch.setenv("METALEARN_CACHE", str(tmp_path))
    cached("kept", 1, lambda: {"x": 1})

    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    monkeypatch.setattr(os, "makedirs", read_only)
    assert cached("kept", 1, lambda: {"x": 2}) == {"x": 1}
    assert cached("new", 1, lambda: {"x": 3}) == {"x": 3}
