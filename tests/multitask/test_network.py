import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metalearn_lite.multitask as multitask
from metalearn_lite.multitask import MISSING, MultiTask, kinds, task_losses, tasks_with_labels


@pytest.fixture
def model():
    torch.manual_seed(0)
    heads = {"sort": nn.Linear(4, 3), "size": nn.Linear(4, 1), "place": nn.Linear(4, 2)}
    return MultiTask(nn.Sequential(nn.Linear(5, 4), nn.Tanh()), heads)


@pytest.fixture
def targets(generator):
    return {
        "sort": torch.tensor([0, 2, 1, 1, 0, 2]),
        "size": torch.randn(6, 1, generator=generator),
        "place": torch.randn(6, 2, generator=generator),
    }


@pytest.fixture
def x(generator):
    return torch.randn(6, 5, generator=generator)


# --- the network --------------------------------------------------------------------


def test_each_head_sees_the_features_of_the_one_trunk(model, x):
    outputs = model(x)
    assert {name: tuple(o.shape) for name, o in outputs.items()} == {
        "sort": (6, 3),
        "size": (6, 1),
        "place": (6, 2),
    }
    for name, output in outputs.items():
        assert torch.equal(output, model.heads[name](model.trunk(x)))


def test_a_head_learns_nothing_from_another_task(model, x, targets):
    task_losses(model(x), targets)["sort"].backward()
    assert model.trunk[0].weight.grad.any() and model.heads["sort"].weight.grad.any()
    assert model.heads["size"].weight.grad is None


@pytest.mark.parametrize("heads", [{}, {"a.b": nn.Linear(4, 1)}, {"keys": nn.Linear(4, 1)}])
def test_names_that_cannot_be_heads_raise(heads):
    with pytest.raises(ValueError, match="heads"):
        MultiTask(nn.Identity(), heads)


def test_a_head_that_is_no_module_raises():
    with pytest.raises(ValueError, match="expected modules"):
        MultiTask(nn.Identity(), {"a": 3})


# --- losses -------------------------------------------------------------------------


def test_losses_are_those_of_torch(model, x, targets):
    outputs = model(x)
    losses = task_losses(outputs, targets)
    assert list(losses) == ["sort", "size", "place"]
    torch.testing.assert_close(losses["sort"], F.cross_entropy(outputs["sort"], targets["sort"]))
    for name in ("size", "place"):
        torch.testing.assert_close(losses[name], F.mse_loss(outputs[name], targets[name]))


def test_examples_without_a_label_count_for_nothing(model, x, targets):
    whole = {name: t.clone() for name, t in targets.items()}
    whole["sort"][[1, 4]] = MISSING
    whole["size"][2:] = torch.nan
    whole["place"][0, 1] = torch.nan  # one of two values
    outputs = model(x)
    losses = task_losses(outputs, whole)
    seen = [0, 2, 3, 5]
    expected = F.cross_entropy(outputs["sort"][seen], targets["sort"][seen])
    torch.testing.assert_close(losses["sort"], expected)
    torch.testing.assert_close(losses["size"], F.mse_loss(outputs["size"][:2], targets["size"][:2]))
    errors = (outputs["place"] - targets["place"]).square().flatten()
    torch.testing.assert_close(losses["place"], errors[[0, *range(2, 12)]].mean())
    gradient = torch.autograd.grad(sum(losses.values()), list(model.parameters()))
    assert all(g.isfinite().all() for g in gradient)


def test_one_label_alone_counts_in_full(model, x, targets):
    outputs, alone = model(x), targets | {"sort": torch.full((6,), MISSING)}
    alone["sort"][2], alone["size"] = 1, torch.full((6, 1), torch.nan)
    alone["size"][3] = 0.5
    losses = task_losses(outputs, alone)
    torch.testing.assert_close(losses["sort"], F.cross_entropy(outputs["sort"][2], torch.tensor(1)))
    torch.testing.assert_close(losses["size"], (outputs["size"][3, 0] - 0.5).square())


def test_a_task_without_any_label_has_a_loss_and_a_gradient_of_zero(model, x, targets):
    none = targets | {
        "sort": torch.full((6,), MISSING),
        "size": torch.full((6, 1), torch.nan),
    }
    losses = task_losses(model(x), none)
    assert losses["sort"] == 0 and losses["size"] == 0 and losses["place"] > 0
    (losses["sort"] + losses["size"]).backward()
    assert not any(p.grad.any() for p in model.trunk.parameters())
    assert tasks_with_labels(none) == ("place",)
    assert tasks_with_labels(targets) == ("sort", "size", "place")


def test_integer_labels_are_classification_and_float_targets_regression(targets):
    assert kinds(targets) == {"sort": "classification", "size": "regression", "place": "regression"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sort": torch.tensor([0, 1, 2, 3, 0, 0])}, "'sort': labels.*from 0 to"),
        ({"sort": torch.tensor([0, 1, 2, -1, 0, 0])}, "MISSING = -100"),
        ({"sort": torch.zeros(6, dtype=torch.int32)}, "'sort': labels are torch.int32"),
        ({"sort": torch.zeros(5, dtype=torch.int64)}, r"of shape \(5,\)"),
        ({"size": torch.zeros(6)}, r"'size': targets have shape \(6,\) and outputs \(6, 1\)"),
        ({"place": torch.zeros(6, 1)}, "'place'"),
        ({"typo": torch.zeros(6)}, r"targets of unknown tasks \['typo'\]"),
    ],
)
def test_targets_that_do_not_fit_raise(model, x, targets, change, message):
    with pytest.raises(ValueError, match=message):
        task_losses(model(x), targets | change)


def test_an_output_without_targets_raises(model, x, targets):
    del targets["size"]
    with pytest.raises(ValueError, match=r"outputs of unknown tasks \['size'\]"):
        task_losses(model(x), targets)


def test_a_nan_output_is_not_hidden_by_the_mask(model, x, targets):
    outputs = model(torch.full_like(x, math.nan))
    assert task_losses(outputs, targets)["size"].isnan()


def test_every_public_name_of_the_subject_is_here():
    wanted = "MultiTask weighted_loss UncertaintyWeights gradnorm_loss gradnorm_step task_gradients"
    for name in (*wanted.split(), "gradient_cosine", "pcgrad", "mgda"):
        assert hasattr(multitask, name) and name in multitask.__all__
