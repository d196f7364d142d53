"""The audit of samplers: it passes on the package's, and each planted fault is found."""

from dataclasses import replace

import pytest
import torch

from metalearn_lite import tasks as tasks_module
from metalearn_lite.checks import audit_episodes, marked_images
from metalearn_lite.checks.episodes import BY_CLASS, BY_GROUP, CURES, _LabelOrder
from metalearn_lite.datasets import ClassImages
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks

POOL = marked_images(30, 20, shape=(1, 4, 4))
SIZES = {"ways": 5, "shots": 5, "queries": 15}


class Faulty:
    """``ImageTasks``, written as in a notebook, with switches for its bugs."""

    def __init__(
        self, *, classes=False, images=False, fixed=False, same=False, change=lambda e, g: e
    ):
        self.classes, self.images, self.fixed, self.change = classes, images, fixed, change
        self.same = same

    def sample(self, generator, batch=None):
        ways, shots = 5, 5
        order = torch.randperm(30, generator=generator)[:ways]
        if self.classes:
            order = torch.randint(30, (ways,), generator=generator)
        order = order.sort().values if self.fixed else order
        numbers = [torch.randperm(20, generator=generator) for _ in range(ways)]
        numbers = numbers[:1] * ways if self.same else numbers
        x = [POOL[c][drawn] for c, drawn in zip(order, numbers, strict=True)]
        support = torch.stack([images[:shots] for images in x])
        queries = torch.stack([images[shots:] for images in x])
        if self.images:
            drawn = torch.randint(20, (ways, shots), generator=generator)
            support = POOL[order[:, None], drawn]
        y = torch.arange(ways)
        labels = y.repeat_interleave(shots), y.repeat_interleave(15)
        episode = Episode(support.flatten(0, 1), labels[0], queries.flatten(0, 1), labels[1])
        return self.change(episode, generator)


def audit(tasks, **options):
    options = {"images": POOL, "generator": seeded(0), **SIZES, **options}
    return audit_episodes(tasks, **options)


@pytest.mark.parametrize("batch", [None, 4])
def test_the_package_samples_without_a_fault(batch):
    report = audit(ImageTasks(POOL, **SIZES), batch=batch)
    assert report.episodes == 200 and report.faults == {}
    assert set(report.checked) == set(CURES) - set(BY_GROUP)
    assert str(report) == "200 episodes, 13 faults looked for, none found"


GROUPS = ("a",) * 3 + ("b",) * 12 + ("c",) * 15
GROUPED = ClassImages(POOL, tuple(map(str, range(30))), GROUPS)


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_tasks_within_groups_have_no_fault_and_as_many_ways_as_there_are(batch):
    tasks = ImageTasks(GROUPED, **SIZES, within_groups=True)
    report = audit(tasks, batch=batch, groups=GROUPS)
    assert report.faults == {} and report.checked == tuple(CURES)
    assert audit(ImageTasks(POOL[:3], 3, 5, 15), images=POOL[:3], groups=("a",) * 3).faults == {}


def test_tasks_of_several_groups_are_found_where_groups_are_asked_for():
    with pytest.raises(ValueError, match=r"several groups .*classes of \['a', 'b', 'c'\].*group"):
        audit(ImageTasks(POOL, **SIZES), groups=GROUPS)


class Sorted:
    """Tasks within groups whose classes stand in the order of the data."""

    def sample(self, generator, batch=None):
        episode = ImageTasks(GROUPED, **SIZES, within_groups=True).sample(generator)
        order = episode.support_x.unflatten(0, (-1, 5))[:, 0].flatten(1)[:, 0].argsort()
        ways = len(order)
        x = [
            t.unflatten(0, (ways, -1))[order].flatten(0, 1)
            for t in (episode.support_x, episode.query_x)
        ]
        return Episode(x[0], episode.support_y, x[1], episode.query_y)


def test_labels_that_follow_the_data_are_found_within_groups_too():
    assert set(audit(Sorted(), groups=GROUPS, strict=False).faults) == {"fixed labels"}


def test_groups_need_images_one_for_each_class():
    with pytest.raises(ValueError, match="got groups and no images: expected both"):
        audit(ImageTasks(POOL, **SIZES), images=None, groups=GROUPS)
    with pytest.raises(ValueError, match="got 29 groups for 30 classes: expected one each"):
        audit(ImageTasks(POOL, **SIZES), groups=GROUPS[1:])


def test_the_audit_of_the_notebook_without_its_bugs_passes():
    assert audit(Faulty()).faults == {}


def test_sines_pass():
    report = audit_episodes(
        SineTasks(shots=5, queries=10), ways=1, shots=5, queries=10, generator=seeded(0)
    )
    assert report.faults == {} and not set(BY_CLASS) & set(report.checked)


def changed(**parts):
    return lambda episode, _: replace(
        episode, **{name: change(getattr(episode, name)) for name, change in parts.items()}
    )


