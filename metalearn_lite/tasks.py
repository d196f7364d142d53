"""Tasks and episodes: what a learner with few examples is given, and asked.

A *task* is a small problem: tell these five characters apart, or fit this sine wave. An
*episode* is one draw of a task: a few labelled examples to learn from (the support set)
and others of the same task to be judged on (the query set). Vinyals et al. (2016),
"Matching Networks for One Shot Learning", introduced training by episodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from metalearn_lite.arguments import check_counts, check_generator, check_kind, check_not_negative
from metalearn_lite.drawing import Groups, groups_of, pool_of, random_subsets
from metalearn_lite.tensors import as_data, unknown_labels


@dataclass(frozen=True)
class Episode:
    """One draw of a task, or ``T`` of them side by side.

    Args:
        support_x: inputs to learn from, ``(n, ...)``, or ``(T, n, ...)`` when batched.
        support_y: their labels ``(n,)`` in ``0 .. ways - 1``, of any whole type (kept as int64), or
            their targets ``(n, outputs)`` float; with a leading ``T`` when batched.
        query_x: inputs to be judged on, ``(m, ...)`` or ``(T, m, ...)``.
        query_y: their labels or targets, like ``support_y``. None, or left out, if nobody knows
            them: such queries can be answered, and not scored or trained on. They then hold -1, or
            NaN for values.
        is_batch: whether the tensors carry a task dimension. None reads it off the shape of
            ``support_y``, which holds for labels and targets as above; say it for any others,
            such as a label for each token ``(n, length)`` or boxes ``(n, k, 4)``.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor = None  # type: ignore[assignment]  # a tensor as soon as it is there
    is_batch: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("support_x", "support_y", "query_x", "query_y"):
            if name == "query_y" and self.query_y is None:
                unknown = unknown_labels(self.support_y, self.query_x, self.is_batch)
                object.__setattr__(self, name, unknown)
            object.__setattr__(self, name, as_data(name, getattr(self, name)))
        if self.is_batch is None and self.support_y.is_floating_point() and self.support_y.ndim < 2:
            raise ValueError(
                f"support_y holds values of shape {tuple(self.support_y.shape)}: expected (n, "
                "outputs), or int64 for labels; y.unsqueeze(-1) makes one output, y.long() labels"
            )
        for part in ("support", "query"):
            x, y = getattr(self, f"{part}_x"), getattr(self, f"{part}_y")
            lead = y.ndim - y.is_floating_point() if self.is_batch is None else 1 + self.is_batch
            if x.shape[:lead] != y.shape[:lead] or min(x.ndim, y.ndim) < lead:
                raise ValueError(
                    f"{part}_x has shape {tuple(x.shape)} and {part}_y {tuple(y.shape)}: "
                    f"expected one label for each input, so that the first {lead} "
                    "dimension(s) agree; for labels of more dimensions say is_batch"
                )
        if self.support_y.ndim != self.query_y.ndim:
            raise ValueError(
                f"support_y has {self.support_y.ndim} dimensions and query_y "
                f"{self.query_y.ndim}: either both carry a task dimension or neither"
            )
        if self.batch is not None and len(self.support_x) != len(self.query_x):
            raise ValueError(
                f"the support set holds {len(self.support_x)} tasks and the query set "
                f"{len(self.query_x)}: expected the same number"
            )

    @classmethod
    def unlabelled(
        cls, support_x: Tensor, support_y: Tensor, query_x: Tensor, *, is_batch: bool | None = None
    ) -> Episode:
        """Make an episode whose queries have no labels; ``Episode`` without ``query_y`` does too.

        Args:
            support_x: as in ``Episode``, and so are the others.
            support_y: labels or targets.
            query_x: inputs, ``(m, ...)`` or ``(T, m, ...)``.
            is_batch: whether the tensors carry a task dimension.
        """
        return cls(support_x, support_y, query_x, is_batch=is_batch)

    @property
    def batch(self) -> int | None:
        """Number of tasks ``T``, or None for a single episode."""
        is_batch = holds_tasks(self.support_y) if self.is_batch is None else self.is_batch
        return len(self.support_y) if is_batch else None

    def to(self, device: torch.device | str) -> Episode:
        """Return the same episode with its four tensors on ``device``."""
        return self._each(lambda tensor: tensor.to(device), self.is_batch)

    def as_batch(self) -> Episode:
        """Give a single episode a task dimension of 1; a batch gives itself."""
        if self.batch is not None:
            return self
        return self._each(lambda tensor: tensor.unsqueeze(0), True)

    def slice(self, start: int, stop: int) -> Episode:
        """Return the tasks ``start .. stop - 1`` of a batch, as a batch that shares its memory.

        Raises:
            ValueError: for a single episode, or if there is no such task.
        """
        if self.batch is None or not 0 <= start < stop <= self.batch:
            raise ValueError(
                f"tasks {start} to {stop} of {self.batch or 'a single episode'}: expected a range "
                "within a batch, with at least one task"
            )
        return self._each(lambda tensor: tensor[start:stop], True)

    def unbind(self) -> Iterator[Episode]:
        """Give the ``T`` episodes of a batch one by one; a single episode gives itself."""
        if self.batch is None:
            yield self
            return
        for task in range(self.batch):
            yield self._each(lambda tensor, task=task: tensor[task], False)  # type: ignore[misc]

    def _each(self, change: Callable[[Tensor], Tensor], is_batch: bool | None) -> Episode:
        """Change each of the tensors; what was read off their shape is not said afterwards."""
        said = None if self.is_batch is None else is_batch
        tensors = (self.support_x, self.support_y, self.query_x, self.query_y)
        return Episode(*map(change, tensors), is_batch=said)


