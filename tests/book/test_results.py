"""The ledgers of long runs: whole, and reproduced where that is quick."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from metalearn_lite.factors import factor_tasks
from metalearn_lite.ledger import read_ledger

RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture(scope="module")
def recipe():
    specification = importlib.util.spec_from_file_location("recipe", RESULTS / "multi_task.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def train(recipe):
    return recipe.glyphs().split_groups()[0]


def shape(entry):
    """Return the names in a result, without its numbers."""
    if isinstance(entry, dict):
        return {name: shape(part) for name, part in entry.items()}
    return len(entry) if isinstance(entry, list) else type(entry).__name__


def test_the_ledger_says_how_it_was_made():
    about = read_ledger(RESULTS / "multi_task.json").about
    assert about["command"] == "python results/multi_task.py"
    assert {"python", "torch", "metalearn_lite"} <= set(about["versions"])


def test_the_recipe_makes_what_is_in_every_draw_of_the_ledger(recipe, monkeypatch):
    ledger = json.loads((RESULTS / "multi_task.json").read_text())
    assert list(ledger["draws"]) == [str(i) for i in range(10)]
    monkeypatch.setattr(recipe, "STEPS", 12)  # the same names from a run that is quick
    made = recipe.rounded(recipe.draw_results(0, ledger["tuned weights"]))
    for draw in ledger["draws"].values():
        assert shape(draw) == shape(made)


def test_a_draw_of_the_ledger_is_reproduced(recipe, train):
    ledger = read_ledger(RESULTS / "multi_task.json")
    for draw in (0, 7):
        tasks = factor_tasks(train, generator=torch.Generator().manual_seed(draw))
        _, scores = recipe.run(tasks, draw)
        mean = sum(scores.values()) / len(scores)
        assert mean == pytest.approx(ledger.scores("shared").values[draw].item(), abs=0.02)
