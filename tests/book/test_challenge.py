"""The entries to the Omniglot challenge: how they see and train, and what they were scored."""

from dataclasses import asdict, replace

import pytest
import torch
from recipes import load_recipe

from metalearn_lite.datasets import ClassImages, glyphs
from metalearn_lite.judging import read_ledger, result_path
from metalearn_lite.randomness import seeded

ENTRIES = ("handwriting", "glyphs")


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("omniglot_challenge")


@pytest.fixture(scope="module")
def drawings():
    return glyphs(examples=4).images[:6, :, 0].flatten(0, 1).unsqueeze(1)


def small(recipe, **changes):
    return replace(recipe.Recipe(), widths=(8, 8, 8, 8), size=28, ways=5, **changes)


def test_nine_views_turn_and_scale_and_one_is_the_drawing(recipe, drawings):
    found = recipe.views(drawings)
    assert len(found) == 9
    torch.testing.assert_close(found[4], drawings, atol=1e-5, rtol=0)
    ink = [view.sum().item() for view in found[3:6]]  # smaller, as it is, larger
    assert ink[0] < ink[1] < ink[2]
    turned = torch.zeros(1, 1, 28, 28)
    turned[..., 4:24, 14] = 1  # a line that stands
    left, right = (recipe.views(turned)[k][0, 0, :14] for k in (1, 7))
    columns = torch.arange(28.0)
    lean = [(part.sum(0) * columns).sum() / part.sum() for part in (left, right)]
    assert abs(lean[0] - lean[1]) > 1 and (lean[0] - 14) * (lean[1] - 14) < 0


def test_what_is_left_out_of_the_warps_is_not_done(recipe, drawings):
    torch.manual_seed(0)
    still = small(recipe, warps=False, bends=False)
    torch.testing.assert_close(recipe.warped(drawings, still), drawings, atol=1e-5, rtol=0)
    for change in ({"warps": False}, {"bends": False}):
        moved = recipe.warped(drawings, small(recipe, **change))
        assert moved.shape == drawings.shape and (moved - drawings).abs().mean() > 0.01
        assert moved.min() >= 0 and moved.max() <= 1.001


def test_an_ingredient_that_is_left_out_is_the_only_change(recipe):
    whole = asdict(recipe.Recipe())
    for what, change in recipe.LEFT_OUT.items():
        without = asdict(replace(recipe.Recipe(), **change))
        differ = [name for name in whole if whole[name] != without[name]]
        assert differ == list(change) and (differ or what == "nothing")


@pytest.mark.parametrize("size", [28, 56, 105])
def test_a_reader_takes_every_size_and_each_drawing_by_itself(recipe, size):
    reader = recipe.Reader(recipe.Recipe(), seeded(0)).eval()
    x = torch.rand(3, 1, size, size, generator=seeded(1))
    kept = x.clone()
    with torch.no_grad():
        together, alone = reader(x), reader(x[:1])
    assert torch.equal(x, kept)
    assert together.shape == (3, 256)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)


def test_a_run_that_was_stopped_ends_as_the_whole_one(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "RUNNING", tmp_path)
    data = glyphs(examples=4)
    whole = recipe.train("whole", small(recipe, iterations=6), data, seed=0)
    train = recipe.meta_train

    def stopped(*arguments, schedule, **options):
        halfway = {"iterations": 3, "schedule": lambda done: schedule(done / 2)}
        return train(*arguments, **options | halfway)

    monkeypatch.setattr(recipe, "meta_train", stopped)
    recipe.train("parts", small(recipe, iterations=6), data, seed=0)
    monkeypatch.setattr(recipe, "meta_train", train)
    parts = recipe.train("parts", small(recipe, iterations=6), data, seed=0)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_drawings_are_described_each_in_its_place(recipe):
    data = glyphs(examples=2)
    few = data.select(range(4))
    reader = recipe.Reader(small(recipe), seeded(0)).eval()
    found = recipe.described(reader, few)
    assert isinstance(found, ClassImages) and found.images.shape[:2] == (4, 2)
    with torch.no_grad():
        torch.testing.assert_close(found.images[3, 1, 0, 0], reader(few.images[3, 1:])[0])


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_small_and_says_how_it_was_made(name):
    weights = result_path(f"omniglot_challenge/{name}.zip")
    assert weights.stat().st_size < 2**20
    about = read_ledger(result_path(f"omniglot_challenge/{name}.json")).about
    assert about["command"] == "python results/omniglot_challenge.py"


@pytest.mark.parametrize("name", ENTRIES)
def test_a_stored_score_is_that_of_the_stored_weights(recipe, name, omniglot_root, monkeypatch):
    """On eight drawings of each character, to be quick."""
    monkeypatch.setattr(recipe, "EPISODES", 300)
    training, held_out = recipe.handwriting()
    assert set(recipe.CHOSEN_ON) < set(training.group_names)
    found = recipe.score(recipe.load(name), held_out.examples(0, 8))
    path = "20 ways, one alphabet/wrong"
    ledger = read_ledger(result_path(f"omniglot_challenge/{name}.json"))
    assert 100 * (1 - found.mean) == pytest.approx(ledger.scores(path).mean, abs=3)
