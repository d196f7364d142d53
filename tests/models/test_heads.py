"""New last layers, and how many outputs targets ask for."""

import copy

import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.models import CosineHead, conv4, mlp, new_head
from metalearn_lite.models.heads import outputs_for
from metalearn_lite.randomness import seeded


@pytest.fixture
def model():
    return mlp(2, 3, hidden=(5, 4), generator=seeded(0)).double()


# new_head


def test_everything_but_the_head_is_copied_and_nothing_is_shared(model):
    before = copy.deepcopy(model.state_dict())
    renewed = new_head(model, 7)
    for outputs in (1, 2, 7):
        head = new_head(model, outputs).head
        assert head.weight.shape == (outputs, 4) and head.bias.shape == (outputs,)
    for name, p in renewed.features.named_parameters():
        assert torch.equal(p, before[f"features.{name}"])
    with torch.no_grad():
        for p in renewed.parameters():
            p.add_(1)
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())


def test_without_a_generator_the_head_is_zero_and_sends_no_gradient_further_down(model):
    renewed = new_head(model, 3)
    x = torch.randn(6, 2, generator=seeded(1), dtype=torch.float64)
    F.cross_entropy(renewed(x), torch.arange(6) % 3).backward()
    assert not renewed(x).any() and renewed.head.weight.grad.any()
    assert not any(p.grad.any() for p in renewed.features.parameters())


def test_a_drawn_head_follows_its_generator_alone():
    model = mlp(2, 3, hidden=(16,), generator=seeded(0))
    state = torch.get_rng_state()
    drawn = [new_head(model, 400, generator=seeded(7)).head for _ in range(2)]
    new_head(model, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0].weight, drawn[1].weight)
    assert torch.equal(drawn[0].bias, drawn[1].bias)
    other = new_head(model, 400, generator=seeded(8)).head
    assert not torch.equal(other.weight, drawn[0].weight)


def test_a_drawn_head_is_uniform_between_one_over_the_root_of_its_features_and_minus_that():
    head = new_head(mlp(2, 3, hidden=(16,)), 400, generator=seeded(7)).head
    bound = 16**-0.5
    for p in head.parameters():
        assert -bound <= p.min() < -0.9 * bound and 0.9 * bound < p.max() <= bound
    assert head.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_new_head_has_the_type_of_the_old_one(dtype):
    renewed = new_head(conv4(3, width=4, generator=seeded(0)).to(dtype), 2)
    assert {p.dtype for p in renewed.parameters()} == {dtype}
    assert all(p.requires_grad for p in renewed.head.parameters())


def test_the_new_head_of_frozen_features_can_be_trained_and_they_stay_frozen(model):
    renewed = new_head(model.requires_grad_(False), 2)
    assert all(p.requires_grad for p in renewed.head.parameters())
    assert not any(p.requires_grad for p in renewed.features.parameters())


def test_a_head_without_outputs_is_an_error(model):
    with pytest.raises(ValueError, match="outputs is 0: expected a whole number, 1 or more"):
        new_head(model, 0)


# outputs_for


@pytest.mark.parametrize(
    ("labels", "classes"), [([0], 1), ([0, 0, 0], 1), ([1, 0], 2), ([2, 0, 1, 2, 2, 2], 3)]
)
def test_labels_ask_for_an_output_a_class_in_any_order_and_number(labels, classes):
    assert outputs_for(torch.tensor(labels)) == classes


@pytest.mark.parametrize("shape", [(4, 1), (4, 3), (1, 2), (0, 2), (5, 4, 3)])
def test_values_ask_for_an_output_a_column(shape):
    assert outputs_for(torch.zeros(shape)) == shape[-1]
    assert outputs_for(torch.zeros(shape, dtype=torch.float64)) == shape[-1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1], dtype=torch.int32), r"labels are torch\.int32 of shape \(2,\)"),
        (torch.tensor([[0, 1]]), r"torch\.int64 of shape \(1, 2\): expected int64 of shape \(n,\)"),
        (torch.tensor([1, -1, 0]), "expected int64 of shape .* 0 or more"),
        (torch.tensor([0, 2, 4]), r"no example of class \[1, 3\] among 3: give each class"),
        (torch.tensor([1, 2]), r"no example of class \[0\]"),
        (torch.tensor([], dtype=torch.int64), r"no example of class \[\] among 0"),
    ],
)
def test_labels_that_name_no_number_of_classes_are_errors(labels, message):
    with pytest.raises(ValueError, match=message):
        outputs_for(labels)


# CosineHead


def test_a_cosine_head_scores_angles_whatever_the_lengths():
    head = CosineHead(3, 2, scale=4.0).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0, 0], [0, 0.5, 0.5]]))
    z = torch.tensor([[3.0, 3, 0], [0, 0, 7], [-1, 0, 0]]).double()
    half = 0.5**0.5
    expected = 4 * torch.tensor([[half, half * half], [0, half], [-1, 0]]).double()
    torch.testing.assert_close(head(z), expected)
    torch.testing.assert_close(head(5 * z), expected)
    with torch.no_grad():
        head.weight.mul_(9)
    torch.testing.assert_close(head(z), expected)
    assert head.bias is None and head(z[None]).shape == (1, 3, 2)


def test_the_scale_of_a_cosine_head_begins_at_10_and_is_learned():
    head = CosineHead(3, 2)
    assert head.log_scale.exp().item() == pytest.approx(10) and head.log_scale.requires_grad
    outputs = head(torch.ones(1, 3))
    outputs.sum().backward()
    assert head.log_scale.grad.item() == pytest.approx(outputs.sum().item(), rel=1e-5)
    assert head.weight.grad is not None


@pytest.mark.parametrize("wrong", [{"features": 0}, {"outputs": 0}, {"scale": 0.0}])
def test_a_cosine_head_names_what_is_wrong(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        CosineHead(**{"features": 3, "outputs": 2, **wrong})