def of_another_type(episode, _):
    """An episode that someone else made, past what turns labels into int64."""
    other = replace(episode)
    for name in ("support_y", "query_y"):
        object.__setattr__(other, name, getattr(other, name).int())
    return other


def infinite(x):
    x = x.clone()
    x[0, 0, 0, 0] = float("nan")
    return x


def without_class_3(episode, _):
    keep = episode.support_y != 3
    return replace(episode, support_x=episode.support_x[keep], support_y=episode.support_y[keep])


def shuffled_labels(episode, generator):
    order = torch.randperm(25, generator=generator)
    return replace(episode, support_y=episode.support_y[order])


def first_only(x):
    return torch.cat([x[:1].expand(5, 1, 4, 4), x[5:]])


FIRST = Faulty().sample(seeded(1))
FAULTS = {
    "shared image": (Faulty(images=True), "query images are also support images"),
    "image twice": (
        Faulty(change=changed(support_x=first_only)),
        "4 repeated in the support set",
    ),
    "class twice": (Faulty(classes=True), "has labels"),
    "fixed labels": (
        Faulty(fixed=True),
        r"a class keeps its label in 44 % of its next tasks, by chance 20 %",
    ),
    "same examples": (
        Faulty(same=True),
        r"the same numbers in 100 % of the cases, by chance in 0\.0064 % or less",
    ),
    "label type": (
        Faulty(change=of_another_type),
        "support labels of torch.int32",
    ),
    "label range": (
        Faulty(change=changed(support_y=lambda y: y + 1, query_y=lambda y: y + 1)),
        "support labels 1 to 5 in 5 ways",
    ),
    "empty class": (Faulty(change=without_class_3), r"no support image of class \[3\]"),
    "counts": (
        Faulty(change=changed(query_x=lambda x: x[:-1], query_y=lambda y: y[:-1])),
        "query images by label",
    ),
    "mixed class": (Faulty(change=shuffled_labels), "stands for classes"),
    "stuck": (Faulty(change=lambda episode, _: FIRST), "200 times the same episode"),
    "not repeatable": (
        Faulty(change=lambda e, _: Faulty().sample(seeded(int(torch.seed() % 2**31)))),
        "another episode for the same seed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_raises_with_got_and_cure(fault):
    tasks, got = FAULTS[fault]
    with pytest.raises(ValueError, match=rf"{fault} in \d+ % of the episodes \(.*{got}"):
        audit(tasks)
    report = audit(tasks, strict=False)
    assert 0 < report.faults[fault] <= 1 and CURES[fault] in str(report)


def test_an_episode_with_a_fault_in_both_parts_counts_once():
    report = audit(FAULTS["label type"][0], strict=False, episodes=4)
    assert report.faults == {"label type": 1}
    assert report.examples == {"label type": "episode 0: support labels of torch.int32"}


def test_every_fault_is_planted_here():
    assert set(FAULTS) | {"not finite", *BY_GROUP} == set(CURES)


def test_values_that_are_not_finite_raise():
    with pytest.raises(ValueError, match="not finite in 100 % of the episodes"):
        audit(Faulty(change=changed(support_x=infinite)), images=None)


def test_only_the_planted_fault_is_reported():
    twice = {"class twice", "shared image", "image twice"}  # one of them brings the others
    assert set(audit(Faulty(classes=True), strict=False).faults) == twice
    assert set(audit(Faulty(images=True), strict=False).faults) == {"shared image", "image twice"}
    assert set(audit(Faulty(fixed=True), strict=False).faults) == {"fixed labels"}
    assert set(audit(Faulty(same=True), strict=False).faults) == {"same examples"}
    assert set(audit(Faulty(change=without_class_3), strict=False).faults) == {
        "empty class",
        "counts",
    }


def test_the_shares_are_those_of_chance():
    """A class is twice among 5 draws of 30 with probability 1 - 29 28 27 26 / 30^4."""
    share = audit(Faulty(classes=True), strict=False, episodes=1000).faults["class twice"]
    assert share == pytest.approx(1 - 29 * 28 * 27 * 26 / 30**4, abs=0.05)


def few_of_each(ways, shots, queries, **options):
    """Audit the package's sampler on a pool of no more images than it needs."""
    sizes = {"ways": ways, "shots": shots, "queries": queries}
    pool = marked_images(ways + 1, shots + queries, shape=(1, 2, 2))
    return audit(ImageTasks(pool, **sizes), images=pool, **sizes, **options)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1, 1), (5, 1, 1), (2, 2, 1), (3, 1, 5)])
def test_examples_that_agree_by_chance_are_no_fault(sizes):
    """With two images of a class every second pair agrees."""
    for seed in range(10):
        assert few_of_each(*sizes, generator=seeded(seed), episodes=100).faults == {}


def test_a_sampler_that_leaves_out_images_has_no_fault():
    """Its classes agree more often than the pool would let one think."""
    sizes = {"ways": 5, "shots": 1, "queries": 1}
    tasks = ImageTasks(POOL[:, :2].contiguous(), **sizes)
    assert audit(tasks, **sizes).faults == {}


