"""The networks that answer in the page: how they are trained, stored and scored."""

import json
import os

import pytest
import torch
from recipes import load_recipe

from metalearn_lite.datasets import glyphs
from metalearn_lite.judging import result_path
from metalearn_lite.maml import maml_loss
from metalearn_lite.models import conv4
from metalearn_lite.prototypes import prototype_loss
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import ImageTasks
from metalearn_lite.widgets.characters import (
    INNER_LR,
    INNER_STEPS,
    course_methods,
    file_name,
    stored,
)


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("page_networks")


@pytest.fixture(scope="module")
def data(recipe):
    return recipe.cut_out(glyphs(examples=4))


@pytest.fixture
def ledger():
    return json.loads(result_path("page_networks.json").read_text(encoding="utf-8"))


def test_drawings_are_cut_out_and_stay_in_their_classes(recipe, data):
    whole = glyphs(examples=4)
    assert data.images.shape == whole.images.shape
    assert (data.class_names, data.groups) == (whole.class_names, whole.groups)
    rows = data.images[:, 0, 0].amax(-1) > 0.3
    assert rows.sum(-1).max() <= 25  # of 28: a tenth of the drawing is left free around it


@pytest.mark.parametrize("batch", [None, 3])
def test_a_loss_on_warped_drawings_keeps_the_labels_and_the_task(recipe, data, batch):
    heard = []

    def loss(model, episode):
        heard.append(episode)
        return prototype_loss(model, episode)

    episode = ImageTasks(data, 5, 1, 3).sample(seeded(0), batch=batch)
    torch.manual_seed(0)
    recipe.on_warped(loss)(conv4(5, 8, "group"), episode)
    (warped,) = heard
    assert warped.support_x.shape == episode.support_x.shape
    assert warped.query_x.shape == episode.query_x.shape
    assert warped.support_y.equal(episode.support_y) and warped.query_y.equal(episode.query_y)
    assert not torch.allclose(warped.query_x, episode.query_x)
    # a quarter turn and a small warp keep most of the ink
    ink = warped.query_x.sum() / episode.query_x.sum()
    assert 0.7 < ink < 1.3


@pytest.mark.parametrize(
    ("name", "loss", "norm", "batch"),
    [
        ("prototypes", "prototype_loss", "group", None),
        ("MAML", "maml_loss", "group", 4),
        ("MAML, batch statistics", "maml_loss", "batch", 4),
    ],
)
def test_what_is_trained_is_what_it_says(recipe, data, monkeypatch, name, loss, norm, batch):
    heard = {}

    def train(model, objective, tasks, **options):
        heard.update(options, model=model, tasks=tasks, objective=objective)

    monkeypatch.setattr(recipe, "meta_train", train)
    monkeypatch.setattr(recipe, "on_warped", lambda loss: loss)
    recipe.TRAIN[name](data)
    assert heard["batch"] == batch
    assert ("BatchStatistics" in str(heard["model"])) == (norm == "batch")
    own = heard["objective"]
    if loss == "maml_loss":
        assert own.func is maml_loss
        assert own.keywords == {"inner_steps": INNER_STEPS, "inner_lr": INNER_LR}
    else:
        assert own is prototype_loss
    assert heard["schedule"](0.25) == 0.75


def test_the_classes_are_learned_with_their_quarter_turns(recipe, data, monkeypatch):
    heard = {}

    def pretrain(model, x, y, **options):
        heard.update(options, x=x, y=y)
        return model

    monkeypatch.setattr(recipe, "pretrain", pretrain)
    few = data.select(range(6))
    learned = recipe.by_classes(few)
    assert int(heard["y"].max()) == 23 and len(heard["x"]) == 4 * 6 * 4
    assert not learned.head.weight.any() and len(learned.head.bias) == 5
    x = heard["x"][:3]
    assert not torch.allclose(heard["augment"](x, None), x)


def test_every_network_of_the_page_is_stored_and_scored(recipe, ledger):
    assert set(ledger["draws"]) == set(recipe.TRAIN)
    for name, scores in ledger["draws"].items():
        assert result_path(f"page_networks/{file_name(name)}").stat().st_size < 100_000
        assert set(scores) == {*recipe.predictions(name), "nearest pixel"}
    assert set(recipe.TRAIN) == set(course_methods()) - {"nearest pixel"}


@pytest.mark.parametrize("name", ["prototypes", "fine-tuning", "MAML", "MAML, batch statistics"])
def test_the_weights_score_what_the_ledger_says(recipe, ledger, name):
    if not os.environ.get("METALEARN_OMNIGLOT"):
        pytest.skip("METALEARN_OMNIGLOT names no folder with images_background.zip")
    held_out = recipe.cut_out(recipe.handwriting()[1])
    recipe.EPISODES = 60
    found = recipe.score(stored(name), recipe.predictions(name), held_out)
    for how, by_shots in found.items():
        for shots, score in by_shots.items():
            expected = ledger["draws"][name][how][shots]
            far = 2 * (score["half_width"] + expected["half_width"])
            assert abs(score["right"] - expected["right"]) < far, (how, shots)
