"""The long run behind the chapter on prototypes: ways in training, and heads on top of the means.

    python results/prototypes_glyphs.py [--draws 0 1 2 ...] [--ways-draws 0 1 2 ...]
        [--threads 2] [--to FILE] [--ways-to FILE]

A draw is a start of the networks and an order of the tasks, both from one seed, as in
``maml_glyphs.py``; all are scored on the test episodes of that recipe. An iteration sees as many
images whatever the number of ways, and as many as one of MAML's there; there are half as many
iterations. A draw is written when it is done; the first also leaves its weights in
results/prototypes_glyphs/. About six minutes a draw on one core.

How much the ways in training matter differs from draw to draw. So five and twenty ways, and
nothing else, are compared in further draws, in prototypes_ways.json; two minutes each.

Tried on the validation scripts: the outer step size 0.005 of 0.003, 0.005 and 0.01, all alike
within their intervals; for Proto-MAML the inner one, 0.1 of 0.01, 0.1 and 0.4.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import ClassImages, glyphs
from metalearn_lite.evaluation import Predict, evaluate
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.maml import proto_maml_loss, proto_maml_predict
from metalearn_lite.models import Network, conv4
from metalearn_lite.prototypes import (
    LearnedRidge,
    prototype_loss,
    prototype_predict,
    ridge_loss,
    ridge_predict,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import Objective, meta_train

HERE = Path(__file__).resolve().parent
CLASSES, QUERIES, WIDTH = 20, 5, 32  # classes in an iteration: 4 tasks of 5, or 1 of 20
WAYS = (5, 20)
META_LR, INNER_LR = 0.005, 0.1  # the former falls linearly to 0
PENALTY, SCALE = 1.0, 5.0  # where those of the ridge head start
ITERATIONS = {1: 1000, 5: 500}  # by shots
EPISODES = 200
DRAWS = range(3)
WAYS_DRAWS = range(8)  # of prototypes_ways.json, the first from the ledger of all

Learner = TypeVar("Learner", bound=nn.Module)


def ridge_objective(learner: LearnedRidge, episode: Episode) -> Tensor:
    return ridge_loss(learner.network, episode, penalty=learner.penalty, scale=learner.scale)


def network(draw: int) -> Network:
    return conv4(5, width=WIDTH, generator=seeded(draw))


def train(
    learner: Learner,
    classes: ClassImages,
    objective: Objective = prototype_loss,
    *,
    draw: int,
    ways: int = 20,
    shots: int = 1,
) -> Learner:
    """Train a network, or one with the penalty and scale of its ridge head, in place."""
    meta_train(
        learner,
        objective,
        ImageTasks(classes, ways, shots, QUERIES),
        iterations=ITERATIONS[shots],
        batch=CLASSES // ways,
        generator=seeded(1000 + draw),
        optimizer=torch.optim.Adam(learner.parameters(), lr=META_LR),
        schedule=lambda done: 1 - done,
        progress=False,
    )
    return learner


def score(model: Network, predict: Predict, classes: ClassImages, shots: int) -> float:
    """Score on the episodes of ``maml_glyphs.py``."""
    tasks = ImageTasks(classes, 5, shots, 15)
    return evaluate(model, predict, tasks, episodes=EPISODES, generator=seeded(2)).mean


def score_all(
    model: Network, predict: Callable[..., Tensor], classes: ClassImages
) -> dict[str, float]:
    """Score with one and five examples, and with one inductively."""
    found = {str(shots): score(model, predict, classes, shots) for shots in (1, 5)}
    return found | {"support": score(model, partial(predict, statistics="support"), classes, 1)}


def draw_results(draw: int, weights: Path | None = None) -> dict[str, Any]:
    """Everything for one draw; keep the networks in the folder ``weights``."""
    classes, _, test = glyphs().split_groups()

    def keep(learner: nn.Module, name: str) -> None:
        if weights is not None:
            path = weights / f"{name.replace(' ', '_')}.zip"
            save_checkpoint(path, learner.state_dict(), metadata={"network": name})

    result: dict[str, Any] = {"prototypes": {}}
    for ways in WAYS:
        model = train(network(draw), classes, draw=draw, ways=ways)
        keep(model, f"prototypes {ways} ways")
        result["prototypes"][f"{ways} ways"] = score_all(model, prototype_predict, test)
    learner = LearnedRidge(network(draw), penalty=PENALTY, scale=SCALE)
    train(learner, classes, ridge_objective, draw=draw)
    keep(learner, "ridge")
    predict = partial(ridge_predict, penalty=learner.penalty.item())
    result["ridge"] = score_all(learner.network, predict, test)
    result["ridge"] |= {"penalty": learner.penalty.item(), "scale": learner.scale.item()}

    model = train(network(draw), classes, draw=draw, shots=5)
    keep(model, "prototypes 5 shots")
    result["5 shots"] = {"prototypes": score(model, prototype_predict, test, 5)}
    one_step = partial(proto_maml_loss, inner_lr=INNER_LR, inner_steps=1)
    model = train(network(draw), classes, one_step, draw=draw, shots=5)
    keep(model, "Proto-MAML 5 shots")
    result["5 shots"]["Proto-MAML"] = {
        str(k): score(model, partial(proto_maml_predict, inner_lr=INNER_LR, inner_steps=k), test, 5)
        for k in (0, 1, 5)
    }
    return result


def ways_results(draw: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """Prototypes by ways in training; from the ledger of all methods if the draw is there."""
    if str(draw) in known:
        return {"prototypes": known[str(draw)]["prototypes"]}
    classes, _, test = glyphs().split_groups()
    found = {}
    for ways in WAYS:
        model = train(network(draw), classes, draw=draw, ways=ways)
        found[f"{ways} ways"] = score_all(model, prototype_predict, test)
    return {"prototypes": found}


def new_ledger() -> dict[str, Any]:
    settings = {
        "classes": CLASSES,
        "queries": QUERIES,
        "width": WIDTH,
        "meta_lr": META_LR,
        "inner_lr": INNER_LR,
        "iterations": {str(shots): n for shots, n in ITERATIONS.items()},
        "episodes": EPISODES,
    }
    return how_made("python results/prototypes_glyphs.py") | {"settings": settings}


def main() -> None:
    parser = recipe_parser(__file__, __doc__, DRAWS)
    parser.add_argument("--ways-draws", type=int, nargs="*", default=WAYS_DRAWS)
    parser.add_argument("--ways-to", type=Path, default=HERE / "prototypes_ways.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def measure(draw: int, _: object) -> dict[str, Any]:
        return draw_results(draw, options.to.with_suffix("") if draw == 0 else None)

    def measure_ways(draw: int, _: object) -> dict[str, Any]:
        return ways_results(draw, json.loads(options.to.read_text())["draws"])

    fill_ledger(options.to, options.draws, new_ledger, measure)
    fill_ledger(options.ways_to, options.ways_draws, new_ledger, measure_ways)


if __name__ == "__main__":
    main()
