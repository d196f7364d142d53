"""Audit a sampler of tasks: does each episode ask what it should, and nothing that it gives away?

A sampler cannot be judged by one episode that looks right. The audit draws many, and knows every
image by its content; images that carry their own name, ``marked_images``, make it exact.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from scipy.stats import binom
from torch import Tensor

from metalearn_lite.arguments import check_counts, check_generator
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
    "several groups": "expected classes of one group; draw the group first, then classes of it",
    "fixed labels": "expected labels in random order; permute the classes of each task",
    "same examples": "expected examples drawn for each class; draw anew for each, not once a task",
    "stuck": "expected new episodes; take all randomness from the generator",
    "not repeatable": "expected the same episode for the same seed; use the generator alone",
}
BY_CLASS = ("class twice", "mixed class", "fixed labels", "same examples")
BY_GROUP = ("several groups",)


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
    groups: Sequence[str] | None = None,
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
            class and number of each image are known; without, the faults of ``BY_CLASS`` are not
            looked for. ``marked_images`` serves if the sampler takes any images.
        groups: the group of each class of ``images``, where a task should have classes of one
            group only; it has fewer ``ways`` if its group has fewer, or another of its batch.
        episodes: how many to draw.
        batch: tasks drawn at once.
        strict: raise if there is a fault.

    Returns:
        The findings.

    Raises:
        ValueError: if a fault was found, with what was got, what is expected and how to mend it;
            or if an image of an episode is not among ``images``.
    """
    check_counts(ways=ways, shots=shots, queries=queries, episodes=episodes)
    check_generator(generator)
    known = None
    if images is not None:
        known = _Known(image_names(images), (ways, shots, queries), groups)
    elif groups is not None:
        raise ValueError("got groups and no images: expected both, to know the class of an image")
    state = generator.get_state()
    found: Counter[str] = Counter()
    examples: dict[str, str] = {}
    first: Episode | None = None
    repeats = count = 0
    while count < episodes:
        drawn = list(tasks.sample(generator, batch).unbind())
        sizes = (ways if known is None else known.ways_of(drawn), shots, queries)
        for episode in drawn:
            count += 1
            repeats += first is not None and _same(first, episode)
            first = first or episode
            own: dict[str, str] = {}  # once each, also if support set and queries have it
            for fault, got in _faults(episode, sizes, known):
                own.setdefault(fault, f"episode {count - 1}: {got}")
            found.update(own.keys())
            examples = own | examples
    late = _late_faults(tasks, first, state, batch, repeats, count)
    late |= {} if known is None else known.faults()
    shares = {fault: found[fault] / count for fault in CURES if found[fault]}
    unknown, ungrouped = BY_CLASS if known is None else (), BY_GROUP if groups is None else ()
    checked = tuple(name for name in CURES if name not in (*unknown, *ungrouped))
    audit = Audit(count, checked, shares | dict.fromkeys(late, 1.0), examples | late)
    if strict and audit.faults:
        raise ValueError(f"the sampler has {len(audit.faults)} fault(s):\n{audit}")
    return audit


