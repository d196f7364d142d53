"""Gradient descent on the examples of one problem, with a step size for each layer.

The loop behind ``transfer.fine_tune``, and the choice of its step sizes.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from metalearn_lite.augmentation import Augment
from metalearn_lite.baselines import default_loss

Draw = Callable[[], tuple[Tensor, Tensor]]


def layer_decay(model: nn.Module, lr: float, decay: float) -> dict[str, float]:
    """Compute step sizes that fall by ``decay`` from each layer to the one below it.

    The head has ``lr``, the layer below it ``lr / decay``, and so on; a normalisation layer
    counts with the convolution before it. The "discriminative" rates of Howard and Ruder
    (2018), section 3.2, who use a decay of 2.6.

    Args:
        model: the network.
        lr: step size of the last layer.
        decay: 1 gives every layer the same.

    Returns:
        ``layer_lrs`` for ``fine_tune``.
    """
    check_positive(lr=lr, decay=decay)
    depths, depth = {}, -1
    for name, layer in model.named_modules():
        if next(layer.parameters(recurse=False), None) is not None:
            depth += isinstance(layer, nn.Linear | nn.Conv2d) or depth < 0
            depths[name] = depth
    return {name: lr * decay ** (d - depth) for name, d in depths.items()}


def layer_rates(model: nn.Module, lr: float, layer_lrs: Mapping[str, float]) -> dict[str, float]:
    """Return the step size of each parameter; 0 for those that do not require a gradient."""
    names = [name for name, _ in model.named_parameters()]
    matches = {n: [k for k in layer_lrs if n == k or n.startswith(f"{k}.")] for n in names}
    unknown = set(layer_lrs) - {k for found in matches.values() for k in found}
    negative = {k: rate for k, rate in layer_lrs.items() if not rate >= 0}
    if unknown or negative:
        raise ValueError(
            f"layer_lrs: no layer is named {sorted(unknown)}, rates below 0: {negative}; expected "
            f"rates of 0 or more for the start of some of {names}"
        )
    return {
        n: (layer_lrs[max(matches[n], key=len)] if matches[n] else lr) * p.requires_grad
        for n, p in model.named_parameters()
    }


def sampler(
    x: Tensor,
    y: Tensor,
    batch: int | None,
    augment: Augment | None,
    generator: torch.Generator | None,
) -> Draw:
    """Return a function that draws the inputs and targets of one step.

    Args:
        x: all inputs.
        y: their targets.
        batch: rows drawn with replacement; None takes all.
        augment: changes the inputs that were drawn.
        generator: draws the rows and what ``augment`` needs.
    """
    if batch is None and augment is None:
        return lambda: (x, y)
    if generator is None:
        raise ValueError("batch and augment draw at random: give a generator")
    check_positive(batch=1 if batch is None else batch)

    def draw() -> tuple[Tensor, Tensor]:
        inputs, targets = x, y
        if batch is not None:
            rows = torch.randint(len(x), (batch,), generator=generator, device=generator.device)
            inputs, targets = x[rows.to(x.device)], y[rows.to(x.device)]
        return inputs if augment is None else augment(inputs, generator), targets

    return draw


def descend(
    model: nn.Module,
    draw: Draw,
    rates: Mapping[str, float],
    *,
    steps: int,
    l2_sp: float,
    momentum: float,
) -> None:
    """Take ``steps`` gradient steps in place, each parameter at its own rate.

    Args:
        model: is changed.
        draw: gives the inputs and targets of a step.
        rates: step size of each parameter by name; those at 0 are frozen.
        steps: number of steps.
        l2_sp: weight of the pull towards where the parameters started.
        momentum: of the gradient steps.
    """
    moving = [(p, rates[n]) for n, p in model.named_parameters() if rates[n] > 0]
    if steps == 0 or not moving:
        return
    still = [p for n, p in model.named_parameters() if rates[n] == 0 and p.requires_grad]
    for p in still:
        p.requires_grad_(False)  # spares the backward pass below the lowest moving layer
    start = [p.detach().clone() for p, _ in moving]
    optimizer = torch.optim.SGD([{"params": [p], "lr": r} for p, r in moving], momentum=momentum)
    for step in range(steps):
        inputs, targets = draw()
        take_step(optimizer, model(inputs), targets, step)
        if l2_sp > 0:
            for (p, rate), origin in zip(moving, start, strict=True):
                p.data.lerp_(origin, 1 - 1 / (1 + 2 * rate * l2_sp))
    for p in still:
        p.requires_grad_(True)
    model.zero_grad()


def take_step(
    optimizer: torch.optim.Optimizer, outputs: Tensor, targets: Tensor, step: int
) -> None:
    """Take one step down the loss; a loss that is not finite raises a ``ValueError``."""
    loss = default_loss(outputs, targets)
    if not torch.isfinite(loss):
        raise ValueError(
            f"the loss is {loss.item()} in step {step + 1}: expected a finite number; "
            "lower the learning rate, or look for NaN in the inputs"
        )
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def check_counts(**counts: int) -> None:
    """Raise a ``ValueError`` if a number of steps is negative."""
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"{name} is {count}: expected 0 or more")


def check_positive(**numbers: float) -> None:
    """Raise a ``ValueError`` if a number is not above 0."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} is {number}: expected more than 0")
