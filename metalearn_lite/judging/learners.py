"""Ways to learn, from many classes, what a task then begins with.

``LEARNERS`` has them all, each with the settings to try. All begin with the same features for a
seed, and draw the same number of images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from metalearn_lite.datasets.class_images import ClassImages
from metalearn_lite.maml.dispatch import maml_loss
from metalearn_lite.maml.meta_sgd import MetaSGD
from metalearn_lite.maml.proto_maml import proto_maml_loss
from metalearn_lite.models.heads import CosineHead
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.models.networks import Network, conv4
from metalearn_lite.models.normalisation import BatchStatisticsNorm
from metalearn_lite.multitask.factors import FACTORS, factor_moments, factor_targets
from metalearn_lite.multitask.joint_training import by_weights, train_together
from metalearn_lite.multitask.network import MultiTask
from metalearn_lite.prototypes.fitted_heads import LearnedRidge, ridge_loss
from metalearn_lite.prototypes.means import prototype_loss
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile.steps import reptile_loss
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import Objective, meta_train
from metalearn_lite.transfer.supervised import pretrain

WAYS = 5
WIDTH = 32
QUERIES = 5  # of each class, in training
CLASSES = 20  # in one iteration: four tasks of five, or one of twenty
MINIBATCH = 64  # images in a step of ordinary training

Learn = Callable[..., nn.Module]


@dataclass(frozen=True)
class Learner:
    """A way to learn from many classes what a task then begins with.

    Attributes:
        learn: ``learn(classes, shots=, images=, seed=, **settings)``; the seed draws the
            weights and the order of what is seen, ``images`` says how many are drawn.
        settings: what ``learn`` needs besides, each with the values to try.
    """

    learn: Learn
    settings: dict[str, tuple[float, ...]] = field(default_factory=dict)


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


def learn_nothing(classes: ClassImages, *, shots: int, images: int, seed: int) -> Network:
    """Draw a network and train it on nothing."""
    return _network(classes, seed)


def by_classes(
    classes: ClassImages,
    *,
    shots: int,
    images: int,
    seed: int,
    lr: float,
    cosine: bool = False,
    running: bool = False,
) -> Network:
    """Learn to tell all classes apart, by ``pretrain``.

    Args:
        classes: what to tell apart.
        shots: not used.
        images: in all.
        seed: of weights and order.
        lr: first step size.
        cosine: with a head that compares directions (Baseline++ of Chen et al., 2019).
        running: with PyTorch's batch norm, whose statistics of all of training are used
            afterwards.
    """
    start = _network(classes, seed, ways=len(classes))
    if cosine:
        head = CosineHead(WIDTH, len(classes)).to(classes.images.device)
        start.head = initialise(head, seeded(seed))
    if running:
        _with_running_statistics(start)
    steps = images // MINIBATCH
    order, x_and_y = seeded(1000 + seed), classes.flatten()
    learned = pretrain(start, *x_and_y, steps=steps, generator=order, minibatch=MINIBATCH, lr=lr)
    return learned.eval() if running else learned


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
        nn.ModuleDict({n: nn.Linear(WIDTH, size) for n, size in sizes.items()}), seeded(seed)
    )
    together = train_together(
        MultiTask(trunk, dict(heads.items())).to(x.device),
        x,
        {**causes, "class": labels},
        steps=images // MINIBATCH,
        generator=seeded(1000 + seed),
        balance=by_weights({**dict.fromkeys(causes, weight), "class": 1.0}),
        minibatch=MINIBATCH,
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
    inner_steps: int = 1,
    first_order: bool = False,
    head_only: bool = False,
    equal_head: bool = False,
) -> Network:
    """Learn a start by MAML, or by a relative of it.

    Args:
        classes: what tasks are drawn from.
        shots: examples of each class.
        images: in all.
        seed: of weights and order.
        inner_lr: α.
        meta_lr: first outer step size.
        inner_steps: in training.
        first_order: leave the Hessian out.
        head_only: adapt the head alone (ANIL).
        equal_head: all outputs begin alike in each task, so that the order of the classes cannot
            matter (UNICORN-MAML of Ye and Chao, 2022). They begin at zero: a vector that all
            share adds the same to all logits, which a softmax does not see, in either loop.
    """
    model = _network(classes, seed)
    if equal_head:
        _keep_at_zero(model.head)
    options = {"inner_lr": inner_lr, "inner_steps": inner_steps}
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
    model, order = _network(classes, seed), seeded(3000 + seed)

    def objective(model: Network, episode: Episode) -> Tensor:
        walk = {"inner_lr": inner_lr, "minibatch": 10, "generator": order}
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


INNER: dict[str, tuple[float, ...]] = {"inner_lr": (0.1, 0.4), "meta_lr": (0.004, 0.008)}

LEARNERS = {
    "nothing": Learner(learn_nothing),
    "classes": Learner(by_classes, {"lr": (0.002, 0.004, 0.008, 0.016)}),
    "many tasks": Learner(by_many_tasks, {"lr": (0.004, 0.008), "weight": (0.1, 0.5)}),
    "MAML": Learner(by_maml, INNER),
    "first-order MAML": Learner(partial(by_maml, first_order=True), INNER),
    "ANIL": Learner(partial(by_maml, head_only=True), INNER),
    "Meta-SGD": Learner(by_meta_sgd, INNER),
    "Reptile": Learner(by_reptile, {"inner_lr": (0.2, 0.5), "inner_steps": (5, 10)}),
    "prototypes": Learner(by_prototypes, {"meta_lr": (0.004, 0.008), "ways": (5, 20)}),
    "ridge": Learner(by_ridge, {"meta_lr": (0.004, 0.008), "ways": (5, 20)}),
    "Proto-MAML": Learner(by_proto_maml, {"inner_lr": (0.05, 0.2), "meta_lr": (0.004, 0.008)}),
}


def _network(classes: ClassImages, seed: int, ways: int = WAYS) -> Network:
    """Return the backbone that all share; a seed gives the same features whatever the head."""
    return conv4(ways, width=WIDTH, generator=seeded(seed)).to(classes.images.device)


def _with_running_statistics(network: Network) -> None:
    """Exchange the normalisation by the batch for PyTorch's, which remembers."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, BatchStatisticsNorm):
            norm = nn.BatchNorm2d(len(layer.weight)).to(layer.weight.device)
            network.set_submodule(name, norm)


def _keep_at_zero(head: nn.Linear) -> None:
    """Let the inner loop move a head, and not the outer one."""
    for p in head.parameters():
        nn.init.zeros_(p)
        p.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]


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
        generator=seeded(1000 + seed),
        optimizer=optimizer or torch.optim.Adam(learner.parameters(), lr=meta_lr),
        schedule=lambda done: 1 - done,
        progress=False,
    )
