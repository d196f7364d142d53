"""Every method of the course in the same two parts: a start that is learned, and how it adapts.

``STARTS`` has the ways to learn a start from many classes, each for the same number of images;
``METHODS`` says from which start a method begins and how it makes a network for one task of it.
So all can be trained, tuned, scored and timed by the same lines.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from metalearn_lite.baselines import nearest_class
from metalearn_lite.convex_heads import Head, LearnedRidge, ridge_head, ridge_loss
from metalearn_lite.datasets import ClassImages
from metalearn_lite.factors import FACTORS, factor_moments, factor_targets
from metalearn_lite.joint_training import by_weights, train_together
from metalearn_lite.linear_heads import new_head, outputs_for
from metalearn_lite.maml import MetaSGD, adapt, adapting, maml_loss
from metalearn_lite.models import Network, conv4, initialise
from metalearn_lite.multitask import MultiTask
from metalearn_lite.normalisation import fix_statistics
from metalearn_lite.proto_maml import proto_maml_loss, start_at_prototypes
from metalearn_lite.prototypes import linear_form, prototype_loss, prototypes
from metalearn_lite.reptile import reptile_loss
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import Objective, meta_train
from metalearn_lite.transfer import fine_tune, linear_probe, pretrain

WAYS = 5
WIDTH = 32
QUERIES = 5  # of each class, in training
CLASSES = 20  # in one iteration: four tasks of five, or one of twenty
BATCH = 64  # images in a step of ordinary training

Learn = Callable[..., nn.Module]
Answer = Callable[[Tensor], Tensor]
Adapt = Callable[..., Answer]


@dataclass(frozen=True)
class Method:
    """One row of a comparison.

    Attributes:
        start: from which of ``STARTS`` it begins.
        adapt: ``adapt(learner, task, **settings)`` gives the network for a single task; where
            there is no network, a function from images to outputs.
        settings: what ``adapt`` may be given, each with the values to try, first the usual one.
    """

    start: str
    adapt: Adapt
    settings: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """A way to learn from many classes what a task then begins with.

    Attributes:
        learn: ``learn(classes, shots=, images=, seed=, **settings)``; the seed draws the
            weights and the order of what is seen, ``images`` says how many are drawn.
        settings: what ``learn`` needs besides, each with the values to try.
    """

    learn: Learn
    settings: dict[str, tuple[float, ...]] = field(default_factory=dict)


def answers(network: Answer, task: Episode) -> tuple[Tensor, Tensor]:
    """Answer the queries of a task in two ways.

    Args:
        network: what ``adapt`` gave for this task.
        task: a single episode.

    Returns:
        The outputs ``(m, ways)`` when all queries are normalised by their own statistics
        (transductive), and when each is normalised by those of the support set (inductive).
        Without batch statistics both are the same.
    """
    with torch.no_grad():
        outputs = network(task.query_x)
        if not isinstance(network, nn.Module):
            return outputs, outputs
        return outputs, fix_statistics(network, task.support_x)(task.query_x)


def learner_from(weights: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild what a start has learned from its ``state_dict()``."""
    inside = "network." if "network.head.weight" in weights else ""
    ways, width = len(weights[f"{inside}head.bias"]), len(weights[f"{inside}features.0.bias"])
    learner: nn.Module = conv4(ways, width=width)
    if "log_penalty" in weights:
        learner = LearnedRidge(conv4(ways, width=width))
    elif inside:
        learner = MetaSGD(conv4(ways, width=width), 1.0)
    learner.load_state_dict(weights)
    return learner


# Starts


def untrained(classes: ClassImages, *, shots: int, images: int, seed: int) -> Network:
    """Draw a network and train it on nothing."""
    return _network(classes, seed)


def by_classes(classes: ClassImages, *, shots: int, images: int, seed: int, lr: float) -> Network:
    """Learn to tell all classes apart, by ``pretrain``."""
    start = _network(classes, seed, ways=len(classes))
    steps = images // BATCH
    return pretrain(start, *classes.flatten(), steps=steps, generator=_seeded(1000 + seed), lr=lr)


