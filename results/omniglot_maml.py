"""The long run on real handwriting: MAML on Omniglot, beside the published numbers.

    python results/omniglot_maml.py [--runs "5-way 1-shot" ...] [--threads 2] [--score-only]

Needs Omniglot's background set in the folder named by the environment variable
METALEARN_OMNIGLOT. Trains on 25 of its alphabets, each character turned by 90, 180 and 270
degrees as three classes more, and scores 1,000 episodes of the 5 alphabets held out. A run
that was stopped goes on from its last checkpoint, in _build/results. When it is done it leaves
its weights in results/omniglot_maml/ and its scores in the ledger and the page beside this file.
Each run says below how long it takes on one core.
"""

import argparse
import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import metalearn_lite
from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import ClassImages, omniglot
from metalearn_lite.evaluation import Scores, evaluate
from metalearn_lite.maml import maml_loss, maml_predict
from metalearn_lite.models import Network, conv4
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train

HERE = Path(__file__).resolve().parent
RUNNING = HERE.parent / "_build" / "results" / "omniglot_maml"
EPISODES = 1000
SEED = 0
META_LR = 0.002  # falls linearly to 0


@dataclass(frozen=True)
class Run:
    """What one training run does; the inner loop is that of Finn et al. (2017)."""

    ways: int
    shots: int
    queries: int
    tasks: int
    iterations: int
    inner_lr: float
    inner_steps: int
    test_steps: int
    first_order: bool = False


RUNS = {
    "5-way 1-shot": Run(5, 1, 5, 16, 10_000, 0.4, 1, 3),
    "5-way 1-shot, first order": Run(5, 1, 5, 16, 10_000, 0.4, 1, 3, first_order=True),
    "5-way 5-shot": Run(5, 5, 5, 8, 6_000, 0.4, 1, 3),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def train(name: str, run: Run, classes: ClassImages) -> Network:
    """Train one network, or go on with it."""

    def objective(model: Network, episode: Episode) -> torch.Tensor:
        return maml_loss(
            model,
            episode,
            inner_lr=run.inner_lr,
            inner_steps=run.inner_steps,
            first_order=run.first_order,
        )

    model = conv4(run.ways, generator=seeded(SEED))
    meta_train(
        model,
        objective,
        ImageTasks(classes, run.ways, run.shots, run.queries),
        iterations=run.iterations,
        batch=run.tasks,
        generator=seeded(SEED + 1),
        optimizer=torch.optim.Adam(model.parameters(), lr=META_LR),
        schedule=lambda done: 1 - done,
        checkpoint=RUNNING / f"{file_name(name)}.zip",
        checkpoint_every=200,
    )
    return model


def file_name(run: str) -> str:
    return run.replace(", ", "_").replace(" ", "_")


def score(model: Network, run: Run, classes: ClassImages) -> dict[str, dict[str, float]]:
    """Score the held-out alphabets, on the same episodes for each way of predicting."""
    scores = {}
    for queries in (1, 15):
        tasks = ImageTasks(classes, run.ways, run.shots, queries)
        for statistics in ("queries", "support", "single"):
            for steps in (run.inner_steps, run.test_steps):

                def predict(
                    model: Network, episode: Episode, steps: int = steps, statistics=statistics
                ) -> torch.Tensor:
                    return maml_predict(
                        model,
                        episode,
                        inner_lr=run.inner_lr,
                        inner_steps=steps,
                        statistics=statistics,
                    )

                seen = evaluate(
                    model, predict, tasks, episodes=EPISODES, generator=seeded(SEED + 2)
                )
                scores[f"{queries} queries, {statistics}, {steps} steps"] = summary(seen)
    return scores


def summary(scores: Scores) -> dict[str, float]:
    return {
        "percent": round(100 * scores.mean, 2),
        "half_width": round(100 * scores.half_width, 2),
        "episodes": len(scores.values),
    }


def about() -> dict[str, object]:
    return {
        "command": "python results/omniglot_maml.py",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "metalearn_lite": metalearn_lite.__version__,
        },
        "hardware": f"{platform.machine()} processor, {torch.get_num_threads()} thread(s)",
        "seed": SEED,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if "METALEARN_OMNIGLOT" not in os.environ:
        parser.error(
            "METALEARN_OMNIGLOT is not set: expected the folder that holds Omniglot; with a "
            "network, torchvision.datasets.Omniglot(FOLDER, download=True) fetches it"
        )
    train_classes, held_out = omniglot(os.environ["METALEARN_OMNIGLOT"]).split_groups()
    turned = train_classes.rotated()
    for name in options.runs:
        model = train(name, RUNS[name], turned)
        record(name, model, score(model, RUNS[name], held_out))


def record(name: str, model: Network, scores: dict[str, dict[str, float]]) -> None:
    """Write weights, ledger and page."""
    weights = HERE / "omniglot_maml" / f"{file_name(name)}.zip"
    save_checkpoint(weights, model.state_dict(), metadata={"run": name, **asdict(RUNS[name])})
    path = HERE / "omniglot_maml.json"
    ledger = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    ledger["runs"][name] = {
        **about(),
        "settings": asdict(RUNS[name]),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "scores": scores,
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(ledger, indent=1) + "\n")
    part.replace(path)


if __name__ == "__main__":
    main()
