"""The networks that answer in the page while a reader draws: 28 x 28 pixels, no library needed.

    python results/page_networks.py [--only NAME ...] [--threads 2] [--to FILE]

Four networks of four strided convolutions with 32 filters, trained on the handwriting of 25
alphabets of Omniglot's background set, each drawing cut out around its ink and warped, and scored
once on tasks of the five alphabets held out: five ways, each query answered by itself. Three
normalise within groups of channels, so that an answer cannot depend on other drawings; the fourth
by the batch, to show that it does. The settings were not searched, but for the step size of
fine-tuning: 0.03 of 0.003, 0.01, 0.03 and 0.1, on 100 tasks of four alphabets of the 25. Needs
Omniglot in the folder named by METALEARN_OMNIGLOT. About ten minutes a network on one core; one
whose weights are stored is only scored.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omniglot_challenge import Recipe, handwriting, warped
from torch import Tensor

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import ClassImages, crop_to_ink
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging import nearest_pixel
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.maml import maml_loss, maml_predict
from metalearn_lite.models import Network, conv4, new_head
from metalearn_lite.models.networks import Norm
from metalearn_lite.models.query_statistics import Statistics, answer_each_task
from metalearn_lite.prototypes import prototype_loss, prototype_predict
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import Objective, meta_train
from metalearn_lite.transfer import fine_tune_learn, pretrain
from metalearn_lite.widgets.characters import (
    INNER_LR,
    INNER_STEPS,
    TUNING_LR,
    TUNING_STEPS,
    WAYS,
    file_name,
    stored,
)

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "page_networks"
RUNNING = HERE.parent / "_build" / "results" / "page_networks"
WIDTH, SIZE = 32, 28
SHOTS = (1, 5)
EPISODES = 1000

Predict = Callable[[Network, Episode], Tensor]


def cut_out(data: ClassImages) -> ClassImages:
    """Return the drawings as the networks see them."""
    x, _ = data.flatten()
    x = torch.cat([crop_to_ink(part, SIZE) for part in torch.split(x, 500)])
    return ClassImages(
        x.view(*data.images.shape[:3], SIZE, SIZE), data.class_names, data.groups, data.split
    )


def warp(x: Tensor) -> Tensor:
    """Turn, scale, shear, shift and bend each drawing, by PyTorch's own generator."""
    return warped(x.flatten(0, -4), Recipe()).view_as(x)


def on_warped(loss: Objective) -> Objective:
    """Return ``loss`` on drawings that are turned by quarters, alike in a batch, and warped."""

    def objective(model: Network, episode: Episode) -> Tensor:
        turn = int(torch.randint(4, ()))
        support, query = (
            warp(x.rot90(turn, (-2, -1)).contiguous()) for x in (episode.support_x, episode.query_x)
        )
        return loss(model, Episode(support, episode.support_y, query, episode.query_y))

    return objective


def over_tasks(
    name: str, loss: Objective, tasks: ImageTasks, *, batch: int | None, iterations: int, norm: Norm
) -> Network:
    """Train on tasks; a run that was stopped goes on from its last checkpoint."""
    model = conv4(WAYS, WIDTH, norm, generator=seeded(0))
    rate = 0.003
    meta_train(
        model,
        on_warped(loss),
        tasks,
        iterations=iterations,
        batch=batch,
        generator=seeded(1000),
        optimizer=torch.optim.Adam(model.parameters(), lr=rate),
        schedule=lambda done: 1 - done,
        checkpoint=RUNNING / f"{name}.zip",
        progress=False,
    )
    return model


def by_classes(data: ClassImages) -> Network:
    """Learn to tell all characters apart, those turned by quarters too."""
    turned = data.rotated()
    x, y = turned.flatten()
    start = conv4(len(turned), WIDTH, "group", generator=seeded(0))
    options = {"steps": 15_000, "minibatch": 64, "lr": 0.003, "generator": seeded(1000)}
    learned = pretrain(start, x, y, augment=lambda x, _: warp(x), **options)  # type: ignore[arg-type]
    return new_head(learned, WAYS)


def by_prototypes(data: ClassImages) -> Network:
    tasks = ImageTasks(data, 20, 1, 3, within_groups=True)
    options: dict[str, Any] = {"batch": None, "iterations": 15_000, "norm": "group"}
    return over_tasks("prototypes", prototype_loss, tasks, **options)


def by_maml(data: ClassImages, *, norm: Norm) -> Network:
    tasks = ImageTasks(data, WAYS, 1, 3, within_groups=True)
    loss = partial(maml_loss, inner_steps=INNER_STEPS, inner_lr=INNER_LR)
    return over_tasks(f"MAML {norm}", loss, tasks, batch=4, iterations=4_000, norm=norm)


TRAIN: dict[str, Callable[[ClassImages], Network]] = {
    "prototypes": by_prototypes,
    "fine-tuning": by_classes,
    "MAML": partial(by_maml, norm="group"),
    "MAML, batch statistics": partial(by_maml, norm="batch"),
}


def by_fine_tuning(model: Network, episode: Episode) -> Tensor:
    learn = partial(fine_tune_learn, model, steps=TUNING_STEPS, lr=TUNING_LR)
    return answer_each_task(model, episode, learn)


def predictions(name: str) -> dict[str, Predict]:
    """Return how a network answers, by the name of what is scored."""
    if name == "prototypes":
        return {"alone": prototype_predict}
    if name == "fine-tuning":
        return {"alone": by_fine_tuning}
    options: dict[str, Any] = {"inner_steps": INNER_STEPS, "inner_lr": INNER_LR}
    ways: dict[str, Statistics] = {"alone": "single"}
    if "batch" in name:
        ways |= {"with the examples": "support", "with the other queries": "queries"}
    return {how: partial(maml_predict, statistics=s, **options) for how, s in ways.items()}


def make(name: str, _: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network, store it in half digits, and score what is stored."""
    own, held_out = (cut_out(data) for data in handwriting())
    if not (WEIGHTS / file_name(name)).exists():
        torch.manual_seed(0)
        state = {key: v.half() for key, v in TRAIN[name](own).state_dict().items()}
        save_checkpoint(WEIGHTS / file_name(name), state, metadata={"network": name})
    return score(stored(name), predictions(name), held_out)


def score(model: Network, ways: Mapping[str, Predict], data: ClassImages) -> dict[str, Any]:
    """Return per cent right with one and with five examples, beside the nearest pixel."""
    found: dict[str, Any] = {}
    for shots in SHOTS:
        tasks = ImageTasks(data, WAYS, shots, 3)
        for how, predict in {**ways, "nearest pixel": nearest_pixel}.items():
            right = evaluate(model, predict, tasks, episodes=EPISODES, generator=seeded(2))
            about = {"right": 100 * right.mean, "half_width": 100 * right.half_width}
            found.setdefault(how, {})[f"{shots}"] = about
    return found


def main() -> None:
    parser = recipe_parser(__file__, __doc__, range(0))
    parser.add_argument("--only", nargs="+", default=list(TRAIN))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    WEIGHTS.mkdir(exist_ok=True)
    fill_ledger(options.to, options.only, lambda: how_made("python results/page_networks.py"), make)


if __name__ == "__main__":
    main()
