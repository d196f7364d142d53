"""A loss that hands on a gradient which is known already."""

import pytest
import torch

from metalearn_lite.computed import Computed


def test_a_computed_loss_hands_on_its_gradients_scaled():
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    slopes = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0, 5.0])]
    loss = Computed.apply(torch.tensor(7.0), slopes, a, b)
    assert loss == 7 and loss.requires_grad
    (3 * loss).backward()
    assert torch.equal(a.grad, 3 * slopes[0]) and torch.equal(b.grad, 3 * slopes[1])
    assert slopes[0].tolist() == [1, 2]


def test_a_computed_loss_says_that_it_has_no_second_derivative():
    a = torch.ones(2, requires_grad=True)
    loss = Computed.apply(torch.tensor(7.0), [torch.ones(2)], a)
    with pytest.raises(ValueError, match=r"create_graph=True.*maml_loss with task_by_task=True"):
        torch.autograd.grad(loss, a, create_graph=True)
