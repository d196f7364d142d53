"""Train a ``MultiTask`` network: one loop, and a choice of how the tasks are balanced.

A ``Balance`` is called in each step with the network and the losses of the tasks that have a
label in it. It fills the gradients of all weights; the loop then takes the step.
"""

import copy
import math
from collections.abc import Callable, Mapping, MutableMapping

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_positive
from metalearn_lite.datasets.augmentation import Augment
from metalearn_lite.multitask.balancing import (
    Losses,
    UncertaintyWeights,
    check_names,
    gradnorm_step,
    weighted_loss,
)
from metalearn_lite.multitask.factors import skill
from metalearn_lite.multitask.gradient_surgery import task_gradients
from metalearn_lite.multitask.network import MultiTask, task_losses, tasks_with_labels
from metalearn_lite.transfer.descent import sampler

Targets = Mapping[str, Tensor]
Balance = Callable[[MultiTask, Losses], None]
Watch = Callable[[int, MultiTask, Losses], None]


@torch.enable_grad()
def train_together(
    model: MultiTask,
    x: Tensor,
    targets: Targets,
    *,
    steps: int,
    generator: torch.Generator,
    balance: Balance | None = None,
    minibatch: int = 64,
    lr: float = 6e-3,
    augment: Augment | None = None,
    validation: tuple[Tensor, Targets] | None = None,
    every: int = 20,
    watch: Watch | None = None,
) -> MultiTask:
    """Train on all tasks with Adam and a step size that falls in a straight line to zero.

    With a single head and no ``balance`` this is the ordinary training of one network.

    Args:
        model: where to start from.
        x: inputs, ``(n, ...)``.
        targets: for each head int64 labels ``(n,)`` or float targets ``(n, values)``, with
            ``MISSING`` or NaN where an example has none. Those of other tasks are left out.
        steps: number of steps.
        generator: draws the examples, with replacement, and what ``augment`` needs.
        balance: ``by_weights``, ``by_uncertainty``, ``by_gradnorm`` or ``by_surgery``; None
            is ``by_weights()``, the plain sum. Make a new one for each training.
        minibatch: examples in a step.
        lr: first step size.
        augment: ``augment(x, generator)`` changes the inputs of each step.
        validation: inputs and targets. The network is returned as it was when its mean
            ``skill`` on them was best (early stopping).
        every: steps between two looks at ``validation``.
        watch: called in each step, before its update, with the number of the step from 0,
            the network and the losses with their graph.

    Returns:
        The trained copy.

    Raises:
        ValueError: if names, shapes or numbers do not fit, or a loss is not finite.
    """
    check_counts(steps=steps, least=0)
    check_counts(minibatch=minibatch, every=every)
    check_positive(lr=lr)
    if validation is not None and 0 < steps < every:
        raise ValueError(
            f"every is {every} and steps {steps}: expected at most as many, or validation would "
            "never be looked at"
        )
    targets = {name: values for name, values in targets.items() if name in model.heads}
    _check_data(model, x, targets)
    backward = by_weights() if balance is None else balance
    draw = sampler(x, torch.arange(len(x)), minibatch, augment, generator)
    trained, best, kept = copy.deepcopy(model), -torch.inf, model.state_dict()
    optimizer = torch.optim.Adam(trained.parameters(), lr=lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        inputs, rows = draw()
        labels = {name: values[rows.to(values.device)] for name, values in targets.items()}
        losses = task_losses(trained(inputs), labels)
        losses = {name: losses[name] for name in tasks_with_labels(labels)}
        _check_finite(losses, step)
        if watch is not None:
            watch(step, trained, losses)
        optimizer.zero_grad()
        if losses:
            backward(trained, losses)
            optimizer.step()
        if validation is not None and (step + 1) % every == 0:
            scores = skill(trained, *validation)
            known = [score for score in scores.values() if math.isfinite(score)]
            if not known:
                raise ValueError(
                    "no task of the validation has a skill: expected labels that are not all "
                    "alike, or no validation"
                )
            mean = sum(known) / len(known)
            if mean > best:
                best, kept = mean, copy.deepcopy(trained.state_dict())
    if best > -torch.inf:
        trained.load_state_dict(kept)
    trained.zero_grad()
    return trained


def by_weights(weights: Mapping[str, float] | None = None) -> Balance:
    """Balance by fixed weights, by task name; None weighs each task by 1."""

    def balance(model: MultiTask, losses: Losses) -> None:
        weighted_loss(losses, _of(losses, weights)).backward()  # type: ignore[no-untyped-call]

    return balance


def by_uncertainty(uncertainty: UncertaintyWeights, *, lr: float = 0.05) -> Balance:
    """Balance by weights that are learned as the noise of each task.

    Args:
        uncertainty: is trained in place, by an Adam of its own.
        lr: its step size. In k steps the logarithm of a variance can travel about ``k lr``.
    """
    optimizer = torch.optim.Adam(uncertainty.parameters(), lr=lr)

    def balance(model: MultiTask, losses: Losses) -> None:
        optimizer.zero_grad()
        uncertainty(losses).backward()
        optimizer.step()

    return balance


def by_gradnorm(
    weights: MutableMapping[str, float], *, alpha: float = 1.5, lr: float = 0.025
) -> Balance:
    """Balance by GradNorm, see ``gradnorm_step``.

    The gradients are measured on the last matrix of weights in the trunk.

    Args:
        weights: where to start from, for each task; changed in place.
        alpha: how strongly tasks that lag behind are pulled along.
        lr: step size of the weights.
    """
    initial: dict[str, float] = {}

    def balance(model: MultiTask, losses: Losses) -> None:
        now = {name: loss.item() for name, loss in losses.items()}
        initial.update({name: loss for name, loss in now.items() if name not in initial})
        matrices = [p for p in _trained(model.trunk) if p.ndim > 1]
        gradients = task_gradients(losses, matrices[-1:])
        norms = {name: g.norm().item() for name, g in gradients.items()}
        weights.update(gradnorm_step(weights, norms, now, initial, alpha=alpha, lr=lr))
        weighted_loss(losses, _of(losses, weights)).backward()  # type: ignore[no-untyped-call]

    return balance


def by_surgery(
    combine: Callable[[Tensor], Tensor], *, weights: Mapping[str, float] | None = None
) -> Balance:
    """Balance by combining the gradients of the tasks on the trunk.

    The trunk follows the combination, each head its own loss.

    Args:
        combine: from ``(tasks, p)`` to ``(p,)``, such as ``mgda`` or
            ``functools.partial(pcgrad, generator=generator)``.
        weights: fixed weights that multiply the losses before.
    """

    def balance(model: MultiTask, losses: Losses) -> None:
        fixed = _of(losses, weights) or dict.fromkeys(losses, 1.0)
        weighted = {name: fixed[name] * loss for name, loss in losses.items()}
        trunk = _trained(model.trunk)
        heads: list[Tensor] = [p for p in model.heads.parameters() if p.requires_grad]
        rows = torch.stack(list(task_gradients(weighted, trunk).values()))
        parts = torch.split(combine(rows), [p.numel() for p in trunk])
        loss = weighted_loss(weighted)
        own = torch.autograd.grad(loss, heads, materialize_grads=True) if heads else ()
        for p, gradient in zip([*trunk, *heads], [*parts, *own], strict=True):
            p.grad = gradient.view_as(p)

    return balance


def _trained(trunk: nn.Module) -> list[Tensor]:
    """Return the parameters that require a gradient; there has to be one."""
    found: list[Tensor] = [p for p in trunk.parameters() if p.requires_grad]
    if not found:
        raise ValueError(
            "no parameter of the trunk requires a gradient: expected one that is trained, or "
            "by_weights, which takes frozen parts as they are"
        )
    return found


def _of(losses: Losses, weights: Mapping[str, float] | None) -> Mapping[str, float] | None:
    """Return the weights of the tasks that have a loss in this step."""
    if weights is None:
        return None
    check_names("losses", losses, weights)
    return {name: weights[name] for name in losses}


def _check_data(model: MultiTask, x: Tensor, targets: Targets) -> None:
    lengths = {name: len(values) for name, values in targets.items()}
    if set(targets) != set(model.heads) or set(lengths.values()) != {len(x)} or len(x) == 0:
        raise ValueError(
            f"got {len(x)} inputs, targets {lengths} and heads {sorted(model.heads)}: expected "
            "targets for each head, one for each input, at least 1"
        )


def _check_finite(losses: Losses, step: int) -> None:
    wrong = {name: loss.item() for name, loss in losses.items() if not torch.isfinite(loss)}
    if wrong:
        raise ValueError(
            f"losses are {wrong} in step {step + 1}: expected finite numbers; lower the learning "
            "rate or the weights, or look for infinities in the inputs"
        )
