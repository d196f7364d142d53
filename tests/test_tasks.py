import math
from collections import Counter
from dataclasses import replace
from itertools import permutations
from types import SimpleNamespace

import pytest
import torch

from metalearn_lite import tasks as tasks_module
from metalearn_lite.datasets import ClassImages
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks, check_single, holds_tasks

CLASSES, EXAMPLES = 30, 20


@pytest.fixture
def numbered():
    """Images that carry their own address: pixel 0 is the class, pixel 1 the example."""
    images = torch.zeros(CLASSES, EXAMPLES, 1, 2, 2)
    images[..., 0, 0, 0] = torch.arange(CLASSES).view(-1, 1)
    images[..., 0, 0, 1] = torch.arange(EXAMPLES)
    return images


def addresses(x):
    return x[..., 0, 0, 0].long(), x[..., 0, 0, 1].long()


def assert_chance(counts, trials, share):
    """Fail if a count is more than five standard deviations from what chance gives."""
    deviation = math.sqrt(trials * share * (1 - share))
    assert ((torch.as_tensor(counts) - trials * share).abs() < 5 * deviation).all()


def test_an_image_episode_has_the_promised_shapes(numbered, generator):
    episode = ImageTasks(numbered, ways=5, shots=2, queries=3).sample(generator)
    assert episode.support_x.shape == (10, 1, 2, 2)
    assert episode.query_x.shape == (15, 1, 2, 2)
    assert episode.support_y.shape == (10,) and episode.support_y.dtype == torch.int64
    assert episode.query_y.shape == (15,)
    assert episode.batch is None


def test_a_batch_carries_a_leading_task_dimension(numbered, generator):
    episode = ImageTasks(numbered, ways=5, shots=2, queries=3).sample(generator, batch=7)
    assert episode.support_x.shape == (7, 10, 1, 2, 2)
    assert episode.query_y.shape == (7, 15)
    assert episode.batch == 7
    assert [e.support_x.shape for e in episode.unbind()] == [(10, 1, 2, 2)] * 7


def test_a_batch_of_one_is_still_a_batch(numbered, generator):
    assert ImageTasks(numbered, 5, 1, 1).sample(generator, batch=1).batch == 1


