"""Adam as a function: the numbers are those of PyTorch's, the parameters are not changed."""

import copy

import pytest
import torch

from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import InnerAdam


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def start():
    return [random(3, 2).requires_grad_(), random(4, seed=1).requires_grad_()]


def walk(adam, params, steps, first=0):
    """Take some steps on gradients that are drawn anew in each."""
    for step in range(first, first + steps):
        params = adam.step(params, [random(*p.shape, seed=step) for p in params], 0.1)
    return params


@pytest.mark.parametrize("eps", [1e-8, 0.5])
@pytest.mark.parametrize("betas", [(0.0, 0.999), (0.9, 0.99), (0.5, 0.0)])
def test_the_inner_adam_steps_as_that_of_torch(betas, eps):
    ours, theirs = start(), start()
    reference = torch.optim.Adam(theirs, lr=0.1, betas=betas, eps=eps)
    ours = walk(InnerAdam(ours, betas=betas, eps=eps), ours, 5)
    for step in range(5):
        for p in theirs:
            p.grad = random(*p.shape, seed=step)
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_the_usual_betas_carry_no_momentum_and_a_long_memory_of_the_size():
    ours, theirs = start(), start()
    reference = torch.optim.Adam(theirs, lr=0.1, betas=(0.0, 0.999))
    ours = walk(InnerAdam(ours), ours, 3)
    for step in range(3):
        for p in theirs:
            p.grad = random(*p.shape, seed=step)
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("betas", [(0.0, 0.999), (0.9, 0.99)])
def test_the_first_step_has_the_length_of_the_rate_along_every_coordinate(betas):
    params = start()
    gradients = [random(*p.shape, seed=5) for p in params]
    after = InnerAdam(params, betas=betas, eps=0).step(params, gradients, 0.2)
    for p, q, g in zip(params, after, gradients, strict=True):
        torch.testing.assert_close(q, p - 0.2 * g.sign())


def test_a_gradient_of_zero_moves_nothing():
    params = start()
    after = InnerAdam(params).step(params, [torch.zeros_like(p) for p in params], 0.1)
    for p, q in zip(params, after, strict=True):
        assert torch.equal(p, q)


def test_parameters_and_gradients_are_left_as_they_were():
    params = start()
    gradients = [random(*p.shape, seed=5) for p in params]
    before = copy.deepcopy([*params, *gradients])
    adam = InnerAdam(params)
    for _ in range(2):
        adam.step(params, gradients, 0.1)
    assert all(torch.equal(a, b) for a, b in zip([*params, *gradients], before, strict=True))


def test_a_saved_state_goes_on_as_if_it_had_not_been_saved():
    adam = InnerAdam(start(), betas=(0.9, 0.99))
    halfway = walk(adam, start(), 3)
    resumed = InnerAdam(start(), betas=(0.9, 0.99))
    resumed.load_state_dict(adam.state_dict())
    whole, parts = walk(adam, halfway, 2, first=3), walk(resumed, halfway, 2, first=3)
    assert all(torch.equal(p, q) for p, q in zip(whole, parts, strict=True))
    assert int(adam.steps) == int(resumed.steps) == 5


def test_a_copy_has_moments_of_its_own():
    adam = InnerAdam(start())
    walk(adam, start(), 2)
    before = copy.deepcopy(adam.state_dict())
    walk(copy.deepcopy(adam), start(), 1)
    assert all(torch.equal(t, before[name]) for name, t in adam.state_dict().items())


def test_there_are_two_moments_of_each_parameter_that_adapts_and_nothing_to_train():
    frozen, (first, second) = torch.zeros(7), start()
    adam = InnerAdam([first, frozen, second.float().detach().requires_grad_()])
    shapes = {name: (tuple(t.shape), t.dtype) for name, t in adam.named_buffers()}
    assert shapes == {
        "steps": ((), torch.int64),
        "first_0": ((3, 2), torch.float64),
        "second_0": ((3, 2), torch.float64),
        "first_1": ((4,), torch.float32),
        "second_1": ((4,), torch.float32),
    }
    assert list(adam.parameters()) == []


def test_the_moments_begin_at_zero_and_belong_to_nobody_else():
    params = start()
    adam = InnerAdam(params)
    assert not any(t.any() for t in adam.buffers())
    with torch.no_grad():
        params[0].add_(1)
    assert not any(t.any() for t in adam.buffers())


def test_nothing_to_adapt_is_an_error():
    with pytest.raises(ValueError, match="no parameter requires a gradient: expected some"):
        InnerAdam([torch.zeros(2)])
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        InnerAdam([])


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (float("nan"), 0.9)])
def test_betas_outside_of_zero_to_below_one_are_errors(betas):
    with pytest.raises(ValueError, match=r"betas are .*: expected two numbers from 0 to below 1"):
        InnerAdam(start(), betas=betas)


@pytest.mark.parametrize("change", [lambda g: g[:1], lambda g: g[::-1], lambda g: [*g, g[0]]])
def test_gradients_that_do_not_fit_the_moments_are_an_error_and_leave_them_as_they_were(change):
    params, adam = start(), InnerAdam(start())
    gradients = change([random(*p.shape) for p in params])
    with pytest.raises(ValueError, match="build InnerAdam from the parameters that adapt"):
        adam.step(params, gradients, 0.1)
    assert not any(t.any() for t in adam.buffers())
