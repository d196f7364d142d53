"""Patches, their sums and their products: against unfold, as transposes, and by differences."""

import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.models.patches import Correlation, Fold, Patches, columns, product
from metalearn_lite.randomness import seeded


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


GEOMETRIES = [(3, 3, 2, 1, 1), (3, 3, 1, 1, 1), (2, 4, 3, 0, 2), (1, 1, 1, 0, 0), (5, 5, 4, 2, 2)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_patches_are_those_of_unfold(geometry):
    kh, kw, stride, ph, pw = geometry
    x = random(2, 9, 7, 3)
    mine = Patches.apply(x, geometry)
    theirs = F.unfold(x.permute(0, 3, 1, 2), (kh, kw), padding=(ph, pw), stride=stride)
    theirs = theirs.view(2, 3, kh * kw, *mine.shape[1:3]).permute(0, 3, 4, 2, 1)
    assert torch.equal(mine, theirs.reshape(mine.shape))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_fold_is_the_transpose_of_patches(geometry):
    x = random(2, 9, 7, 3)
    patches = Patches.apply(x, geometry)
    other = random(*patches.shape, seed=1)
    back = Fold.apply(other, geometry, x.shape)
    torch.testing.assert_close((patches * other).sum(), (x * back).sum())


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_derivatives_of_first_and_second_order_are_right(geometry):
    x = random(1, 5, 4, 1).requires_grad_()
    patches = Patches.apply(x, geometry).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Patches.apply(x, geometry).sin(), x)
    assert torch.autograd.gradgradcheck(lambda x: Patches.apply(x, geometry).sin(), x)
    assert torch.autograd.gradgradcheck(lambda p: Fold.apply(p, geometry, x.shape).sin(), patches)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, (2, 0))])
def test_a_product_with_the_patches_is_the_convolution(stride, padding):
    layer = torch.nn.Conv2d(3, 4, (3, 2), stride=stride, padding=padding, bias=False).double()
    x = random(2, 5, 3, 9, 7)
    found, shape = columns(layer, x.movedim(2, -1))
    weight = layer.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).expand(2, -1, -1)
    mine = product(found, weight).reshape(shape).movedim(-1, 2)
    theirs = torch.stack([layer(images) for images in x]).detach()
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("biased", [True, False])
def test_a_product_has_right_derivatives_of_first_and_second_order(biased):
    x, weight = random(2, 4, 3).requires_grad_(), random(2, 3, 5, seed=1).requires_grad_()
    bias = random(2, 5, seed=2).requires_grad_() if biased else None
    wanted = x @ weight + (bias.unsqueeze(1) if biased else 0)
    torch.testing.assert_close(product(x, weight, bias), wanted)
    factors = (x, weight, bias) if biased else (x, weight)
    assert torch.autograd.gradcheck(lambda *f: product(*f).sin(), factors)
    assert torch.autograd.gradgradcheck(lambda *f: product(*f).sin(), factors)
    pair = (x, random(2, 4, 5, seed=3).requires_grad_())
    assert torch.autograd.gradgradcheck(lambda *f: Correlation.apply(*f).sin(), pair)


@pytest.mark.parametrize("learned", [0, 1])
def test_a_factor_that_is_not_asked_for_gets_no_gradient(learned):
    factors = [random(2, 4, 3), random(2, 3, 5, seed=1)]
    factors[learned].requires_grad_()
    (gradient,) = torch.autograd.grad(product(*factors).sum(), factors[learned], create_graph=True)
    assert gradient.shape == factors[learned].shape and not factors[1 - learned].requires_grad


def test_the_gradient_of_the_patches_lies_in_memory_as_they_do():
    """Also the one that the second derivative asks for, which PyTorch's own gives transposed."""
    x, weight = random(2, 4, 3).requires_grad_(), random(2, 3, 5, seed=1).requires_grad_()
    (slope,) = torch.autograd.grad(product(x, weight).sin().sum(), weight, create_graph=True)
    (gradient,) = torch.autograd.grad(slope.square().sum(), x)
    assert gradient.is_contiguous()
