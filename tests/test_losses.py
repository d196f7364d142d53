"""The loss of a task: which one, over what the mean goes, and which targets are refused."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.losses import default_loss, outside, task_loss
from metalearn_lite.randomness import seeded

LABELS = torch.tensor([0, 2, 1, 2])


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_labels_get_the_mean_of_minus_the_log_probability_of_each():
    logits = random(4, 3)
    own = logits.softmax(dim=1)[torch.arange(4), LABELS]
    torch.testing.assert_close(default_loss(logits, LABELS), -own.log().mean())


def test_values_get_the_squared_error_averaged_over_examples_and_outputs():
    outputs, targets = random(4, 3), random(4, 3, seed=1)
    total = sum((outputs[i, j] - targets[i, j]) ** 2 for i in range(4) for j in range(3))
    torch.testing.assert_close(default_loss(outputs, targets), total / 12)


def test_the_type_of_the_targets_chooses_the_loss_not_their_values():
    outputs, hot = random(4, 3), F.one_hot(LABELS, 3).double()
    torch.testing.assert_close(task_loss(outputs, hot), (outputs - hot).square().mean())
    torch.testing.assert_close(task_loss(outputs, LABELS), default_loss(outputs, LABELS))


def test_the_gradient_for_labels_is_probability_minus_label_over_the_number_of_examples():
    logits = random(4, 3).requires_grad_()
    (found,) = torch.autograd.grad(task_loss(logits, LABELS), logits)
    expected = (logits.detach().softmax(dim=1) - F.one_hot(LABELS, 3)) / 4
    torch.testing.assert_close(found, expected)


def test_equal_logits_cost_the_logarithm_of_the_ways_and_one_way_costs_nothing():
    assert task_loss(torch.zeros(4, 3), LABELS).item() == pytest.approx(math.log(3))
    assert task_loss(random(4, 1), torch.zeros(4, dtype=torch.int64)) == 0


def test_the_loss_of_a_batch_is_the_mean_of_its_tasks():
    logits, labels = random(5, 4, 3), torch.randint(3, (5, 4), generator=seeded(2))
    values, targets = random(5, 4, 2), random(5, 4, 2, seed=1)
    for outputs, wanted in ((logits, labels), (values, targets)):
        each = [task_loss(o, w) for o, w in zip(outputs, wanted, strict=True)]
        torch.testing.assert_close(task_loss(outputs, wanted), torch.stack(each).mean())


def test_an_output_that_is_not_a_number_is_not_hidden():
    outputs = random(4, 3)
    outputs[2, 1] = math.nan
    assert task_loss(outputs, LABELS).isnan()
    assert task_loss(outputs, random(4, 3)).isnan()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.int(), r"labels are torch\.int32 from 0 to 2: expected int64 from 0 to 2"),
        (LABELS > 0, r"labels are torch\.bool"),
        (LABELS - 1, "from -1 to 1: expected int64 from 0 to 2"),
        (LABELS + 1, "from 1 to 3: expected int64 from 0 to 2, for the network has 3 outputs"),
        (LABELS - 100, "from -100 to -98"),  # PyTorch leaves examples of label -100 out
    ],
)
def test_labels_that_do_not_fit_the_outputs_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        task_loss(random(4, 3), labels)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (3, 3), (1, 4, 3)])
def test_values_of_another_shape_are_refused_where_pytorch_would_broadcast(shape):
    with pytest.raises(ValueError, match=r"targets have shape .* and outputs \(4, 3\): expected"):
        task_loss(random(4, 3), random(*shape))


def test_another_number_of_labels_is_refused():
    with pytest.raises(
        ValueError, match=r"shape \(3,\) and outputs \(4, 3\): expected labels \(4,\)"
    ):
        task_loss(random(4, 3), LABELS[:3])


def test_labels_of_as_many_numbers_in_another_shape_are_refused():
    labels = torch.zeros(3, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"expected labels \(2, 3\), one for each row"):
        task_loss(random(2, 3, 4), labels)


@pytest.mark.parametrize(("outputs", "targets"), [((0, 3), (0,)), ((3,), (3,)), ((0, 2), (0, 2))])
def test_empty_sets_and_outputs_without_a_row_are_refused(outputs, targets):
    kind = torch.int64 if len(targets) == 1 else torch.float64
    with pytest.raises(ValueError, match="a target for each, n of 1 or more"):
        task_loss(random(*outputs), torch.zeros(targets, dtype=kind))


def test_labels_are_not_read_while_a_gpu_records_and_are_everywhere_else(monkeypatch):
    labels = {"min": lambda: 0, "max": lambda: 3, "numel": lambda: 4}
    on_gpu = SimpleNamespace(is_cuda=True, is_floating_point=bool, **labels)
    for recording in (True, False):
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda r=recording: r)
        assert outside(on_gpu, 3) is not recording
        assert outside(LABELS, 2) is True and outside(LABELS, 3) is False


def test_queries_without_labels_are_told_that_they_cannot_be_trained_on():
    with pytest.raises(ValueError, match=r"from -1 to -1: .*; queries without labels can be answ"):
        task_loss(random(4, 3), torch.full((4,), -1))
    targets = random(4, 3)
    targets[1, 2] = math.nan
    with pytest.raises(ValueError, match="targets hold NaN: expected a number for each query"):
        task_loss(random(4, 3), targets)
