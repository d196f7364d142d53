"""Scores with intervals, on the same episodes for every method.

What is evaluated is a distribution over new tasks, so the unit of measurement is the
episode: each gives one value, and the interval is that of the mean over episodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor
from tqdm import tqdm

from metalearn_lite.arguments import check_counts, check_generator, check_kind, check_shapes
from metalearn_lite.tasks import Episode, Tasks
from metalearn_lite.tensors import in_float64
from metalearn_lite.unchanged import changed, copies, one_number

Predict = Callable[[Any, Episode], Tensor]
Metric = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Scores:
    """A mean over episodes with its 95 % interval, ``mean ± half_width``.

    Attributes:
        mean: mean of ``values``.
        half_width: half the width of the 95 % interval of the mean, by Student's t; infinite
            for a single value, which says nothing about its spread.
        values: one value per episode, float64.
        digest: of all the episodes scored, by which ``paired_difference`` knows whether two
            scores belong to the same ones; empty if unknown.
    """

    mean: float
    half_width: float
    values: Tensor = field(compare=False)
    digest: str = field(default="", compare=False)

    @classmethod
    def of(cls, values: Tensor | Sequence[float], *, digest: str = "") -> Scores:
        """Summarise one value per episode (or per seed)."""
        given = values if isinstance(values, Tensor) else torch.tensor(values, dtype=torch.float64)
        numbers = given.detach().cpu().double()
        fits = numbers.ndim == 1 and len(numbers) > 0
        check_shapes(fits, "one number per episode", values=numbers)
        count, half_width = len(numbers), float("inf")
        if count > 1:
            standard_error = numbers.std().item() / count**0.5
            half_width = float(student.ppf(0.975, count - 1)) * standard_error
        return cls(numbers.mean().item(), half_width, numbers, digest)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.half_width:.3f}"

    def percent(self) -> str:
        """Write an accuracy as percent with one decimal, ``"93.3 ± 0.6"``."""
        return f"{100 * self.mean:.1f} ± {100 * self.half_width:.1f}"


def evaluate(
    model: Any,
    predict: Predict,
    tasks: Tasks,
    *,
    episodes: int,
    generator: torch.Generator,
    metric: Metric | None = None,
    progress: bool = False,
) -> Scores:
    """Score ``predict`` on ``episodes`` new tasks, one at a time.

    Every method that is given a generator in the same state is scored on the same
    episodes, whatever it does with its model.

    Args:
        model: what ``predict`` takes as its first argument; None if it needs none.
        predict: ``predict(model, episode)`` gives the query outputs, ``(m, ways)`` logits
            for classification or ``(m, outputs)`` values for regression. It may adapt a
            copy of the model, never the model itself.
        tasks: where the episodes come from. What it samples may be any other kind of task that
            ``predict`` and ``metric`` take.
        episodes: how many to draw; 600 is the custom, and few_examples says why.
        generator: draws the episodes.
        metric: ``metric(outputs, targets)`` gives one number; None means accuracy for
            integer labels and mean squared error for floating targets. For a task that is no
            ``Episode`` it is needed, and gets the task itself in place of the targets.
        progress: show a progress bar.

    Returns:
        The mean over episodes with its 95 % interval.

    Raises:
        ValueError: if an output has the wrong shape, is not finite, or if ``predict``
            changed the model, so that one task would leak into the next.
    """
    check_counts(episodes=episodes)
    check_generator(generator)
    if not hasattr(tasks, "sample"):
        raise ValueError(
            f"tasks is a {type(tasks).__name__}: expected something with sample(generator), such "
            "as ImageTasks"
        )
    before = copies(model)
    values, digest = [], hashlib.blake2b(digest_size=8)
    for index in tqdm(range(episodes), disable=not progress, leave=False):
        episode = tasks.sample(generator)
        _add_to(digest, episode)
        outputs = predict(model, episode)
        check_kind(Tensor, outputs=outputs)
        outputs = outputs.detach()
        _check_finite(outputs, index)
        values.append(_score(outputs, episode, metric, index))
        _check_unchanged(before, model, index)
    numbers = torch.stack([one_number(value, index) for index, value in enumerate(values)])
    return Scores.of(numbers, digest=digest.hexdigest())


def paired_difference(a: Scores, b: Scores) -> Scores:
    """Score how much better ``a`` is than ``b``, episode by episode.

    Easy and hard episodes are so for both, so the difference is known more exactly than
    either score. An interval that holds 0 means that no difference was seen.

    Raises:
        ValueError: if the two were not measured on the same episodes.
    """
    check_kind(Scores, a=a, b=b)
    if len(a.values) != len(b.values):
        raise ValueError(
            f"the scores hold {len(a.values)} and {len(b.values)} values: expected the same "
            "episodes; evaluate both with the same number of episodes"
        )
    if a.digest and b.digest and a.digest != b.digest:
        raise ValueError(
            "the scores were measured on different episodes: evaluate both with the same "
            "tasks and with generators of the same seed"
        )
    return Scores.of(a.values - b.values, digest=a.digest)


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of rows of ``outputs`` ``(m, ways)`` whose largest entry is at the label.

    Raises:
        ValueError: if there is not one label for each row.
    """
    if outputs.isnan().any():
        raise ValueError("outputs hold NaN: expected finite numbers, of which one is the largest")
    fits = outputs.shape[:-1] == targets.shape
    check_shapes(fits, "(m, ways) and (m,)", outputs=outputs, labels=targets)
    return in_float64(outputs.argmax(dim=-1) == targets).mean()


