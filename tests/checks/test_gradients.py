"""The gradient check and the batch check: they pass on the package and fail on planted bugs."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from metalearn_lite.checks import check_batch, check_gradient
from metalearn_lite.checks.gradients import in_double
from metalearn_lite.maml import MetaSGD, maml_loss
from metalearn_lite.models import conv4, mlp
from metalearn_lite.prototypes import prototype_loss
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks

NOT_THE_DERIVATIVE = "the gradient is not the derivative of the loss"


def maml(model, episode, *, create_graph=True, lose=lambda g: g, mean=True, rate=0.05):
    """MAML as a reader might write it, with places to plant a bug."""
    losses = []
    for task in episode.unbind():
        params = dict(model.named_parameters())
        loss = F.mse_loss(functional_call(model, params, (task.support_x,)), task.support_y)
        found = torch.autograd.grad(loss, list(params.values()), create_graph=create_graph)
        steps = zip(params.items(), found, strict=True)
        adapted = {name: p - rate * lose(g) for (name, p), g in steps}
        losses.append(F.mse_loss(functional_call(model, adapted, (task.query_x,)), task.query_y))
    return torch.stack(losses).mean() if mean else torch.stack(losses).sum()


@pytest.fixture
def sines():
    return SineTasks(shots=5, queries=5).sample(seeded(1), batch=3)


@pytest.fixture
def model():
    return mlp(hidden=(8, 8), generator=seeded(0))


@pytest.fixture(scope="module")
def glyphlike():
    images = torch.rand(10, 4, 1, 28, 28, generator=seeded(1))
    return ImageTasks(images, ways=3, shots=1, queries=2).sample(seeded(2), batch=2)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("head_only", [False, True])
def test_the_gradients_of_maml_and_anil_pass(model, sines, steps, head_only):
    objective = partial(maml_loss, inner_lr=0.05, inner_steps=steps, head_only=head_only)
    assert check_gradient(objective, model, sines) < 1e-6
    assert check_batch(objective, model, sines) < 1e-12


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_the_gradients_of_image_networks_pass(norm, glyphlike):
    network = conv4(3, width=8, norm=norm, generator=seeded(0))
    for objective in (partial(maml_loss, inner_lr=0.1, inner_steps=1), prototype_loss):
        assert check_gradient(objective, network, glyphlike) < 1e-4
        assert check_batch(objective, network, glyphlike) < 1e-10


def test_a_single_task_passes_and_one_hundred_directions_too(model, sines):
    assert check_gradient(maml, model, next(sines.unbind()), directions=100) < 1e-5


def test_the_caller_keeps_model_episode_and_dtype(model, sines):
    before = copy.deepcopy(model.state_dict())
    check_gradient(maml, model, sines)
    check_batch(maml, model, sines)
    assert all(torch.equal(p, before[n]) for n, p in model.state_dict().items())
    assert {p.dtype for p in model.parameters()} == {torch.float32} == {sines.query_x.dtype}
    assert all(p.grad is None for p in model.parameters())


def test_it_works_where_gradients_are_off(model, sines):
    with torch.no_grad():
        assert check_gradient(maml, model, sines) < 1e-6


def in_place(model, episode):
    """Steps the model itself, as an inner loop with an optimiser does."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for task in episode.unbind():
        optimizer.zero_grad()
        F.mse_loss(model(task.support_x), task.support_y).backward()
        optimizer.step()
        loss = F.mse_loss(model(task.query_x), task.query_y)
    return loss


def detached_layer(model, episode):
    hidden = model.features(episode.query_x).detach()
    return F.mse_loss(model.head(hidden), episode.query_y)


@pytest.mark.parametrize(
    "bug",
    [
        partial(maml, create_graph=False),
        partial(maml, lose=lambda g: g.detach()),
        partial(maml, lose=lambda g: g.data),
        in_place,
        detached_layer,
    ],
    ids=["no create_graph", "detached", "data", "in place", "a layer detached"],
)
def test_a_gradient_that_is_not_the_derivative_raises(bug, model, sines):
    with pytest.raises(ValueError, match=NOT_THE_DERIVATIVE):
        check_gradient(bug, model, sines)


def test_the_message_names_the_parameters_that_are_wrong(model, sines):
    with pytest.raises(ValueError, match=r"wrong for 4 of 6 parameters \(features"):
        check_gradient(detached_layer, model, sines)


