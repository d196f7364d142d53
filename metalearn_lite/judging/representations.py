"""Compare what a network makes of its inputs before and after it adapts."""

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_shapes
from metalearn_lite.models.functional import Params, call


def activations(model: nn.Module, params: Params, x: Tensor) -> list[Tensor]:
    """Return what the network computes on its way: after each ReLU, and last its outputs.

    Args:
        model: the network; it is not changed.
        params: its parameters by name, such as adapted ones; what they leave out is taken
            from the network.
        x: inputs ``(n, ...)``.

    Returns:
        For each ReLU and for the outputs a matrix ``(n, d)``, without a gradient.

    Raises:
        ValueError: if the network has no ``nn.ReLU``.
    """
    seen: list[Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: Tensor) -> None:
        seen.append(output.flatten(1))

    relus = [m for m in model.modules() if isinstance(m, nn.ReLU)]
    if not relus:
        raise ValueError("the network has no nn.ReLU: expected layers to look behind")
    hooks = [relu.register_forward_hook(keep) for relu in relus]
    try:
        with torch.no_grad():
            outputs = call(model, params, x)
    finally:
        for hook in hooks:
            hook.remove()
    return [*seen, outputs.flatten(1)]


def cka(x: Tensor, y: Tensor) -> Tensor:
    r"""Measure how similar two sets of activations on the same inputs are, by linear CKA.

    .. math::

        \text{CKA}(X, Y) = \frac{\lVert X^\top Y \rVert_F^2}
            {\lVert X^\top X \rVert_F \, \lVert Y^\top Y \rVert_F},

    after the mean of each column is taken away. Rotations and scales do not change it.

    Args:
        x: activations ``(n, d)``.
        y: others, on the same inputs, ``(n, e)``.

    Returns:
        A scalar between 0 and 1.

    Raises:
        ValueError: if these are not two matrices with the same number of rows, or if one of
            them is the same for all inputs.

    Reference:
        Kornblith et al. (2019), "Similarity of neural network representations revisited",
        section 3, linear kernel.
    """
    fits = x.ndim == y.ndim == 2 and len(x) == len(y)
    check_shapes(fits, "two matrices, with a row for each input", x=x, y=y)
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("x or y holds NaN or infinity: expected finite numbers")
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    if max(x.shape[1], y.shape[1]) <= len(x):
        common, size = (x.T @ y).square().sum(), (x.T @ x).norm() * (y.T @ y).norm()
    else:  # the same numbers from matrices (n, n), which are smaller
        k, m = x @ x.T, y @ y.T
        common, size = (k * m).sum(), k.norm() * m.norm()
    if size == 0:
        raise ValueError("one set is the same for all inputs: nothing is left to compare")
    similarity: Tensor = common / size
    return similarity
