"""Can a network learn in its forward pass? A set transformer, the best possible answer, and MAML.

    python results/in_context.py [--part 0/2] [--threads 1] [--to FILE]

Three families of tasks, each learned from as many tasks by every row that learns.

- *Linear functions* of DIMENSIONS inputs with noise 0.5 on the examples, whose number is drawn
  anew in each outer step, up to ``most``. The best possible answer is ridge regression; least
  squares stands beside it. One run a dimension, three for REPEATED. Judged with numbers of
  examples in training and beyond, with other noise, and with all values three times as large.
- *Waves*, the sines of the chapter on MAML, with 1 to MOST_POINTS points. Rows: in context, MAML
  with five inner steps on the network of that chapter and on one of as many weights as the set
  transformer, joint training; and what learns nothing, least squares in the family and a Gaussian
  process. Judged in range, with more points than in training, with noise, and further right, where
  no training wave was seen, by the number of gradient steps.
- *Glyphs*, five classes with 1 to 5 drawings, as the features of EfficientNet-Lite0, averaged over
  the picture, from the layer that ``photographs.py`` found best on the validation scripts. Rows: in
  context, prototypes and MAML with a small network on these features; and, of features as they
  are, nearest means and ridge regression.

1. *Tuning.* Every row that learns tries TRIALS points of a Sobol sequence over its rates (outer
   step size; inner step size for MAML), with an eighth of the tasks and a seed that is not scored,
   on validation tasks; the best counts. On linear functions only the dimension REPEATED is tuned.
2. *At test* MAML and joint training take the number of steps that was best on 200 validation tasks
   of the same kind, for each kind. (It was at most 50 at first. All of MAML's choices lay at that
   edge, so it was moved to 200, and MAML was tuned and run again.) Further right, where steps of
   the size of training run away, a smaller size is chosen on validation tasks as well.
3. *Scores.* A run whose numbers run away ends there, and its network is scored as it is; the
   ledger says so. Three seeds, but one for the large network of MAML, whose steps at test cost too
   much for more (it takes at most 50, and is judged within training alone), and for the dimensions
   that are not REPEATED; 1,000 test tasks, the same for all rows. What each task gave lies in
   ``in_context/``, so that differences pair.

About an hour and a quarter of one core.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from comparison import fill_pieces
from regression import gaussian_process, in_the_family
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint
from metalearn_lite.datasets import glyphs
from metalearn_lite.in_context import (
    LinearTasks,
    SetTransformer,
    bayes_predict,
    in_context_loss,
    in_context_predict,
)
from metalearn_lite.judging import result_path
from metalearn_lite.judging.ledger import how_made
from metalearn_lite.maml import maml_loss
from metalearn_lite.models import Network, mlp
from metalearn_lite.models.photographs import efficientnet_lite0
from metalearn_lite.prototypes import prototype_loss, prototype_predict, ridge_head
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks, Tasks
from metalearn_lite.training import meta_train

TRIALS, TUNING_SEED, SEEDS = 6, 100, range(3)
EPISODES, VALIDATION, TOGETHER = 1000, 200, 50
DIMENSIONS, REPEATED, NOISE = (2, 4, 8), 4, 0.5
MOST_POINTS, MOST_SHOTS, WAYS = 20, 5, 5
STEPS = (1, 5, 20, 50, 200)  # of an adaptation
FAR_STEPS, FAR_FACTORS = (0, 1, 5, 10, 50, 200, 1000), (1.0, 0.3, 0.1, 0.03)
LARGE = "MAML, as large"
WIDTH, LAYERS = 48, 3
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
SHARE = 1 / 8  # of the tasks, in tuning
NAMES = (f"linear {REPEATED}", "linear 2", "linear 8", "waves", "glyphs")
WITHIN = {  # the kinds of tasks that tuning looks at
    f"linear {REPEATED}": ("4", "8", "12"),
    "waves": ("5", "10", "20"),
    "glyphs": ("1", "5"),
}
FAMILIES = {  # how many tasks a row sees, in outer steps of so many
    "linear": {"iterations": 6000, "batch": 32},
    "waves": {"iterations": 6000, "batch": 25},
    "glyphs": {"iterations": 2000, "batch": 16},
}

Settings = Mapping[str, float]
Params = dict[str, Tensor]
Predict = Callable[[Any, Episode], Tensor]


class AnyNumber:
    """Tasks with a number of examples that is drawn anew for each batch.

    Args:
        make: ``make(shots)`` gives the tasks with so many.
        most: the largest number.
    """

    def __init__(self, make: Callable[[int], Tasks], most: int) -> None:
        self.tasks = [make(shots) for shots in range(1, most + 1)]

    def sample(self, generator: torch.Generator, batch: int | None = None) -> Episode:
        """Draw a number, then ``batch`` tasks with so many examples."""
        number = int(torch.randint(len(self.tasks), (), generator=generator))
        drawn: Episode = self.tasks[number].sample(generator, batch)
        return drawn


# What is learned


@dataclass(frozen=True)
class Row:
    """A way to learn from many tasks.

    Attributes:
        build: ``build(generator)`` gives the network that training begins with.
        loss: ``loss(model, episode, **inner)``, the objective of the outer loop.
        predict: ``predict(model, episode)``; None takes gradient steps.
        rates: what is tuned, each from least to most, on a logarithmic scale.
        steps: numbers of gradient steps to choose from at test.
    """

    build: Callable[[torch.Generator], nn.Module]
    loss: Callable[..., Tensor]
    predict: Predict | None
    rates: dict[str, tuple[float, float]] = field(
        default_factory=lambda: {"lr": (3e-4, 1e-2)}  # of the outer loop
    )
    steps: tuple[int, ...] = STEPS


def reader(inputs: int, outputs: int) -> Row:
    """Return the row that learns in its forward pass."""

    def build(generator: torch.Generator) -> nn.Module:
        sizes = {"width": WIDTH, "layers": LAYERS}
        return SetTransformer(inputs, outputs, generator=generator, **sizes)

    return Row(build, in_context_loss, in_context_predict)


def by_steps(inputs: int, outputs: int, hidden: tuple[int, ...], training_steps: int) -> Row:
    """Return MAML, or with no inner step joint training, which adapts at test all the same."""

    def build(generator: torch.Generator) -> nn.Module:
        return mlp(inputs, outputs, hidden=hidden, generator=generator)

    rates = {"lr": (3e-4, 1e-2), "inner_lr": (3e-3, 1e-1)}
    loss = partial(maml_loss, inner_steps=training_steps)
    return Row(build, loss, None, rates)


def by_prototypes(inputs: int) -> Row:
    """Return prototypes in a learned space."""

    def build(generator: torch.Generator) -> nn.Module:
        return mlp(inputs, WAYS, hidden=(64, 64), generator=generator)

    return Row(build, prototype_loss, prototype_predict)


@cache
def rows_of(family: str) -> dict[str, Row]:
    """Return the rows that learn."""
    if family.startswith("linear"):
        return {"in context": reader(int(family.split()[1]), 1)}
    if family == "waves":
        return {
            "in context": reader(1, 1),
            "MAML": by_steps(1, 1, (40, 40), 5),
            LARGE: replace(by_steps(1, 1, (240, 240), 5), steps=STEPS[:-1]),
            "joint training": by_steps(1, 1, (40, 40), 0),
        }
    inputs = glyph_features()[0].shape[-1]
    return {
        "in context": reader(inputs, WAYS),
        "prototypes": by_prototypes(inputs),
        "MAML": by_steps(inputs, WAYS, (64, 64), 5),
    }


# What it is learned from, and judged on


@cache
def glyph_features() -> tuple[Tensor, Tensor, Tensor]:
    """Return features of training, validation and test glyphs, ``(classes, examples, d)``.

    They have mean 0 and variance 1 over the training glyphs.
    """
    stored = json.loads(result_path("photographs.json").read_text(encoding="utf-8"))
    layers = stored["draws"]["glyphs, validation"]["layers"]
    means = {name: sum(layers[name].values()) for name in layers if name.startswith("64/1/")}
    layer = int(max(means, key=lambda name: means[name]).split("/")[2])
    network = efficientnet_lite0().up_to(layer, side=64)
    found = []
    with torch.no_grad():
        for part in glyphs().split_groups():
            rows = torch.cat([network(some) for some in torch.split(part.flatten()[0], 16)])
            found.append(rows.view(len(part), -1, rows.shape[1]))
    scale, mean = torch.std_mean(found[0].flatten(0, 1), dim=0)
    train, validation, test = ((rows - mean) / (scale + 1e-6) for rows in found)
    return train, validation, test


def training_tasks(family: str) -> Tasks:
    """Return what every row of a family learns from."""
    if family == "waves":
        return AnyNumber(lambda points: SineTasks(points, 10), MOST_POINTS)
    if family == "glyphs":
        return AnyNumber(lambda n: ImageTasks(glyph_features()[0], WAYS, n, 5), MOST_SHOTS)
    inputs = int(family.split()[1])
    return AnyNumber(lambda n: LinearTasks(n, 10, inputs=inputs, noise=NOISE), most(inputs))


def most(inputs: int) -> int:
    """Return the largest number of examples in training."""
    return 2 * inputs + 4


def kinds_of(family: str, *, validation: bool = False) -> dict[str, Tasks]:
    """Return the kinds of test tasks of a family, by name."""
    if family == "waves":
        kinds: dict[str, Tasks] = {str(n): SineTasks(n, 100) for n in (5, 10, 20, 40, 100)}
        kinds["20, noise"] = SineTasks(20, 100, noise=NOISE)
        return kinds | {"20, right": SineTasks(20, 100, x_range=(5.0, 10.0))}
    if family == "glyphs":
        pool = glyph_features()[1 if validation else 2]
        return {str(shots): ImageTasks(pool, WAYS, shots, 15) for shots in (1, 5)}
    d = int(family.split()[1])
    numbers = sorted({1, d // 2, d, 3 * d // 2, 2 * d, most(d), 2 * most(d), 4 * most(d)})
    found: dict[str, Tasks] = {str(n): LinearTasks(n, 100, inputs=d, noise=NOISE) for n in numbers}
    for noise in (0.1, 1.0):
        found[f"{2 * d}, noise {noise}"] = LinearTasks(2 * d, 100, inputs=d, noise=noise)
    return found


def wrong(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared error of each task of a batch, or its share of wrong answers."""
    each = (outputs - y).square() if y.is_floating_point() else outputs.argmax(dim=-1) != y
    return each.double().flatten(1).mean(dim=1).nan_to_num(1e9).clamp(max=1e9)


