"""One loop for every method: draw tasks, compute the objective, take a step."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from metalearn_lite.arguments import check_counts, check_generator, check_kind
from metalearn_lite.evaluation import Scores
from metalearn_lite.tasks import Tasks
from metalearn_lite.tensors import check_gradients_possible
from metalearn_lite.training.resuming import History, Run, resume_run, save_run

Objective = Callable[[Any, Any], Tensor]  # of a model, and of what the tasks give


@dataclass(frozen=True)
class Iteration:
    """What ``after_iteration`` is told.

    Attributes:
        number: of the iteration, from 1.
        loss: the objective before the step.
        rates: the step size of each group of the optimiser.
        validation: mean and half width, if this iteration ended with a validation.
    """

    number: int
    loss: float
    rates: tuple[float, ...]
    validation: tuple[float, float] | None


def meta_train(
    model: nn.Module,
    objective: Objective,
    tasks: Tasks,
    *,
    iterations: int,
    batch: int | None,
    generator: torch.Generator,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Callable[[float], float] | None = None,
    validate: Callable[[nn.Module], Scores] | None = None,
    validate_every: int = 500,
    before_step: Callable[[nn.Module], object] | None = None,
    after_iteration: Callable[[Iteration], object] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 500,
    progress: bool = True,
) -> History:
    """Train ``model`` in place on tasks drawn afresh in each iteration.

    With ``checkpoint``, a run that was killed goes on where its last checkpoint stood and
    ends bit for bit where the uninterrupted run would have ended: model, optimiser,
    random state and history are all saved. Call it again with the same arguments.

    Args:
        model: the network to train; its parameters are changed.
        objective: ``objective(model, episode)`` gives the loss of a batch of tasks, a
            scalar with a gradient.
        tasks: where the episodes come from. What it samples need not be an ``Episode``: the
            objective gets it as it is.
        iterations: number of steps in all, those before a resumption included.
        batch: tasks in each step; None hands single, unbatched episodes to the objective.
        generator: draws the episodes.
        optimizer: None means Adam with step size 0.001 on all parameters of ``model``.
        schedule: factor on the step sizes of ``optimizer``, from the share of the iterations
            that are done; None keeps them. ``lambda done: 1 - done`` lets them fall to 0.
        validate: called with the model after every ``validate_every`` iterations; it must
            use a generator of its own, made anew in each call.
        validate_every: iterations between validations.
        before_step: called with the model when its gradients are there, before the step: to
            clip them (``lambda m: clip_grad_norm_(m.parameters(), 1.0)``), or to average them
            over processes.
        after_iteration: called with an ``Iteration`` at the end of each, to watch the run.
        checkpoint: file to save to and to resume from.
        checkpoint_every: iterations between checkpoints; the last iteration is saved too.
        progress: show a progress bar.

    Returns:
        The history of the whole run.

    Raises:
        ValueError: if the loss is not a finite scalar with a gradient (the model is then
            as it was before that step), or if the checkpoint does not fit.
    """
    check_counts(
        iterations=iterations,
        batch=1 if batch is None else batch,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
    )
    check_generator(generator)
    check_gradients_possible()
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-3)
    rates = [group["lr"] for group in optimizer.param_groups]
    run, history = Run(model, optimizer, generator, batch, tuple(rates)), History()
    if checkpoint is not None and Path(checkpoint).exists():
        history = resume_run(run, Path(checkpoint), iterations)
    start = len(history.loss)
    bar = tqdm(initial=start, total=iterations, disable=not progress, leave=False)
    with bar:
        for iteration in range(start + 1, iterations + 1):
            if schedule is not None:
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * schedule((iteration - 1) / iterations)
            loss = objective(model, tasks.sample(generator, batch))
            _check_loss(loss, iteration)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if before_step is not None:
                before_step(model)
            optimizer.step()
            history.loss.append(loss.item())
            bar.update()
            bar.set_postfix(loss=f"{history.loss[-1]:.3f}", refresh=False)
            if validate is not None and iteration % validate_every == 0:
                scores = validate(model)
                check_kind(Scores, validation=scores)
                history.validation.append((iteration, scores.mean, scores.half_width))
            if after_iteration is not None:
                after_iteration(_iteration(history, optimizer))
            if checkpoint is not None and (
                iteration % checkpoint_every == 0 or iteration == iterations
            ):
                save_run(run, Path(checkpoint), history)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate  # a schedule ends; what the caller handed in is as it was
    return history


def _iteration(history: History, optimizer: torch.optim.Optimizer) -> Iteration:
    number = len(history.loss)
    validated = history.validation and history.validation[-1][0] == number
    return Iteration(
        number,
        history.loss[-1],
        tuple(group["lr"] for group in optimizer.param_groups),
        history.validation[-1][1:] if validated else None,
    )


def _check_loss(loss: Tensor, iteration: int) -> None:
    if not isinstance(loss, Tensor) or loss.ndim != 0 or not loss.requires_grad:
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(
            f"the objective gave {shape} in iteration {iteration}: expected a scalar tensor "
            "with a gradient; take the mean over tasks, and do not detach it"
        )
    if not torch.isfinite(loss):
        raise ValueError(
            f"the loss is {loss.item()} in iteration {iteration}; the model is as it was "
            "before this step. Lower the learning rates, or clip the gradient"
        )
