"""Gradient descent on the examples of one problem, with a step size for each parameter."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_generator
from metalearn_lite.datasets.augmentation import Augment
from metalearn_lite.losses import default_loss
from metalearn_lite.models.expectations import check_outputs
from metalearn_lite.tensors import check_gradients_possible

Draw = Callable[[], tuple[Tensor, Tensor]]


def sampler(
    x: Tensor,
    y: Tensor,
    minibatch: int | None,
    augment: Augment | None,
    generator: torch.Generator | None,
) -> Draw:
    """Return a function that draws the inputs and targets of one step.

    Args:
        x: all inputs.
        y: their targets.
        minibatch: rows drawn with replacement; None takes all.
        augment: changes the inputs that were drawn.
        generator: draws the rows and what ``augment`` needs.
    """
    if minibatch is None and augment is None:
        return lambda: (x, y)
    if generator is None:
        raise ValueError("minibatch and augment draw at random: give a generator")
    check_generator(generator)
    check_counts(minibatch=1 if minibatch is None else minibatch)

    def draw() -> tuple[Tensor, Tensor]:
        inputs, targets = x, y
        if minibatch is not None:
            rows = torch.randint(len(x), (minibatch,), generator=generator, device=generator.device)
            inputs, targets = x[rows.to(x.device)], y[rows.to(y.device)]
        return inputs if augment is None else augment(inputs, generator), targets

    return draw


def take_steps(
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
    check_gradients_possible()
    loss = default_loss(check_outputs(outputs), targets)
    if not torch.isfinite(loss):
        raise ValueError(
            f"the loss is {loss.item()} in step {step + 1}: expected a finite number; "
            "lower the learning rate, or look for NaN in the inputs"
        )
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