def default_metric(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the accuracy for integer labels, the mean squared error for floating ones."""
    if targets.is_floating_point():
        return in_float64(outputs - targets).square().mean()
    return accuracy(outputs, targets)


def _check_unchanged(before: Mapping[str, Tensor], model: Any, index: int) -> None:
    names = changed(before, model)
    if names:
        raise ValueError(
            f"predict changed {names[0]} of the model in episode {index}: what one task "
            "teaches would leak into the next; adapt a copy (copy.deepcopy) instead"
        )


def _score(outputs: Tensor, task: Any, metric: Metric | None, index: int) -> Any:
    """Score the outputs; those that a metric of the caller's is for may have any shape."""
    if metric is not None:
        return metric(outputs, task.query_y if isinstance(task, Episode) else task)
    if not isinstance(task, Episode):
        raise ValueError(
            f"the task is a {type(task).__name__}: expected an Episode, or a metric that scores it"
        )
    y = task.query_y
    if (y.isnan() if y.is_floating_point() else y < 0).any():
        raise ValueError(
            f"a query has no label in episode {index}: expected labels from 0, or values; what is "
            "unlabelled can be answered, and not scored"
        )
    fits = outputs.shape == y.shape if y.is_floating_point() else outputs.shape[:-1] == y.shape
    if not fits:
        wanted = tuple(y.shape) if y.is_floating_point() else (*y.shape, "ways")
        raise ValueError(
            f"predict gave outputs of shape {tuple(outputs.shape)} in episode {index}: "
            f"expected {wanted}"
        )
    return default_metric(outputs, y)


def _check_finite(outputs: Tensor, index: int) -> None:
    if not torch.isfinite(outputs).all():
        raise ValueError(
            f"predict gave outputs that are not finite in episode {index}: "
            "lower the learning rate of the adaptation, or look for an empty class"
        )


def _add_to(digest: hashlib.blake2b, task: Any) -> None:
    """Take what a task is made of into the digest: its tensors, in whatever holds them."""
    if isinstance(task, np.ndarray):
        task = torch.from_numpy(task)
    if isinstance(task, Tensor):
        digest.update(repr((task.shape, task.dtype)).encode())
        whole = torch.contiguous_format  # also where a tensor is expanded
        content = task.detach().cpu().flatten().clone(memory_format=whole)
        digest.update(content.view(torch.uint8).numpy().data)  # NumPy knows no bfloat16
    elif isinstance(task, Mapping):
        _add_to(digest, [*task.keys(), *task.values()])
    elif isinstance(task, list | tuple):
        for part in task:
            _add_to(digest, part)
    elif is_dataclass(task):
        _add_to(digest, [getattr(task, part.name) for part in fields(task)])
    elif hasattr(task, "__dict__"):
        _add_to(digest, vars(task))
    else:
        digest.update(repr(task).encode())