def test_a_learned_rate_that_is_detached_raises(model, sines):
    learner = MetaSGD(model, 0.05)

    def right(learner, episode):
        return maml_loss(learner.network, episode, inner_lr=learner.inner_lr, inner_steps=1)

    def wrong(learner, episode):
        rates = {name: rate.detach() for name, rate in learner.inner_lr.items()}
        return maml_loss(learner.network, episode, inner_lr=rates, inner_steps=1)

    assert check_gradient(right, learner, sines) < 1e-6
    with pytest.raises(ValueError, match=r"wrong for 6 of 12 parameters \(rates"):
        check_gradient(wrong, learner, sines)


def with_built_in_norm(network):
    network = copy.deepcopy(network)
    for place in (1, 4, 7, 10):
        width = len(network.features[place].weight)
        network.features[place] = nn.BatchNorm2d(width, track_running_stats=False)
    return network


def together(model, episode):
    """MAML with all tasks in one vmap, or of a single task without it."""
    params = dict(model.named_parameters())

    def loss(params, x, y):
        return F.cross_entropy(functional_call(model, params, (x,)), y)

    def task(support_x, support_y, query_x, query_y):
        gradient = torch.func.grad(loss)(params, support_x, support_y)
        adapted = {name: p - 0.4 * gradient[name] for name, p in params.items()}
        return loss(adapted, query_x, query_y)

    parts = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    return torch.func.vmap(task)(*parts).mean() if episode.batch is not None else task(*parts)


def test_vmap_over_built_in_batch_norm_raises_in_both_checks(glyphlike):
    network = conv4(3, width=8, generator=seeded(0))
    assert check_gradient(together, network, glyphlike) < 1e-5
    assert check_batch(together, network, glyphlike) < 1e-10
    with pytest.raises(ValueError, match=NOT_THE_DERIVATIVE):
        check_gradient(together, with_built_in_norm(network), glyphlike)
    with pytest.raises(ValueError, match="the gradient of a batch of 2 tasks"):
        check_batch(together, with_built_in_norm(network), glyphlike)


def test_a_sum_in_place_of_a_mean_raises(model, sines):
    with pytest.raises(ValueError, match="the loss of a batch of 3 tasks is 2e\\+02 % away"):
        check_batch(partial(maml, mean=False), model, sines)


def test_normalisation_over_all_tasks_at_once_raises(sines):
    model = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8, track_running_stats=False))
    model.append(nn.Linear(8, 1))

    def objective(model, episode):
        x, y = episode.query_x.reshape(-1, 1), episode.query_y.reshape(-1, 1)
        return F.mse_loss(model(x), y)

    assert check_gradient(objective, model, sines) < 1e-6
    with pytest.raises(ValueError, match="of a batch of 3 tasks"):
        check_batch(objective, model, sines)


def test_a_loss_without_a_gradient_raises(model, sines):
    for bug in (lambda m, e: maml(m, e).detach(), lambda m, e: torch.tensor(1.0)):
        with pytest.raises(ValueError, match="the loss has no gradient on the model"):
            check_gradient(bug, model, sines)


def test_what_the_shapes_of_an_episode_do_not_say_is_kept():
    x, y = torch.rand(2, 3, generator=seeded(0)), torch.tensor([[0, 1], [1, 0]])
    several = Episode(x, y, x, y, is_batch=False)  # two labels for each input, of one task
    copied = in_double(None, several)[1]
    assert copied.batch is None and copied.query_x.dtype == torch.float64
    assert copied.support_y.equal(y)


def test_an_objective_that_uses_another_model_raises(model, sines):
    other = copy.deepcopy(model).double()
    with pytest.raises(ValueError, match="another model than the one given"):
        check_gradient(lambda m, e: maml(other, e), model, sines)


def test_a_random_objective_raises(model, sines):
    generator = seeded(0)

    def noisy(model, episode):
        return maml(model, episode) * (1 + torch.rand((), generator=generator))

    with pytest.raises(ValueError, match="two values at the same parameters"):
        check_gradient(noisy, model, sines)


def test_a_loss_in_steps_raises_as_not_smooth(model, sines):
    def stairs(model, episode):
        height = (model.head.bias * 1e12).floor() * 1e-3
        return maml(model, episode) + (height % 7).sum()

    with pytest.raises(ValueError, match="the loss is not smooth here"):
        check_gradient(stairs, model, sines)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, 2.0]])
