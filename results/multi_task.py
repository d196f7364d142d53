"""The long run behind the chapters on many tasks: everything they show, ten times over.

    python results/multi_task.py [--draws 0 1 2 ...] [--threads 2] [--to FILE]

A draw is a split of the characters of the training scripts, a start of every network and an
order of the examples, all from one seed. Whatever is compared shares its draw. Each draw is
written as soon as it is done, and a run that was stopped goes on where it was. About
forty-five minutes on two cores.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from metalearn_lite.datasets import ClassImages, glyphs
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser, round_floats
from metalearn_lite.models import Network, fix_statistics
from metalearn_lite.multitask import (
    FACTORS,
    MISSING,
    FactorTasks,
    MultiTask,
    UncertaintyWeights,
    by_gradnorm,
    by_surgery,
    by_uncertainty,
    by_weights,
    factor_tasks,
    gradient_cosine,
    kinds,
    mgda,
    pcgrad,
    skill,
    task_gradients,
    task_losses,
    train_together,
    tune_weights,
)
from metalearn_lite.multitask.balancing import Losses
from metalearn_lite.multitask.factors import Labelled
from metalearn_lite.multitask.joint_training import Balance, Watch
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import ImageTasks
from metalearn_lite.transfer import as_predict, linear_probe, pretrain

STEPS = 300
WIDTH = 32
OTHER_WIDTHS = (16, 64)  # to tell a lack of room from a conflict
FEW = (400, 2000)  # labelled images
CANDIDATES = 16  # fixed weights that are tried, in each of two rounds
TUNING_DRAWS = (1000, 1001)  # apart from the draws that are reported
EPISODES = 24


def parameters(names: tuple[str, ...], width: int, tasks: FactorTasks) -> int:
    return sum(p.numel() for p in tasks.network(names, width=width).parameters())


def equal_width(tasks: FactorTasks) -> int:
    """Return the largest width at which one network a task has the weights of the shared one."""
    budget = parameters((), WIDTH, tasks)
    fits = [w for w in range(1, WIDTH) if sum(parameters((n,), w, tasks) for n in FACTORS) < budget]
    return fits[-1]


def run(
    tasks: FactorTasks,
    seed: int,
    names: tuple[str, ...] = FACTORS,
    *,
    steps: int | None = None,
    width: int = WIDTH,
    units: float = 1.0,
    balance: Balance | None = None,
    part: str = "test",
    watch: Watch | None = None,
) -> tuple[MultiTask, dict[str, float]]:
    """Train on ``names`` and score; ``units`` multiplies the rotation, which is standardised."""
    x, targets = tasks.train
    model = train_together(
        tasks.network(names, width=width, generator=seeded(seed)),
        x,
        targets | {"rotation": units * targets["rotation"]},
        steps=STEPS if steps is None else steps,
        generator=seeded(seed),
        balance=balance,
        watch=watch,
    )
    x, targets = getattr(tasks, part)
    return model, skill(model, x, targets | {"rotation": units * targets["rotation"]})


def alone(
    tasks: FactorTasks, seed: int, *, steps: int | None = None, width: int = WIDTH
) -> dict[str, float]:
    """One network a task."""
    return {n: run(tasks, seed, (n,), steps=steps, width=width)[1][n] for n in FACTORS}


def few_labels(tasks: FactorTasks, seed: int, labelled: int) -> dict[str, dict[str, float]]:
    """Train on few images, with and without early stopping on 300 validation images."""
    rows = torch.randperm(len(tasks.train[0]), generator=seeded(seed))[:labelled]
    x, targets = tasks.train[0][rows], {n: v[rows] for n, v in tasks.train[1].items()}
    looks = torch.randperm(len(tasks.validation[0]), generator=seeded(seed))[:300]
    look = tasks.validation[0][looks], {n: v[looks] for n, v in tasks.validation[1].items()}
    found: dict[str, dict[str, float]] = {}

    def train(names: tuple[str, ...], validation: Labelled | None) -> dict[str, float]:
        start = tasks.network(names, generator=seeded(seed))
        model = train_together(
            start,
            x,
            targets,
            steps=STEPS // 2,
            generator=seeded(seed),
            validation=validation,
            every=10,
            lr=3e-3,
        )
        return skill(model, *tasks.test)

    for stopped, validation in (("", None), (" stopped", look)):
        found[f"shared{stopped}"] = train(FACTORS, validation)
        found[f"alone{stopped}"] = {n: train((n,), validation)[n] for n in FACTORS}
    return found


def one_is_scarce(tasks: FactorTasks, seed: int, labelled: int) -> dict[str, dict[str, float]]:
    """Few labels of one task, all labels of the others; early stopping on the one."""
    x, targets = tasks.train
    looks = torch.randperm(len(tasks.validation[0]), generator=seeded(seed))[:300]
    rows = torch.randperm(len(x), generator=seeded(seed))
    helped, unaided = {}, {}
    for name in FACTORS:
        known = targets[name][rows[:labelled]]
        look = tasks.validation[0][looks], {name: tasks.validation[1][name][looks]}
        # each step sees 64 images with this label and 64 without
        repeated = rows[:labelled].repeat(math.ceil(len(x) / labelled))[: len(x)]
        both = torch.cat([repeated, rows])
        hidden = {n: v[both] for n, v in targets.items()}
        hidden[name] = hidden[name].clone()
        hidden[name][len(repeated) :] = torch.nan if known.is_floating_point() else MISSING
        options: dict[str, Any] = {"steps": STEPS, "validation": look, "every": 10, "lr": 3e-3}
        model = train_together(
            tasks.network(generator=seeded(seed)),
            x[both],
            hidden,
            generator=seeded(seed),
            minibatch=128,
            **options,
        )
        helped[name] = skill(model, *tasks.test)[name]
        model = train_together(
            tasks.network((name,), generator=seeded(seed)),
            x[rows[:labelled]],
            {name: known},
            generator=seeded(seed),
            **options,
        )
        unaided[name] = skill(model, *tasks.test)[name]
    return {"helped": helped, "unaided": unaided}


def tuned_weights(train: ClassImages) -> dict[str, float]:
    """Tune fixed weights on validation characters: first from 1/5 to 5, then around the best."""

    def score(weights: dict[str, float]) -> float:
        scores: list[float] = []
        for draw in TUNING_DRAWS:
            tasks = factor_tasks(train, generator=seeded(draw))
            _, found = run(tasks, draw, balance=by_weights(weights), part="validation")
            scores += found.values()
        print(f"tuning: {sum(scores) / len(scores):.4f}", flush=True)
        return sum(scores) / len(scores)

    weights = dict.fromkeys(FACTORS, 1.0)
    for spread, seed in ((5.0, 0), (2.0, 1)):
        weights = tune_weights(
            score, weights, generator=seeded(seed), candidates=CANDIDATES, spread=spread
        )
    return weights


def by_width(tasks: FactorTasks, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """One shared network and one a task, narrower and wider than elsewhere."""
    return {
        str(width): {
            "shared": run(tasks, seed, width=width)[1],
            "alone": alone(tasks, seed, width=width),
        }
        for width in OTHER_WIDTHS
    }


def cosines(tasks: FactorTasks, seed: int) -> tuple[MultiTask, dict[str, float], dict[str, Any]]:
    """Train with equal weights; every tenth step take the cosines, by layer and in all."""
    seen: list[dict[str, Tensor]] = []

    def watch(step: int, model: MultiTask, losses: Losses) -> None:
        if step % 10:
            return
        layers = {"all": list(model.trunk.parameters())}
        layers |= {n: [p] for n, p in model.trunk.named_parameters() if p.ndim > 1}
        seen.append({n: gradient_cosine(task_gradients(losses, p)) for n, p in layers.items()})

    model, scores = run(tasks, seed, watch=watch)
    pairs = torch.triu_indices(len(FACTORS), len(FACTORS), 1)
    found: dict[str, Any] = {}
    for layer in seen[0]:
        values = torch.stack([step[layer][pairs[0], pairs[1]] for step in seen])  # (steps, pairs)
        found[layer] = {
            "conflicting": (values < 0).double().mean().item(),
            "mean": [round(v, 5) for v in values.mean(0).tolist()],
        }
    return model, scores, found


def exact_cosines(tasks: FactorTasks, seed: int) -> dict[str, list[float]]:
    """Train as before; at four moments take the gradients over all training images."""
    x, targets = tasks.train
    pairs = torch.triu_indices(len(FACTORS), len(FACTORS), 1)
    moments = {round(share * (STEPS - 1)): str(share) for share in (0.0, 0.1, 0.4, 1.0)}
    found: dict[str, list[float]] = {}

    def watch(step: int, model: MultiTask, losses: Losses) -> None:
        if step not in moments:
            return
        total: dict[str, Tensor] = {}
        for rows in torch.arange(len(x)).chunk(5):  # bounds the memory
            part = task_losses(model(x[rows]), {n: t[rows] for n, t in targets.items()})
            for name, g in task_gradients(part, model.trunk.parameters()).items():
                total[name] = total[name] + g if name in total else g
        cosine = gradient_cosine(total)[pairs[0], pairs[1]]
        found[moments[step]] = [round(v, 5) for v in cosine.tolist()]

    run(tasks, seed, watch=watch)
    return found


def new_script(trunk: nn.Module, test: ClassImages) -> dict[str, list[float]]:
    """Probe a trunk on five characters of unseen scripts, on the episodes of every chapter."""

    def probe(model: Network, x: Tensor, y: Tensor) -> Network:
        return linear_probe(fix_statistics(model, x), x, y)

    model = Network(trunk, nn.Linear(WIDTH, 5))
    scores = {}
    for shots in (1, 5):
        tasks = ImageTasks(test, ways=5, shots=shots, queries=15)
        found = evaluate(model, as_predict(probe), tasks, episodes=EPISODES, generator=seeded(1))
        scores[str(shots)] = [round(v, 5) for v in found.values.tolist()]
    return scores


def draw_results(draw: int, weights: dict[str, float]) -> dict[str, Any]:
    """Everything for one draw."""
    train, _, test = glyphs().split_groups()
    tasks = factor_tasks(train, generator=seeded(draw))
    shared, equal, angles = cosines(tasks, draw)
    result: dict[str, Any] = {"shared": equal, "cosines": angles}
    starts = {"all tasks": shared.trunk}
    result["exact cosines"] = exact_cosines(tasks, draw)
    result["alone"] = {}
    for name in FACTORS:
        model, scores = run(tasks, draw, (name,))
        result["alone"][name] = scores[name]
        starts[name] = model.trunk
    result["equal parameters"] = alone(tasks, draw, width=equal_width(tasks))
    result["equal cost"] = alone(tasks, draw, steps=STEPS // len(FACTORS))
    result["pairs"] = {f"{a} {b}": run(tasks, draw, (a, b))[1] for a, b in combinations(FACTORS, 2)}
    result["widths"] = by_width(tasks, draw)
    result["few"] = {str(n): few_labels(tasks, draw, n) for n in FEW}
    result["scarce"] = one_is_scarce(tasks, draw, 400)
    degrees = tasks.moments["rotation"][1]
    for unit, units in (
        ("standard", 1.0),
        ("degrees", degrees),
        ("radians", math.radians(degrees)),
    ):
        balances = {
            "equal": None,
            "uncertainty": by_uncertainty(UncertaintyWeights(kinds(tasks.train[1]))),
            "gradnorm": by_gradnorm(dict.fromkeys(FACTORS, 1.0)),
        }
        for name, balance in balances.items():
            result[f"{unit} {name}"] = run(tasks, draw, units=units, balance=balance)[1]
    surgeries: dict[str, Callable[[Tensor], Tensor]] = {
        "pcgrad": partial(pcgrad, generator=seeded(draw)),
        "mgda": mgda,
    }
    result["tuned"] = run(tasks, draw, balance=by_weights(weights))[1]
    for name, combine in surgeries.items():
        result[name] = run(tasks, draw, balance=by_surgery(combine))[1]
    classes = len(tasks.train[0]) // 20
    labels = torch.arange(classes).repeat_interleave(20)
    start = Network(tasks.network(generator=seeded(draw)).trunk, nn.Linear(WIDTH, classes))
    named = pretrain(start, tasks.train[0], labels, steps=STEPS, generator=seeded(draw))
    starts["characters"] = named.features
    starts["untrained"] = tasks.network(generator=seeded(draw)).trunk
    result["new script"] = {name: new_script(trunk, test) for name, trunk in starts.items()}
    return result


def new_ledger() -> dict[str, Any]:
    train, _, _ = glyphs().split_groups()
    return how_made("python results/multi_task.py") | {
        "steps": STEPS,
        "width": WIDTH,
        "episodes": EPISODES,
        "tuned weights": round_floats(tuned_weights(train)),
    }


def main() -> None:
    options = recipe_parser(__file__, __doc__, range(10)).parse_args()
    torch.set_num_threads(options.threads)

    def measure(draw: int, ledger: Mapping[str, Any]) -> dict[str, Any]:
        return draw_results(draw, ledger["tuned weights"])

    fill_ledger(options.to, options.draws, new_ledger, measure)


if __name__ == "__main__":
    main()
