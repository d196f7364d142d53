"""The long run behind the chapter on MAML with images: four ways to learn a start, on glyphs.

    python results/maml_glyphs.py [--draws 0 1 2 ...] [--threads 2] [--to FILE]

A draw is a start of the networks and an order of the tasks, both from one seed; whatever is
compared shares its draw. All are scored on the same episodes of the test scripts. A draw is
written when it is done; the first also leaves its weights in results/maml_glyphs/. About a
quarter of an hour a draw on two cores.

Step sizes are the best of a few that were tried with MAML on the validation scripts, 600
iterations each: 0.4 of 0.1, 0.4 and 1 in the inner loop, also for first-order MAML, ANIL and
group norm; 0.005 of 0.003, 0.005 and 0.01 in the outer one.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import ClassImages, glyphs
from metalearn_lite.evaluation import evaluate
from metalearn_lite.ledger import how_made, write_ledger
from metalearn_lite.maml import MetaSGD, maml_loss, maml_predict
from metalearn_lite.models import Network, conv4
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import as_predict, linear_probe, pretrain

HERE = Path(__file__).resolve().parent
WAYS, QUERIES, BATCH, WIDTH = 5, 5, 4, 32
INNER_LR, META_LR = 0.4, 0.005  # the latter falls linearly to 0
SHORT = 600  # iterations that a chapter can afford
LONG = {1: 2000, 5: 800}  # by shots
PRETRAINING = 2000  # steps of 64 images
EPISODES = 300
STEPS = (0, 1, 2, 3, 5, 10)  # inner steps when scored

METHODS: dict[str, dict[str, bool]] = {
    "MAML": {},
    "first-order MAML": {"first_order": True},
    "ANIL": {"head_only": True},
    "Meta-SGD": {},
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def train(
    name: str,
    classes: ClassImages,
    *,
    draw: int,
    shots: int,
    iterations: int,
    norm: str = "batch",
) -> torch.nn.Module:
    """Train one network by the method ``name``."""
    model = conv4(WAYS, width=WIDTH, norm=norm, generator=seeded(draw))
    learner = MetaSGD(model, INNER_LR) if name == "Meta-SGD" else model

    def objective(learner: torch.nn.Module, episode: Episode) -> torch.Tensor:
        rate = learner.inner_lr if name == "Meta-SGD" else INNER_LR
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


def score(
    learner: torch.nn.Module, classes: ClassImages, *, shots: int, **options: object
) -> float:
    """Score by ``maml_predict``, with its options, on the episodes that all share."""
    model, rate = learner, INNER_LR
    if isinstance(learner, MetaSGD):
        model, rate = learner.network, {n: r.detach() for n, r in learner.inner_lr.items()}
    predict = partial(maml_predict, inner_lr=rate, **options)
    tasks = ImageTasks(classes, WAYS, shots, 15)
    return evaluate(model, predict, tasks, episodes=EPISODES, generator=seeded(2)).mean


def score_all(
    name: str, learner: torch.nn.Module, classes: ClassImages, shots: int
) -> dict[str, object]:
    """Score after several numbers of steps, and with other statistics after one."""
    options = {"shots": shots, "head_only": name == "ANIL"}
    found: dict[str, object] = {
        "steps": {str(k): score(learner, classes, inner_steps=k, **options) for k in STEPS}
    }
    for statistics in ("support", "single") if (name, shots) == ("MAML", 1) else ():
        found[statistics] = score(learner, classes, inner_steps=1, statistics=statistics, **options)
    if name != "ANIL":
        options["head_only"] = True
        found["head alone"] = score(learner, classes, inner_steps=1, **options)
    return found


def transfer(
    classes: ClassImages, test: ClassImages, draw: int
) -> tuple[Network, dict[str, float]]:
    """Pretrain on all classes at once, then fit a linear head to each episode.

    As with MAML, each batch is normalised by its own statistics: support set and query set.
    """
    start = conv4(len(classes), width=WIDTH, generator=seeded(draw))
    generator = seeded(1000 + draw)
    model = pretrain(start, *classes.flatten(), steps=PRETRAINING, generator=generator)
    found = {}
    for shots in LONG:
        tasks = ImageTasks(test, WAYS, shots, 15)
        predict = as_predict(linear_probe)
        options = {"episodes": EPISODES, "generator": seeded(2)}
        found[str(shots)] = evaluate(model, predict, tasks, **options).mean
    return model, found


def draw_results(draw: int, weights: Path | None = None) -> dict[str, object]:
    """Everything for one draw; keep the networks in the folder ``weights``."""
    classes, _, test = glyphs().split_groups()

    def keep(model: torch.nn.Module, name: str) -> None:
        if weights is not None:
            path = weights / f"{name.replace(', ', '_').replace(' ', '_')}.zip"
            save_checkpoint(path, model.state_dict(), metadata={"network": name})

    network, found = transfer(classes, test, draw)
    keep(network.features, "transfer")
    result: dict[str, object] = {"transfer": found}
    for name in METHODS:
        options = {"draw": draw, "shots": 1, "iterations": SHORT}
        learner = train(name, classes, **options)
        result.setdefault("short", {})[name] = score_all(name, learner, test, 1)
    for shots, iterations in LONG.items():
        result[str(shots)] = {}
        for name in METHODS:
            options = {"draw": draw, "shots": shots, "iterations": iterations}
            learner = train(name, classes, **options)
            keep(learner, f"{name}, {shots} shot")
            result[str(shots)][name] = score_all(name, learner, test, shots)
    options = {"draw": draw, "shots": 1, "iterations": LONG[1], "norm": "group"}
    learner = train("MAML", classes, **options)
    keep(learner, "group norm")
    result["1"]["group norm"] = score_all("MAML", learner, test, 1)
    return result


def rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def new_ledger() -> dict[str, object]:
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
        "episodes": EPISODES,
    }
    return how_made("python results/maml_glyphs.py") | {"settings": settings, "draws": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, nargs="+", default=range(4))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.to.exists():
        write_ledger(options.to, new_ledger())
    for draw in options.draws:
        ledger = json.loads(options.to.read_text())
        if str(draw) in ledger["draws"]:
            continue
        start = time.monotonic()
        weights = options.to.with_suffix("") if draw == 0 else None
        ledger["draws"][str(draw)] = rounded(draw_results(draw, weights))
        write_ledger(options.to, ledger)
        print(f"draw {draw}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
