"""The comparison of all methods, with a protocol that was written down before its first run.

    python results/comparison.py [--part 0/2] [--threads 1] [--to FILE]

**Starts** are learned from the training scripts; a **row** adapts a start to a task. Everything is
done with one and with five examples of each of five classes.

1. *Tuning.* Each start is learned 17 times from SHORT images, with a seed that is not scored: nine
   settings far apart, then eight about the best of these, so that none lies at an edge for want of
   trying. Its first row judges, with its usual settings, on 200 episodes of the validation scripts;
   the best counts. Then each row tries up to nine settings of its own on that start; of those
   within one point of the best, the one with the fewest steps counts. All starts get as many runs.
2. *Check.* The chosen and the second-best setting of a start are learned once from MIDDLE images
   and judged in the same way. Noted, and not used.
3. *Scores.* FIVE rows, named here, at three lengths with five seeds; all others at the middle
   length with three. 1,000 episodes of the test scripts, 200 each of digits and, with
   METALEARN_OMNIGLOT set, of five alphabets of handwriting. Each answer is kept, so that every
   difference can be paired.

Pieces that the ledger holds are not made again, so a run that was stopped goes on. ``--part`` deals
the starts out to processes that run side by side. About twelve hours of one core.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fair_comparison import cost, score, share_right
from torch import Tensor, nn

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import ClassImages, digits, glyphs, omniglot
from metalearn_lite.judging import learners
from metalearn_lite.judging.baselines import nearest_pixel_learn, scratch_learn
from metalearn_lite.judging.learners import WAYS
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.judging.methods import Method, by_cosine_head, by_learned_rates
from metalearn_lite.maml import maml_learn, proto_maml_learn
from metalearn_lite.models import Network, new_head
from metalearn_lite.prototypes import prototype_learn, ridge_learn
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_learn
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.transfer import fine_tune, fine_tune_learn, lp_ft_learn, probe_learn

SHORT, MIDDLE, LONG = 48_000, 135_000, 384_000  # images: eight times from the first to the last
LENGTHS = {"short": SHORT, "middle": MIDDLE, "long": LONG}
SHOTS = (1, 5)
EPISODES, FEWER, VALIDATION = 1000, 200, 200
TUNING_SEED = 100
FIVE = ("linear probe", "LP-FT", "prototypes", "MAML, five steps", "Reptile")
MANY_SEEDS, FEW_SEEDS = 5, 3

Settings = dict[str, float]
Pieces = Callable[[str], Iterator[str]]
Begin = Callable[[], dict[str, Any]]
Make = Callable[[str, Mapping[str, Any], Path], dict[str, Any]]


@dataclass(frozen=True)
class Start:
    """A way to learn, and what is tried.

    Attributes:
        learn: as in ``judging.learners.Learner``.
        rates: settings that are searched by factors, each with the middle of the search.
        choices: settings with three values to choose from.
    """

    learn: Callable[..., nn.Module]
    rates: dict[str, float] = field(default_factory=dict)
    choices: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def far_apart(self) -> list[Settings]:
        """Nine settings, or none."""
        return list(self._around(self.rates, 4.0, self.choices)) if self.rates else []

    def about(self, best: Settings) -> list[Settings]:
        """Eight settings around the best."""
        chosen = {name: (int(best[name]),) for name in self.choices}
        found = self._around({name: best[name] for name in self.rates}, 2.0, chosen)
        return [s for s in found if s != best]

    def _around(
        self, middle: Mapping[str, float], factor: float, choices: Mapping[str, tuple[int, ...]]
    ) -> Iterator[Settings]:
        each = 1 if len(self.rates) + len([c for c in choices.values() if len(c) > 1]) > 1 else 4
        steps = [factor ** (k / each) for k in range(-each, each + 1)]
        values = [[m * step for step in steps] for m in middle.values()]
        names = [*middle, *choices]
        for combination in itertools.product(*values, *choices.values()):
            yield dict(zip(names, combination, strict=True))


def by_reptile(classes: ClassImages, *, inner_steps: float, **options: Any) -> nn.Module:
    return learners.by_reptile(classes, inner_steps=max(1, round(inner_steps)), **options)


def maml(steps: int, inner_lr: float, **kind: Any) -> Start:
    learn = partial(learners.by_maml, inner_steps=steps, **kind)
    return Start(learn, {"inner_lr": inner_lr, "meta_lr": 0.005})


STARTS = {
    "nothing": Start(learners.learn_nothing),
    "classes": Start(learners.by_classes, {"lr": 0.008}),
    "classes, cosine head": Start(partial(learners.by_classes, cosine=True), {"lr": 0.008}),
    "classes, running statistics": Start(partial(learners.by_classes, running=True), {"lr": 0.008}),
    "many tasks": Start(learners.by_many_tasks, {"lr": 0.008, "weight": 0.1}),
    "MAML, one step": maml(1, 0.4),
    "MAML, five steps": maml(5, 0.2),
    "MAML, fifteen steps": maml(15, 0.1),
    "MAML, equal outputs": maml(5, 0.2, equal_head=True),
    "first-order MAML": maml(1, 0.4, first_order=True),
    "ANIL": maml(1, 0.4, head_only=True),
    "Meta-SGD": Start(learners.by_meta_sgd, {"inner_lr": 0.4, "meta_lr": 0.005}),
    "Reptile": Start(by_reptile, {"inner_lr": 0.4, "inner_steps": 6.0}),
    "prototypes": Start(learners.by_prototypes, {"meta_lr": 0.008}, {"ways": (5, 10, 20)}),
    "ridge": Start(learners.by_ridge, {"meta_lr": 0.008}, {"ways": (5, 10, 20)}),
    "Proto-MAML": Start(learners.by_proto_maml, {"inner_lr": 0.1, "meta_lr": 0.005}),
}


def from_random_head(learner: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Train all layers on one task, with a new head that is drawn."""
    start = new_head(learner, WAYS, generator=seeded(0))
    return fine_tune(start, task.support_x, task.support_y, steps=steps, lr=lr)


