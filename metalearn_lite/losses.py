"""The loss of a task: cross-entropy for labels, squared error for values."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn_lite.arguments import check_shapes

Loss = Callable[[Tensor, Tensor], Tensor]
UNLABELLED = "queries without labels can be answered, and not trained on"


def default_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy for integer labels, mean squared error for floating targets."""
    if targets.is_floating_point():
        return F.mse_loss(outputs, targets)
    return F.cross_entropy(outputs, targets)


def task_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of a task, cross-entropy or squared error, after checking the targets.

    Args:
        outputs: logits ``(n, ways)`` or values ``(n, outputs)``; for T tasks with a leading T.
        targets: int64 labels ``(n,)`` or values ``(n, outputs)``, likewise.

    Raises:
        ValueError: if targets and outputs do not fit each other.
    """
    expected = "(n, outputs) and a target for each, n of 1 or more"
    fits = outputs.ndim >= 2 and targets.numel() > 0
    check_shapes(fits, expected, outputs=outputs, targets=targets)
    rows = outputs.flatten(0, -2)
    if targets.is_floating_point():
        expected = "the same; give targets of shape (n, outputs)"
        check_shapes(targets.shape == outputs.shape, expected, targets=targets, outputs=outputs)
        if outside(targets, 0):
            raise ValueError(f"targets hold NaN: expected a number for each query; {UNLABELLED}")
        return default_loss(rows, targets.flatten(0, -2))
    ways = outputs.shape[-1]
    expected = f"labels {tuple(outputs.shape[:-1])}, one for each row of outputs"
    check_shapes(targets.shape == outputs.shape[:-1], expected, labels=targets, outputs=outputs)
    if targets.dtype != torch.int64 or outside(targets, ways):
        raise ValueError(
            f"labels are {targets.dtype} from {targets.min().item()} to {targets.max().item()}: "
            f"expected int64 from 0 to {ways - 1}, for the network has {ways} outputs; number "
            f"the classes of each task from 0, or build the network with more ways; {UNLABELLED}"
        )
    return default_loss(rows, targets.flatten())


def outside(targets: Tensor, ways: int) -> bool:
    """Whether a label is out of range, or a value NaN; not known while a GPU only records."""
    if not targets.numel() or (targets.is_cuda and torch.cuda.is_current_stream_capturing()):
        return False
    if targets.is_floating_point():
        return bool(targets.isnan().any())
    return bool(targets.min() < 0 or targets.max() >= ways)
