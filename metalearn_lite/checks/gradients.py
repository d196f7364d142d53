"""Is the gradient the derivative of the loss, and a batch of tasks the mean of its tasks?

Two checks for any objective, from this package or not. They need no second implementation to
compare with, only the definition of a derivative and that of a mean.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_positive
from metalearn_lite.tasks import Episode
from metalearn_lite.tensors import in_float64
from metalearn_lite.training import Objective

EPSILONS = (1e-5, 1e-6, 1e-7, 1e-8)


def check_gradient(
    objective: Objective,
    model: nn.Module,
    episode: Episode,
    *,
    directions: int = 3,
    tolerance: float = 1e-4,
    generator: torch.Generator | None = None,
) -> float:
    r"""Compare the gradient of an objective with central differences.

    Along a random direction v, of length 1 in every parameter, the two sides of

    .. math::

        \nabla J(\theta) \cdot v \approx
        \frac{J(\theta + \epsilon v) - J(\theta - \epsilon v)}{2 \epsilon}

    may differ by ``tolerance``, as a share of the size that the left side has for a random v. In
    float64 the right side is good to about 1e-8, and a term that is missing from a gradient is
    seldom less than 1e-3 of it; 1e-4 lies between. Only an ε is used for which ε / 2 gives the
    same, so that no kink of a ReLU lies in between.

    Args:
        objective: ``objective(model, episode)`` gives a scalar. It must use the model that it is
            given, here a copy in float64.
        model: the network; it is not changed.
        episode: one task or T of them.
        directions: how many random directions.
        tolerance: largest error.
        generator: draws the directions; None always takes the same.

    Returns:
        The largest error found.

    Raises:
        ValueError: if the gradient is not the derivative, with the parameters for which it is
            not; or if the loss has no gradient, is random or not smooth.
    """
    check_counts(directions=directions)
    check_positive(tolerance=tolerance)
    model, episode = in_double(model, episode)
    place = _Place(objective, model, episode)
    gradient = place.gradient()
    size = _typical(gradient)
    generator = generator or torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(directions):
        direction = {name: _unit(g.shape, generator).to(g.device) for name, g in gradient.items()}
        slope = place.slope(direction, size, tolerance)
        worst = max(worst, abs(slope - _along(gradient, direction)) / max(size, abs(slope)))
        if worst > tolerance:
            _complain(place, gradient, direction, tolerance)
    return worst


def check_batch(
    objective: Objective, model: nn.Module, episode: Episode, *, tolerance: float = 1e-8
) -> float:
    r"""Compare a batch of tasks with the mean over its tasks, one at a time.

    .. math::

        J(\theta) = \frac1T \sum_i J_i(\theta), \qquad
        \nabla J(\theta) = \frac1T \sum_i \nabla J_i(\theta) .

    Args:
        objective: as in ``check_gradient``; it must take a batch as well as a single task.
        model: the network; a copy in float64 is used.
        episode: T tasks.
        tolerance: largest error, relative to the loss or to the length of the gradient.

    Returns:
        The larger of the two errors.

    Raises:
        ValueError: if loss or gradient differ, if the loss is random, or if the episode is a
                single task.
    """
    if episode.batch is None:
        raise ValueError("got a single task: expected a batch, as from tasks.sample(generator, 3)")
    model, episode = in_double(model, episode)
    together = _Place(objective, model, episode)
    alone = [_Place(objective, model, task) for task in episode.unbind()]
    batch = _joined(together.gradient())
    mean = torch.stack([_joined(place.gradient()) for place in alone]).mean(dim=0)
    loss = sum(place.value({}) for place in alone) / len(alone)
    errors: dict[str, float] = {
        "loss": abs(together.value({}) - loss) / max(abs(loss), 1e-12),
        "gradient": ((batch - mean).norm() / mean.norm().clamp_min(1e-12)).item(),
    }
    for what, error in errors.items():
        if not error <= tolerance:
            raise ValueError(
                f"the {what} of a batch of {len(alone)} tasks is {100 * error:.2g} % away from the "
                "mean over its tasks: expected the same. Look for layers that see all tasks at "
                "once, a sum in place of a mean, or a built-in batch norm under torch.func.vmap"
            )
    return max(errors["loss"], errors["gradient"])


def in_double(model: Any, episode: Episode) -> tuple[Any, Episode]:
    """Return a copy of a model and an episode, both in float64; labels stay whole numbers.

    They are where they were, or on the CPU if their device has no float64.
    """
    device = in_float64(episode.support_x[:0]).device
    there = episode.to(device)
    tensors = (there.support_x, there.support_y, there.query_x, there.query_y)
    double = (t.double() if t.is_floating_point() else t for t in tensors)
    copied = copy.deepcopy(model)
    if isinstance(copied, nn.Module):
        copied = copied.to(device).double()
    return copied, Episode(*double, is_batch=episode.is_batch)


class _Place:
    """An objective on an episode, as a function of how far the parameters are moved."""

    def __init__(self, objective: Objective, model: nn.Module, episode: Episode) -> None:
        self.objective, self.model, self.episode = objective, model, episode
        self.state = copy.deepcopy(model.state_dict())
        self.params = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def value(self, move: Mapping[str, Tensor]) -> float:
        return float(self._loss(move).detach())

    def _loss(self, move: Mapping[str, Tensor]) -> Tensor:
        self.model.load_state_dict(self.state)  # also if the objective has changed it
        with torch.no_grad():
            for name, step in move.items():
                self.params[name].add_(step)
        with torch.enable_grad():
            loss = self.objective(self.model, self.episode)
        if loss.ndim != 0 or not torch.isfinite(loss):
            raise ValueError(f"the objective gave {loss.detach()}: expected one finite number")
        return loss

    def gradient(self) -> dict[str, Tensor]:
        loss = self._loss({})
        found: tuple[Tensor | None, ...] = (None,)
        if loss.requires_grad:
            found = torch.autograd.grad(loss, list(self.params.values()), allow_unused=True)
        if all(g is None for g in found):
            raise ValueError(
                "the loss has no gradient on the model: expected one; look for .detach(), .data, "
                ".item() or torch.no_grad() on the way, or for another model than the one given"
            )
        if self.value({}) != self.value({}):
            raise ValueError(
                "the objective gives two values at the same parameters: expected a function of "
                "model and episode alone; draw nothing in it, and turn dropout off"
            )
        return {
            name: torch.zeros_like(p) if g is None else g.detach()
            for (name, p), g in zip(self.params.items(), found, strict=True)
        }

    def slope(self, v: Mapping[str, Tensor], size: float, tolerance: float) -> float:
        for epsilon in EPSILONS:
            wide, narrow = self.quotient(v, epsilon), self.quotient(v, epsilon / 2)
            if abs(wide - narrow) <= tolerance / 10 * max(size, abs(wide)):
                return narrow
        raise ValueError(
            f"the loss is not smooth here: for steps of {epsilon:g} and half of it the difference "
            f"quotients are {wide:.4g} and {narrow:.4g}. Expected a smooth place: take other "
            "weights, or a smaller inner step size"
        )

    def quotient(self, v: Mapping[str, Tensor], epsilon: float) -> float:
        ends = [self.value({n: sign * epsilon * d for n, d in v.items()}) for sign in (1, -1)]
        return (ends[0] - ends[1]) / (2 * epsilon)


def _complain(
    place: _Place, gradient: Mapping[str, Tensor], v: Mapping[str, Tensor], tolerance: float
) -> None:
    slopes = {name: place.quotient({name: v[name]}, EPSILONS[2]) for name in v}
    gaps = {n: abs(slope - _along(gradient, {n: v[n]})) for n, slope in slopes.items()}
    limits = {n: tolerance * max(_typical(gradient), abs(slope)) for n, slope in slopes.items()}
    wrong = sorted((name for name in v if gaps[name] > limits[name]), key=lambda n: -gaps[n])
    names = ", ".join(wrong[:3]) + (", ..." if len(wrong) > 3 else "")
    slope, found = place.slope(v, _typical(gradient), tolerance), _along(gradient, v)
    raise ValueError(
        f"the gradient is not the derivative of the loss: along a random direction got {found:.6g} "
        f"and expected {slope:.6g}; wrong for {len(wrong)} of {len(v)} parameters ({names}). Look "
        "for a missing create_graph=True, for .detach(), .data or .item(), for a step in place, "
        "or for a built-in batch norm under torch.func.vmap"
    )


def _along(gradient: Mapping[str, Tensor], v: Mapping[str, Tensor]) -> float:
    return math.fsum((gradient[name] * d).sum().item() for name, d in v.items())


def _typical(gradient: Mapping[str, Tensor]) -> float:
    """Return the size of the slope along a random direction, of length 1 in each parameter."""
    squares = [g.square().mean().item() for g in gradient.values()]
    return max(math.sqrt(sum(squares)), 1e-12)


def _joined(gradient: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradient.values()])


def _unit(shape: torch.Size, generator: torch.Generator) -> Tensor:
    direction = torch.randn(shape, generator=generator, dtype=torch.float64)
    length: Tensor = direction.norm()
    return direction / length
