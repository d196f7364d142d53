"""The optimum of a linear last layer on fixed features, by scikit-learn."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def fit_logistic(z: Array, y: Array, l2: float) -> tuple[Array, Array]:
    """Minimise the mean cross-entropy plus ``l2 * |W|²`` by scikit-learn.

    Args:
        z: features, ``(n, d)`` float64.
        y: labels, ``(n,)``, each of ``0 .. ways - 1`` at least once.
        l2: weight of the penalty; the bias is free.

    Returns:
        ``W (ways, d)`` and ``b (ways,)``.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and needed only here

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
    from sklearn.linear_model import Ridge  # slow to import, and needed only here

    fitted = Ridge(alpha=l2 * y.size).fit(z, y)
    return fitted.coef_.reshape(y.shape[1], -1), np.atleast_1d(fitted.intercept_)
