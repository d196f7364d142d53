import math

import pytest
import torch

from metalearn_lite.tasks import Episode, ImageTasks, SineTasks

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


def test_no_class_occurs_twice_and_every_label_has_one_class(numbered, generator):
    tasks = ImageTasks(numbered, ways=10, shots=2, queries=3)
    for episode in tasks.sample(generator, batch=200).unbind():
        classes, _ = addresses(torch.cat([episode.support_x, episode.query_x]))
        labels = torch.cat([episode.support_y, episode.query_y])
        pairs = set(zip(classes.tolist(), labels.tolist(), strict=True))
        assert len(pairs) == len({c for c, _ in pairs}) == len({y for _, y in pairs}) == 10


def test_support_and_query_are_disjoint_and_no_image_occurs_twice(numbered, generator):
    tasks = ImageTasks(numbered, ways=10, shots=5, queries=15)
    for episode in tasks.sample(generator, batch=50).unbind():
        classes, examples = addresses(torch.cat([episode.support_x, episode.query_x]))
        assert len(set(zip(classes.tolist(), examples.tolist(), strict=True))) == 10 * 20


def test_drawing_with_replacement_would_be_objection(numbered, generator):
    """The check above fails on the bug it is there for: 5 + 15 draws of 20 repeat some."""
    drawn = torch.randint(EXAMPLES, (10, 20), generator=generator)
    assert any(len(set(row.tolist())) < 20 for row in drawn)


def test_labels_are_permuted_from_episode_to_episode(numbered, generator):
    """With all classes in each task, every class gets every label about equally often."""
    tasks = ImageTasks(numbered[:4], ways=4, shots=1, queries=1)
    classes, _ = addresses(tasks.sample(generator, batch=4000).support_x)
    counts = torch.stack([(classes == c).sum(0) for c in range(4)])
    standard_deviation = math.sqrt(4000 * 0.25 * 0.75)
    assert ((counts - 1000).abs() < 5 * standard_deviation).all()


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
        (5, 5, 16, "need 21 images of each class, but the data holds 20"),
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


def test_sine_tasks_keep_their_ranges_and_shapes(generator):
    episode = SineTasks(10, 5, x_range=(-1, 2)).sample(generator, batch=100)
    assert episode.support_x.shape == (100, 10, 1) and episode.query_y.shape == (100, 5, 1)
    assert episode.support_x.min() >= -1 and episode.support_x.max() <= 2
    assert SineTasks(10, 5).sample(generator).support_x.shape == (10, 1)
    assert SineTasks(10, 5).sample(generator).batch is None


def test_noise_falls_on_the_support_targets_alone(generator):
    flat = SineTasks(1000, 1000, amplitude=(0, 0), noise=0.5).sample(generator)
    assert flat.support_y.std().item() == pytest.approx(0.5, rel=0.1)
    assert flat.query_y.abs().max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amplitude": (2, 1)}, "amplitude is \\(2, 1\\)"),
        ({"phase": (1, 0)}, "phase is"),
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
