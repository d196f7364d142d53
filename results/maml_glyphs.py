"""The long run behind the chapter on MAML with images: four ways to learn a start, on glyphs.

    python results/maml_glyphs.py [--draws 0 1 2 ...] [--threads 2] [--to FILE]

A draw is a start of the networks and an order of the tasks, both from one seed; whatever is
compared shares its draw. All are scored on the same episodes of the test scripts. A draw is
written when it is done; the first also leaves its weights in results/maml_glyphs/. About half
an hour a draw on one core.

Step sizes are the best of a few that were tried on the validation scripts, 600 iterations each.
In the inner loop 0.4 of 0.1, 0.4 and 1, for MAML, first-order MAML and ANIL alike, and of 0.1 and
0.4 for group norm; in the outer one 0.005 of 0.003, 0.005 and 0.01, for group norm of 0.001, 0.003
and 0.005.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import ClassImages, glyphs
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.maml import MetaSGD, adapt, maml_loss, maml_predict
from metalearn_lite.maml.step_sizes import Rate
from metalearn_lite.models import Network, conv4, fix_statistics
from metalearn_lite.models.functional import call
from metalearn_lite.models.networks import Norm
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import as_predict, linear_probe, pretrain
from metalearn_lite.transfer.fine_tuning import Adapt

HERE = Path(__file__).resolve().parent
WAYS, QUERIES, BATCH, WIDTH = 5, 5, 4, 32
INNER_LR, META_LR = 0.4, 0.005  # the latter falls linearly to 0
SHORT = 600  # iterations that a chapter can afford
LONG = {1: 2000, 5: 800}  # by shots
PRETRAINING = 2000  # steps of 64 images
LONGER = 2  # times these
EPISODES = 200
DRAWS = range(3)
STEPS = (0, 1, 2, 3, 5, 10)  # inner steps when scored

PARTS = {  # of the network, by how the names of their parameters begin
    "first three blocks": tuple(f"features.{i}." for i in range(9)),
    "last block": ("features.9.", "features.10."),
    "head": ("head.",),
}

METHODS: dict[str, dict[str, Any]] = {
    "MAML": {},
    "first-order MAML": {"first_order": True},
    "ANIL": {"head_only": True},
    "Meta-SGD": {},
}


def train(
    name: str,
    classes: ClassImages,
    *,
    draw: int,
    shots: int,
    iterations: int,
    norm: Norm = "batch",
) -> nn.Module:
    """Train one network by the method ``name``."""
    model = conv4(WAYS, width=WIDTH, norm=norm, generator=seeded(draw))
    learner = MetaSGD(model, INNER_LR) if name == "Meta-SGD" else model

    def objective(learner: nn.Module, episode: Episode) -> Tensor:
        rate = learner.inner_lr if isinstance(learner, MetaSGD) else INNER_LR
        return maml_loss(model, episode, inner_lr=rate, inner_steps=1, **METHODS[name])

    meta_train(
        learner,
        objective,
        ImageTasks(classes, WAYS, shots, QUERIES),
        iterations=iterations,
        batch=BATCH,
        generator=seeded(1000 + draw),
        optimizer=torch.optim.Adam(learner.parameters(), lr=META_LR),
        schedule=lambda done: 1 - done,
        progress=False,
    )
    return learner


def score(learner: nn.Module, classes: ClassImages, *, shots: int, **options: Any) -> float:
    """Score by ``maml_predict``, with its options, on the episodes that all share."""
    model: nn.Module = learner
    rate: Rate = INNER_LR
    if isinstance(learner, MetaSGD):
        model, rate = learner.network, {n: r.detach() for n, r in learner.inner_lr.items()}
    predict = partial(maml_predict, inner_lr=rate, **options)
    tasks = ImageTasks(classes, WAYS, shots, 15)
    return evaluate(model, predict, tasks, episodes=EPISODES, generator=seeded(2)).mean


def score_part(
    model: nn.Module, classes: ClassImages, *, shots: int, part: tuple[str, ...]
) -> float:
    """Score when only the parameters whose names begin with one of ``part`` take the step."""

    def predict(model: nn.Module, episode: Episode) -> Tensor:
        params = {n: p.detach() for n, p in model.named_parameters() if n.startswith(part)}
        support = episode.support_x, episode.support_y
        adapted = adapt(model, params, *support, inner_lr=INNER_LR, inner_steps=1, first_order=True)
        with torch.no_grad():
            return call(model, adapted, episode.query_x)

    tasks = ImageTasks(classes, WAYS, shots, 15)
    return evaluate(model, predict, tasks, episodes=EPISODES, generator=seeded(2)).mean


def score_all(name: str, learner: nn.Module, classes: ClassImages, shots: int) -> dict[str, Any]:
    """Score after several numbers of steps; with other statistics; when a part alone adapts."""
    scored = partial(score, learner, classes, shots=shots)
    head_only = name == "ANIL"
    found: dict[str, Any] = {
        "steps": {str(k): scored(inner_steps=k, head_only=head_only) for k in STEPS}
    }
    if name == "MAML":
        found["part"] = {
            part: score_part(learner, classes, shots=shots, part=names)
            for part, names in PARTS.items()
        }
        for statistics in ("support", "single") if shots == 1 else ():
            found[statistics] = scored(inner_steps=1, statistics=statistics)
    return found


def transfer(classes: ClassImages, draw: int, steps: int) -> Network:
    """Pretrain on all classes at once."""
    start = conv4(len(classes), width=WIDTH, generator=seeded(draw))
    return pretrain(start, *classes.flatten(), steps=steps, generator=seeded(1000 + draw))


def score_transfer(model: Network, test: ClassImages) -> dict[str, float]:
    """Fit a linear head to each episode.

    As with MAML, support set and query set are normalised by their own statistics; to be
    inductive, both by those of the support set.
    """

    def fixed_probe(model: Network, x: Tensor, y: Tensor) -> Network:
        return linear_probe(fix_statistics(model, x), x, y)

    def score(adapt: Adapt, shots: int) -> float:
        tasks = ImageTasks(test, WAYS, shots, 15)
        predict = as_predict(adapt)
        return evaluate(model, predict, tasks, episodes=EPISODES, generator=seeded(2)).mean

    found = {str(shots): score(linear_probe, shots) for shots in LONG}
    return found | {f"{shots} inductive": score(fixed_probe, shots) for shots in LONG}


def longer(classes: ClassImages, test: ClassImages, draw: int) -> dict[str, Any]:
    """MAML with one example, and transfer, trained several times as long."""
    learner = train("MAML", classes, draw=draw, shots=1, iterations=LONGER * LONG[1])
    network = transfer(classes, draw, LONGER * PRETRAINING)
    return {
        "MAML": score(learner, test, shots=1, inner_steps=1),
        "transfer": score_transfer(network, test),
    }


def draw_results(draw: int, weights: Path | None = None) -> dict[str, Any]:
    """Everything for one draw; keep the networks in the folder ``weights``."""
    classes, _, test = glyphs().split_groups()

    def keep(model: nn.Module, name: str) -> None:
        if weights is not None:
            path = weights / f"{name.replace(', ', '_').replace(' ', '_')}.zip"
            save_checkpoint(path, model.state_dict(), metadata={"network": name})

    network = transfer(classes, draw, PRETRAINING)
    keep(network.features, "transfer")
    result: dict[str, Any] = {"transfer": score_transfer(network, test), "short": {}}
    for name in METHODS:
        learner = train(name, classes, draw=draw, shots=1, iterations=SHORT)
        scored = score(learner, test, shots=1, inner_steps=1, head_only=name == "ANIL")
        result["short"][name] = scored
    for shots, iterations in LONG.items():
        result[str(shots)] = {}
        for name in METHODS:
            learner = train(name, classes, draw=draw, shots=shots, iterations=iterations)
            keep(learner, f"{name}, {shots} shot")
            result[str(shots)][name] = score_all(name, learner, test, shots)
    learner = train("MAML", classes, draw=draw, shots=1, iterations=LONG[1], norm="group")
    keep(learner, "group norm")
    result["1"]["group norm"] = score_all("MAML", learner, test, 1)
    result["longer"] = longer(classes, test, draw)
    return result


def new_ledger() -> dict[str, Any]:
    settings = {
        "ways": WAYS,
        "queries": QUERIES,
        "tasks": BATCH,
        "width": WIDTH,
        "inner_lr": INNER_LR,
        "meta_lr": META_LR,
        "short": SHORT,
        "iterations": {str(shots): n for shots, n in LONG.items()},
        "pretraining": PRETRAINING,
        "longer": LONGER,
        "episodes": EPISODES,
    }
    return how_made("python results/maml_glyphs.py") | {"settings": settings}


def main() -> None:
    options = recipe_parser(__file__, __doc__, DRAWS).parse_args()
    torch.set_num_threads(options.threads)

    def measure(draw: int, _: object) -> dict[str, Any]:
        return draw_results(draw, options.to.with_suffix("") if draw == 0 else None)

    fill_ledger(options.to, options.draws, new_ledger, measure)


if __name__ == "__main__":
    main()