def holds_tasks(y: Tensor) -> bool:
    """Whether labels or targets carry a task dimension, by their shape alone.

    So it is for int64 labels ``(T, n)`` and for float targets ``(T, n, outputs)``.
    """
    return y.ndim > (2 if y.is_floating_point() else 1)


class Tasks(Protocol):
    """Anything tasks can be drawn from, such as ``ImageTasks`` and ``SineTasks``."""

    def sample(self, generator: torch.Generator, batch: int | None = None) -> Any:
        """Draw one task, or ``batch`` of them.

        Of examples that is an ``Episode``, with a leading task dimension for a batch. A task may
        be anything else that the objective and the ``predict`` function take: one of control, say,
        which collects its own support set.
        """


class HasImages(Protocol):
    """Anything that holds images by class, such as ``datasets.ClassImages``."""

    @property
    def images(self) -> Tensor:
        """The images, ``(classes, examples, ...)``."""


class ImageTasks:
    """Few-shot classification: which of ``ways`` classes is this image?

    Each episode draws ``ways`` different classes, numbers them in random order, and draws
    ``shots + queries`` different images of each: the first ``shots`` are the support set,
    the others the query set. So no class occurs twice, and no image is in both sets. Where classes
    have unequal numbers of images, each image of a class is drawn alike often.
    Rows are ordered by label: ``support_x.unflatten(-4, (ways, shots))`` groups them.

    Args:
        images: ``ClassImages``, or a tensor ``(classes, examples, channels, h, w)``.
        ways: number of classes in a task.
        shots: labelled images of each class to learn from.
        queries: images of each class to be judged on.
        within_groups: draw the classes of a task from one group of the ``ClassImages`` (a script,
            an alphabet), as in the Omniglot challenge of Lake et al. (2015). Each group is drawn
            alike often. One with fewer classes than ``ways`` gives a task of all it has; the tasks
            of a batch have as many ways as the smallest of their groups.

    Raises:
        ValueError: if the data holds too few classes or too few images of each, or no groups.
    """

    def __init__(
        self,
        images: HasImages | Tensor,
        ways: int,
        shots: int,
        queries: int,
        *,
        within_groups: bool = False,
    ) -> None:
        check_counts(ways=ways, shots=shots, queries=queries)
        self.groups = Groups(groups_of(images)) if within_groups else None
        self.images = pool_of(images, None if within_groups else ways, shots, queries)
        self.counts = torch.tensor(getattr(images, "counts", ()))
        self.ways, self.shots, self.queries = ways, shots, queries

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(ways={self.ways}, shots={self.shots}, queries={self.queries})"
        )

    def sample(self, generator: torch.Generator, batch: int | None = None) -> Episode:
        """Draw one episode, or ``batch`` of them in one go.

        The indices are drawn on the generator's device and the images gathered on the
        data's, so one CPU generator gives the same episodes on every device.

        Args:
            generator: the source of all randomness.
            batch: number of tasks ``T``; None draws a single, unbatched episode.

        Returns:
            ``support_x (ways * shots, ...)``, ``query_x (ways * queries, ...)`` and int64
            labels, all with a leading ``T`` if ``batch`` is given.
        """
        check_generator(generator)
        tasks = 1 if batch is None else batch
        check_counts(batch=tasks)
        classes, examples = self.images.shape[:2]
        if self.groups is None:
            chosen = random_subsets((tasks,), classes, self.ways, generator)
        else:
            chosen = self.groups.draw(tasks, self.ways, generator)
        sizes = self.counts[chosen.cpu()] if len(self.counts) else examples
        drawn = random_subsets(chosen.shape, sizes, self.shots + self.queries, generator)
        device = self.images.device
        x = self.images[chosen.unsqueeze(-1).to(device), drawn.to(device)]
        y = torch.arange(chosen.shape[1], device=device).expand(tasks, -1).unsqueeze(-1)
        episode = Episode(
            x[:, :, : self.shots].flatten(1, 2),
            y.expand(-1, -1, self.shots).flatten(1),
            x[:, :, self.shots :].flatten(1, 2),
            y.expand(-1, -1, self.queries).flatten(1),
        )
        return episode if batch is not None else next(episode.unbind())


