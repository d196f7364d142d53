"""Audit a sampler of tasks: does each episode ask what it should, and nothing that it gives away?

A sampler cannot be judged by one episode that looks right. The audit draws many, and knows every
image by its content; images that carry their own name, ``marked_images``, make it exact.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn_lite.checks.image_names import class_of, image_keys, image_names
from metalearn_lite.tasks import Episode, Tasks

CURES = {
    "not finite": "look for a division by zero, or for a file that was not read",
    "label type": "expected int64; call y.long()",
    "label range": "expected 0 to ways - 1; number the classes of each task from 0",
    "empty class": "expected an example of each class in the support set; draw by class",
    "counts": "expected shots and queries of each class; draw by class",
    "shared image": "expected other images; draw shots + queries at once, without replacement",
    "image twice": "expected different images; draw without replacement",
    "class twice": "expected different classes; draw them without replacement",
    "mixed class": "expected one class a label; number the classes by place, not by image",
    "fixed labels": "expected labels in random order; permute the classes of each task",
    "stuck": "expected new episodes; take all randomness from the generator",
    "not repeatable": "expected the same episode for the same seed; use the generator alone",
}
BY_CLASS = ("class twice", "mixed class", "fixed labels")


@dataclass(frozen=True)
class Audit:
    """What an audit has found.

    Attributes:
        episodes: how many were drawn.
        checked: the names of the faults that were looked for.
        faults: for each that was found the share of episodes that have it.
        examples: for each that was found what was got.
    """

    episodes: int
    checked: tuple[str, ...]
    faults: Mapping[str, float]
    examples: Mapping[str, str]

    def __str__(self) -> str:
        if not self.faults:
            return f"{self.episodes} episodes, {len(self.checked)} faults looked for, none found"
        lines = [
            f"{name} in {100 * share:.0f} % of the episodes ({self.examples[name]}): {CURES[name]}"
            for name, share in self.faults.items()
        ]
        return "\n".join(lines)


def audit_episodes(
    tasks: Tasks,
    *,
    ways: int,
    shots: int,
    queries: int,
    generator: torch.Generator,
    images: Tensor | None = None,
    episodes: int = 200,
    batch: int | None = None,
    strict: bool = True,
) -> Audit:
    """Draw many episodes and look for what must not be in them.

    Args:
        tasks: the sampler. Of floating targets only counts (``shots`` and ``queries`` points),
            repetitions and values are checked.
        ways: classes of a task.
        shots: support images of each class.
        queries: query images of each class.
        generator: draws the episodes.
        images: what the sampler draws from, ``(classes, examples, ...)``, all different. With it
            the class of each image is known; without, the faults of ``BY_CLASS`` are not looked
            for. ``marked_images`` serves if the sampler takes any images.
        episodes: how many to draw.
        batch: tasks drawn at once.
        strict: raise if there is a fault.

    Returns:
        The findings.

    Raises:
        ValueError: if a fault was found, with what was got, what is expected and how to mend it;
            or if an image of an episode is not among ``images``.
    """
    names = None if images is None else image_names(images)
    state = generator.get_state()
    found: Counter[str] = Counter()
    examples: dict[str, str] = {}
    labels = _LabelOrder(ways)
    first: Episode | None = None
    repeats = count = 0
    while count < episodes:
        for episode in tasks.sample(generator, batch).unbind():
            count += 1
            repeats += first is not None and _same(first, episode)
            first = first or episode
            for fault, got in _faults(episode, (ways, shots, queries), names, labels):
                found[fault] += 1
                examples.setdefault(fault, f"episode {count - 1}: {got}")
    late = _late_faults(tasks, first, state, batch, repeats, count) | labels.faults()
    shares = {fault: found[fault] / count for fault in CURES if found[fault]}
    audit = Audit(
        count,
        tuple(name for name in CURES if names is not None or name not in BY_CLASS),
        shares | dict.fromkeys(late, 1.0),
        examples | late,
    )
    if strict and audit.faults:
        raise ValueError(f"the sampler has {len(audit.faults)} fault(s):\n{audit}")
    return audit


def _faults(
    episode: Episode,
    sizes: tuple[int, int, int],
    names: Mapping[bytes, tuple[int, int]] | None,
    labels: "_LabelOrder",
) -> Iterator[tuple[str, str]]:
    ways, shots, queries = sizes
    tensors = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    if not all(torch.isfinite(t).all() for t in tensors):
        yield "not finite", "nan or infinity"
    support, query = image_keys(episode.support_x), image_keys(episode.query_x)
    shared = len([key for key in query if key in set(support)])
    if shared:
        yield "shared image", f"{shared} of {len(query)} query images are also support images"
    for part, keys in (("support", support), ("query", query)):
        if len(set(keys)) < len(keys):
            yield "image twice", f"{len(keys) - len(set(keys))} repeated in the {part} set"
    if episode.support_y.is_floating_point():
        if (len(support), len(query)) != (shots, queries):
            yield "counts", f"{len(support)} and {len(query)} points"
        return
    yield from _label_faults(episode, ways, (shots, queries))
    if names is not None:
        y = torch.cat([episode.support_y, episode.query_y]).tolist()
        yield from labels.add([class_of(key, names) for key in support + query], y)


def _label_faults(
    episode: Episode, ways: int, wanted: tuple[int, int]
) -> Iterator[tuple[str, str]]:
    parts = {"support": episode.support_y, "query": episode.query_y}
    for (part, y), each in zip(parts.items(), wanted, strict=True):
        counts = Counter(y.tolist())
        if y.dtype != torch.int64:
            yield "label type", f"{part} labels of {y.dtype}"
        if not counts.keys() <= set(range(ways)):
            yield "label range", f"{part} labels {min(counts)} to {max(counts)} in {ways} ways"
        empty = [label for label in range(ways) if label not in counts]
        if part == "support" and empty:
            yield "empty class", f"no support image of class {empty}"
        if sorted(counts.values()) != [each] * ways:
            yield "counts", f"{part} images by label {dict(sorted(counts.items()))}"


class _LabelOrder:
    """Which label each class got, from episode to episode."""

    def __init__(self, ways: int) -> None:
        self.ways, self.pairs, self.same = ways, 0, 0
        self.last: dict[int, int] = {}

    def add(self, classes: list[int], y: list[int]) -> Iterator[tuple[str, str]]:
        by_label: dict[int, set[int]] = {}
        by_class: dict[int, set[int]] = {}
        for c, label in zip(classes, y, strict=True):
            by_label.setdefault(label, set()).add(c)
            by_class.setdefault(c, set()).add(label)
        for label, mixed in by_label.items():
            if len(mixed) > 1:
                yield "mixed class", f"label {label} stands for classes {sorted(mixed)}"
                break
        for c, several in by_class.items():
            if len(several) > 1:
                yield "class twice", f"class {c} has labels {sorted(several)}"
                break
        for c, several in by_class.items():
            label = min(several)
            if c in self.last:
                self.pairs, self.same = self.pairs + 1, self.same + (self.last[c] == label)
            self.last[c] = label

    def faults(self) -> dict[str, str]:
        """Five standard errors above chance are too many to be chance."""
        if self.ways < 2 or self.pairs < 20:
            return {}
        chance = 1 / self.ways
        error = (chance * (1 - chance) / self.pairs) ** 0.5
        share = self.same / self.pairs
        if share < chance + 5 * error:
            return {}
        got = f"a class keeps its label in {100 * share:.0f} % of its next tasks"
        return {"fixed labels": f"{got}, by chance {100 * chance:.0f} %"}


def _late_faults(
    tasks: Tasks,
    first: Episode | None,
    state: Tensor,
    batch: int | None,
    repeats: int,
    count: int,
) -> dict[str, str]:
    if first is None or count < 2:
        return {}
    late = {}
    if repeats == count - 1:
        late["stuck"] = f"{count} times the same episode"
    again = torch.Generator().set_state(state)
    if not _same(first, next(tasks.sample(again, batch).unbind())):
        late["not repeatable"] = "another episode for the same seed"
    return late


def _same(a: Episode, b: Episode) -> bool:
    pairs = ((a.support_x, b.support_x), (a.query_x, b.query_x), (a.query_y, b.query_y))
    return all(torch.equal(left, right) for left, right in pairs)
