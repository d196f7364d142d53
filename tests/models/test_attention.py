"""Attention against its formula row by row, against PyTorch's own, and twice differentiated."""

import math

import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.models import initialise
from metalearn_lite.models.attention import Attention, TransformerLayer
from metalearn_lite.randomness import seeded

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def rows(*shape):
    return torch.randn(*shape, generator=seeded(1), dtype=torch.float64)


def made(kind, width=6, heads=2):
    return initialise(kind(width, heads), seeded(0)).double()


def some_mask(n=4):
    """Each row reads itself and some others, another set in each row."""
    return torch.eye(n, dtype=torch.bool) | (torch.rand(n, n, generator=seeded(2)) < 0.5)


@torch.no_grad()
def test_each_row_is_the_weighted_sum_that_the_formula_says():
    layer, x, mask = made(Attention), rows(4, 6), some_mask()
    found, (q, k, v) = [], (part(x) for part in (layer.query, layer.key, layer.value))
    for i in range(4):
        heads = []
        for own in (slice(0, 3), slice(3, 6)):
            read = [j for j in range(4) if mask[i, j]]
            e = [math.exp(q[i, own] @ k[j, own] / math.sqrt(3)) for j in read]
            heads.append(sum(w / sum(e) * v[j, own] for w, j in zip(e, read, strict=True)))
        found.append(layer.output(torch.cat(heads)))
    torch.testing.assert_close(layer(x, mask), torch.stack(found), **EXACT)


def test_it_agrees_with_pytorchs_own_for_a_batch_with_masks_of_their_own():
    layer, x = made(Attention), rows(3, 4, 6)
    masks = torch.stack([some_mask(), torch.eye(4, dtype=torch.bool), torch.ones(4, 4).bool()])
    q, k, v = (layer._split(part(x)) for part in (layer.query, layer.key, layer.value))
    own = F.scaled_dot_product_attention(q, k, v, attn_mask=masks.unsqueeze(1))
    wanted = layer.output(own.transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, masks), wanted, **EXACT)


def test_a_row_does_not_depend_on_what_it_may_not_read():
    layer, x, mask = made(TransformerLayer), rows(4, 6), some_mask()
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x, mask), x)
    read = jacobian.abs().amax(dim=(1, 3)) > 0
    assert torch.equal(read, mask) and not mask.all()


def test_a_layer_adds_to_what_was_there():
    layer, x, mask = made(TransformerLayer), rows(4, 6), some_mask()
    for last in (layer.attention.output, layer.mlp[-1]):
        torch.nn.init.zeros_(last.weight), torch.nn.init.zeros_(last.bias)
    assert torch.equal(layer(x, mask), x)


def test_first_and_second_derivatives_are_those_of_finite_differences():
    layer, mask = made(TransformerLayer, width=2, heads=1), some_mask(3)
    x = rows(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x, mask), x)
    assert torch.autograd.gradgradcheck(lambda x: layer(x, mask), x)


@pytest.mark.parametrize(("width", "heads"), [(6, 4), (0, 1), (4, 0), (4, 2.0)])
def test_sizes_that_do_not_fit_are_errors(width, heads):
    with pytest.raises(ValueError, match=r"expected a (multiple of heads|whole number)"):
        Attention(width, heads)