def drawn(tasks: Tasks, episodes: int, seed: int) -> Iterator[Episode]:
    """Draw the tasks that all rows are judged on, some at a time."""
    generator = seeded(seed)
    for _ in range(episodes // TOGETHER):
        yield tasks.sample(generator, TOGETHER)


def errors_of(predict: Predict, tasks: Tasks, episodes: int, seed: int) -> Tensor:
    """Return the error of each task."""
    found = [wrong(predict(None, e), e.query_y) for e in drawn(tasks, episodes, seed)]
    return torch.cat(found)


def one_by_one(predict: Predict) -> Predict:
    """Answer the tasks of a batch one after the other."""
    return lambda model, episode: torch.stack([predict(model, task) for task in episode.unbind()])


# Tuning and scores


def after_steps(
    model: nn.Module, episode: Episode, inner_lr: float, steps: Sequence[int]
) -> Iterator[Tensor]:
    """Adapt to all tasks of a batch side by side, and answer after each of these numbers of steps.

    The same as ``maml_predict`` on networks without a norm, and quicker for many tasks.
    """

    def loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
        criterion = F.mse_loss if y.is_floating_point() else F.cross_entropy
        return criterion(functional_call(model, params, (x,)), y)

    tasks = len(episode.support_x)
    params = {n: p.detach().expand(tasks, *p.shape) for n, p in model.named_parameters()}
    slope, answer = vmap(grad(loss)), vmap(lambda p, x: functional_call(model, p, (x,)))
    for step in range(max(steps) + 1):
        if step in steps:
            yield answer(params, episode.query_x)
        g = slope(params, episode.support_x, episode.support_y)
        params = {name: p - inner_lr * g[name] for name, p in params.items()}


def errors_by_steps(
    row: Row,
    model: nn.Module,
    settings: Settings,
    tasks: Tasks,
    steps: Sequence[int],
    episodes: int,
    seed: int,
) -> dict[int, Tensor]:
    """Return the error of each task after each number of steps; after 0 for what takes none."""
    if (predict := row.predict) is not None:
        return {0: errors_of(lambda _, e: predict(model, e), tasks, episodes, seed)}
    found: dict[int, list[Tensor]] = {step: [] for step in steps}
    for episode in drawn(tasks, episodes, seed):
        outputs = after_steps(model, episode, settings["inner_lr"], steps)
        for step, answers in zip(steps, outputs, strict=True):
            found[step].append(wrong(answers, episode.query_y))
    return {step: torch.cat(errors) for step, errors in found.items()}


def best_steps(row: Row, model: nn.Module, settings: Settings, tasks: Tasks) -> tuple[int, float]:
    """Choose the number of steps at test on validation tasks, and say the error with it."""
    found = errors_by_steps(row, model, settings, tasks, row.steps, VALIDATION, 3)
    step = min(found, key=lambda step: found[step].mean().item())
    return step, found[step].mean().item()


def train(
    family: str, name: str, settings: Settings, seed: int, share: float = 1.0
) -> tuple[nn.Module, bool]:
    """Learn from this share of the tasks, with a step size that rises quickly and falls slowly.

    Returns:
        The network, and whether the training came to its end; if its numbers ran away, the network
        is as it was before.
    """
    row, size = rows_of(family)[name], FAMILIES[family.split()[0]]
    model = row.build(seeded(seed))
    rate = {"inner_lr": settings["inner_lr"]} if "inner_lr" in row.rates else {}
    try:
        meta_train(
            model,
            partial(row.loss, **rate),
            training_tasks(family),
            iterations=int(share * size["iterations"]),
            batch=size["batch"],
            generator=seeded(1000 + seed),
            optimizer=torch.optim.Adam(model.parameters(), lr=settings["lr"]),
            schedule=lambda done: min(1.0, (done + 1e-3) / 0.03) * (1 - done),
            progress=False,
        )
    except ValueError:
        return model, False
    return model, True


def settings_tried(row: Row) -> Iterator[dict[str, float]]:
    """Give TRIALS points of a Sobol sequence, scrambled by a fixed seed."""
    sobol = torch.quasirandom.SobolEngine(len(row.rates), scramble=True, seed=0)  # type: ignore[no-untyped-call]
    for point in sobol.draw(TRIALS).tolist():
        bounds = zip(row.rates.items(), point, strict=True)
        yield {name: low * (high / low) ** u for (name, (low, high)), u in bounds}


def tune(family: str, name: str) -> dict[str, Any]:
    """Try all settings with a share of the tasks, and keep the one with the least error."""
    row, kinds = rows_of(family)[name], kinds_of(family, validation=True)
    tried: list[dict[str, Any]] = []
    for settings in settings_tried(row):
        model, ended = train(family, name, settings, TUNING_SEED, SHARE)
        if not ended:
            tried.append({"settings": settings, "error": 1e9})
            continue
        errors = [best_steps(row, model, settings, kinds[kind])[1] for kind in WITHIN[family]]
        tried.append({"settings": settings, "error": sum(errors) / len(errors)})
    return {"tried": tried, "settings": min(tried, key=lambda one: one["error"])["settings"]}


def score(family: str, name: str, settings: Settings, seed: int, folder: Path) -> dict[str, Any]:
    """Learn once, answer every kind of test task, and keep the network and each task's error."""
    row, (model, ended) = rows_of(family)[name], train(family, name, settings, seed)
    kinds, near = kinds_of(family), kinds_of(family, validation=True)
    if name == LARGE:
        kinds = {kind: kinds[kind] for kind in WITHIN[family]}
    errors: dict[str, Tensor] = {}
    result: dict[str, Any] = {"errors": {}, "steps": {}}
    if not ended:
        result["ended"] = False
    for kind, tasks in kinds.items():
        steps, _ = best_steps(row, model, settings, near[kind])
        found = errors_by_steps(row, model, settings, tasks, (steps,), EPISODES, 2)[steps]
        errors[kind] = found.float()
        result["errors"][kind], result["steps"][kind] = found.mean().item(), steps
    if isinstance(model, SetTransformer) and family.startswith("linear"):
        result["three times"] = three_times(model, kinds)
    kept = {"errors": errors, "weights": model.state_dict()}
    save_checkpoint(folder / f"{file_name(family, name)}_{seed}.zip", kept)
    return result


def score_far(name: str, settings: Settings, seed: int, folder: Path) -> dict[str, Any]:
    """Follow the error further right by the number of steps, of a size chosen on other tasks."""
    row, tasks = rows_of("waves")[name], kinds_of("waves")["20, right"]
    model = row.build(seeded(seed))
    model.load_state_dict(
        load_checkpoint(folder / f"{file_name('waves', name)}_{seed}.zip")["weights"]
    )
    rates = {factor: settings["inner_lr"] * factor for factor in FAR_FACTORS}

    def errors(factor: float, seed: int) -> dict[int, float]:
        chosen = {"inner_lr": rates[factor]}
        found = errors_by_steps(row, model, chosen, tasks, FAR_STEPS, VALIDATION, seed)
        return {steps: each.mean().item() for steps, each in found.items()}

    factor = min(FAR_FACTORS, key=lambda factor: min(errors(factor, 3).values()))
    return {"factor": factor, "errors": {str(k): v for k, v in errors(factor, 2).items()}}


def three_times(model: SetTransformer, kinds: Mapping[str, Tasks]) -> dict[str, float]:
    """Return the errors where all values are three times as large, over nine."""

    def enlarged(_: object, episode: Episode) -> Tensor:
        larger = Episode(episode.support_x, 3 * episode.support_y, episode.query_x)
        return in_context_predict(model, larger) / 3

    numbers = [kind for kind in kinds if kind.isdigit()]
    return {n: errors_of(enlarged, kinds[n], EPISODES, 2).mean().item() for n in numbers}


# What learns nothing from other tasks


def closed_forms(family: str) -> dict[str, Predict]:
    """Return the rows that answer each task for itself."""
    if family.startswith("linear"):
        best = partial(bayes_predict, noise=NOISE)
        return {"best possible": best, "least squares": one_by_one(least_squares)}
    if family == "waves":
        return {
            "least squares in the family": one_by_one(in_the_family),
            "Gaussian process": one_by_one(gaussian_process),
        }
    as_they_are = Network(nn.Flatten(), nn.Linear(1, 1))
    return {
        "nearest mean": lambda _, episode: prototype_predict(as_they_are, episode),
        "ridge regression": one_by_one(partial(ridge, penalty=best_penalty())),
    }


def least_squares(_: object, task: Episode) -> Tensor:
    """Fit without a penalty; of many solutions the shortest."""
    solution: Tensor = torch.linalg.pinv(task.support_x) @ task.support_y
    return task.query_x @ solution


def ridge(_: object, task: Episode, *, penalty: float) -> Tensor:
    """Fit the labels of one task, one-hot, on its features."""
    head = ridge_head(task.support_x, task.support_y, penalty=penalty)
    return F.linear(task.query_x, *head)


def best_penalty() -> float:
    """Choose the penalty of ridge regression on validation glyphs."""
    near = kinds_of("glyphs", validation=True).values()

    def error(penalty: float) -> float:
        predict = one_by_one(partial(ridge, penalty=penalty))
        return sum(errors_of(predict, tasks, VALIDATION, 3).mean().item() for tasks in near)

    return min(PENALTIES, key=error)


def score_closed(family: str, folder: Path) -> dict[str, Any]:
    """Answer the test tasks by what learns from nothing else, within training and beyond."""
    kinds, result, errors = kinds_of(family), dict[str, Any](), dict[str, Tensor]()
    for name, predict in closed_forms(family).items():
        result[name] = {}
        for kind, tasks in kinds.items():
            found = errors_of(predict, tasks, EPISODES, 2)
            errors[f"{name}/{kind}"] = found.float()
            result[name][kind] = found.mean().item()
    if family.startswith("linear"):
        knows = result["knows the noise"] = {}
        for kind, tasks in kinds.items():
            assert isinstance(tasks, LinearTasks)
            predict = partial(bayes_predict, noise=tasks.noise)
            knows[kind] = errors_of(predict, tasks, EPISODES, 2).mean().item()
    save_checkpoint(folder / f"{file_name(family, 'closed')}.zip", {"errors": errors})
    return result


# The ledger


def file_name(family: str, name: str) -> str:
    """Return what the files of a row are called."""
    return f"{family}_{name}".replace(", ", "_").replace(" ", "_")


def pieces(family: str) -> Iterator[str]:
    """Give the names of all pieces of a family, in the order in which they are made."""
    tuned, repeated = f"linear {REPEATED}", family in (f"linear {REPEATED}", "waves", "glyphs")
    yield f"closed/{family}"
    for name in rows_of(family):
        yield f"tune/{family if repeated else tuned}/{name}"
        for seed in SEEDS if repeated and name != LARGE else SEEDS[:1]:
            yield f"run/{family}/{name}/{seed}"
            if family == "waves" and name in ("MAML", "joint training"):
                yield f"far/{family}/{name}/{seed}"


def make(piece: str, ledger: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make a piece of the ledger."""
    kind, family, *rest = piece.split("/")
    if kind == "closed":
        return score_closed(family, folder)
    if kind == "tune":
        return tune(family, rest[0])
    tuned = f"linear {REPEATED}" if family.startswith("linear") else family
    settings = ledger["draws"][f"tune/{tuned}/{rest[0]}"]["settings"]
    if kind == "far":
        return score_far(rest[0], settings, int(rest[1]), folder)
    return score(family, rest[0], settings, int(rest[1]), folder)


def begin() -> dict[str, Any]:
    """Return what the ledger says of how it was made."""
    about = {"trials": TRIALS, "episodes": EPISODES, "share": SHARE, "families": FAMILIES}
    return {**how_made("python results/in_context.py"), "settings": about}


if __name__ == "__main__":
    fill_pieces(__file__, __doc__, NAMES, pieces, begin, make)
