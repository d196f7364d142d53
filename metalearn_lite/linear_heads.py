"""Last layers: a new one for another problem, and the optimum on fixed features."""

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from metalearn_lite.models import Network, initialise

Array = npt.NDArray[Any]


def new_head(model: Network, outputs: int, *, generator: torch.Generator | None = None) -> Network:
    """Return a copy with a new head for ``outputs`` classes or values.

    Args:
        model: gives everything but the head.
        outputs: number of outputs.
        generator: draws the head, uniform in ``±1 / sqrt(d)``; None makes it zero, so that
            the first step of fine-tuning moves no other layer.
    """
    if outputs < 1:
        raise ValueError(f"outputs is {outputs}: expected 1 or more")
    renewed = copy.deepcopy(model)
    old = renewed.head.weight
    head = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, old.shape[1], outputs, dtype=old.dtype
    )
    for p in head.parameters():
        nn.init.zeros_(p)
    renewed.head = initialise(head, generator).to(old.device)
    return renewed


def outputs_for(y: Tensor) -> int:
    """Count the outputs that targets ask for: the columns of values, or the classes.

    Raises:
        ValueError: if the labels are not int64 from 0 on, or a class below the largest
            label has no example.
    """
    if y.is_floating_point():
        return y.shape[-1]
    if y.dtype != torch.int64 or y.ndim != 1 or (y < 0).any():
        raise ValueError(
            f"labels are {y.dtype} of shape {tuple(y.shape)}: expected int64 of shape (n,), "
            "0 or more"
        )
    counts = y.bincount()
    if (counts == 0).any() or len(counts) == 0:
        empty = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(
            f"no example of class {empty} among {len(y)}: give each class at least one"
        )
    return len(counts)


def fit_logistic(z: Array, y: Array, l2: float) -> tuple[Array, Array]:
    """Minimise the mean cross-entropy plus ``l2 * |W|²`` by scikit-learn.

    Args:
        z: features, ``(n, d)`` float64.
        y: labels, ``(n,)``, each of ``0 .. ways - 1`` at least once.
        l2: weight of the penalty; the bias is free.

    Returns:
        ``W (ways, d)`` and ``b (ways,)``.
    """
    ways = int(y.max()) + 1
    if ways == 1:
        return np.zeros((1, z.shape[1])), np.zeros(1)
    # scikit-learn minimises C * (sum of the losses) + |W|² / 2; of two classes it fits
    # their difference w alone, and W = (-w/2, w/2) has half the squared length of w
    strength = (1 if ways == 2 else 0.5) / (len(y) * l2)
    fitted = LogisticRegression(C=strength, solver="newton-cg", tol=1e-6, max_iter=1000).fit(z, y)
    if ways > 2:
        return fitted.coef_, fitted.intercept_
    half_w, half_b = fitted.coef_[0] / 2, fitted.intercept_[0] / 2
    return np.stack([-half_w, half_w]), np.stack([-half_b, half_b])


def fit_ridge(z: Array, y: Array, l2: float) -> tuple[Array, Array]:
    """Minimise the mean squared error plus ``l2 * |W|²`` for targets ``(n, outputs)``.

    The mean is over examples and outputs, as everywhere in the package.
    """
    fitted = Ridge(alpha=l2 * y.size).fit(z, y)
    return fitted.coef_.reshape(y.shape[1], -1), np.atleast_1d(fitted.intercept_)
