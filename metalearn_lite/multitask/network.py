"""Several tasks learned by one network: a shared trunk with a head for each task.

The losses go by task name. This module has the network and its losses; how the losses are
weighed is in ``balancing``, how their gradients are combined in ``gradient_surgery``.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.multitask.balancing import Kind, check_names

MISSING = -100  # the label of an image that has none; PyTorch's own default for it


class MultiTask(nn.Module):
    """A network with one trunk and several heads: hard parameter sharing (Caruana, 1997).

    Args:
        trunk: maps inputs ``(n, ...)`` to features ``(n, d)``, such as
            ``conv4(1).features``.
        heads: for each task a module from ``(n, d)`` to its outputs, ``(n, classes)`` or
            ``(n, values)``.

    Raises:
        ValueError: if there is no head, or a name cannot be one (PyTorch allows no dot, and
            no method of ``nn.ModuleDict``).
    """

    def __init__(self, trunk: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not heads:
            raise ValueError("got no heads: expected a module for at least one task name")
        self.trunk = trunk
        try:
            self.heads = nn.ModuleDict(dict(heads))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"got heads {list(heads)}: expected modules under plain names, without a dot and "
                f"not a method of ModuleDict ({error})"
            ) from error

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map inputs ``(n, ...)`` to the outputs of each task."""
        z = self.trunk(x)
        return {name: head(z) for name, head in self.heads.items()}


def task_losses(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute the loss of each task, over the examples that have a label for it.

    Args:
        outputs: for each task ``(n, classes)`` logits or ``(n, values)``.
        targets: for each task ``(n,)`` int64 labels, ``MISSING`` where there is none, or
            ``(n, values)`` float, NaN where there is none.

    Returns:
        The mean cross-entropy or the mean squared error of each task. Without any label it
        is zero, and so is its gradient.

    Raises:
        ValueError: if the names differ, or the targets of a task do not fit its outputs.
    """
    check_names("targets", targets, outputs)
    check_names("outputs", outputs, targets)
    return {name: _loss(name, outputs[name], targets[name]) for name in outputs}


def tasks_with_labels(targets: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the tasks that have at least one label.

    What is learned about a task (its uncertainty, its GradNorm weight) should rest on
    labels: leave the others out of the losses of a step.
    """
    return tuple(name for name, values in targets.items() if bool(_known(values).any()))


def kinds(targets: Mapping[str, Tensor]) -> dict[str, Kind]:
    """Tell classification (integer labels) from regression (float targets)."""
    return {
        name: "regression" if values.is_floating_point() else "classification"
        for name, values in targets.items()
    }


def _known(values: Tensor) -> Tensor:
    return ~values.isnan() if values.is_floating_point() else values != MISSING


def _loss(name: str, output: Tensor, target: Tensor) -> Tensor:
    known = _known(target)
    if target.is_floating_point():
        if output.shape != target.shape:
            raise ValueError(
                f"task {name!r}: targets have shape {tuple(target.shape)} and outputs "
                f"{tuple(output.shape)}: expected the same, (n, values)"
            )
        error = torch.where(known, output - target.nan_to_num(), 0.0)
        return error.square().sum() / known.sum().clamp_min(1)
    fits = target.dtype == torch.int64 and output.ndim == 2 and target.shape == output.shape[:1]
    if not fits or (known & ((target < 0) | (target >= output.shape[1]))).any():
        raise ValueError(
            f"task {name!r}: labels are {target.dtype} of shape {tuple(target.shape)}, for outputs "
            f"of shape {tuple(output.shape)}; expected int64 (n,), each from 0 to the number of "
            f"outputs less one, or MISSING = {MISSING}"
        )
    total = F.cross_entropy(output, target, ignore_index=MISSING, reduction="sum")
    return total / known.sum().clamp_min(1)