def check_classes(episode, ways):
    """Fail unless each label stands for one class, and each class for one label."""
    classes, _ = addresses(torch.cat([episode.support_x, episode.query_x]))
    labels = torch.cat([episode.support_y, episode.query_y])
    pairs = set(zip(classes.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == len({c for c, _ in pairs}) == len({y for _, y in pairs}) == ways


def check_images(episode):
    """Fail unless all images of support set and queries are different."""
    classes, examples = addresses(torch.cat([episode.support_x, episode.query_x]))
    assert len(set(zip(classes.tolist(), examples.tolist(), strict=True))) == len(classes)


def test_no_class_occurs_twice_and_every_label_has_one_class(numbered, generator):
    tasks = ImageTasks(numbered, ways=10, shots=2, queries=3)
    for episode in tasks.sample(generator, batch=200).unbind():
        check_classes(episode, 10)


def test_support_and_query_are_disjoint_and_no_image_occurs_twice(numbered, generator):
    tasks = ImageTasks(numbered, ways=10, shots=5, queries=15)
    for episode in tasks.sample(generator, batch=50).unbind():
        check_images(episode)


def test_drawing_with_replacement_would_be_noticed(numbered, generator, monkeypatch):
    """The two checks above fail on the bug that they are there for."""

    def with_replacement(shape, population, size, generator):
        return torch.randint(population, (*shape, size), generator=generator)

    monkeypatch.setattr(tasks_module, "random_subsets", with_replacement)
    tasks = ImageTasks(numbered, ways=10, shots=5, queries=15)
    episode = tasks.sample(generator)
    with pytest.raises(AssertionError):
        check_images(episode)
    with pytest.raises(AssertionError):
        check_classes(episode, 10)


def test_every_subset_in_every_order_is_drawn_as_often(generator):
    drawn = tasks_module.random_subsets((3000,), 4, 3, generator)
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(permutations(range(4), 3))
    assert_chance(list(counts.values()), 3000, 1 / 24)


def test_each_class_and_each_task_draws_examples_of_its_own(numbered, generator):
    """Two classes of a task, or two tasks of a batch, have the same number by chance alone."""
    episode = ImageTasks(numbered, ways=2, shots=1, queries=1).sample(generator, batch=2000)
    for x in (episode.support_x, episode.query_x):
        classes, examples = addresses(x)
        within = (examples[:, 0] == examples[:, 1]).sum()
        across = (examples[:-1] == examples[1:]).sum()
        assert_chance(within, 2000, 1 / EXAMPLES)
        assert_chance(across, 2 * 1999, 1 / EXAMPLES)
        assert_chance((classes[:-1] == classes[1:]).sum(), 2 * 1999, 1 / CLASSES)


def test_labels_are_permuted_from_episode_to_episode(numbered, generator):
    """With all classes in each task, every class gets every label about equally often."""
    tasks = ImageTasks(numbered[:4], ways=4, shots=1, queries=1)
    classes, _ = addresses(tasks.sample(generator, batch=4000).support_x)
    assert_chance(torch.stack([(classes == c).sum(0) for c in range(4)]), 4000, 1 / 4)


def test_every_image_is_drawn_as_support_and_as_query(numbered, generator):
    episode = ImageTasks(numbered[:5], ways=5, shots=5, queries=5).sample(generator, batch=500)
    for x in (episode.support_x, episode.query_x):
        classes, examples = addresses(x.flatten(0, 1))
        assert len(set(zip(classes.tolist(), examples.tolist(), strict=True))) == 5 * EXAMPLES


def test_the_same_seed_gives_the_same_episodes(numbered):
    tasks = ImageTasks(numbered, 5, 1, 3)
    one, two = (tasks.sample(torch.Generator().manual_seed(3), batch=4) for _ in range(2))
    assert torch.equal(one.support_x, two.support_x) and torch.equal(one.query_x, two.query_x)
    other = tasks.sample(torch.Generator().manual_seed(4), batch=4)
    assert not torch.equal(one.support_x, other.support_x)


def test_a_batch_of_one_is_the_episode_of_the_same_seed(numbered):
    for tasks in (ImageTasks(numbered, 5, 1, 3), SineTasks(5, 3)):
        one = tasks.sample(torch.Generator().manual_seed(3))
        (other,) = tasks.sample(torch.Generator().manual_seed(3), batch=1).unbind()
        assert torch.equal(one.support_x, other.support_x)
        assert torch.equal(one.query_y, other.query_y)


def test_whatever_has_images_can_be_drawn_from(numbered):
    one, two = (
        ImageTasks(images, 5, 1, 3).sample(torch.Generator().manual_seed(3))
        for images in (numbered, SimpleNamespace(images=numbered))
    )
    assert torch.equal(one.support_x, two.support_x)


def test_tasks_say_what_they_are(numbered):
    assert repr(ImageTasks(numbered, 5, 1, 3)) == "ImageTasks(ways=5, shots=1, queries=3)"
    assert repr(SineTasks(10, 3)) == "SineTasks(shots=10, queries=3)"


def test_rows_are_grouped_by_label_as_documented(numbered, generator):
    episode = ImageTasks(numbered, 5, 2, 3).sample(generator)
    assert episode.support_y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert episode.support_x.unflatten(-4, (5, 2)).shape == (5, 2, 1, 2, 2)


def test_one_way_one_shot_one_query_is_the_smallest_task(numbered, generator):
    episode = ImageTasks(numbered, 1, 1, 1).sample(generator)
    assert episode.support_y.tolist() == episode.query_y.tolist() == [0]


@pytest.mark.parametrize(
    ("ways", "shots", "queries", "message"),
    [
        (31, 1, 1, "31 ways need 31 classes, but the data holds 30"),
        (5, 5, 16, "need 21 examples of each class, but the data holds 20"),
        (0, 1, 1, "ways is 0"),
        (5, 0, 1, "shots is 0"),
        (5, 1, -1, "queries is -1"),
    ],
)
def test_too_few_images_or_classes_are_an_error_with_the_numbers(
    numbered, ways, shots, queries, message
):
    with pytest.raises(ValueError, match=message):
        ImageTasks(numbered, ways, shots, queries)


def grouped(numbered, sizes=(2, 8, 20)):
    groups = tuple("abc"[k] for k, size in enumerate(sizes) for _ in range(size))
    return ClassImages(numbered, tuple(map(str, range(len(numbered)))), groups)


def test_within_groups_a_task_has_classes_of_one_group_and_no_more_than_it_has(numbered, generator):
    tasks = ImageTasks(grouped(numbered), 5, 1, 3, within_groups=True)
    ways = Counter()
    for _ in range(600):
        episode = tasks.sample(generator)
        check_images(episode)
        classes = addresses(episode.support_x)[0]
        group = {"abc"[sum(c >= first for first in (2, 10))] for c in classes.tolist()}
        assert len(group) == 1 and len(set(classes.tolist())) == len(classes)
        ways[*group, len(classes)] += 1
    assert set(ways) == {("a", 2), ("b", 5), ("c", 5)}
    assert_chance(list(ways.values()), 600, 1 / 3)


def test_within_groups_the_tasks_of_a_batch_have_the_ways_of_the_smallest(numbered, generator):
    tasks = ImageTasks(grouped(numbered, (3, 7, 20)), 12, 2, 1, within_groups=True)
    found = Counter()
    for _ in range(200):
        episode = tasks.sample(generator, batch=2)
        classes = addresses(episode.support_x)[0].unflatten(1, (-1, 2))[..., 0]
        sizes = [(3, 7, 20)[sum(int(c) >= first for first in (3, 10))] for c in classes[:, 0]]
        assert classes.shape[1] == min(12, *sizes)
        assert episode.support_y.max() == classes.shape[1] - 1
        found[classes.shape[1]] += 1
    assert set(found) == {3, 7, 12}


def test_within_groups_every_class_gets_every_label(numbered, generator):
    tasks = ImageTasks(grouped(numbered[:4], (4,)), 4, 1, 1, within_groups=True)
    classes, _ = addresses(tasks.sample(generator, batch=4000).support_x)
    assert_chance(torch.stack([(classes == c).sum(0) for c in range(4)]), 4000, 1 / 4)


def test_tasks_within_groups_need_groups_with_something_to_tell_apart(numbered):
    with pytest.raises(ValueError, match="images are a Tensor, which says nothing of groups"):
        ImageTasks(numbered, 5, 1, 1, within_groups=True)
    alone = replace(grouped(numbered), groups=("x", *grouped(numbered).groups[1:-1], "y"))
    with pytest.raises(ValueError, match=r"groups \['a', 'x', 'y'\] have one class each"):
        ImageTasks(alone, 5, 1, 1, within_groups=True)
    with pytest.raises(ValueError, match="need 21 examples of each class"):
        ImageTasks(grouped(numbered), 5, 5, 16, within_groups=True)


def test_a_tensor_without_an_example_dimension_is_an_error():
    with pytest.raises(ValueError, match="expected \\(classes, examples"):
        ImageTasks(torch.zeros(30, 20), 5, 1, 1)


def test_an_empty_batch_is_an_error(numbered, generator):
    with pytest.raises(ValueError, match="batch is 0"):
        ImageTasks(numbered, 5, 1, 1).sample(generator, batch=0)


def test_sine_targets_lie_on_one_wave_a_task(generator):
    """A sine of known frequency is linear in sin x and cos x: least squares fits it exactly."""
    tasks = SineTasks(shots=6, queries=20, dtype=torch.float64)
    for episode in tasks.sample(generator, batch=20).unbind():
        x = torch.cat([episode.support_x, episode.query_x])
        y = torch.cat([episode.support_y, episode.query_y])
        basis = torch.cat([x.sin(), x.cos()], dim=1)
        weights = torch.linalg.lstsq(basis, y).solution
        assert torch.allclose(basis @ weights, y, atol=1e-10)
        assert 0.1 <= weights.norm() <= 5.0


def test_amplitudes_and_phases_are_drawn_evenly_from_their_ranges(generator):
    """``a sin(x - p)`` is ``a cos p sin x - a sin p cos x``: least squares tells a and p."""
    options = {"amplitude": (2.0, 3.0), "phase": (0.5, 1.0), "dtype": torch.float64}
    episode = SineTasks(4, 1, **options).sample(generator, batch=400)
    x = episode.support_x
    weights = torch.linalg.lstsq(torch.cat([x.sin(), x.cos()], dim=2), episode.support_y).solution
    amplitude = weights.norm(dim=1).flatten()
    phase = torch.atan2(-weights[:, 1], weights[:, 0]).flatten()
    for values, low, high in ((amplitude, 2.0, 3.0), (phase, 0.5, 1.0), (x.flatten(), -5.0, 5.0)):
        assert low - 1e-6 <= values.min() and values.max() <= high + 1e-6
        assert_chance((values < (low + high) / 2).sum(), len(values), 1 / 2)
    assert abs(torch.corrcoef(torch.stack([amplitude, phase]))[0, 1]) < 5 / 400**0.5


def test_sines_are_by_default_those_of_the_paper():
    tasks = SineTasks(10, 10)
    assert (tasks.amplitude, tasks.phase, tasks.x_range) == ((0.1, 5), (0, math.pi), (-5, 5))
    assert tasks.noise == 0


def test_sine_tasks_have_the_type_that_is_asked_for(generator):
    for dtype in (torch.float32, torch.float64):
        episode = SineTasks(3, 2, noise=0.1, dtype=dtype).sample(generator)
        assert {episode.support_x.dtype, episode.support_y.dtype, episode.query_y.dtype} == {dtype}
    with pytest.raises(ValueError, match="batch is 0"):
        SineTasks(3, 2).sample(generator, batch=0)
    with pytest.raises(ValueError, match="shots is 0"):
        SineTasks(0, 2)


def test_sine_tasks_keep_their_ranges_and_shapes(generator):
    episode = SineTasks(10, 5, x_range=(-1, 2)).sample(generator, batch=100)
    assert episode.support_x.shape == (100, 10, 1) and episode.query_y.shape == (100, 5, 1)
    assert episode.support_x.min() >= -1 and episode.support_x.max() <= 2
    assert SineTasks(10, 5).sample(generator).support_x.shape == (10, 1)
    assert SineTasks(10, 5).sample(generator).batch is None


def test_noise_falls_on_the_support_targets_alone(generator):
    flat = SineTasks(1000, 1000, amplitude=(0, 0), noise=0.5).sample(generator)
    assert flat.support_y.std().item() == pytest.approx(0.5, rel=0.1)
    assert flat.support_y.mean().abs() < 5 * 0.5 / 1000**0.5
    assert flat.query_y.abs().max() == 0


def test_noise_has_the_precision_of_the_targets_and_without_it_nothing_is_drawn(generator):
    options = {"amplitude": (0, 0), "dtype": torch.float64}
    noise = SineTasks(10, 1, noise=0.5, **options).sample(generator).support_y
    assert not torch.equal(noise, noise.float().double())
    SineTasks(10, 1, **options).sample(generator)
    exact = torch.Generator().set_state(generator.get_state())
    SineTasks(10, 1, noise=0.0, **options).sample(generator)
    for count in (1, 1, 11):  # amplitude, phase and inputs
        torch.rand(count, generator=exact, dtype=torch.float64)
    assert torch.equal(generator.get_state(), exact.get_state())


def test_a_seed_is_no_generator_of_tasks(numbered):
    for tasks in (ImageTasks(numbered, 5, 1, 3), SineTasks(5, 3)):
        with pytest.raises(ValueError, match=r"generator is 0: expected a torch\.Generator"):
            tasks.sample(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amplitude": (2, 1)}, "amplitude is \\(2, 1\\)"),
        ({"phase": (1, 0)}, "phase is"),
        ({"x_range": (1, 0)}, "x_range is"),
        ({"x_range": (-math.inf, 0)}, "x_range is"),
        ({"x_range": (0, math.inf)}, "x_range is"),
        ({"phase": (0, math.nan)}, "phase is"),
        ({"noise": -1.0}, "noise is -1.0"),
    ],
)
def test_impossible_sine_settings_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        SineTasks(1, 1, **options)


def test_an_episode_with_missing_labels_is_an_error():
    x, y = torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="one label for each input"):
        Episode(x, y, x, torch.zeros(4, dtype=torch.int64))