def once_a_task(shape, population, size, generator):
    """Draw examples for all classes of a task together, and the classes as they should be."""
    keys = torch.rand((shape[0], 1, population), generator=generator)
    return keys.argsort(dim=-1)[..., :size].expand(*shape, -1)


@pytest.mark.parametrize("sizes", [(2, 1, 1), (5, 1, 1), (2, 5, 15), (5, 5, 1)])
def test_the_same_examples_are_found_in_a_small_task_too(sizes, monkeypatch):
    honest = tasks_module.random_subsets

    def subsets(shape, *rest):
        return (once_a_task if len(shape) == 2 else honest)(shape, *rest)

    monkeypatch.setattr(tasks_module, "random_subsets", subsets)
    assert set(few_of_each(*sizes, strict=False).faults) == {"same examples"}


def test_one_class_has_no_other_to_agree_with(monkeypatch):
    monkeypatch.setattr(
        tasks_module,
        "random_subsets",
        lambda shape, p, size, g: torch.arange(size).expand(*shape, -1),
    )
    assert "same examples" not in few_of_each(1, 1, 1, strict=False).faults


def test_the_same_examples_in_some_of_the_tasks_are_found():
    tasks = Faulty()

    def at_times(episode, generator):
        tasks.same = torch.rand((), generator=generator) < 0.1  # for the next one
        return episode

    tasks.change = at_times
    report = audit(tasks, strict=False)
    assert set(report.faults) - {"not repeatable"} == {"same examples"}


def test_classes_with_another_fault_are_not_compared():
    """Drawn with replacement from two images, most classes have no other set to choose."""
    sizes = {"ways": 5, "shots": 2, "queries": 2}

    class Repeating:
        def sample(self, generator, batch=None):
            order = torch.randperm(30, generator=generator)[:5]
            drawn = torch.randint(2, (5, 4), generator=generator)
            x, y = POOL[order[:, None], drawn], torch.arange(5).repeat_interleave(2)
            return Episode(x[:, :2].flatten(0, 1), y, x[:, 2:].flatten(0, 1), y)

    found = set(audit(Repeating(), strict=False, **sizes).faults)
    assert found == {"shared image", "image twice"}


def test_without_the_pool_classes_are_not_checked():
    report = audit(
        Faulty(classes=True, fixed=True, same=True), images=None, strict=False, episodes=50
    )
    assert not set(BY_CLASS) & (set(report.faults) | set(report.checked))


def test_images_that_are_not_in_the_pool_raise():
    with pytest.raises(ValueError, match="not among images: expected those that the sampler"):
        audit(Faulty(change=changed(support_x=lambda x: x / 2)))


def test_points_of_a_sine_that_are_given_away_raise():
    class Leaking(SineTasks):
        def sample(self, generator, batch=None):
            e = super().sample(generator)
            return replace(e, query_x=torch.cat([e.support_x[:1], e.query_x[1:]]))

    sizes = {"ways": 1, "shots": 5, "queries": 10, "generator": seeded(0)}
    with pytest.raises(ValueError, match="1 of 10 query images are also support images"):
        audit_episodes(Leaking(5, 10), **sizes)
    with pytest.raises(ValueError, match="5 and 9 points"):
        audit_episodes(SineTasks(5, 9), **sizes)


def test_the_audit_goes_on_from_the_generator_that_it_is_given():
    generator = seeded(3)
    audit(Faulty(), generator=generator, episodes=3)
    other = seeded(3)
    for _ in range(3):
        Faulty().sample(other)
    assert torch.equal(generator.get_state(), other.get_state())


@pytest.mark.parametrize(("returns", "found"), [(19, False), (20, True)])
def test_labels_are_judged_from_twenty_returns_of_a_class_on(returns, found):
    order = _LabelOrder()
    for _ in range(returns + 1):
        assert list(order.add([7], [2], ways=3)) == []
    got = "a class keeps its label in 100 % of its next tasks, by chance 33 %"
    assert order.faults() == ({"fixed labels": got} if found else {})


@pytest.mark.parametrize(("same", "found"), [(39, False), (42, True)])
def test_five_standard_errors_above_chance_are_too_many(same, found):
    order = _LabelOrder()
    order.chances, order.same = [0.2] * 100, same  # 20 by chance, with a standard error of 4
    assert ("fixed labels" in order.faults()) == found


def test_classes_of_unequal_numbers_are_audited_by_their_images():
    counts = (20, 7, 6, 15, 12)
    images = POOL[:5].clone()
    for row, count in zip(images, counts, strict=True):
        row[count:] = torch.nan
    data = ClassImages(images, tuple("abcde"), tuple("abcde"), counts=counts)
    sizes = {"ways": 3, "shots": 2, "queries": 4}
    honest = ImageTasks(data, **sizes)
    assert audit(honest, images=images, **sizes).faults == {}
    blind = ImageTasks(images, **sizes)  # a sampler that does not know where a class ends
    with pytest.raises(ValueError, match="an image of an episode is not among images"):
        audit(blind, images=images, **sizes)