def _faults(
    episode: Episode, sizes: tuple[int, int, int], known: "_Known | None"
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
    if known is not None:
        yield from known.add(support, query, episode, ways)


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


class _Known:
    """What is known over all episodes where each image is known by class and number."""

    def __init__(
        self,
        names: Mapping[bytes, tuple[int, int]],
        sizes: tuple[int, int, int],
        groups: Sequence[str] | None,
    ) -> None:
        self.names, self.ways, self.groups = names, sizes[0], groups
        self.labels, self.numbers = _LabelOrder(), _ExampleNumbers(*sizes[1:])
        classes = len({c for c, _ in names.values()})
        if groups is not None and len(groups) != classes:
            raise ValueError(f"got {len(groups)} groups for {classes} classes: expected one each")

    def ways_of(self, drawn: Sequence[Episode]) -> int:
        """Return how many classes tasks that were drawn together should have."""
        if self.groups is None:
            return self.ways
        sizes = Counter(self.groups)
        first = [class_of(image_keys(e.support_x[:1])[0], self.names) for e in drawn]
        return min(self.ways, *(sizes[self.groups[c]] for c in first))

    def add(
        self, support: list[bytes], query: list[bytes], episode: Episode, ways: int
    ) -> Iterator[tuple[str, str]]:
        y = episode.support_y.tolist(), episode.query_y.tolist()
        classes = [class_of(k, self.names) for k in support + query]
        of = set() if self.groups is None else {self.groups[c] for c in classes}
        if len(of) > 1:
            yield "several groups", f"classes of {sorted(of)}"
        yield from self.labels.add(classes, y[0] + y[1], ways)
        numbers = ([self.names[key][1] for key in keys] for keys in (support, query))
        self.numbers.add(*(_sets(labels, own) for labels, own in zip(y, numbers, strict=True)))

    def faults(self) -> dict[str, str]:
        return self.labels.faults() | self.numbers.faults()


class _ExampleNumbers:
    """How often two classes of a task learn from images of the same numbers."""

    def __init__(self, shots: int, queries: int) -> None:
        self.shots, self.queries, self.pairs, self.same = shots, queries, 0, 0

    def add(self, support: Mapping[int, set[int]], query: Mapping[int, set[int]]) -> None:
        whole = [  # classes as they should be; others may agree more often by chance
            support[y]
            for y in sorted(support)
            if len(support[y]) == self.shots
            and len(support[y] | query.get(y, set())) == self.shots + self.queries
        ]
        for one, other in pairwise(whole):
            self.pairs, self.same = self.pairs + 1, self.same + (one == other)

    def faults(self) -> dict[str, str]:
        """So many agree by chance less than once in a million audits.

        A class has at least ``shots + queries`` images, so two agree by chance at most as often as
        two draws of ``shots`` out of these. Whether each class agrees with the next is then like
        tosses of one coin, one after the other.
        """
        chance = 1 / math.comb(self.shots + self.queries, self.shots)
        if binom.sf(self.same - 1, self.pairs, chance) > 1e-6:
            return {}
        got = f"two classes learn from the same numbers in {100 * self.same / self.pairs:.0f} %"
        return {"same examples": f"{got} of the cases, by chance in {100 * chance:.2g} % or less"}


class _LabelOrder:
    """Which label each class got, from episode to episode."""

    def __init__(self) -> None:
        self.same, self.last = 0, dict[int, int]()
        self.chances: list[float] = []  # that a class keeps its label, for each that came again

    def add(self, classes: list[int], y: list[int], ways: int) -> Iterator[tuple[str, str]]:
        for label, mixed in _sets(y, classes).items():
            if len(mixed) > 1:
                yield "mixed class", f"label {label} stands for classes {sorted(mixed)}"
        for c, several in _sets(classes, y).items():
            if len(several) > 1:
                yield "class twice", f"class {c} has labels {sorted(several)}"
            label = min(several)
            if c in self.last:
                self.same += self.last[c] == label
                self.chances.append(1 / ways)
            self.last[c] = label

    def faults(self) -> dict[str, str]:
        """Five standard errors above chance are too many to be chance."""
        pairs = len(self.chances)
        if pairs < 20 or max(self.chances) == 1:
            return {}
        chance, share = sum(self.chances) / pairs, self.same / pairs
        error = sum(p * (1 - p) for p in self.chances) ** 0.5 / pairs
        if share < chance + 5 * error:
            return {}
        got = f"a class keeps its label in {100 * share:.0f} % of its next tasks"
        return {"fixed labels": f"{got}, by chance {100 * chance:.0f} %"}


def _sets(keys: list[int], values: list[int]) -> dict[int, set[int]]:
    """Collect the values of each key."""
    found: dict[int, set[int]] = {}
    for key, value in zip(keys, values, strict=True):
        found.setdefault(key, set()).add(value)
    return found


def _late_faults(
    tasks: Tasks, first: Episode | None, state: Tensor, batch: int | None, repeats: int, count: int
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
