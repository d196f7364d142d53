import pytest
import torch

from metalearn_lite.judging import (
    from_scratch,
    nearest_class,
    nearest_feature,
    nearest_pixel,
    scratch_learn,
)
from metalearn_lite.judging.baselines import nearest_pixel_learn
from metalearn_lite.models import conv4, mlp
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks


@pytest.fixture
def episode(generator):
    images = torch.rand(10, 10, 1, 28, 28, generator=generator)
    return ImageTasks(images, 5, 2, 3).sample(generator)


def test_a_query_that_is_a_support_image_gets_its_label(episode):
    same = Episode(episode.support_x, episode.support_y, episode.support_x, episode.support_y)
    assert nearest_pixel(None, same).argmax(1).equal(same.support_y)
    assert nearest_feature(conv4(5), same).argmax(1).equal(same.support_y)


def test_nearest_pixel_equals_the_loop_over_images(episode):
    logits = nearest_pixel(None, episode)
    for query, row in zip(episode.query_x, logits, strict=True):
        for label in range(5):
            own = episode.support_x[episode.support_y == label]
            expected = -min((query - image).norm().item() for image in own)
            assert row[label].item() == pytest.approx(expected, rel=1e-3)


def test_predictions_follow_a_permutation_of_the_labels(episode):
    order = torch.tensor([3, 1, 4, 0, 2])
    renamed = Episode(
        episode.support_x, order[episode.support_y], episode.query_x, order[episode.query_y]
    )
    one, two = nearest_pixel(None, episode), nearest_pixel(None, renamed)
    torch.testing.assert_close(two[:, order], one)


def test_a_class_without_an_example_is_an_error():
    with pytest.raises(ValueError, match=r"class \[1\] has no example"):
        nearest_class(torch.zeros(2, 3), torch.tensor([0, 2]), torch.zeros(4, 3))


def test_from_scratch_equals_an_optimiser_on_a_copy(episode):
    import copy

    model = conv4(5, width=8).double()
    episode = Episode(
        episode.support_x.double(), episode.support_y, episode.query_x.double(), episode.query_y
    )
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(twin(episode.support_x), episode.support_y).backward()
        optimizer.step()
    outputs = from_scratch(model, episode, steps=3, lr=0.1)
    torch.testing.assert_close(outputs, twin(episode.query_x))


def test_from_scratch_leaves_the_model_bitwise_unchanged(episode):
    model = conv4(5, width=8)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    from_scratch(model, episode, steps=2)
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())


def test_zero_steps_predict_with_the_model_as_it_is(episode):
    model = conv4(5, width=8)
    torch.testing.assert_close(from_scratch(model, episode, steps=0), model(episode.query_x))


def test_from_scratch_fits_regression_too(generator):
    episode = SineTasks(10, 5).sample(generator)
    outputs = from_scratch(mlp(generator=generator), episode, steps=5, lr=0.01)
    assert outputs.shape == (5, 1)


def test_the_tasks_of_a_batch_are_answered_one_by_one(generator):
    model, batch = mlp(generator=generator), SineTasks(10, 5).sample(generator, batch=3)
    together = from_scratch(model, batch, lr=0.01)
    assert together.shape == (3, 5, 1)
    for outputs, task in zip(together, batch.unbind(), strict=True):
        torch.testing.assert_close(outputs, from_scratch(model, task, lr=0.01))


def test_what_learns_one_task_takes_no_batch_and_no_negative_steps(generator):
    batch = SineTasks(10, 5).sample(generator, batch=3)
    with pytest.raises(ValueError, match="holds 3 tasks: expected one"):
        scratch_learn(mlp(), batch, steps=1, lr=0.1)
    with pytest.raises(ValueError, match="holds 3 tasks: expected one"):
        nearest_pixel_learn(None, batch)
    with pytest.raises(ValueError, match="steps is -1"):
        from_scratch(mlp(), next(batch.unbind()), steps=-1)


@pytest.mark.parametrize("nearest", [nearest_pixel, nearest_feature])
def test_a_query_of_a_class_without_an_example_is_an_error(nearest, episode):
    known = episode.support_y < 4
    less = Episode(
        episode.support_x[known], episode.support_y[known], episode.query_x, episode.query_y
    )
    with pytest.raises(ValueError, match=r"class \[4\] has no example in the support set"):
        nearest(conv4(5, width=8), less)


def test_from_scratch_takes_five_steps_of_a_half_unless_told_otherwise(episode):
    model = conv4(5, width=8)
    usual = from_scratch(model, episode)
    assert torch.equal(usual, from_scratch(model, episode, steps=5, lr=0.5))