def by_many_tasks(
    classes: ClassImages, *, shots: int, images: int, seed: int, lr: float, weight: float
) -> Network:
    """Learn the classes together with the known causes of an image, in one trunk.

    Args:
        classes: with their factors.
        shots: not used.
        images: in all.
        seed: of weights and order.
        lr: first step size.
        weight: of each of the causes; that of the classes is 1.
    """
    x, labels = classes.flatten()
    causes = factor_targets(classes, FACTORS, moments=factor_moments(classes, FACTORS))
    sizes = {n: len(classes.factor_names.get(n, "1")) for n in causes} | {"class": len(classes)}
    trunk = _network(classes, seed).features
    heads = initialise(
        nn.ModuleDict({n: nn.Linear(WIDTH, size) for n, size in sizes.items()}), _seeded(seed)
    )
    together = train_together(
        MultiTask(trunk, dict(heads.items())).to(x.device),
        x,
        {**causes, "class": labels},
        steps=images // BATCH,
        generator=_seeded(1000 + seed),
        balance=by_weights({**dict.fromkeys(causes, weight), "class": 1.0}),
        lr=lr,
    )
    head = together.heads["class"]
    assert isinstance(head, nn.Linear)
    return Network(together.trunk, head)


def by_maml(
    classes: ClassImages,
    *,
    shots: int,
    images: int,
    seed: int,
    inner_lr: float,
    meta_lr: float,
    first_order: bool = False,
    head_only: bool = False,
) -> Network:
    """Learn a start by MAML with one inner step, or by a relative of it."""
    model = _network(classes, seed)
    options = {"inner_lr": inner_lr, "inner_steps": 1}
    kind = {"first_order": first_order, "head_only": head_only}
    objective = partial(maml_loss, **options, **kind)  # type: ignore[arg-type]
    _over_tasks(model, objective, classes, shots, images, seed, meta_lr)
    return model


def by_meta_sgd(
    classes: ClassImages, *, shots: int, images: int, seed: int, inner_lr: float, meta_lr: float
) -> MetaSGD:
    """Learn a start and the rates of its one inner step."""
    learner = MetaSGD(_network(classes, seed), inner_lr)

    def objective(learner: MetaSGD, episode: Episode) -> Tensor:
        return maml_loss(learner.network, episode, inner_lr=learner.inner_lr, inner_steps=1)

    _over_tasks(learner, objective, classes, shots, images, seed, meta_lr)
    return learner


def by_reptile(
    classes: ClassImages, *, shots: int, images: int, seed: int, inner_lr: float, inner_steps: int
) -> Network:
    """Learn a start by Reptile, by SGD on ten images in each inner step."""
    model, order = _network(classes, seed), _seeded(3000 + seed)

    def objective(model: Network, episode: Episode) -> Tensor:
        walk = {"inner_lr": inner_lr, "inner_batch": 10, "generator": order}
        return reptile_loss(model, episode, inner_steps=int(inner_steps), **walk)  # type: ignore[arg-type]

    whole_way = torch.optim.SGD(model.parameters(), lr=1.0)
    _over_tasks(model, objective, classes, shots, images, seed, optimizer=whole_way)
    return model


def by_prototypes(
    classes: ClassImages, *, shots: int, images: int, seed: int, meta_lr: float, ways: int
) -> Network:
    """Learn a space in which the nearest class mean is right."""
    model = _network(classes, seed)
    _over_tasks(model, prototype_loss, classes, shots, images, seed, meta_lr, ways=int(ways))
    return model


def by_ridge(
    classes: ClassImages, *, shots: int, images: int, seed: int, meta_lr: float, ways: int
) -> LearnedRidge:
    """Learn a space for ridge regression, through its solution."""
    learner = LearnedRidge(_network(classes, seed), penalty=1.0, scale=5.0)

    def objective(learner: LearnedRidge, episode: Episode) -> Tensor:
        return ridge_loss(learner.network, episode, penalty=learner.penalty, scale=learner.scale)

    _over_tasks(learner, objective, classes, shots, images, seed, meta_lr, ways=int(ways))
    return learner