def test_an_episode_with_different_numbers_of_tasks_is_an_error():
    def part(tasks):
        return torch.zeros(tasks, 4, 2), torch.zeros(tasks, 4, dtype=torch.int64)

    with pytest.raises(ValueError, match="3 tasks and the query set 2"):
        Episode(*part(3), *part(2))
    with pytest.raises(ValueError, match="either both carry a task dimension"):
        Episode(*part(3), torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))


def test_an_episode_of_values_knows_whether_it_is_a_batch(generator):
    tasks = SineTasks(4, 3)
    assert tasks.sample(generator).batch is None
    assert tasks.sample(generator, batch=2).batch == 2
    x = torch.zeros(4, 1)
    with pytest.raises(ValueError, match="one label for each input"):
        Episode(x, torch.zeros(3, 1), x, torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"query_x has shape .* and query_y"):
        Episode(x, torch.zeros(4, 1), x, torch.zeros(3, 1))


def parts(episode):
    return episode.support_x, episode.support_y, episode.query_x, episode.query_y


def both_kinds(numbered, generator, batch=None):
    yield ImageTasks(numbered, 5, 1, 3).sample(generator, batch)
    yield SineTasks(4, 3).sample(generator, batch)


def test_a_single_episode_becomes_a_batch_of_one(numbered, generator):
    for episode in both_kinds(numbered, generator):
        batch = episode.as_batch()
        assert batch.batch == 1
        (back,) = batch.unbind()
        assert all(torch.equal(a, b) for a, b in zip(parts(back), parts(episode), strict=True))