def test_what_is_not_one_finite_number_raises(value, model, sines):
    with pytest.raises(ValueError, match="expected one finite number"):
        check_gradient(lambda m, e: m.head.bias.sum() + torch.tensor(value), model, sines)


def test_a_single_task_is_no_batch(model, sines):
    with pytest.raises(ValueError, match="got a single task: expected a batch"):
        check_batch(maml, model, next(sines.unbind()))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1000.0])
def test_the_error_is_a_share_of_the_slope_whatever_the_scale_of_the_loss(scale, model, sines):
    def slightly_steep(model, episode):
        loss = scale * maml(model, episode)
        return 1.00001 * loss - 0.00001 * loss.detach()

    assert check_gradient(maml, model, sines) < 1e-7
    assert 1e-6 < check_gradient(slightly_steep, model, sines) < 1.01e-5


def steep_by(share):
    """A straight loss whose gradient is too large by a share of it."""

    def objective(model, episode):
        loss = model.weight.sum()
        return (1 + share) * loss - share * loss.detach()

    return objective


@pytest.mark.parametrize(("share", "right"), [(0.9e-4, True), (1.1e-4, False)])
def test_a_gradient_may_be_wrong_by_one_in_ten_thousand_unless_told_otherwise(share, right, sines):
    line, task = nn.Linear(1, 1, bias=False), next(sines.unbind())
    if right:
        found = check_gradient(steep_by(share), line, task)
        assert found == pytest.approx(share, rel=1e-2)
        assert check_gradient(steep_by(share), line, task, tolerance=found) == found
    else:
        with pytest.raises(ValueError, match=NOT_THE_DERIVATIVE):
            check_gradient(steep_by(share), line, task)


@pytest.mark.parametrize(("share", "right"), [(0.9e-8, True), (1.1e-8, False)])
def test_a_batch_may_be_off_by_one_in_a_hundred_million_unless_told_otherwise(share, right, sines):
    line = nn.Linear(1, 1, bias=False)

    def objective(model, episode):
        loss = model.weight.sum() + 1.0
        return loss * (1 + share) if episode.batch is not None else loss

    if right:
        assert check_batch(objective, line, sines) == pytest.approx(share, rel=1e-2)
    else:
        with pytest.raises(ValueError, match="of a batch of 3 tasks"):
            check_batch(objective, line, sines)


def test_three_directions_are_drawn_unless_told_otherwise(model, sines):
    def calls(**options):
        count = []
        check_gradient(lambda m, e: count.append(0) or maml(m, e), model, sines, **options)
        return len(count)

    assert calls() == calls(directions=3) < calls(directions=4)


def test_the_directions_can_be_drawn_by_a_generator(model, sines):
    errors = [check_gradient(maml, model, sines, generator=seeded(seed)) for seed in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]
    assert check_gradient(maml, model, sines) == errors[0]


@pytest.mark.parametrize("option", ["directions", "tolerance"])
def test_no_directions_and_no_tolerance_are_refused(option, model, sines):
    with pytest.raises(ValueError, match=f"{option} is 0: expected a"):
        check_gradient(maml, model, sines, **{option: 0})


@pytest.mark.parametrize(("count", "shown"), [(3, "0, 1, 2)"), (4, ", ...)")])
def test_three_wrong_parameters_are_named_and_more_are_hinted_at(count, shown):
    model = nn.ParameterList([nn.Parameter(torch.ones(2)) for _ in range(count)])

    def half(model, _):  # the other factor is held constant
        return sum(k * (p * p.detach()).sum() for k, p in enumerate(model, start=1))

    episode = SineTasks(2, 2).sample(seeded(0))
    with pytest.raises(ValueError, match=f"wrong for {count} of {count} parameters") as found:
        check_gradient(half, model, episode)
    listed = str(found.value).split("parameters (")[1].split(")")[0]
    names = listed.removesuffix(", ...").split(", ")
    assert len(names) == 3 and set(names) <= {str(k) for k in range(count)}
    assert listed.endswith(", ...") == (count > 3)


def test_the_parameter_that_is_furthest_off_is_named_first():
    model = nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(3)])

    def half(model, _):
        return sum(10**k * (p * p.detach()).sum() for k, p in enumerate(model))

    with pytest.raises(ValueError, match=r"wrong for \d of 3 parameters \(2"):
        check_gradient(half, model, SineTasks(2, 2).sample(seeded(0)))
