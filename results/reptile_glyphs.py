"""The long run behind the chapter on Reptile with images: glyphs, on the episodes of MAML.

    python results/reptile_glyphs.py [--draws 0 1 2 ...] [--threads 2] [--to FILE]

A draw is a start of the network and an order of the tasks, as in results/maml_glyphs.py, with
the same tasks, the same images in each, and the same scored episodes: the numbers of both ledgers
can be subtracted draw by draw. A draw is written when it is done; the first also leaves its
weights in results/reptile_glyphs/. About ten minutes a draw on one core.

Step sizes are the best of a few that were tried on the validation scripts, with 150 or 600
iterations: for SGD 0.4 of 0.1, 0.4 and 1, for Adam 0.01 of 0.002, 0.005 and 0.01.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import ClassImages, glyphs
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.models import Network, conv4
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import InnerAdam, reptile_loss, reptile_predict
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train

HERE = Path(__file__).resolve().parent
WAYS, QUERIES, BATCH, WIDTH = 5, 5, 4, 32
BASE: dict[str, Any] = {
    "optimizer": "sgd",
    "inner_lr": 0.4,
    "inner_steps": 5,
    "minibatch": 10,
    "meta_lr": 1.0,
}
ADAM = {"inner_lr": 0.01}
SHORT = 200  # iterations that a chapter can afford
LONG = {1: 2000, 5: 800}  # by shots
EPISODES = 200
DRAWS = range(3)
STEPS = (1, 5, 10, 30)  # inner steps when scored
TEST_STEPS = {1: 5, 5: 10}

ALL_IMAGES = "all images in each step"

# What differs from BASE in a short run.
VARIANTS: dict[str, dict[str, Any]] = {
    "5 steps": {},
    "1 step": {"inner_steps": 1},
    "2 steps": {"inner_steps": 2},
    "10 steps": {"inner_steps": 10},
    ALL_IMAGES: {"minibatch": None},
    "a quarter of the way": {"meta_lr": 0.25},
    "Adam, new for each task": ADAM | {"optimizer": "adam"},
    "Adam, running on": ADAM | {"optimizer": "running"},
}


def train(
    classes: ClassImages, draw: int, shots: int, iterations: int, **changes: Any
) -> tuple[Network, dict[str, Any]]:
    """Train one network; return it with the settings of its inner loop."""
    settings = BASE | changes
    model = conv4(WAYS, width=WIDTH, generator=seeded(draw))
    meta_lr, optimizer = settings.pop("meta_lr"), settings.pop("optimizer")
    running = InnerAdam(model.parameters()) if optimizer == "running" else optimizer
    settings["inner_optimizer"] = running

    def objective(model: Network, episode: Episode) -> torch.Tensor:
        return reptile_loss(model, episode, generator=order, **settings)

    order = seeded(3000 + draw)
    meta_train(
        model,
        objective,
        ImageTasks(classes, WAYS, shots, QUERIES),
        iterations=iterations,
        batch=BATCH,
        generator=seeded(1000 + draw),
        optimizer=torch.optim.SGD(model.parameters(), lr=meta_lr),
        schedule=lambda done: 1 - done,
        progress=False,
    )
    return model, settings


def score(
    model: Network, settings: dict[str, Any], test: ClassImages, *, shots: int, **changes: Any
) -> float:
    """Score on the episodes that all share."""
    options = {**settings, "inner_steps": TEST_STEPS[shots], "generator": seeded(4), **changes}
    tasks = ImageTasks(test, WAYS, shots, 15)
    predict = partial(reptile_predict, **options)
    return evaluate(model, predict, tasks, episodes=EPISODES, generator=seeded(2)).mean


def draw_results(draw: int, weights: Path | None = None) -> dict[str, Any]:
    """Everything for one draw; keep the networks in the folder ``weights``."""
    classes, _, test = glyphs().split_groups()
    result: dict[str, Any] = {"short": {}}

    def keep(model: Network, name: str) -> None:
        if weights is not None:
            path = weights / f"{name.replace(', ', '_').replace(' ', '_')}.zip"
            save_checkpoint(path, model.state_dict(), metadata={"network": name})

    for name, changes in VARIANTS.items():
        model, settings = train(classes, draw, 1, SHORT, **changes)
        result["short"][name] = score(model, settings, test, shots=1)
        if name == ALL_IMAGES:
            keep(model, name)
    for shots, iterations in LONG.items():
        model, settings = train(classes, draw, shots, iterations)
        scored = partial(score, model, settings, test, shots=shots)
        result[str(shots)] = {"steps": {str(k): scored(inner_steps=k) for k in STEPS}}
        if shots == 1:
            result["1"]["support"] = scored(statistics="support")
        keep(model, f"Reptile, {shots} shot")
    return result


def new_ledger() -> dict[str, Any]:
    settings = {
        "ways": WAYS,
        "queries": QUERIES,
        "tasks": BATCH,
        "width": WIDTH,
        "base": BASE,
        "adam": ADAM,
        "short": SHORT,
        "iterations": {str(shots): n for shots, n in LONG.items()},
        "test steps": {str(shots): n for shots, n in TEST_STEPS.items()},
        "episodes": EPISODES,
    }
    return how_made("python results/reptile_glyphs.py") | {"settings": settings}


def main() -> None:
    options = recipe_parser(__file__, __doc__, DRAWS).parse_args()
    torch.set_num_threads(options.threads)

    def measure(draw: int, _: object) -> dict[str, Any]:
        return draw_results(draw, options.to.with_suffix("") if draw == 0 else None)

    fill_ledger(options.to, options.draws, new_ledger, measure)


if __name__ == "__main__":
    main()