TUNED: dict[str, tuple[float, ...]] = {"steps": (20, 5, 60), "lr": (0.1, 0.03, 0.3)}
L2: dict[str, tuple[float, ...]] = {"l2": (1e-3, 1e-4, 1e-2, 1e-1, 1.0)}
AFTER_ONE: dict[str, tuple[float, ...]] = {"inner_steps": (1, 3, 10, 20)}
AFTER_FIVE: dict[str, tuple[float, ...]] = {"inner_steps": (5, 10, 20)}

# The first settings are the usual ones, by which a start is judged.
ROWS = {
    "nearest pixel": Method("nothing", nearest_pixel_learn),
    "from scratch": Method("nothing", scratch_learn, {"steps": (5, 20, 60), "lr": (0.5, 0.1, 0.3)}),
    "linear probe": Method("classes", probe_learn, L2),
    "fine-tuning from zero": Method("classes", fine_tune_learn, TUNED),
    "fine-tuning from a random head": Method("classes", from_random_head, TUNED),
    "LP-FT": Method("classes", lp_ft_learn, {"steps": (20, 5, 60), "lr": (0.03, 0.01, 0.1)}),
    "cosine classifier": Method(
        "classes, cosine head", by_cosine_head, {"steps": (20, 0, 100), "lr": (0.1, 0.01, 1.0)}
    ),
    "probe, running statistics": Method("classes, running statistics", probe_learn, L2),
    "multi-task": Method("many tasks", probe_learn, L2),
    "MAML, one step": Method("MAML, one step", maml_learn, AFTER_ONE),
    "MAML, five steps": Method("MAML, five steps", maml_learn, AFTER_FIVE),
    "MAML, fifteen steps": Method("MAML, fifteen steps", maml_learn, {"inner_steps": (15, 30)}),
    "MAML, equal outputs": Method("MAML, equal outputs", maml_learn, AFTER_FIVE),
    "first-order MAML": Method("first-order MAML", maml_learn, AFTER_ONE),
    "ANIL": Method("ANIL", partial(maml_learn, head_only=True), AFTER_ONE),
    "Meta-SGD": Method("Meta-SGD", by_learned_rates, AFTER_ONE),
    "Reptile": Method("Reptile", reptile_learn, {"inner_steps": (10, 5, 20, 40)}),
    "prototypes": Method("prototypes", prototype_learn),
    "ridge": Method("ridge", ridge_learn, {"factor": (1.0, 0.1, 10.0, 100.0)}),
    "Proto-MAML": Method("Proto-MAML", proto_maml_learn, AFTER_ONE),
}


