"""Learning on source classes as usual, and what a network makes of its inputs."""

import copy

import torch
from torch import Tensor
from tqdm import tqdm

from metalearn_lite.arguments import check_counts, check_positive, check_shapes
from metalearn_lite.datasets.augmentation import Augment
from metalearn_lite.models.expectations import features_of, linear_head
from metalearn_lite.models.functional import call_with
from metalearn_lite.models.networks import Network
from metalearn_lite.tensors import as_data
from metalearn_lite.transfer.descent import sampler, take_step


@torch.enable_grad()
def pretrain(
    model: Network,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    minibatch: int = 64,
    lr: float = 6e-3,
    augment: Augment | None = None,
    progress: bool = False,
) -> Network:
    """Train on source classes by ordinary supervised learning.

    Adam, with a step size that falls in a straight line to zero; each step sees
    ``minibatch`` examples drawn with replacement.

    Args:
        model: where to start from; its head has an output for each source class.
        x: source inputs, ``(n, ...)``; ``ClassImages.flatten()`` gives both.
        y: their labels ``(n,)`` int64, or targets ``(n, outputs)`` float.
        steps: number of steps.
        generator: draws the examples and what ``augment`` needs.
        minibatch: examples in a step.
        lr: first step size.
        augment: ``augment(x, generator)`` changes the inputs of each step, see
            ``per_image``.
        progress: show a progress bar.

    Returns:
        The trained copy.

    Raises:
        ValueError: if inputs, labels and head do not fit, or the loss is not finite.
    """
    check_data(model, x, y)
    check_counts(steps=steps, least=0)
    check_counts(minibatch=minibatch)
    check_positive(lr=lr)
    draw = sampler(x, y, minibatch, augment, generator)
    trained = copy.deepcopy(model)
    optimizer = torch.optim.Adam(trained.parameters(), lr=lr)
    for step in tqdm(range(steps), disable=not progress, leave=False):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        inputs, targets = draw()
        take_step(optimizer, trained(inputs), targets, step)
    trained.zero_grad()
    return trained


def features(model: Network, x: Tensor, *, chunk: int = 512) -> Tensor:
    """Compute ``model.features`` without gradient and without touching the model.

    Args:
        model: the network; with batch statistics, those of each ``chunk``.
        x: inputs, ``(n, ...)``.
        chunk: inputs in one pass, which bounds the memory.

    Returns:
        ``(n, d)``.
    """
    check_counts(chunk=chunk)
    x = as_data("x", x)
    extractor = features_of(model)
    state = {name: b.clone() for name, b in extractor.named_buffers()}
    with torch.no_grad():
        parts = [call_with(extractor, state, part) for part in torch.split(x, chunk)]
    return torch.cat(parts)


def check_data(model: Network, x: Tensor, y: Tensor) -> None:
    """Raise a ``ValueError`` unless inputs, labels and the head of the network fit."""
    outputs, x, y = linear_head(model).out_features, as_data("x", x), as_data("labels", y)
    if x.is_floating_point() and not x.isfinite().all():
        raise ValueError("x holds NaN or infinity: expected finite numbers; look at the data")
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"got {len(x)} inputs and {len(y)} labels: expected the same number, at least 1"
        )
    if y.is_floating_point():
        expected = f"{(len(x), outputs)}, a value for each output of the head"
        check_shapes(y.shape == (len(x), outputs), expected, targets=y)
    elif y.dtype != torch.int64 or y.ndim != 1 or int(y.min()) < 0 or int(y.max()) >= outputs:
        raise ValueError(
            f"labels are {y.dtype} of shape {tuple(y.shape)} from {int(y.min())} to "
            f"{int(y.max())}: expected int64 of shape ({len(x)},) from 0 to {outputs - 1}, an "
            "output of the head for each class; new_head(model, ways) makes one that fits"
        )