class SineTasks:
    """Few-shot regression: which sine wave runs through these points?

    Each task is ``y = amplitude * sin(x - phase)`` with its own amplitude and phase, drawn
    uniformly; inputs are uniform too. The defaults are those of Finn et al. (2017),
    section 5.1.

    Args:
        shots: points to learn from.
        queries: points to be judged on.
        amplitude: smallest and largest amplitude.
        phase: smallest and largest phase, in radians.
        x_range: smallest and largest input.
        noise: standard deviation of Gaussian noise on the support targets; the query
            targets are always exact.
        device: where the episodes are made.
        dtype: their floating-point type.
    """

    def __init__(
        self,
        shots: int,
        queries: int,
        *,
        amplitude: tuple[float, float] = (0.1, 5.0),
        phase: tuple[float, float] = (0.0, math.pi),
        x_range: tuple[float, float] = (-5.0, 5.0),
        noise: float = 0.0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_counts(shots=shots, queries=queries)
        for name, (low, high) in {
            "amplitude": amplitude,
            "phase": phase,
            "x_range": x_range,
        }.items():
            if not -math.inf < low <= high < math.inf:
                raise ValueError(
                    f"{name} is ({low}, {high}): expected (smallest, largest), two finite numbers"
                )
        check_not_negative(noise=noise)
        self.shots, self.queries, self.noise = shots, queries, noise
        self.amplitude, self.phase, self.x_range = amplitude, phase, x_range
        self.device, self.dtype = torch.device(device), dtype

    def __repr__(self) -> str:
        return f"SineTasks(shots={self.shots}, queries={self.queries})"

    def sample(self, generator: torch.Generator, batch: int | None = None) -> Episode:
        """Draw one episode, or ``batch`` of them in one go.

        Args:
            generator: the source of all randomness.
            batch: number of tasks ``T``; None draws a single, unbatched episode.

        Returns:
            Inputs and targets ``(shots, 1)`` and ``(queries, 1)``, all with a leading
            ``T`` if ``batch`` is given.
        """
        check_generator(generator)
        tasks = 1 if batch is None else batch
        check_counts(batch=tasks)
        amplitude = self._uniform(self.amplitude, (tasks, 1, 1), generator)
        phase = self._uniform(self.phase, (tasks, 1, 1), generator)
        x = self._uniform(self.x_range, (tasks, self.shots + self.queries, 1), generator)
        y = amplitude * torch.sin(x - phase)
        support_y, query_y = y[:, : self.shots], y[:, self.shots :]
        if self.noise > 0:
            support_y = support_y + self.noise * torch.randn(
                support_y.shape,
                generator=generator,
                device=generator.device,
                dtype=self.dtype,
            ).to(self.device)
        episode = Episode(x[:, : self.shots], support_y, x[:, self.shots :], query_y)
        return episode if batch is not None else next(episode.unbind())

    def _uniform(
        self,
        bounds: tuple[float, float],
        shape: tuple[int, ...],
        generator: torch.Generator,
    ) -> Tensor:
        low, high = bounds
        unit = torch.rand(shape, generator=generator, device=generator.device, dtype=self.dtype)
        return (low + (high - low) * unit).to(self.device)


def check_single(episode: Episode) -> None:
    """Raise a ``ValueError`` if the episode is a batch of tasks."""
    check_kind(Episode, episode=episode)
    if episode.batch is not None:
        raise ValueError(
            f"the episode holds {episode.batch} tasks: expected one; go through episode.unbind()"
        )