def rows_of(start: str) -> dict[str, Method]:
    return {name: row for name, row in ROWS.items() if row.learner == start}


def scripts() -> tuple[ClassImages, ClassImages, ClassImages]:
    train, validation, test = glyphs().split_groups()
    return train, validation, test


def settings_of(row: Method) -> list[Settings]:
    """Return all settings of a row, the usual ones first."""
    names = list(row.settings)
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*row.settings.values())
    ]


def complete(row: Method, own: Settings, start: Settings) -> dict[str, Any]:
    """Add the inner rate that a start was trained for to the settings of its row."""
    inner = {"inner_lr": start["inner_lr"]} if "inner_steps" in row.settings else {}
    whole = {name: int(v) if name.endswith("steps") else v for name, v in own.items()}
    return {**whole, **inner}


def judge(row: Method, learner: nn.Module, own: Settings, start: Settings, shots: int) -> float:
    """Return per cent right on the validation scripts; 0 where the numbers run away."""
    tasks = ImageTasks(scripts()[1], WAYS, shots, 15)
    try:
        right = score(row, learner, tasks, complete(row, own, start), VALIDATION)
    except ValueError:  # outputs or a loss that are not finite
        return 0.0
    return 100 * share_right(right)["transductive"]


def learn(start: str, settings: Settings, shots: int, images: int, seed: int) -> nn.Module | None:
    """Learn a start; None where the numbers run away."""
    try:
        return STARTS[start].learn(scripts()[0], shots=shots, images=images, seed=seed, **settings)
    except ValueError:
        return None


def tune(start: str, shots: int) -> dict[str, Any]:
    """Choose the settings of a start and of its rows."""
    rows = rows_of(start)
    first = next(iter(rows.values()))
    usual = settings_of(first)[0]
    tried: list[dict[str, Any]] = []
    kept: nn.Module | None = None

    def attempt(settings: Settings) -> None:
        nonlocal kept
        learner = learn(start, settings, shots, SHORT, TUNING_SEED)
        right = 0.0 if learner is None else judge(first, learner, usual, settings, shots)
        if learner is not None and right >= max((t["right"] for t in tried), default=0.0):
            kept = learner
        tried.append({"settings": settings, "right": right})

    for settings in STARTS[start].far_apart() or [{}]:
        attempt(settings)
    for settings in STARTS[start].about(best_of(tried)) if STARTS[start].rates else []:
        attempt(settings)
    chosen = best_of(tried)
    assert kept is not None, f"{start}: no setting gave finite numbers"
    found: dict[str, Any] = {"settings": chosen, "tried": tried, "rows": {}, "rows tried": {}}
    for name, row in rows.items():
        own = [
            {"settings": s, "right": judge(row, kept, s, chosen, shots)} for s in settings_of(row)
        ]
        found["rows tried"][name] = own
        found["rows"][name] = complete(row, cheapest(own), chosen)
    return found


def best_of(tried: list[dict[str, Any]]) -> Settings:
    best: Settings = max(tried, key=lambda t: t["right"])["settings"]
    return best


def cheapest(tried: list[dict[str, Any]]) -> Settings:
    """Return the settings with the fewest steps, of those within one point of the best."""
    best = max(t["right"] for t in tried)

    def steps(t: dict[str, Any]) -> tuple[float, float]:
        taken = sum(v for name, v in t["settings"].items() if name.endswith("steps"))
        return taken, -t["right"]

    close = [t for t in tried if t["right"] >= best - 1]
    chosen: Settings = min(close, key=steps)["settings"]
    return chosen


def check(start: str, shots: int, tuned: Mapping[str, Any]) -> dict[str, float]:
    """Judge the chosen and the second-best setting after the middle length."""
    first = next(iter(rows_of(start).values()))
    ranked = sorted(tuned["tried"], key=lambda t: -t["right"])[:2]
    found = {}
    for place, entry in zip(("chosen", "second"), ranked, strict=True):
        learner = learn(start, entry["settings"], shots, MIDDLE, TUNING_SEED)
        usual = settings_of(first)[0]
        right = 0.0 if learner is None else judge(first, learner, usual, entry["settings"], shots)
        found[place] = right
    return found