def test_a_batch_is_already_a_batch(numbered, generator):
    for size in (1, 3):
        for episode in both_kinds(numbered, generator, batch=size):
            assert episode.as_batch() is episode


def test_a_single_episode_unbinds_to_itself(numbered, generator):
    for episode in both_kinds(numbered, generator):
        assert next(episode.unbind()) is episode and len(list(episode.unbind())) == 1


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (0, 1), (1, 3), (4, 5)])
def test_a_slice_of_a_batch_holds_its_tasks_and_shares_its_memory(start, stop, numbered, generator):
    for episode in both_kinds(numbered, generator, batch=5):
        part = episode.slice(start, stop)
        assert part.batch == stop - start
        for a, b in zip(parts(part), parts(episode), strict=True):
            assert torch.equal(a, b[start:stop]) and a.data_ptr() == b[start].data_ptr()


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 2), (3, 1), (5, 6), (4, 6), (0, 0)])
def test_a_slice_without_a_task_is_an_error(start, stop, numbered, generator):
    for episode in both_kinds(numbered, generator, batch=5):
        with pytest.raises(ValueError, match=f"tasks {start} to {stop} of 5: expected a range"):
            episode.slice(start, stop)


def test_a_single_episode_has_no_slice(numbered, generator):
    for episode in both_kinds(numbered, generator):
        with pytest.raises(ValueError, match="of a single episode: expected a range within a ba"):
            episode.slice(0, 1)


