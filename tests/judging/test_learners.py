"""The recipes: which loss, which steps and which rates reach the trainer, and what comes of it."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from metalearn_lite.datasets import ClassImages
from metalearn_lite.judging import LEARNERS, learner_from
from metalearn_lite.judging import learners as recipes
from metalearn_lite.maml import MetaSGD, adapt, maml_loss, proto_maml_loss
from metalearn_lite.models import CosineHead, conv4, initialise
from metalearn_lite.multitask import FACTORS, task_losses, train_together
from metalearn_lite.prototypes import LearnedRidge, prototype_loss, ridge_loss
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_loss
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.transfer import pretrain

SEED = 3
GRID = {
    "nothing": {},
    "classes": {"lr": (0.002, 0.004, 0.008, 0.016)},
    "many tasks": {"lr": (0.004, 0.008), "weight": (0.1, 0.5)},
    "MAML": {"inner_lr": (0.1, 0.4), "meta_lr": (0.004, 0.008)},
    "first-order MAML": {"inner_lr": (0.1, 0.4), "meta_lr": (0.004, 0.008)},
    "ANIL": {"inner_lr": (0.1, 0.4), "meta_lr": (0.004, 0.008)},
    "Meta-SGD": {"inner_lr": (0.1, 0.4), "meta_lr": (0.004, 0.008)},
    "Reptile": {"inner_lr": (0.2, 0.5), "inner_steps": (5, 10)},
    "prototypes": {"meta_lr": (0.004, 0.008), "ways": (5, 20)},
    "ridge": {"meta_lr": (0.004, 0.008), "ways": (5, 20)},
    "Proto-MAML": {"inner_lr": (0.05, 0.2), "meta_lr": (0.004, 0.008)},
}


def recipe(name, settings):
    """Return the loss of a recipe, and its options, as the field writes them."""
    one_step = {"inner_lr": settings.get("inner_lr"), "inner_steps": 1}
    walk = {"inner_lr": settings.get("inner_lr"), "inner_steps": settings.get("inner_steps")}
    return {
        "MAML": (maml_loss, one_step),
        "first-order MAML": (maml_loss, {**one_step, "first_order": True}),
        "ANIL": (maml_loss, {**one_step, "head_only": True}),
        "Meta-SGD": (with_learned_rates, {"inner_steps": 1}),
        "Reptile": (reptile_in_order, {**walk, "minibatch": 10, "seed": 3000 + SEED}),
        "prototypes": (prototype_loss, {}),
        "ridge": (with_learned_penalty, {}),
        "Proto-MAML": (proto_maml_loss, one_step),
    }[name]


# what a recipe is easily taken for, as changes of its options
OTHERS = {
    "MAML": [{"first_order": True}, {"head_only": True}, {"inner_steps": 2}],
    "first-order MAML": [{"first_order": False}, {"head_only": True}, {"inner_steps": 2}],
    "ANIL": [{"head_only": False}, {"first_order": True}, {"inner_steps": 2}],
    "Meta-SGD": [{"inner_lr": 0.1}, {"first_order": True}, {"inner_steps": 2}],
    "Reptile": [
        {"minibatch": None},
        {"minibatch": 5},
        {"inner_steps": 1},
        {"inner_optimizer": "adam"},
        {"examples": "support"},
        {"seed": SEED},
    ],
    "prototypes": [{"distance": "cosine"}, {"scale": 0.5}],
    "ridge": [{"penalty": 1.0}, {"scale": 5.0}],  # constants, which are not learned
    "Proto-MAML": [{"first_order": True}, {"inner_steps": 2}],
}


def with_learned_rates(learner, episode, **options):
    return maml_loss(learner.network, episode, **{"inner_lr": learner.inner_lr, **options})


def with_learned_penalty(learner, episode, **options):
    learned = {"penalty": learner.penalty, "scale": learner.scale}
    return ridge_loss(learner.network, episode, **{**learned, **options})


def reptile_in_order(learner, episode, *, seed, **options):
    return reptile_loss(learner, episode, **{"generator": seeded(seed), **options})


@pytest.fixture(scope="module")
def classes():
    """Twenty classes of ten small images that mean nothing, with causes that mean nothing."""
    generator = seeded(0)
    names = {name: ("a", "b", "c") for name in FACTORS[:4]}
    causes = {n: torch.randint(3, (20, 10), generator=generator) for n in names}
    causes |= {n: 7 + 5 * torch.randn(20, 10, generator=generator) for n in FACTORS[4:]}
    images = torch.rand(20, 10, 1, 8, 8, generator=generator)
    every = tuple(str(i) for i in range(20))
    return ClassImages(images, every, every, factors=causes, factor_names=names)


@pytest.fixture
def handed_over(monkeypatch):
    """What recipes hand to the trainer, in place of training."""
    calls = []

    def keep(learner, objective, tasks, **options):
        calls.append(SimpleNamespace(learner=learner, objective=objective, tasks=tasks, **options))

    monkeypatch.setattr(recipes, "meta_train", keep)
    return calls


def corner(name, position):
    return {key: tried[position] for key, tried in LEARNERS[name].settings.items()}


def learn(name, classes, settings=None, *, shots=1, images=240, seed=SEED):
    settings = corner(name, 0) if settings is None else settings
    return LEARNERS[name].learn(classes, shots=shots, images=images, seed=seed, **settings)


def loss_and_gradient(objective, learner, episode, **options):
    learner.zero_grad()
    loss = objective(learner, episode, **options)
    loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learner.parameters()]
    return torch.cat([loss.detach().view(1), parameters_to_vector(gradients)])


def exact(episode):
    y = episode.support_y, episode.query_y
    return Episode(episode.support_x.double(), y[0], episode.query_x.double(), y[1])


def close(a, b):
    return torch.allclose(a, b, rtol=1e-6, atol=1e-9)


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_settings_to_try_are_those_of_the_protocol():
    assert {name: learner.settings for name, learner in LEARNERS.items()} == GRID


@pytest.mark.parametrize("position", [0, -1])
@pytest.mark.parametrize("name", OTHERS)
def test_the_trainer_gets_the_loss_of_the_recipe_and_no_other(name, position, handed_over, classes):
    settings = corner(name, position)
    learn(name, classes, settings)
    (call,) = handed_over
    learner, episode = call.learner.double(), exact(call.tasks.sample(seeded(0), call.batch))
    found = loss_and_gradient(call.objective, learner, episode)
    loss, options = recipe(name, settings)
    assert close(found, loss_and_gradient(loss, learner, episode, **options))
    for change in OTHERS[name]:
        other = loss_and_gradient(loss, learner, episode, **{**options, **change})
        assert not close(found, other), change


def test_another_inner_rate_is_another_loss(handed_over, classes):
    for name in ("MAML", "first-order MAML", "ANIL", "Meta-SGD", "Reptile", "Proto-MAML"):
        for inner_lr in LEARNERS[name].settings["inner_lr"]:
            learn(name, classes, {**corner(name, 0), "inner_lr": inner_lr})
        low, high = (
            loss_and_gradient(
                call.objective, call.learner.double(), exact(call.tasks.sample(seeded(0), 1))
            )
            for call in handed_over[-2:]
        )
        assert not close(low[:1], high[:1]), name


def test_reptile_goes_through_its_images_in_another_order_each_time(handed_over, classes):
    learn("Reptile", classes)
    (call,) = handed_over
    episode = call.tasks.sample(seeded(0), call.batch)
    first, second = (loss_and_gradient(call.objective, call.learner, episode) for _ in range(2))
    assert not close(first, second)


@pytest.mark.parametrize("position", [0, -1])
@pytest.mark.parametrize("name", OTHERS)
def test_the_optimiser_is_adam_with_its_rate_or_for_reptile_the_whole_way(
    name, position, handed_over, classes
):
    settings = corner(name, position)
    learn(name, classes, settings)
    (call,) = handed_over
    (group,) = call.optimizer.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in call.learner.parameters()}
    kind, rate = torch.optim.Adam, settings.get("meta_lr")
    if name == "Reptile":
        kind, rate = torch.optim.SGD, 1.0
    assert type(call.optimizer) is kind and group["lr"] == rate
    fresh = kind([torch.zeros(1)], lr=rate).param_groups[0]
    assert {k: group[k] for k in group if k != "params"} == {
        k: fresh[k] for k in fresh if k != "params"
    }


@pytest.mark.parametrize("name", OTHERS)
def test_the_rate_falls_in_a_straight_line_to_zero(name, handed_over, classes):
    learn(name, classes)
    factors = [handed_over[0].schedule(done) for done in (0, 0.25, 0.5, 1)]
    assert factors == [1, 0.75, 0.5, 0]


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("position", [0, -1])
@pytest.mark.parametrize("name", OTHERS)
def test_an_iteration_is_twenty_classes_of_the_tasks_to_come(
    name, position, shots, handed_over, classes
):
    settings = corner(name, position)
    learn(name, classes, settings, shots=shots, images=9600)
    (call,) = handed_over
    ways = 20 if name == "Proto-MAML" else settings.get("ways", 5)
    sizes = (call.tasks.ways, call.tasks.shots, call.tasks.queries)
    assert sizes == (ways, shots, 5) and call.batch == 20 // ways
    assert call.tasks.images is classes.images
    assert call.iterations == 9600 // (20 * (shots + 5))
    assert torch.equal(call.generator.get_state(), seeded(1000 + SEED).get_state())
    assert call.progress is False


@pytest.mark.parametrize("name", OTHERS)
def test_a_recipe_written_out_ends_at_the_same_weights(name, classes):
    settings, iterations = corner(name, 0), 2
    ways = 20 if name == "Proto-MAML" else 5
    learner = conv4(5, width=32, generator=seeded(SEED))
    if name == "Meta-SGD":
        learner = MetaSGD(learner, settings["inner_lr"])
    if name == "ridge":
        learner = LearnedRidge(learner, penalty=1.0, scale=5.0)
    loss, options = recipe(name, settings)
    if name == "Reptile":
        options["generator"] = seeded(options["seed"])  # one for all iterations
    adam = torch.optim.Adam(learner.parameters(), lr=settings.get("meta_lr", 1))
    optimizer = torch.optim.SGD(learner.parameters(), lr=1) if name == "Reptile" else adam
    rate, generator = optimizer.param_groups[0]["lr"], seeded(1000 + SEED)
    for done in range(iterations):
        episode = ImageTasks(classes, ways, shots=1, queries=5).sample(generator, 20 // ways)
        optimizer.param_groups[0]["lr"] = rate * (1 - done / iterations)
        optimizer.zero_grad()
        loss(learner, episode, **options).backward()
        optimizer.step()
    assert same_weights(learn(name, classes, images=iterations * 20 * 6), learner)


def test_learning_nothing_draws_the_network_alone(classes):
    learner = learn("nothing", classes)
    assert same_weights(learner, conv4(5, width=32, generator=seeded(SEED)))
    assert not same_weights(learner, learn("nothing", classes, seed=4))


def test_classes_are_learned_by_pretraining_on_all_of_them(classes):
    for lr in LEARNERS["classes"].settings["lr"][:2]:
        start = conv4(20, width=32, generator=seeded(SEED))
        x, y = classes.flatten()
        order = seeded(1000 + SEED)
        expected = pretrain(start, x, y, steps=2, generator=order, minibatch=64, lr=lr)
        assert same_weights(learn("classes", classes, {"lr": lr}, images=130), expected)


@pytest.fixture
def together(monkeypatch):
    """What is handed to ``train_together``, which then trains."""
    calls = []

    def keep(model, x, targets, **options):
        trained = train_together(model, x, targets, **options)
        parts = {"model": model, "x": x, "targets": targets, "trained": trained}
        calls.append(SimpleNamespace(**parts, options=options))
        return trained

    monkeypatch.setattr(recipes, "train_together", keep)
    return calls


def test_many_tasks_are_the_classes_and_all_their_causes(together, classes):
    learn("many tasks", classes)
    (call,) = together
    x, y = classes.flatten()
    assert torch.equal(call.x, x) and torch.equal(call.targets["class"], y)
    assert list(call.targets) == [*FACTORS, "class"]
    for name in FACTORS[:4]:
        assert torch.equal(call.targets[name], classes.factors[name].flatten())
    for name in FACTORS[4:]:
        values = call.targets[name].double()
        assert values.mean().abs() < 1e-6 and values.std(unbiased=False) == pytest.approx(1)
    sizes = {name: head.out_features for name, head in call.model.heads.items()}
    assert sizes == {**dict.fromkeys(FACTORS[:4], 3), **dict.fromkeys(FACTORS[4:], 1), "class": 20}


def test_many_tasks_begin_at_the_weights_of_the_seed(together, classes):
    for clutter in range(2):
        torch.manual_seed(clutter)
        learn("many tasks", classes)
    one, two = (call.model for call in together)
    assert same_weights(one, two)
    assert same_weights(one.trunk, conv4(5, width=32, generator=seeded(SEED)).features)
    learn("many tasks", classes, seed=4)
    assert not same_weights(one.heads, together[-1].model.heads)


@pytest.mark.parametrize("weight", LEARNERS["many tasks"].settings["weight"])
def test_each_cause_weighs_the_same_and_the_class_one(weight, together, classes):
    learn("many tasks", classes, {"lr": 0.004, "weight": weight})
    (call,) = together
    rows = slice(0, 200, 11)
    parts = {name: values[rows] for name, values in call.targets.items()}

    def gradient(backward):
        losses = task_losses(call.model(call.x[rows]), parts)
        call.model.zero_grad()
        backward(losses)
        return parameters_to_vector([p.grad for p in call.model.parameters()])

    def by_hand(losses):
        causes = sum(losses[name] for name in FACTORS)
        (losses["class"] + weight * causes).backward()

    found = gradient(lambda losses: call.options["balance"](call.model, losses))
    torch.testing.assert_close(found, gradient(by_hand), rtol=1e-4, atol=1e-6)
    plain = gradient(lambda losses: sum(losses.values()).backward())
    assert not torch.allclose(found, plain, rtol=1e-2)


def test_many_tasks_are_trained_as_long_as_the_classes_and_give_their_head(together, classes):
    learner = learn("many tasks", classes, {"lr": 0.008, "weight": 0.1}, images=130)
    (call,) = together
    options = {**call.options, "generator": seeded(1000 + SEED), "minibatch": 64}
    assert (options["steps"], options["lr"]) == (130 // 64, 0.008)
    by_hand = train_together(call.model, call.x, call.targets, **options)
    assert same_weights(learner.features, by_hand.trunk)
    assert same_weights(learner.head, by_hand.heads["class"])


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "nothing"])
def test_every_start_draws_the_same_number_of_images(name, shots, classes, monkeypatch):
    seen = []

    def count(learner, objective, tasks, *, iterations, batch, **_):
        seen.append(iterations * batch * tasks.ways * (tasks.shots + tasks.queries))

    def count_steps(model, *_, steps, **__):
        seen.append(steps * 64)
        return model

    monkeypatch.setattr(recipes, "meta_train", count)
    monkeypatch.setattr(recipes, "pretrain", count_steps)
    monkeypatch.setattr(recipes, "train_together", count_steps)
    for values in itertools.product(*LEARNERS[name].settings.values()):
        settings = dict(zip(LEARNERS[name].settings, values, strict=True))
        learn(name, classes, settings, shots=shots, images=9600)
    assert set(seen) == {9600}


def test_all_starts_of_a_seed_begin_with_the_same_features(classes, monkeypatch):
    begun = []
    monkeypatch.setattr(recipes, "meta_train", lambda learner, *_, **__: begun.append(learner))
    monkeypatch.setattr(recipes, "pretrain", lambda model, *_, **__: begun.append(model))
    monkeypatch.setattr(recipes, "train_together", lambda m, *_, **__: begun.append(m.trunk) or m)
    for name in LEARNERS:
        learn(name, classes)
    expected = conv4(5, width=32, generator=seeded(SEED)).features
    assert len(begun) == len(LEARNERS) - 1
    for learner in begun:
        network = getattr(learner, "network", learner)
        assert same_weights(getattr(network, "features", network), expected)


def test_a_recipe_trains_where_the_images_are(classes):
    learner = learn("nothing", classes.to("meta"))
    assert {p.device.type for p in learner.parameters()} == {"meta"}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_start_can_be_rebuilt_from_its_weights(name, classes):
    learner = learn(name, classes, images=120)
    rebuilt = learner_from(learner.state_dict())
    assert type(rebuilt) is type(learner) and same_weights(rebuilt, learner)


@pytest.mark.parametrize("wrapped", [lambda n: n, lambda n: MetaSGD(n, 0.3), LearnedRidge])
def test_a_start_of_another_size_can_be_rebuilt(wrapped):
    learner = wrapped(conv4(7, width=8))
    rebuilt = learner_from(learner.state_dict())
    assert type(rebuilt) is type(learner) and same_weights(rebuilt, learner)


# options beyond the protocol


def maml_with(classes, handed_over, **options):
    settings = {"shots": 1, "images": 240, "seed": SEED, "inner_lr": 0.1, "meta_lr": 0.01}
    recipes.by_maml(classes, **settings, **options)
    return handed_over[-1]


@pytest.mark.parametrize("steps", [1, 5])
def test_maml_trains_with_as_many_inner_steps_as_are_asked_for(steps, classes, handed_over):
    call = maml_with(classes, handed_over, inner_steps=steps)
    learner, episode = call.learner.double(), exact(call.tasks.sample(seeded(0), call.batch))
    found = loss_and_gradient(call.objective, learner, episode)
    expected = loss_and_gradient(maml_loss, learner, episode, inner_lr=0.1, inner_steps=steps)
    assert close(found, expected)


def test_a_head_whose_outputs_begin_alike_stays_at_zero(classes, handed_over):
    call = maml_with(classes, handed_over, inner_steps=2, equal_head=True)
    learner, episode = call.learner.double(), exact(call.tasks.sample(seeded(0), call.batch))
    usual = maml_with(classes, handed_over, inner_steps=2).learner
    assert torch.equal(learner.features[0].weight, usual.features[0].weight.double())
    call.optimizer.zero_grad()
    call.objective(learner, episode).backward()
    call.optimizer.step()
    assert all(not p.any() for p in learner.head.parameters())
    assert not torch.equal(learner.features[0].weight, usual.features[0].weight.double())


def test_a_vector_that_all_outputs_share_is_as_good_as_zero_and_has_no_gradient(classes):
    learner = conv4(5, width=8, generator=seeded(0)).double()
    task = exact(ImageTasks(classes, 5, 1, 5).sample(seeded(1)))
    shared = torch.randn(1, 8, generator=seeded(2)).double().requires_grad_()
    answers, body = [], dict(learner.named_parameters())
    for weight in (shared, torch.zeros_like(shared)):
        head = {"head.weight": weight.expand(5, 8), "head.bias": torch.zeros(5).double()}
        start = (learner, body | head, task.support_x, task.support_y)
        adapted = adapt(*start, inner_lr=0.1, inner_steps=3)
        answers.append(functional_call(learner, adapted, (task.query_x,)).softmax(dim=1))
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(answers[0][:, 0].square().sum(), shared)
    assert gradient.abs().max() < 1e-12


def classifier(classes, **options):
    return recipes.by_classes(classes, shots=1, images=640, seed=SEED, lr=0.01, **options)


def test_a_cosine_classifier_is_trained_by_its_angles(classes):
    learned = classifier(classes, cosine=True)
    assert isinstance(learned.head, CosineHead)
    start = conv4(20, width=32, generator=seeded(SEED))
    start.head = initialise(CosineHead(32, 20), seeded(SEED))
    options = {"steps": 10, "generator": seeded(1000 + SEED), "minibatch": 64, "lr": 0.01}
    assert same_weights(learned, pretrain(start, *classes.flatten(), **options))
    assert learned.head.log_scale.exp().item() != pytest.approx(10, abs=1e-3)


def test_running_statistics_are_those_of_training_and_are_used_afterwards(classes):
    learned = classifier(classes, running=True)
    norms = [layer for layer in learned.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert len(norms) == 4 and not learned.training
    assert all(norm.num_batches_tracked == 10 and norm.running_mean.any() for norm in norms)
    x = classes.images[0]
    assert torch.allclose(learned(x)[:1], learned(x[:1]), atol=1e-5)
    batch = conv4(20, width=32)
    batch.load_state_dict(dict(learned.named_parameters()))
    torch.testing.assert_close(learned.train()(x), batch(x), atol=1e-4, rtol=1e-4)