def domains() -> dict[str, tuple[ClassImages, int]]:
    """Return what is scored, and in how many episodes."""
    found = {"glyphs": (scripts()[2], EPISODES), "digits": (digits(), FEWER)}
    if root := os.environ.get("METALEARN_OMNIGLOT"):
        found["handwriting"] = (omniglot(root).split_groups()[1], FEWER)
    return found


def measure(
    start: str, shots: int, length: str, seed: int, tuned: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Learn a start and score its rows; the answers go to ``folder``."""
    begin = time.process_time()
    settings = tuned["settings"]
    learner = learn(start, settings, shots, LENGTHS[length], seed)
    assert learner is not None, f"{start}: the chosen settings gave numbers that are not finite"
    found: dict[str, Any] = {"seconds": time.process_time() - begin, "scores": {}, "costs": {}}
    right: dict[str, Tensor] = {}
    for name, row in rows_of(start).items():
        if length != "middle" and name not in FIVE:
            continue
        found["scores"][name] = {}
        for domain, (classes, episodes) in domains().items():
            tasks = ImageTasks(classes, WAYS, shots, 15)
            seen = score(row, learner, tasks, tuned["rows"][name], episodes)
            right[f"{domain}/{name}"] = seen
            found["scores"][name][domain] = share_right(seen)
        task = tasks.sample(seeded(3))
        found["costs"][name] = cost(row, learner, task, tuned["rows"][name])
    words = f"{start}_{shots}_{length}_{seed}".replace(", ", "_").replace(" ", "_")
    save_checkpoint(folder / f"{words}.zip", right, metadata={"start": start, "seed": seed})
    if (shots, length, seed) == (1, "middle", 0):
        weights = folder / f"{words}_weights.zip"
        save_checkpoint(weights, learner.state_dict(), metadata={"start": start})
    return found


def pieces(start: str) -> Iterator[str]:
    """Give the names of all pieces of a start, in order."""
    for shots in SHOTS:
        yield f"tune/{start}/{shots}"
    for shots in SHOTS if STARTS[start].rates else ():
        yield f"check/{start}/{shots}"
    several = any(name in FIVE for name in rows_of(start))
    for length in LENGTHS if several else ("middle",):
        for seed, shots in itertools.product(range(MANY_SEEDS if several else FEW_SEEDS), SHOTS):
            yield f"run/{start}/{shots}/{length}/{seed}"


def make(piece: str, ledger: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    kind, start, shots, *rest = piece.split("/")
    if kind == "tune":
        return tune(start, int(shots))
    tuned = ledger["draws"][f"tune/{start}/{shots}"]
    if kind == "check":
        return check(start, int(shots), tuned)
    return measure(start, int(shots), rest[0], int(rest[1]), tuned, folder)


def begin() -> dict[str, Any]:
    about = {"images": LENGTHS, "episodes": EPISODES, "episodes of other domains": FEWER}
    about |= {"validation episodes": VALIDATION, "five": FIVE}
    return {**how_made("python results/comparison.py"), "settings": json.loads(json.dumps(about))}


def fill_pieces(
    recipe: str, about: str | None, names: Iterable[str], pieces: Pieces, begin: Begin, make: Make
) -> None:
    """Make what a ledger of named pieces lacks, or the part of it that the command line says.

    Args:
        recipe: the script that is run.
        about: its docstring.
        names: what the pieces are dealt out by.
        pieces: gives the names of all pieces of a name, in order.
        begin: as in ``fill_ledger``.
        make: ``make(piece, ledger, folder)`` gives the numbers of a piece.
    """
    parser = recipe_parser(recipe, about, range(0))
    parser.add_argument("--part", default="0/1", help="which of how many processes this is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    part, parts = (int(number) for number in options.part.split("/"))
    folder = options.to.with_suffix("")
    folder.mkdir(exist_ok=True)
    own = [piece for name in list(names)[part::parts] for piece in pieces(name)]
    fill_ledger(options.to, own, begin, lambda piece, ledger: make(piece, ledger, folder))


if __name__ == "__main__":
    fill_pieces(__file__, __doc__, STARTS, pieces, begin, make)