def of_tokens(*lead, is_batch):
    """A label for each of seven tokens of a text: its shape is that of a batch of labels."""
    x, y = torch.rand(*lead, 7, 3), torch.randint(5, (*lead, 7))
    return Episode(x, y, x + 1, y + 1, is_batch=is_batch)


def test_whether_labels_of_more_dimensions_are_a_batch_is_said():
    one, several = of_tokens(4, is_batch=False), of_tokens(2, 4, is_batch=True)
    assert (one.batch, several.batch) == (None, 2)
    assert of_tokens(4, is_batch=None).batch == 4  # taken for four tasks
    assert next(one.unbind()) is one and several.as_batch() is several
    with pytest.raises(ValueError, match="of a single episode"):
        one.slice(0, 1)


def test_what_was_said_of_a_batch_goes_on_to_its_parts():
    one, several = of_tokens(4, is_batch=False), of_tokens(2, 4, is_batch=True)
    assert (one.to("cpu").batch, several.to("cpu").batch) == (None, 2)
    assert (one.as_batch().batch, several.slice(1, 2).batch) == (1, 1)
    for task, i in zip(several.unbind(), range(2), strict=True):
        assert task.batch is None
        assert all(torch.equal(a, b[i]) for a, b in zip(parts(task), parts(several), strict=True))
    (back,) = one.as_batch().unbind()
    assert back.batch is None and torch.equal(back.support_y, one.support_y)


def test_what_is_read_off_the_shape_is_not_said(numbered, generator):
    for batch in (None, 3):
        for episode in both_kinds(numbered, generator, batch):
            made = (episode, episode.to("cpu"), episode.as_batch(), *episode.unbind())
            assert all(e.is_batch is None for e in made)


def test_a_batch_that_is_said_but_has_no_such_shape_is_an_error():
    x, y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"so that the first 2 dimension\(s\) agree; for labels"):
        Episode(x, y, x, y, is_batch=True)
    with pytest.raises(ValueError, match="the first 2 dimension"):
        Episode(y.float(), y, y.float(), y, is_batch=True)
    with pytest.raises(ValueError, match=r"the first 1 dimension\(s\) agree"):
        Episode(x, y[:3], x, y, is_batch=False)


@pytest.mark.parametrize(("shape", "labels", "values"), [((4,), 0, 0), ((2, 4), 1, 0)])
def test_labels_and_values_hold_tasks_from_another_dimension_on(shape, labels, values):
    assert holds_tasks(torch.zeros(shape, dtype=torch.int64)) is bool(labels)
    assert holds_tasks(torch.zeros(shape)) is bool(values)
    assert holds_tasks(torch.zeros(2, *shape, 3)) is True


