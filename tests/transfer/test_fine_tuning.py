import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.datasets import per_image
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging import from_scratch
from metalearn_lite.models import Network, conv4, mlp, new_head
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks
from metalearn_lite.transfer import (
    as_predict,
    features,
    fine_tune,
    fine_tune_learn,
    layer_decay,
    linear_probe,
    lp_ft_learn,
    pretrain,
    probe_learn,
)


@pytest.fixture
def problem(generator):
    """Images of five classes with an offset each, so that they can be told apart."""
    x = torch.rand(5, 6, 1, 28, 28, generator=generator)
    x[:, :, :, 4:12, 4:12] += torch.arange(5.0).view(5, 1, 1, 1, 1)
    return x.flatten(0, 1), torch.arange(5).repeat_interleave(6)


@pytest.fixture
def model():
    return conv4(5, width=8, generator=torch.Generator().manual_seed(1))


def same_weights(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def changed(a, b):
    return {n for n, p in a.named_parameters() if not torch.equal(p, b.get_parameter(n))}


class WithBuffers(torch.nn.Module):
    """Features with PyTorch's own batch norm, which writes to its buffers in train mode."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, stride=4), torch.nn.Flatten(2))
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.layers(x)).mean(dim=2)


def network_with_buffers():
    torch.manual_seed(0)
    return Network(WithBuffers(), torch.nn.Linear(4, 5))


# --- the model that is given --------------------------------------------------------


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize(
    "use",
    [
        lambda m, x, y: pretrain(m, x, y, steps=2, generator=torch.Generator()),
        lambda m, x, y: features(m, x),
        lambda m, x, y: linear_probe(m, x, y),
        lambda m, x, y: fine_tune(m, x, y, steps=2, lr=0.1, head_steps=2),
    ],
)
def test_the_model_that_is_given_is_bitwise_unchanged_buffers_included(use, mode, problem):
    given = network_with_buffers().train(mode)
    before = copy.deepcopy(given)
    use(given, *problem)
    assert same_weights(given, before)
    assert given.training is mode
    assert all(p.grad is None and p.requires_grad for p in given.parameters())


def test_fine_tuning_in_train_mode_does_update_the_running_statistics_of_the_copy(problem):
    given = network_with_buffers()
    tuned = fine_tune(given.train(), *problem, steps=2, lr=0.1)
    assert not torch.equal(tuned.features.norm.running_mean, given.features.norm.running_mean)
    still = fine_tune(given.eval(), *problem, steps=2, lr=0.1)
    assert torch.equal(still.features.norm.running_mean, given.features.norm.running_mean)


# --- identities of fine-tuning ------------------------------------------------------


def test_fine_tuning_equals_an_optimiser_on_a_copy(model, problem):
    x, y = problem
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(twin(x), y).backward()
        optimizer.step()
    assert same_weights(fine_tune(model, x, y, steps=4, lr=0.1, momentum=0.9), twin)


def test_fine_tuning_an_untrained_network_is_the_from_scratch_of_the_floor(model, problem):
    x, y = problem
    outputs = from_scratch(model, Episode(x, y, x, y), steps=3, lr=0.1)
    torch.testing.assert_close(fine_tune(model, x, y, steps=3, lr=0.1)(x), outputs)


def test_without_a_penalty_l2_sp_is_plain_fine_tuning(model, problem):
    plain = fine_tune(model, *problem, steps=5, lr=0.1)
    assert same_weights(fine_tune(model, *problem, steps=5, lr=0.1, l2_sp=0.0), plain)
    assert not same_weights(plain, model)
    nearly = fine_tune(model, *problem, steps=5, lr=0.1, l2_sp=1e-9)
    for name, p in nearly.named_parameters():
        torch.testing.assert_close(p, plain.get_parameter(name), atol=1e-6, rtol=0)


def test_a_very_large_penalty_leaves_the_weights_where_they_were(model, problem):
    tuned = fine_tune(model, *problem, steps=5, lr=0.1, l2_sp=1e9)
    for name, p in tuned.named_parameters():
        torch.testing.assert_close(p, model.get_parameter(name), atol=1e-6, rtol=0)


def test_a_stronger_penalty_ends_closer_to_the_start(model, problem):
    def moved(l2_sp):
        tuned = fine_tune(model, *problem, steps=20, lr=0.1, l2_sp=l2_sp)
        pairs = zip(tuned.parameters(), model.parameters(), strict=True)
        return sum((a - b).square().sum().item() for a, b in pairs)

    distances = [moved(l2_sp) for l2_sp in (0.0, 0.1, 1.0, 10.0)]
    assert distances == sorted(distances, reverse=True)


def test_no_steps_after_a_linear_probe_are_the_probe(model, problem):
    probe = linear_probe(model, *problem)
    assert same_weights(fine_tune(probe, *problem, steps=0, lr=0.1), probe)


def test_head_first_is_the_two_phases_one_after_the_other(model, problem):
    head = fine_tune(model, *problem, steps=6, lr=0.1, layer_lrs={"features": 0.0})
    both = fine_tune(head, *problem, steps=3, lr=0.1)
    assert same_weights(fine_tune(model, *problem, steps=3, lr=0.1, head_steps=6), both)
    alone = fine_tune(model, *problem, steps=0, lr=0.1, head_steps=6)
    assert same_weights(alone, head)


def test_after_a_head_phase_the_penalty_draws_towards_the_head_it_found(model, problem):
    head = fine_tune(model, *problem, steps=0, lr=0.1, head_steps=6)
    tuned = fine_tune(model, *problem, steps=3, lr=0.1, head_steps=6, l2_sp=1e9)
    for name, p in tuned.named_parameters():
        torch.testing.assert_close(p, head.get_parameter(name), atol=1e-6, rtol=0)


@pytest.mark.parametrize("l2_sp", [0.0, 0.1])
def test_a_layer_rate_of_zero_freezes_bit_for_bit(model, problem, l2_sp):
    frozen = {"features.0": 0.0, "features.1.bias": 0.0}
    tuned = fine_tune(model, *problem, steps=5, lr=0.1, layer_lrs=frozen, l2_sp=l2_sp, momentum=0.9)
    still = {"features.0.weight", "features.0.bias", "features.1.bias"}
    assert still.isdisjoint(changed(tuned, model))
    assert {"features.1.weight", "features.3.weight", "head.weight"} <= changed(tuned, model)
    assert all(p.requires_grad for p in tuned.parameters())


def test_the_longest_name_decides_the_rate_of_a_layer(model, problem):
    rates = {"features": 0.0, "features.3": 0.1, "features.3.bias": 0.0}
    tuned = fine_tune(model, *problem, steps=2, lr=0.1, layer_lrs=rates)
    assert changed(tuned, model) <= {"features.3.weight", "head.weight", "head.bias"}
    assert "features.3.weight" in changed(tuned, model)


def test_a_parameter_without_gradient_stays_and_keeps_its_mark(model, problem):
    model.features[0].weight.requires_grad_(False)
    tuned = fine_tune(model, *problem, steps=2, lr=0.1)
    assert "features.0.weight" not in changed(tuned, model)
    assert not tuned.features[0].weight.requires_grad


def test_layer_decay_falls_by_a_constant_factor_and_norms_follow_their_convolution(model):
    rates = layer_decay(model, 0.8, 2.0)
    assert rates["head"] == 0.8
    assert [rates[f"features.{i}"] for i in (0, 3, 6, 9)] == [0.05, 0.1, 0.2, 0.4]
    assert [rates[f"features.{i}"] for i in (1, 4, 7, 10)] == [0.05, 0.1, 0.2, 0.4]
    assert set(layer_decay(model, 0.8, 1.0).values()) == {0.8}


def test_layer_decay_of_one_is_plain_fine_tuning(model, problem):
    plain = fine_tune(model, *problem, steps=3, lr=0.1)
    rates = layer_decay(model, 0.1, 1.0)
    assert same_weights(fine_tune(model, *problem, steps=3, lr=5.0, layer_lrs=rates), plain)


def test_batches_and_augmentation_follow_the_generator_alone(model, problem):
    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        noise = per_image(lambda image: image + torch.rand(()))
        return fine_tune(
            model, *problem, steps=3, lr=0.1, minibatch=8, augment=noise, generator=generator
        )

    torch.manual_seed(0)
    first = run(1)
    torch.manual_seed(5)
    assert same_weights(run(1), first)
    assert not same_weights(run(2), first)


def test_fine_tuning_needs_no_gradient_mode_around_it(model, problem):
    with torch.no_grad():
        inside = fine_tune(model, *problem, steps=2, lr=0.1)
    assert same_weights(inside, fine_tune(model, *problem, steps=2, lr=0.1))


def test_regression_is_fine_tuned_and_probed_by_squared_error(generator):
    episode = SineTasks(10, 5).sample(generator)
    model, x, y = mlp(generator=generator), episode.support_x, episode.support_y
    tuned = fine_tune(model, x, y, steps=50, lr=0.01)
    assert F.mse_loss(tuned(x), y) < F.mse_loss(model(x), y)
    assert F.mse_loss(linear_probe(model, x, y)(x), y) < F.mse_loss(tuned(x), y)


# --- the probe ----------------------------------------------------------------------


@pytest.mark.parametrize("ways", [2, 3, 5])
@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_the_probe_on_separable_features_reaches_its_optimum(ways, l2, generator):
    y = torch.arange(ways).repeat_interleave(7)
    centres = torch.randn(ways, 6, generator=generator, dtype=torch.float64)
    x = 4 * centres[y] + torch.randn(len(y), 6, generator=generator, dtype=torch.float64)
    model = Network(torch.nn.Identity(), torch.nn.Linear(6, ways)).double()
    probe = linear_probe(model, x, y, l2=l2)
    (F.cross_entropy(probe(x), y) + l2 * probe.head.weight.square().sum()).backward()
    assert probe(x).argmax(1).equal(y)
    for p in probe.head.parameters():
        torch.testing.assert_close(p.grad, torch.zeros_like(p), atol=2e-6, rtol=0)


def test_the_probe_of_targets_reaches_its_optimum(generator):
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    model = Network(torch.nn.Identity(), torch.nn.Linear(3, 2)).double()
    probe = linear_probe(model, x, y, l2=0.1)
    (F.mse_loss(probe(x), y) + 0.1 * probe.head.weight.square().sum()).backward()
    for p in probe.head.parameters():
        torch.testing.assert_close(p.grad, torch.zeros_like(p), atol=1e-9, rtol=0)


def test_the_probe_changes_the_head_alone_and_fits_any_number_of_classes(model, problem):
    x, y = problem
    probe = linear_probe(model, x[:12], y[:12])
    assert probe.head.out_features == 2
    assert changed(probe, model.__class__(model.features, probe.head)) == set()


def test_one_class_or_one_shot_can_be_probed(model, problem):
    x, y = problem
    assert linear_probe(model, x[:3], y[:3])(x).shape == (30, 1)
    assert linear_probe(model, x[::6], y[::6])(x).shape == (30, 5)


def test_the_probe_follows_a_permutation_of_the_labels(model, problem):
    x, y = problem
    order = torch.tensor([3, 1, 4, 0, 2])
    one, two = linear_probe(model, x, y), linear_probe(model, x, order[y])
    torch.testing.assert_close(two(x)[:, order], one(x), atol=1e-3, rtol=1e-3)


# --- predict ------------------------------------------------------------------------


@pytest.mark.parametrize("ways", [2, 5])
def test_every_way_of_adapting_can_be_scored_on_the_same_episodes(ways, model, generator):
    tasks = ImageTasks(torch.rand(8, 10, 1, 28, 28, generator=generator), ways, 1, 3)
    for adapt in (linear_probe, partial(fine_tune, steps=2, lr=0.1)):
        runs = [
            evaluate(model, as_predict(adapt, head_seed=0), tasks, episodes=3, generator=g)
            for g in (torch.Generator().manual_seed(4), torch.Generator().manual_seed(4))
        ]
        assert runs[0].values.equal(runs[1].values)


def test_a_predict_function_equals_adapting_by_hand(model, generator):
    episode = ImageTasks(torch.rand(8, 10, 1, 28, 28, generator=generator), 3, 2, 3).sample(
        generator
    )
    adapt = partial(fine_tune, steps=2, lr=0.1)
    by_hand = adapt(new_head(model, 3), episode.support_x, episode.support_y)
    outputs = as_predict(adapt)(model, episode)
    assert torch.equal(outputs, by_hand(episode.query_x)) and not outputs.requires_grad


# --- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": -1}, "steps is -1: expected a whole number, 0 or more"),
        ({"head_steps": -2}, "head_steps is -2"),
        ({"lr": 0.0}, "lr is 0.0: expected a finite number above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"l2_sp": -0.1}, "l2_sp is -0.1"),
        ({"l2_sp": float("nan")}, "l2_sp is nan"),
        ({"momentum": 1.0}, "momentum is 1.0: expected less than 1"),
        ({"momentum": -0.1}, "momentum is -0.1: expected a finite number, 0 or more"),
        ({"layer_lrs": {"feature": 0.1}}, r"no layer is named \['feature'\]"),
        ({"layer_lrs": {"head": -0.1}}, "rates below 0"),
        ({"minibatch": 4}, "give a generator"),
        ({"minibatch": 0, "generator": torch.Generator()}, "minibatch is 0"),
        ({"lr": 1e30, "steps": 9}, "lower the learning rate"),
    ],
)
def test_fine_tuning_names_what_is_wrong(model, problem, options, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(model, *problem, **{"steps": 2, "lr": 0.1, **options})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:-1]), "30 inputs and 29 labels"),
        (lambda x, y: (x[:0], y[:0]), "0 inputs and 0 labels"),
        (lambda x, y: (x, y + 1), "from 1 to 5: expected int64 of shape .* 0 to 4"),
        (lambda x, y: (x * torch.nan, y), "x holds NaN or infinity"),
    ],
)
def test_data_that_do_not_fit_are_errors_even_without_a_step(model, problem, change, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(model, *change(*problem), steps=0, lr=0.1)


def test_the_probe_names_what_is_wrong(model, problem):
    x, y = problem
    with pytest.raises(ValueError, match=r"no example of class \[2\]"):
        linear_probe(model, x[y != 2], y[y != 2])
    with pytest.raises(ValueError, match="l2 is 0"):
        linear_probe(model, x, y, l2=0)
    with pytest.raises(ValueError, match="int64"):
        linear_probe(model, x, y - 1)
    with pytest.raises(ValueError, match="30 inputs and 29 labels"):
        linear_probe(model, x, y[:-1])
    with pytest.raises(ValueError, match="NaN"):
        linear_probe(model, x * torch.nan, y)


def test_other_bad_arguments_are_errors(model, problem, generator):
    with pytest.raises(ValueError, match="decay is 0"):
        layer_decay(model, 0.1, 0)
    batch = SineTasks(5, 5).sample(generator, batch=3)
    for learn in (probe_learn, partial(fine_tune_learn, steps=1, lr=0.1)):
        with pytest.raises(ValueError, match="holds 3 tasks"):
            learn(mlp(), batch)


def test_unless_it_is_told_otherwise_a_task_is_probed_like_any_data(model, problem):
    x, y = problem
    probed = probe_learn(model, Episode(x, y, x, y))
    assert torch.equal(probed.head.weight, linear_probe(model, x, y).head.weight)
    weak = probe_learn(model, Episode(x, y, x, y), l2=1.0)
    assert torch.equal(weak.head.weight, linear_probe(model, x, y, l2=1.0).head.weight)


def test_unless_it_is_told_otherwise_fine_tuning_is_plain_descent_and_a_probe_has_a_weak_pull(
    model, problem
):
    x, y = problem
    usual = {"l2_sp": 0.0, "head_steps": 0, "momentum": 0.0, "minibatch": None, "augment": None}
    tuned = fine_tune(model, x, y, steps=2, lr=0.1)
    assert same_weights(tuned, fine_tune(model, x, y, steps=2, lr=0.1, **usual))
    probed = linear_probe(model, x, y)
    assert same_weights(probed, linear_probe(model, x, y, l2=1e-3))
    assert not same_weights(probed, linear_probe(model, x, y, l2=2e-3))


def test_learning_one_task_is_fine_tuning_from_a_head_of_zeros_or_from_the_probe(model, problem):
    x, y = problem
    task, options = Episode(x, y, x, y), {"steps": 2, "lr": 0.1}
    tuned = fine_tune_learn(model, task, **options)
    assert same_weights(tuned, fine_tune(new_head(model, 5), x, y, **options))
    both = lp_ft_learn(model, task, **options)
    assert same_weights(both, fine_tune(linear_probe(model, x, y), x, y, **options))


@pytest.mark.parametrize("head_seed", [None, 3])
def test_each_episode_begins_with_zeros_or_with_the_head_of_the_seed(head_seed, generator):
    seen, network = [], mlp(generator=generator)

    def adapt(start, x, y):
        seen.append(start.head.weight.detach())
        return start

    batch = SineTasks(5, 5).sample(generator, batch=2)
    as_predict(adapt, head_seed=head_seed)(network, batch)
    drawn = None if head_seed is None else torch.Generator().manual_seed(head_seed)
    wanted = new_head(network, 1, generator=drawn).head.weight
    assert len(seen) == 2 and all(torch.equal(weight, wanted) for weight in seen)


LEARNS = [
    lambda model, task: as_predict(lambda start, x, y: start)(model, task),
    probe_learn,
    partial(fine_tune_learn, steps=1, lr=0.1),
    partial(lp_ft_learn, steps=1, lr=0.1),
]


@pytest.mark.parametrize("learn", LEARNS)
def test_a_class_that_only_a_query_has_is_named(learn):
    x, y = torch.rand(4, 3), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"class \[2\] has no example in the support set"):
        learn(mlp(3, 2), Episode(x, y, x, y + 1))


def test_the_tasks_of_a_batch_are_answered_one_by_one(generator):
    predict, network = as_predict(linear_probe), mlp(generator=generator)
    batch = SineTasks(5, 5).sample(generator, batch=3)
    for outputs, task in zip(predict(network, batch), batch.unbind(), strict=True):
        torch.testing.assert_close(outputs, predict(network, task))
