"""Must one remember the path? MAML and implicit MAML, with equally many gradients.

    METALEARN_OMNIGLOT=FOLDER python results/implicit.py [--part 0/2] [--threads 1] [--to FILE]

The rows are MAML with 1, 5, 20 and 100 inner steps in training and at test; implicit MAML with 20
steps and 5 of conjugate gradients, and with 100 and 10; first-order MAML with 20 steps; and, on
waves alone, joint training with 20 steps at test. On *waves*, ten points each and the network of
the chapter on MAML, and on *glyphs*, five classes with one drawing each and a ``conv4`` of
width 16.

1. *Cost.* A gradient of the loss on a task counts as one, a product with the Hessian as two. Each
   run may take GRADIENTS of them a task of its batch, so the rows differ in the number of outer
   steps.
2. *Tuning.* Each row tries the same TRIALS points of a Sobol sequence (inner step size, outer step
   size, and λ where there is one) with a quarter of the gradients and a seed that is not scored, on
   validation tasks; the best counts.
3. *Scores.* Three seeds, on the same test tasks. A run whose numbers run away ends there, and its
   network is scored as it is; the ledger says after which share of its outer steps. An answer that
   is not finite counts as zero.

The outer gradient of every row is cut to the length CLIP. (A first run without that ended early:
implicit MAML on waves met gradients that were not finite.) Some runs of implicit MAML on waves ran
away even so, and SMOOTH was added after that had been seen: five rows once more on waves, with
tanh in place of ReLU, so that the loss has no kinks.

*Penalties* trains implicit MAML on waves with one λ after another and all else as chosen, as in
tuning. *Omniglot* is one run of implicit MAML on real handwriting, with the chosen λ and inner step
size of the glyphs. About an hour and a half of one core.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comparison import fill_pieces
from torch import Tensor, nn

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import glyphs, omniglot
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging.ledger import how_made
from metalearn_lite.maml import implicit_maml_loss, implicit_maml_predict, maml_loss, maml_predict
from metalearn_lite.models import Network, conv4, initialise, mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks, Tasks
from metalearn_lite.training import meta_train

TRIALS, TUNING_SEED, SEEDS = 12, 100, range(3)
CLIP = 10.0
RUNNING = Path(__file__).resolve().parents[1] / "_build" / "results" / "implicit_omniglot.zip"
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
OMNIGLOT = {"iterations": 1500, "tasks": 8, "inner_steps": 20, "cg_steps": 5}

Settings = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """A way to learn, with ``cg`` steps of conjugate gradients if it is implicit.

    Attributes:
        steps: inner steps in training.
        test: inner steps at test.
    """

    steps: int
    test: int
    cg: int = 0
    first_order: bool = False

    def gradients(self) -> int:
        """Return what an outer step costs for each task."""
        if self.cg:
            return self.steps + 2 + 2 * self.cg
        return 1 + self.steps * (1 if self.first_order else 3)

    def loss(self, model: nn.Module, episode: Episode, settings: Settings) -> Tensor:
        """Return the objective of the outer loop."""
        rate = settings["inner_lr"]
        if self.cg:
            return implicit_maml_loss(
                model,
                episode,
                penalty=settings["penalty"],
                inner_lr=rate,
                inner_steps=self.steps,
                cg_steps=self.cg,
            )
        return maml_loss(
            model, episode, inner_lr=rate, inner_steps=self.steps, first_order=self.first_order
        )

    def predict(self, model: nn.Module, episode: Episode, settings: Settings) -> Tensor:
        """Answer the queries after the inner steps of the test; with 0 if that is not finite."""
        inner: dict[str, Any] = {"inner_lr": settings["inner_lr"], "inner_steps": self.test}
        if self.cg:
            found = implicit_maml_predict(model, episode, penalty=settings["penalty"], **inner)
        else:
            found = maml_predict(model, episode, **inner)
        return found.nan_to_num(0.0, 0.0, 0.0)


ROWS = {
    "joint training": Row(0, 20),
    "first-order MAML, 20 steps": Row(20, 20, first_order=True),
    "MAML, 1 step": Row(1, 1),
    "MAML, 5 steps": Row(5, 5),
    "MAML, 20 steps": Row(20, 20),
    "MAML, 100 steps": Row(100, 100),
    "implicit MAML, 20 steps": Row(20, 20, cg=5),
    "implicit MAML, 100 steps": Row(100, 100, cg=10),
}


@dataclass(frozen=True)
class World:
    """A family of tasks, its network, and how much each row may spend on it.

    Attributes:
        network: makes the network of a seed.
        tasks: gives the tasks of ``"train"``, ``"validation"`` or ``"test"``.
        sign: 1 where a score should be high, -1 where it should be low.
        gradients: that a run may take for each task of a batch.
        batch: tasks in an outer step.
        episodes: test tasks.
        validation: validation tasks.
        ranges: least and most of each setting.
    """

    network: Callable[[int], Network]
    tasks: Callable[[str], Tasks]
    sign: int
    gradients: int
    batch: int
    episodes: int
    validation: int
    ranges: Mapping[str, tuple[float, float]]


def smooth_network(seed: int) -> Network:
    body = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh())
    return initialise(Network(body, nn.Linear(40, 1)), seeded(seed))


def waves(part: str) -> Tasks:
    return SineTasks(10, 10 if part == "train" else 100)


def characters(part: str) -> Tasks:
    parts = dict(zip(("train", "validation", "test"), glyphs().split_groups(), strict=True))
    return ImageTasks(parts[part], 5, 1, 15)


WAVES = World(
    network=lambda seed: mlp(generator=seeded(seed)),
    tasks=waves,
    sign=-1,
    gradients=32_000,
    batch=10,
    episodes=600,
    validation=200,
    ranges={"inner_lr": (0.001, 0.1), "meta_lr": (0.001, 0.05), "penalty": (0.1, 100.0)},
)
WORLDS = {
    "waves": WAVES,
    "smooth waves": replace(WAVES, network=smooth_network),
    "glyphs": World(
        network=lambda seed: conv4(5, width=16, generator=seeded(seed)),
        tasks=characters,
        sign=1,
        gradients=8_000,
        batch=4,
        episodes=300,
        validation=60,
        ranges={"inner_lr": (0.02, 1.0), "meta_lr": (0.001, 0.03), "penalty": (0.1, 100.0)},
    ),
}


def trials(world: World) -> list[Settings]:
    """Return the settings that are tried, the same for all rows, spread evenly in logarithms."""
    names = list(world.ranges)
    sobol = torch.quasirandom.SobolEngine(len(names), scramble=True, seed=0)  # type: ignore[no-untyped-call]
    points = sobol.draw(TRIALS)
    low, high = torch.tensor([*world.ranges.values()]).log().T
    return [
        dict(zip(names, values, strict=True))
        for values in (low + points * (high - low)).exp().tolist()
    ]


def learn(
    world: World, row: Row, settings: Settings, share: float, seed: int, *, to_the_end: bool = True
) -> tuple[Network, float]:
    """Train for a share of the gradients, with an outer step size that falls to 0.

    Returns:
        The network, and the share of the outer steps that were taken: below 1 only where the
        numbers ran away, and that was allowed.
    """
    model, taken = world.network(seed), 0
    iterations = max(1, round(share * world.gradients / row.gradients()))

    def count(_: object) -> None:
        nonlocal taken
        taken += 1

    def clip(trained: nn.Module) -> None:
        nn.utils.clip_grad_norm_(trained.parameters(), CLIP)

    train = partial(
        meta_train,
        model,
        partial(row.loss, settings=settings),
        world.tasks("train"),
        iterations=iterations,
        batch=world.batch,
        generator=seeded(10 + seed),
        optimizer=torch.optim.Adam(model.parameters(), lr=settings["meta_lr"]),
        schedule=lambda done: 1 - done,
        before_step=clip,
        after_iteration=count,
        progress=False,
    )
    try:
        train()
    except ValueError:
        if to_the_end:
            raise
    return model, taken / iterations


def judge(world: World, row: Row, settings: Settings) -> float | None:
    """Return how good a setting is on validation tasks; None where the numbers run away."""
    try:
        model, _ = learn(world, row, settings, 0.25, TUNING_SEED)
        scores = evaluate(
            model,
            partial(row.predict, settings=settings),
            world.tasks("validation"),
            episodes=world.validation,
            generator=seeded(3),
        )
    except ValueError:
        return None
    return world.sign * scores.mean


def tune(world: World, row: Row) -> dict[str, Any]:
    tried: list[dict[str, Any]] = [
        {"settings": s, "goodness": judge(world, row, s)} for s in trials(world)
    ]
    finite = [entry for entry in tried if entry["goodness"] is not None]
    return {"settings": max(finite, key=lambda t: t["goodness"])["settings"], "tried": tried}


def measure(
    world: World, row: Row, settings: Settings, seed: int
) -> tuple[dict[str, float], Tensor]:
    """Train, and return the mean score, its time, and the score of each test task."""
    begin = time.process_time()
    model, taken = learn(world, row, settings, 1.0, seed, to_the_end=False)
    seconds = time.process_time() - begin
    scores = evaluate(
        model,
        partial(row.predict, settings=settings),
        world.tasks("test"),
        episodes=world.episodes,
        generator=seeded(2),
    )
    return {"mean": scores.mean, "seconds": seconds, "taken": taken}, scores.values


def on_omniglot(settings: Settings) -> dict[str, Any]:
    """Train on 25 alphabets and their quarter turns; score 1,000 episodes of the other five."""
    classes, held_out = omniglot(os.environ["METALEARN_OMNIGLOT"]).split_groups()
    row = Row(OMNIGLOT["inner_steps"], OMNIGLOT["inner_steps"], cg=OMNIGLOT["cg_steps"])
    model, begin = conv4(5, generator=seeded(0)), time.process_time()
    meta_train(
        model,
        partial(row.loss, settings=settings),
        ImageTasks(classes.rotated(), 5, 1, 5),
        iterations=OMNIGLOT["iterations"],
        batch=OMNIGLOT["tasks"],
        generator=seeded(1),
        optimizer=torch.optim.Adam(model.parameters(), lr=0.002),
        schedule=lambda done: 1 - done,
        checkpoint=RUNNING,
        checkpoint_every=50,
    )
    scores = evaluate(
        model,
        partial(row.predict, settings=settings),
        ImageTasks(held_out, 5, 1, 1),  # as many queries as examples
        episodes=1000,
        generator=seeded(2),
    )
    return {
        "percent": 100 * scores.mean,
        "half_width": 100 * scores.half_width,
        "seconds": time.process_time() - begin,
    }


def pieces(name: str) -> Iterator[str]:
    if name.split("/")[1] not in ROWS:
        yield name
        return
    yield f"tune/{name}"
    yield from (f"run/{name}/{seed}" for seed in SEEDS)


def make(piece: str, ledger: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    kind, name, *rest = piece.split("/")
    if kind == "tune":
        return tune(WORLDS[name], ROWS[rest[0]])
    implicit = "implicit MAML, 20 steps"
    if kind == "run":
        settings = ledger["draws"][f"tune/{name}/{rest[0]}"]["settings"]
        found, values = measure(WORLDS[name], ROWS[rest[0]], settings, int(rest[1]))
        words = piece.removeprefix("run/").replace(", ", "_").replace(" ", "_").replace("/", "_")
        save_checkpoint(folder / f"{words}.zip", {"scores": values}, metadata={"piece": piece})
        return found
    if kind == "penalties":
        chosen = ledger["draws"][f"tune/waves/{implicit}"]["settings"]
        tried = {
            f"{penalty:g}": judge(WORLDS[name], ROWS[implicit], {**chosen, "penalty": penalty})
            for penalty in PENALTIES
        }
        return {"goodness": tried}
    return on_omniglot(ledger["draws"][f"tune/glyphs/{implicit}"]["settings"])


def begin() -> dict[str, Any]:
    about: dict[str, Any] = {"trials": TRIALS, "omniglot": OMNIGLOT}
    about |= {"cost": {name: row.gradients() for name, row in ROWS.items()}}
    for name, world in WORLDS.items():
        about[name] = {"gradients": world.gradients, "batch": world.batch}
        about[name] |= {"episodes": world.episodes, "ranges": world.ranges}
    return {**how_made("python results/implicit.py"), "settings": about}


SMOOTH = [*ROWS][1:2] + [*ROWS][3:5] + [*ROWS][6:]
NAMES = [f"waves/{row}" for row in ROWS] + ["penalties/waves"]
NAMES += [f"glyphs/{row}" for row in ROWS if row != "joint training"] + ["omniglot/glyphs"]
NAMES += [f"smooth waves/{row}" for row in SMOOTH]

if __name__ == "__main__":
    fill_pieces(__file__, __doc__, NAMES, pieces, begin, make)