def test_a_function_for_one_task_refuses_several(numbered, generator):
    with pytest.raises(ValueError, match=r"episode is a tuple: expected a metalearn_lite\.tasks"):
        check_single((1, 2))
    check_single(ImageTasks(numbered, 5, 1, 3).sample(generator))
    for batch in (1, 3):
        with pytest.raises(ValueError, match=f"holds {batch} tasks: expected one; go through"):
            check_single(ImageTasks(numbered, 5, 1, 3).sample(generator, batch))


def test_an_episode_is_frozen_and_moves_between_devices(numbered, generator):
    episode = ImageTasks(numbered, 5, 1, 1).sample(generator)
    with pytest.raises(AttributeError):
        episode.support_x = episode.query_x
    assert torch.equal(episode.to("cpu").support_x, episode.support_x)
    assert episode.to("meta").query_y.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_cpu_generator_gives_the_same_episodes_on_a_gpu(numbered):
    for tasks, moved in (
        (ImageTasks(numbered, 5, 1, 3), ImageTasks(numbered.cuda(), 5, 1, 3)),
        (SineTasks(5, 5), SineTasks(5, 5, device="cuda")),
    ):
        here = tasks.sample(torch.Generator().manual_seed(0))
        there = moved.sample(torch.Generator().manual_seed(0))
        assert there.support_x.is_cuda
        assert torch.equal(here.support_x, there.support_x.cpu())


def unequal(numbered, counts):
    """The numbered images of the first classes, so many of each."""
    images = numbered[: len(counts)].clone()
    for row, count in zip(images, counts, strict=True):
        row[count:] = torch.nan
    names = tuple(f"class {i}" for i in range(len(counts)))
    return ClassImages(images, names, names, counts=tuple(counts))


@pytest.mark.parametrize("batch", [None, 3])
def test_classes_of_unequal_numbers_lose_nothing_and_invent_nothing(numbered, generator, batch):
    counts = [3, 7, 4, 20]
    tasks = ImageTasks(unequal(numbered, counts), ways=3, shots=1, queries=2)
    drawn = Counter()
    for _ in range(400):
        for episode in tasks.sample(generator, batch).unbind():
            check_classes(episode, 3)
            check_images(episode)
            x = torch.cat([episode.support_x, episode.query_x])
            assert x.isfinite().all()
            drawn.update(zip(*(part.tolist() for part in addresses(x)), strict=True))
    assert set(drawn) == {(c, i) for c, count in enumerate(counts) for i in range(count)}
    for c, count in enumerate(counts):  # three images of a class in three of four episodes
        each = [drawn[c, i] for i in range(count)]
        assert_chance(each, 400 * (batch or 1), 0.75 * 3 / count)


def test_unequal_numbers_within_groups(numbered, generator):
    data = unequal(numbered, [2, 3, 5, 4])
    groups = dict(zip(data.class_names, "aabb", strict=True))
    tasks = ImageTasks(data.with_groups(groups), 2, 1, 1, within_groups=True)
    episode = tasks.sample(generator, 300)
    classes, numbers = addresses(torch.cat([episode.support_x, episode.query_x], dim=1))
    assert ((classes < 2).all(dim=1) | (classes >= 2).all(dim=1)).all()
    seen = set(zip(classes.flatten().tolist(), numbers.flatten().tolist(), strict=True))
    assert len(seen) == 2 + 3 + 5 + 4


def test_classes_with_too_few_images_are_named(numbered):
    with pytest.raises(ValueError, match=r"class 0 has 2, class 2 has 4: with_at_least\(5\)"):
        ImageTasks(unequal(numbered, [2, 5, 4, 6]), ways=2, shots=2, queries=3)


def test_an_episode_without_query_labels_holds_unknown_ones(numbered):
    x, y = numbered[:2, 0], torch.tensor([0, 1])
    for episode in (Episode(x, y, numbered[:3, 1]), Episode(x, y, numbered[:3, 1], None)):
        assert episode.query_y.tolist() == [-1] * 3 and episode.batch is None
    batch = Episode(x[None], y[None], numbered[None, :3, 1])
    assert batch.query_y.tolist() == [[-1] * 3]
    values = Episode(x, torch.zeros(2, 1), numbered[:3, 1])
    assert values.query_y.shape == (3, 1) and values.query_y.isnan().all()
    spans = Episode(x, torch.zeros(2, 4).long(), x, is_batch=False)
    assert spans.query_y.shape == (2, 4)
    with pytest.raises(ValueError, match="support_y is a list: expected a tensor"):
        Episode(x, [0, 1], x)
