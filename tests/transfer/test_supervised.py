"""Ordinary training on source classes, and the features that come of it."""

import pytest
import torch

from metalearn_lite.models import Network, conv4, fix_statistics
from metalearn_lite.transfer import features, fine_tune, pretrain


@pytest.fixture
def problem(generator):
    """Images of five classes with an offset each, so that they can be told apart."""
    x = torch.rand(5, 6, 1, 28, 28, generator=generator)
    x[:, :, :, 4:12, 4:12] += torch.arange(5.0).view(5, 1, 1, 1, 1)
    return x.flatten(0, 1), torch.arange(5).repeat_interleave(6)


@pytest.fixture
def model():
    return conv4(5, width=8, generator=torch.Generator().manual_seed(1))


def same_weights(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_pretraining_learns_its_classes_and_follows_the_generator(problem):
    model = conv4(5, width=16, generator=torch.Generator().manual_seed(1))
    runs = [
        pretrain(
            model, *problem, steps=60, minibatch=16, generator=torch.Generator().manual_seed(2)
        )
        for _ in range(2)
    ]
    assert same_weights(*runs)
    x, y = problem
    assert (runs[0](x).argmax(1) == y).double().mean() > 0.9


def test_unless_it_is_told_otherwise_a_step_sees_64_and_the_first_has_a_size_of_0_006(
    model, problem
):
    usual = {"minibatch": 64, "lr": 6e-3, "augment": None, "progress": False}
    runs = [
        pretrain(model, *problem, steps=2, generator=torch.Generator().manual_seed(0), **options)
        for options in ({}, usual)
    ]
    assert same_weights(*runs)


def test_unless_it_is_told_otherwise_512_inputs_pass_at_once():
    seen = []

    class Counting(torch.nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x

    x = torch.arange(1100.0).view(-1, 1)
    assert torch.equal(features(Network(Counting(), torch.nn.Linear(1, 1)), x), x)
    assert seen == [512, 512, 76]


def test_a_bar_is_shown_only_where_asked_for_and_cleared_at_the_end(model, problem, capsys):
    options = {"steps": 2, "minibatch": 2, "generator": torch.Generator()}
    trained = pretrain(model, *problem, **options)
    assert capsys.readouterr().err == ""
    assert all(p.grad is None for p in trained.parameters())
    pretrain(model, *problem, progress=True, **options)
    shown = capsys.readouterr().err
    assert "0/2" in shown and not shown.endswith("\n")


def test_no_steps_of_pretraining_give_a_copy(model, problem):
    trained = pretrain(model, *problem, steps=0, generator=torch.Generator())
    assert same_weights(trained, model) and trained is not model


def test_features_do_not_depend_on_the_batch_when_nothing_else_does(model, problem):
    x, _ = problem
    fixed = fix_statistics(model, x)
    whole = features(fixed, x)
    assert whole.shape == (30, 8) and not whole.requires_grad
    torch.testing.assert_close(features(fixed, x, chunk=7), whole)
    torch.testing.assert_close(fixed.head(whole), fixed(x))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, y: (x, y[:-1]), "30 inputs and 29 labels"),
        (lambda x, y: (x[:0], y[:0]), "0 inputs and 0 labels"),
        (lambda x, y: (x, y + 1), "from 1 to 5: expected int64 of shape .* 0 to 4"),
        (lambda x, y: (x, y - 1), "from -1 to 3"),
        (lambda x, y: (x, y.int()), "torch.int32"),
        (lambda x, y: (x, y[:, None].float()), r"targets have shape \(30, 1\)"),
        (lambda x, y: (x * torch.nan, y), "x holds NaN or infinity"),
    ],
)
def test_data_that_do_not_fit_are_errors(model, problem, change, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(model, *change(*problem), steps=1, lr=0.1)
    with pytest.raises(ValueError, match=message):
        pretrain(model, *change(*problem), steps=1, generator=torch.Generator())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr is 0.0: expected a finite number above 0"),
        ({"steps": -1}, "steps is -1"),
        ({"minibatch": 0}, "minibatch is 0"),
    ],
)
def test_numbers_that_do_not_fit_are_errors(model, problem, options, message):
    with pytest.raises(ValueError, match=message):
        pretrain(model, *problem, **{"steps": 1, "generator": torch.Generator()} | options)


def test_the_step_size_falls_to_zero_in_a_straight_line(model, problem, monkeypatch):
    from metalearn_lite.transfer import supervised

    seen = []
    monkeypatch.setattr(
        supervised, "take_step", lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"])
    )
    pretrain(model, *problem, steps=4, lr=0.4, generator=torch.Generator())
    assert seen == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_a_chunk_of_nothing_is_an_error(model, problem):
    with pytest.raises(ValueError, match="chunk is 0"):
        features(model, problem[0], chunk=0)
    with pytest.raises(ValueError, match="minibatch is 0"):
        pretrain(model, *problem, steps=1, minibatch=0, generator=torch.Generator())