def by_proto_maml(
    classes: ClassImages, *, shots: int, images: int, seed: int, inner_lr: float, meta_lr: float
) -> Network:
    """Learn a start for one step from the prototypes, on tasks of twenty ways."""
    model = _network(classes, seed)
    objective = partial(proto_maml_loss, inner_lr=inner_lr, inner_steps=1)
    _over_tasks(model, objective, classes, shots, images, seed, meta_lr, ways=CLASSES)
    return model


# Adaptation to one task


def by_pixels(learner: nn.Module, task: Episode) -> Answer:
    """Answer by the nearest support image."""
    x, y = task.support_x.flatten(1), task.support_y
    return lambda queries: nearest_class(x, y, queries.flatten(1))


def probed(learner: Network, task: Episode, *, l2: float = 1e-3) -> Network:
    """Fit the last layer to its optimum."""
    return linear_probe(learner, task.support_x, task.support_y, l2=l2)


def tuned(learner: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Train all layers, with a new last one that begins at zero."""
    start = new_head(learner, outputs_for(task.support_y))
    return fine_tune(start, task.support_x, task.support_y, steps=int(steps), lr=lr)


def probed_and_tuned(learner: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Fit the last layer, then train all (LP-FT)."""
    return fine_tune(probed(learner, task), task.support_x, task.support_y, steps=int(steps), lr=lr)


def trained_alone(learner: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Train from the weights of the learner, head included."""
    return fine_tune(learner, task.support_x, task.support_y, steps=int(steps), lr=lr)


def stepped(
    learner: nn.Module,
    task: Episode,
    *,
    inner_steps: int,
    inner_lr: float,
    head_only: bool = False,
) -> Network:
    """Take gradient steps from a learned start (MAML, its relatives, Reptile)."""
    model, rate = (
        (learner.network, {n: r.detach() for n, r in learner.inner_lr.items()})
        if isinstance(learner, MetaSGD)
        else (learner, inner_lr)
    )
    assert isinstance(model, Network)
    params = {n: p.detach() for n, p in adapting(model, head_only=head_only).items()}
    steps = {"inner_lr": rate, "inner_steps": int(inner_steps), "first_order": True}
    return _with(model, adapt(model, params, task.support_x, task.support_y, **steps))  # type: ignore[arg-type]


def at_means(learner: Network, task: Episode) -> Network:
    """Give the network the head that answers by the nearest class mean."""
    z = learner.features(task.support_x).detach()
    return _with_head(learner, linear_form(prototypes(z, task.support_y)))


def at_ridge(learner: LearnedRidge, task: Episode, *, factor: float = 1.0) -> Network:
    """Give the network the head of ridge regression, with ``factor`` times its penalty."""
    z = learner.network.features(task.support_x).detach()
    penalty = factor * learner.penalty.item()
    return _with_head(learner.network, ridge_head(z, task.support_y, penalty=penalty))


def stepped_from_means(
    learner: Network, task: Episode, *, inner_steps: int, inner_lr: float
) -> Network:
    """Take gradient steps from the prototypes (Proto-MAML)."""
    start = {n: p.detach() for n, p in start_at_prototypes(learner, task).items()}
    steps = {"inner_lr": inner_lr, "inner_steps": int(inner_steps), "first_order": True}
    adapted = adapt(learner, start, task.support_x, task.support_y, **steps)  # type: ignore[arg-type]
    head = adapted["head.weight"], adapted["head.bias"]
    return _with(_with_head(learner, head), adapted)


INNER: dict[str, tuple[float, ...]] = {"inner_lr": (0.1, 0.4), "meta_lr": (0.004, 0.008)}
STEPS: dict[str, tuple[float, ...]] = {"inner_steps": (1, 3, 10, 20)}
L2: dict[str, tuple[float, ...]] = {"l2": (1e-3, 1e-4, 1e-2, 1e-1)}

STARTS = {
    "nothing": Start(untrained),
    "classes": Start(by_classes, {"lr": (0.002, 0.004, 0.008, 0.016)}),
    "many tasks": Start(by_many_tasks, {"lr": (0.004, 0.008), "weight": (0.1, 0.5)}),
    "MAML": Start(by_maml, INNER),
    "first-order MAML": Start(partial(by_maml, first_order=True), INNER),
    "ANIL": Start(partial(by_maml, head_only=True), INNER),
    "Meta-SGD": Start(by_meta_sgd, INNER),
    "Reptile": Start(by_reptile, {"inner_lr": (0.2, 0.5), "inner_steps": (5, 10)}),
    "prototypes": Start(by_prototypes, {"meta_lr": (0.004, 0.008), "ways": (5, 20)}),
    "ridge": Start(by_ridge, {"meta_lr": (0.004, 0.008), "ways": (5, 20)}),
    "Proto-MAML": Start(by_proto_maml, {"inner_lr": (0.05, 0.2), "meta_lr": (0.004, 0.008)}),
}

METHODS = {
    "nearest pixel": Method("nothing", by_pixels),
    "from scratch": Method("nothing", trained_alone, {"steps": (5, 20), "lr": (0.1, 0.5)}),
    "linear probe": Method("classes", probed, L2),
    "fine-tuning": Method("classes", tuned, {"steps": (5, 20), "lr": (0.03, 0.1)}),
    "LP-FT": Method("classes", probed_and_tuned, {"steps": (5, 20), "lr": (0.01, 0.05)}),
    "multi-task": Method("many tasks", probed, L2),
    "MAML": Method("MAML", stepped, STEPS),
    "first-order MAML": Method("first-order MAML", stepped, STEPS),
    "ANIL": Method("ANIL", partial(stepped, head_only=True), STEPS),
    "Meta-SGD": Method("Meta-SGD", stepped, STEPS),
    "Reptile": Method("Reptile", stepped, {"inner_steps": (5, 10, 20, 40)}),
    "prototypes": Method("prototypes", at_means),
    "ridge": Method("ridge", at_ridge, {"factor": (1.0, 0.1, 10.0, 100.0)}),
    "Proto-MAML": Method("Proto-MAML", stepped_from_means, STEPS),
}


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _network(classes: ClassImages, seed: int, ways: int = WAYS) -> Network:
    """Return the backbone that all share; a seed gives the same features whatever the head."""
    return conv4(ways, width=WIDTH, generator=_seeded(seed)).to(classes.images.device)


def _over_tasks(
    learner: nn.Module,
    objective: Objective,
    classes: ClassImages,
    shots: int,
    images: int,
    seed: int,
    meta_lr: float = 0.0,
    *,
    ways: int = WAYS,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Train in place by Adam, or the given optimiser, with a rate that falls to 0."""
    meta_train(
        learner,
        objective,
        ImageTasks(classes, ways, shots, QUERIES),
        iterations=images // (CLASSES * (shots + QUERIES)),
        batch=CLASSES // ways,
        generator=_seeded(1000 + seed),
        optimizer=optimizer or torch.optim.Adam(learner.parameters(), lr=meta_lr),
        schedule=lambda done: 1 - done,
        progress=False,
    )


def _with(model: Network, params: dict[str, Tensor]) -> Network:
    """Return a copy of the network with these parameters."""
    adapted = copy.deepcopy(model)
    adapted.load_state_dict(params, strict=False)
    return adapted


def _with_head(model: Network, head: Head) -> Network:
    """Return a copy of the network with this weight and bias in its last layer."""
    renewed = new_head(model, len(head[1]))
    renewed.head.load_state_dict({"weight": head[0], "bias": head[1]})
    return renewed
