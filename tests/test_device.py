"""The same numbers on every device: objectives, predictions and checks with the data on it.

The device is that of the environment variable METALEARN_DEVICE, or else a GPU if there is one;
without, the tests that compare it with the CPU skip.
"""

import copy
import os
from functools import partial

import pytest
import torch

from metalearn_lite.checks import audit_episodes, check_gradient
from metalearn_lite.datasets import ClassImages
from metalearn_lite.evaluation import evaluate
from metalearn_lite.in_context import (
    LinearTasks,
    SetTransformer,
    bayes_predict,
    in_context_loss,
    in_context_predict,
)
from metalearn_lite.judging import from_scratch, nearest_feature, nearest_pixel
from metalearn_lite.maml import (
    MetaSGD,
    adapt,
    implicit_maml_loss,
    implicit_maml_predict,
    maml_loss,
    maml_predict,
    proto_maml_loss,
    proto_maml_predict,
)
from metalearn_lite.models import conv4, fix_statistics, mlp
from metalearn_lite.multitask import (
    MultiTask,
    factor_tasks,
    mgda,
    pcgrad,
    task_gradients,
    task_losses,
    train_together,
)
from metalearn_lite.prototypes import (
    logistic_head,
    prototype_loss,
    prototype_predict,
    ridge_head,
    ridge_loss,
    ridge_predict,
    svm_predict,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_loss, reptile_predict, reptile_step
from metalearn_lite.tasks import ImageTasks, SineTasks
from metalearn_lite.text import TextTasks, from_texts, transformer
from metalearn_lite.training import meta_train, recorded
from metalearn_lite.transfer import as_predict, features, fine_tune, linear_probe, pretrain

DEVICE = os.environ.get("METALEARN_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
pytestmark = pytest.mark.skipif(
    DEVICE == "cpu" and "METALEARN_DEVICE" not in os.environ,
    reason="no device besides the CPU; METALEARN_DEVICE=cpu runs these tests all the same",
)
STEPS = {"inner_lr": 0.1, "inner_steps": 2}
TIED = {"penalty": 5.0, **STEPS}
CLOSE = {"rtol": 1e-6, "atol": 1e-8}  # in float64: sums in another order


def images(device="cpu"):
    pictures = torch.rand(12, 8, 1, 28, 28, generator=seeded(0), dtype=torch.float64)
    return ImageTasks(pictures.to(device), ways=3, shots=2, queries=3)


def sines(device="cpu"):
    return SineTasks(5, 6, dtype=torch.float64, device=device)


def network(device="cpu", norm="batch"):
    return conv4(3, width=8, norm=norm, generator=seeded(1)).double().to(device)


PAIRS = {
    "images": (network, images),
    "images, group norm": (lambda device="cpu": network(device, "group"), images),
    "sines": (lambda device="cpu": mlp(generator=seeded(1)).double().to(device), sines),
}
OBJECTIVES = {
    "MAML": lambda m, e: maml_loss(m, e, **STEPS),
    "MAML, task by task": lambda m, e: maml_loss(m, e, task_by_task=True, **STEPS),
    "first-order MAML": lambda m, e: maml_loss(m, e, first_order=True, **STEPS),
    "ANIL": lambda m, e: maml_loss(m, e, head_only=True, **STEPS),
    "implicit MAML": lambda m, e: implicit_maml_loss(m, e, cg_steps=2, **TIED),
    "Reptile": lambda m, e: reptile_loss(m, e, **STEPS),
    "Reptile, minibatches": lambda m, e: reptile_loss(
        m, e, minibatch=2, generator=seeded(0), **STEPS
    ),
    "prototypes": prototype_loss,
    "ridge": ridge_loss,
    "Proto-MAML": lambda m, e: proto_maml_loss(m, e, **STEPS),
}
FOR_LABELS = ("prototypes", "ridge", "Proto-MAML")
PREDICTIONS = {
    "MAML": lambda m, e: maml_predict(m, e, **STEPS),
    "MAML, support": lambda m, e: maml_predict(m, e, statistics="support", **STEPS),
    "implicit MAML": lambda m, e: implicit_maml_predict(m, e, **TIED),
    "Reptile": lambda m, e: reptile_predict(m, e, **STEPS),
    "prototypes": prototype_predict,
    "ridge": ridge_predict,
    "support vectors": svm_predict,
    "Proto-MAML": lambda m, e: proto_maml_predict(m, e, **STEPS),
    "probe": as_predict(linear_probe),
    "from scratch": from_scratch,
    "nearest pixel": nearest_pixel,
    "nearest feature": nearest_feature,
}


def same(here, there, **options):
    assert there.device.type == torch.device(DEVICE).type
    torch.testing.assert_close(there.cpu(), here, **(CLOSE | options))


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("batch", [None, 3])
def test_the_same_seed_draws_the_same_tasks(pair, batch):
    make = PAIRS[pair][1]
    here, there = (make(device).sample(seeded(3), batch) for device in ("cpu", DEVICE))
    for name in ("support_x", "support_y", "query_x", "query_y"):
        same(getattr(here, name), getattr(there, name))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("pair", PAIRS)
def test_loss_and_gradient_are_those_of_the_cpu(pair, name):
    if pair == "sines" and name in FOR_LABELS:
        pytest.skip("the objective is for labels")
    found = []
    for device in ("cpu", DEVICE):
        model, tasks = (make(device) for make in PAIRS[pair])
        loss = OBJECTIVES[name](model, tasks.sample(seeded(3), batch=4))
        loss.backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((loss.detach(), torch.cat([g.flatten() for g in grads])))
    for here, there in zip(*found, strict=True):
        same(here, there)


def linear(device="cpu"):
    return LinearTasks(5, 6, dtype=torch.float64, device=device)


def texts(device="cpu"):
    words = [letter * k for letter in "abcd" for k in range(1, 6)]
    return TextTasks(from_texts(words, [word[0] for word in words]), 3, 2, 3, device=device)


def reader(inputs, outputs):
    return SetTransformer(inputs, outputs, width=8, heads=2, layers=2, generator=seeded(1))


def text_network():
    return transformer(258, 3, width=8, heads=2, layers=1, generator=seeded(1))


ATTENTION = {
    "values in context": (partial(reader, 2, 1), linear, in_context_loss, in_context_predict),
    "classes in context": (partial(reader, 784, 3), images, in_context_loss, in_context_predict),
    "texts, prototypes": (text_network, texts, prototype_loss, prototype_predict),
    "texts, MAML": (text_network, texts, OBJECTIVES["MAML"], PREDICTIONS["MAML"]),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_networks_of_attention_answer_as_on_the_cpu(name):
    make, tasks, objective, predict = ATTENTION[name]
    found = []
    for device in ("cpu", DEVICE):
        model, batch = make().double().to(device), tasks(device).sample(seeded(3), 2)
        loss = objective(model, batch)
        gradient = torch.autograd.grad(loss, [*model.parameters()], materialize_grads=True)
        answers = predict(model, batch)
        found.append((loss.detach(), torch.cat([g.flatten() for g in gradient]), answers))
    for here, there in zip(*found, strict=True):
        same(here, there)


def test_the_best_answer_to_linear_functions_is_that_of_the_cpu():
    same(*(bayes_predict(None, linear(d).sample(seeded(3), 2), noise=0.5) for d in ("cpu", DEVICE)))


RECORDED = ("MAML", "first-order MAML", "ANIL", "Reptile")


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_objective_gives_each_episode_its_own_loss_and_gradient(name):
    model, tasks = network(DEVICE), images(DEVICE)
    play, generator = recorded(OBJECTIVES[name]), seeded(3)
    for batch in (4, 4, 2, 4):  # another shape is another recording
        episode = tasks.sample(generator, batch)
        found = []
        for objective in (OBJECTIVES[name], play):
            loss = objective(model, episode)
            params = list(model.parameters())
            gradients = torch.autograd.grad(loss, params, materialize_grads=True)
            found.append((loss.detach(), *(g.clone() for g in gradients)))
        for wanted, got in zip(*found, strict=True):
            torch.testing.assert_close(got, wanted, **CLOSE)


@pytest.mark.skipif(DEVICE == "cpu", reason="nothing is recorded without a GPU")
def test_an_objective_that_waits_for_the_device_is_refused_in_words():
    play = recorded(OBJECTIVES["prototypes"])
    with pytest.raises(ValueError, match=r"cannot be recorded: expected one that never waits"):
        play(network(DEVICE), images(DEVICE).sample(seeded(3), 2))
    assert torch.ones(2, device=DEVICE).sum().item() == 2  # the device goes on


def test_a_recording_follows_the_weights_and_what_is_trained():
    model, tasks = network(DEVICE), images(DEVICE)
    play, objective = recorded(OBJECTIVES["MAML"]), OBJECTIVES["MAML"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(4):
        if step == 2:
            model.features[0].weight.requires_grad_(False)
        episode = tasks.sample(seeded(step), 2)
        wanted, loss = objective(model, episode).detach(), play(model, episode)
        torch.testing.assert_close(loss.detach(), wanted, **CLOSE)
        optimizer.zero_grad()
        loss.backward()
        assert (model.features[0].weight.grad is None) == (step >= 2)
        optimizer.step()


@pytest.mark.parametrize("name", PREDICTIONS)
def test_answers_are_those_of_the_cpu(name):
    here, there = (
        PREDICTIONS[name](network(device), images(device).sample(seeded(3))).detach()
        for device in ("cpu", DEVICE)
    )
    same(here, there, rtol=1e-4, atol=1e-5)  # the solvers of scikit-learn end at a tolerance


def test_adapting_many_tasks_is_that_of_the_cpu():
    found = []
    for device in ("cpu", DEVICE):
        model, episode = network(device), images(device).sample(seeded(3), 4)
        params = dict(model.named_parameters())
        found.append(adapt(model, params, episode.support_x, episode.support_y, **STEPS))
    for name, here in found[0].items():
        same(here.detach(), found[1][name].detach())


def test_the_gradient_on_the_device_is_the_derivative():
    episode = images(DEVICE).sample(seeded(3), 2)
    assert check_gradient(OBJECTIVES["MAML"], network(DEVICE), episode) < 1e-4


def test_learned_rates_train_on_the_device():
    learner = MetaSGD(network(DEVICE), 0.1)

    def objective(learner, episode):
        return maml_loss(learner.network, episode, inner_lr=learner.inner_lr, inner_steps=1)

    tasks, options = images(DEVICE), {"iterations": 3, "batch": 2, "progress": False}
    history = meta_train(learner, objective, tasks, generator=seeded(0), **options)
    assert len(history.loss) == 3
    assert all(rate.device.type == torch.device(DEVICE).type for rate in learner.rates)


def test_training_and_scoring_on_the_device_give_what_the_cpu_gives():
    found = []
    for device in ("cpu", DEVICE):
        model, tasks = network(device), images(device)
        options = {"iterations": 5, "batch": 2, "generator": seeded(0), "progress": False}
        history = meta_train(model, OBJECTIVES["MAML"], tasks, **options)
        scores = evaluate(model, PREDICTIONS["MAML"], tasks, episodes=10, generator=seeded(1))
        found.append((torch.tensor(history.loss), scores))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    assert found[0][1].digest == found[1][1].digest
    assert abs(found[0][1].mean - found[1][1].mean) < 0.05


def test_transfer_works_on_the_device():
    x = torch.rand(30, 1, 28, 28, generator=seeded(0), dtype=torch.float64).to(DEVICE)
    y = torch.arange(30, device=DEVICE) % 3
    model = pretrain(network(DEVICE), x, y, steps=3, generator=seeded(0), minibatch=8)
    tuned = fine_tune(fix_statistics(model, x), x, y, steps=2, lr=0.1)
    assert features(tuned, x).device.type == torch.device(DEVICE).type
    head = ridge_head(features(model, x), y)[0]
    assert head.shape == logistic_head(features(model, x), y)[0].shape == (3, 8)


def test_many_tasks_at_once_work_on_the_device():
    x = torch.rand(30, 1, 28, 28, generator=seeded(0)).to(DEVICE)
    targets = {"a": torch.arange(30, device=DEVICE) % 3, "b": torch.rand(30, 1, device=DEVICE)}
    heads = {"a": torch.nn.Linear(8, 3), "b": torch.nn.Linear(8, 1)}
    model = MultiTask(conv4(1, width=8, generator=seeded(1)).features, heads).to(DEVICE)
    trained = train_together(model, x, targets, steps=3, generator=seeded(0), minibatch=8)
    losses = task_losses(trained(x), targets)
    rows = task_gradients(losses, trained.trunk.parameters())
    for combined in (mgda(rows), pcgrad(rows)):
        assert combined.device.type == torch.device(DEVICE).type and combined.isfinite().all()


def test_images_on_the_device_keep_their_factors():
    pictures = torch.rand(6, 4, 1, 8, 8, generator=seeded(0)).to(DEVICE)
    shear = torch.rand(6, 4, generator=seeded(1))  # factors stay on the CPU
    names, groups = tuple("abcdef"), ("x",) * 3 + ("y",) * 3
    held_out = ClassImages(pictures, names, groups, factors={"shear": shear}).split_groups(["y"])[0]
    assert torch.equal(held_out.factors["shear"], shear[3:])
    same(pictures[3:].cpu(), held_out.images)
    tasks = factor_tasks(held_out, generator=seeded(2), names=["shear"], validation=1, test=1)
    assert tasks.train[1]["shear"].device.type == torch.device(DEVICE).type


def test_a_sampler_on_the_device_passes_its_audit():
    sizes = {"ways": 3, "shots": 2, "queries": 3}
    audit_episodes(images(DEVICE), generator=seeded(0), episodes=40, **sizes)


def test_a_step_of_reptile_leaves_the_model_where_it_was():
    model = network(DEVICE)
    before = copy.deepcopy(model.state_dict())
    step = reptile_step(model, images(DEVICE).sample(seeded(3)), **STEPS)
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert all(p.device.type == torch.device(DEVICE).type for p in step.values())
