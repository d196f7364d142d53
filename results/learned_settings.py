"""The long run behind the chapter on learned settings: hypergradients against search.

    python results/learned_settings.py [--draws 0 1 ...] [--only NAME ...] [--to FILE]

Five problems, each with several draws, DRAWS (characters, drawings and starts, all from one seed):

- *penalty*: one L2 penalty of a logistic probe on the features of a glyph network; ten characters
  with five drawings of each to train on, five to validate on and ten to test on.
- *penalties*: the same, with a penalty for each of the 32 features.
- *rates*: twenty steps of fine-tuning of the whole network on the same, with a step size for each
  of its four blocks and for the head, which begins at zero.
- *tasks*: the weights of six losses, those of ``factor_tasks``, for a ``conv4`` of width 8 that
  takes TASK_STEPS steps of 64 images; validated on 256 images, tested on 2,000.
- *examples*: a weight for each of 100 training images of a probe, 40 of them with a wrong label;
  validated on 20 images with right labels, tested on 80.

1. *Cost.* A gradient counts as one, and so does a look at the validation loss; a product with the
   Hessian counts as two, and so does going back over one step of a training. Each way may spend the
   same number, BUDGETS, and stops before it would spend more.
2. *Ways.* All begin at the same settings, the *default*, stay in the same box around it, and choose
   the settings of least validation loss that they have met. *grid* halves the box again and again,
   with one number for all settings; *random* draws from the box; *hypergradient* is Adam on the
   logarithms, by conjugate gradients at the optimum of a probe (which begins where the last one
   ended), by differentiating the steps elsewhere.
3. *Tuning.* Adam's step size is chosen of OUTER_RATES for each problem, on validation loss, on
   TUNING_DRAWS of other characters. It is not counted: a gift to hypergradients.
   The default penalty was moved once, from 0.01 to that of the package, after draw 0 had been
   looked at; so draws are counted from 1, and draw 0 is not among them.
4. *Scores.* The test data of a draw are looked at for what each way has chosen after a quarter of
   the budget and after all of it, and, to see overfitting, along the path of *hypergradient*, by
   which nothing is chosen. For *examples* also for a probe that trains on the validation images,
   alone or with the others, and chooses nothing.

About half an hour of one core.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metalearn_lite.checkpoint import load_checkpoint
from metalearn_lite.datasets import glyphs
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.maml import implicit_hypergradient, unrolled_hypergradient
from metalearn_lite.maml.plain import descend
from metalearn_lite.models import Network, conv4, fix_statistics, new_head
from metalearn_lite.multitask import factor_tasks, task_losses
from metalearn_lite.randomness import seeded
from metalearn_lite.transfer import features

DRAWS = {"penalty": 20, "penalties": 20, "rates": 12, "tasks": 8, "examples": 20}
TUNING_DRAWS = (1000, 1001)
BUDGETS = {"penalty": 800, "penalties": 1600, "rates": 915, "tasks": 3612, "examples": 1600}
OUTER_RATES = (0.1, 0.3, 1.0)
CG_STEPS, TASK_STEPS, TUNED_STEPS = 10, 100, 20
TASK_RATE = 0.2
WRONG = 40

Params = dict[str, Tensor]
Data = tuple[Tensor, Tensor]
Scores = dict[str, float]
Found = tuple[Params, float]  # settings, and their validation loss


@dataclass(frozen=True)
class Problem:
    """What is trained, what is chosen, and how both are judged.

    Attributes:
        settings: the default, logarithms.
        spread: half the width of the box around it.
        weights: where the training starts.
        train: the loss that is trained, of weights and settings.
        validate: the loss by which settings are chosen.
        test: the scores that are reported.
        rates: step sizes of the training, made of the settings; None trains to the optimum.
        steps: of the training.
        rewind: goes back to the first minibatch.
    """

    settings: Params
    spread: float
    weights: Params
    train: Callable[[Any, Any], Tensor]
    validate: Callable[[Any, Any], Tensor]
    test: Callable[[Params], Scores]
    rates: Callable[[Any], Any] | None = None
    steps: int = 0
    rewind: Callable[[], None] = lambda: None


class BudgetError(Exception):
    """There is not enough left."""


class Meter:
    """Count gradients, and stop before they are too many."""

    def __init__(self, most: float) -> None:
        self.most, self.spent = most, 0

    def spend(self, count: int) -> None:
        """Count some more."""
        if self.spent + count > self.most:
            raise BudgetError
        self.spent += count


def fit(problem: Problem, settings: Params, start: Params, meter: Meter) -> Params:
    """Train with these settings, by steps or to the optimum."""
    if problem.rates:
        meter.spend(problem.steps)
        problem.rewind()
        rates = problem.rates(settings)
        return descend(
            lambda w: problem.train(w, settings),
            start,
            inner_lr=rates,
            inner_steps=problem.steps,
        )
    weights = {name: w.clone().requires_grad_() for name, w in start.items()}
    optimizer = torch.optim.LBFGS(
        list(weights.values()),
        max_iter=200,
        max_eval=250,
        tolerance_grad=1e-6,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        meter.spend(1)
        optimizer.zero_grad()
        loss = problem.train(weights, settings)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return {name: w.detach() for name, w in weights.items()}


def judged(problem: Problem, settings: Params, meter: Meter) -> float:
    """Train from the start, and return the validation loss."""
    weights = fit(problem, settings, problem.weights, meter)
    meter.spend(1)
    return finite(problem.validate(weights, settings).item())


def finite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def halves() -> Iterator[float]:
    """Halve the line from -1 to 1 again and again: 0, -1/2, 1/2, -3/4, ..."""
    level = 1
    while True:
        yield from ((2 * i + 1) / 2**level * 2 - 1 for i in range(2 ** (level - 1)))
        level += 1


def shifted(problem: Problem, by: Callable[[Tensor], Tensor | float]) -> Params:
    return {name: s + problem.spread * by(s) for name, s in problem.settings.items()}


def grid(problem: Problem, meter: Meter, _: float, seed: int) -> Iterator[Found]:
    """Try one number for all settings."""
    for place in halves():
        settings = shifted(problem, lambda s, place=place: place)  # type: ignore[misc]
        yield settings, judged(problem, settings, meter)


def random(problem: Problem, meter: Meter, _: float, seed: int) -> Iterator[Found]:
    """Try settings drawn from the box, after the default."""
    generator = seeded(seed)
    yield problem.settings, judged(problem, problem.settings, meter)
    while True:
        settings = shifted(
            problem, lambda s: 2 * torch.rand(s.shape, generator=generator, dtype=s.dtype) - 1
        )
        yield settings, judged(problem, settings, meter)


def hypergradient(problem: Problem, meter: Meter, lr: float, seed: int) -> Iterator[Found]:
    """Descend by Adam; where the numbers run away go halfway back to the best."""
    settings = {name: s.clone() for name, s in problem.settings.items()}
    optimizer = torch.optim.Adam(list(settings.values()), lr=lr, betas=(0.8, 0.99))
    weights, best = problem.weights, (problem.settings, math.inf)
    while True:
        here = {name: s.clone() for name, s in settings.items()}
        try:
            loss, slopes, weights = differentiated(problem, here, weights, meter)
        except ValueError:
            yield here, math.inf
            for name, s in settings.items():
                s.copy_((s + best[0][name]) / 2)
            continue
        best = min(best, (here, loss), key=lambda found: found[1])
        yield here, loss
        for name, s in settings.items():
            s.grad = slopes[name]
        optimizer.step()
        for name, s in settings.items():
            s.clamp_(
                problem.settings[name] - problem.spread, problem.settings[name] + problem.spread
            )


def differentiated(
    problem: Problem, settings: Params, weights: Params, meter: Meter
) -> tuple[float, Params, Params]:
    """Return the validation loss, its derivatives, and where the next training begins."""
    seen: list[Tensor] = []

    def validate(weights: Any, settings: Any) -> Tensor:
        seen.append(problem.validate(weights, settings))
        return seen[-1]

    if problem.rates:
        meter.spend(3 * problem.steps + 1)
        problem.rewind()
        slopes = unrolled_hypergradient(
            problem.train,
            validate,
            problem.weights,
            settings,
            lr=problem.rates,
            steps=problem.steps,
        )
    else:
        weights = fit(problem, settings, weights, meter)
        meter.spend(2 * CG_STEPS + 4)
        slopes = implicit_hypergradient(problem.train, validate, weights, settings, steps=CG_STEPS)
    if not all(s.isfinite().all() for s in slopes.values()):
        raise ValueError("a derivative is not finite")
    return seen[-1].item(), slopes, weights


WAYS = {"grid": grid, "random": random, "hypergradient": hypergradient}
NAMES = {
    "penalty": ("grid", "random", "hypergradient"),
    "penalties": ("grid", "random", "hypergradient"),
    "rates": ("grid", "random", "hypergradient"),
    "tasks": ("random", "hypergradient"),  # one number for all weights changes nothing
    "examples": ("grid", "random", "hypergradient"),
}


def search(
    problem: Problem, way: str, budget: int, lr: float, seed: int
) -> list[tuple[int, Params, float]]:
    """Return what a way has met: gradients spent so far, settings, validation loss."""
    meter, met = Meter(budget), []
    found = WAYS[way](problem, meter, lr, seed)
    try:
        for settings, loss in found:
            met.append((meter.spent, settings, loss))
    except BudgetError:
        pass
    return met


def examine(problem: Problem, settings: Params) -> Scores:
    """Train once more from the start, and look at the test data."""
    weights = fit(problem, settings, problem.weights, Meter(math.inf))
    return {"validation": problem.validate(weights, settings).item()} | problem.test(weights)


def chosen(met: list[tuple[int, Params, float]], budget: float) -> Params:
    """Return the settings of least validation loss within a budget."""
    within = [entry for entry in met if entry[0] <= budget] or met[:1]
    return min(within, key=lambda entry: entry[2])[1]


# The problems


@cache
def network(number: int) -> Network:
    train, _, _ = glyphs().split_groups()
    stored = load_checkpoint(Path(__file__).with_name("adapters") / "networks.zip")
    start = conv4(len(train), width=32)
    start.load_state_dict(stored[str(number)])
    return start


def characters(draw: int, sizes: tuple[int, ...]) -> list[Data]:
    """Ten characters, with so many drawings of each in each part."""
    classes = glyphs().split_groups()[1 if draw in TUNING_DRAWS else 2]
    generator = seeded(draw)
    ten = torch.randperm(len(classes), generator=generator)[:10]
    drawings = torch.randperm(20, generator=generator)
    images = classes.images[ten][:, drawings]
    return [
        (part.flatten(0, 1), torch.arange(10).repeat_interleave(part.shape[1]))
        for part in torch.split(images, list(sizes), dim=1)
    ]


def seen_by_network(parts: list[Data], draw: int) -> list[Data]:
    """Compute the features, standardised by those of the first part."""
    fixed = fix_statistics(network(draw % 3), parts[0][0])
    z = [features(fixed, x).double() for x, _ in parts]
    mean, deviation = z[0].mean(0), z[0].std(0) + 1e-6
    return [((z - mean) / deviation, y) for z, (_, y) in zip(z, parts, strict=True)]


def logits(weights: Any, x: Tensor) -> Tensor:
    answer: Tensor = x @ weights["w"] + weights["b"]
    return answer


def tested(outputs: Tensor, y: Tensor) -> Scores:
    right = (outputs.argmax(1) == y).double().mean().item()
    return {"loss": F.cross_entropy(outputs, y).item(), "right": 100 * right}


def probe(parts: list[Data], settings: Params, spread: float) -> Problem:
    """Logistic regression with penalties, or with weights of examples and a fixed penalty."""
    (x, y), (vx, vy), (tx, ty) = parts

    def train(w: Any, s: Any) -> Tensor:
        losses = F.cross_entropy(logits(w, x), y, reduction="none")
        if "log_weights" in s:
            losses = s["log_weights"].exp() * losses
        penalty = s["log_penalty"].exp() if "log_penalty" in s else torch.tensor(0.01)
        total: Tensor = losses.mean() + (penalty * w["w"].square().sum(1)).sum()
        return total

    start = {"w": torch.zeros(x.shape[1], 10).double(), "b": torch.zeros(10).double()}
    return Problem(
        settings,
        spread,
        start,
        train,
        lambda w, s: F.cross_entropy(logits(w, vx), vy),
        lambda w: tested(logits(w, tx), ty),
    )


def penalty(draw: int, count: int = 1) -> Problem:
    parts = seen_by_network(characters(draw, (5, 5, 10)), draw)
    return probe(parts, {"log_penalty": torch.full((count,), math.log(1e-3)).double()}, 6.0)


def penalties(draw: int) -> Problem:
    return penalty(draw, 32)


def is_wrong(draw: int) -> Tensor:
    """Draw which of the 100 training images have a wrong label."""
    some = torch.randperm(100, generator=seeded(5000 + draw))[:WRONG]
    return torch.zeros(100, dtype=torch.bool).index_fill(0, some, True)


def wrong_labels(draw: int) -> list[Data]:
    """Replace the labels of WRONG training images by others."""
    parts = seen_by_network(characters(draw, (10, 2, 8)), draw)
    x, y = parts[0]
    other = (y + torch.randint(1, 10, y.shape, generator=seeded(6000 + draw))) % 10
    return [(x, torch.where(is_wrong(draw), other, y)), *parts[1:]]


def examples(draw: int) -> Problem:
    return probe(wrong_labels(draw), {"log_weights": torch.zeros(100).double()}, 5.0)


def rates(draw: int) -> Problem:
    (x, y), (vx, vy), (tx, ty) = characters(draw, (5, 5, 10))
    tuned = new_head(fix_statistics(network(draw % 3), x), 10)
    start = {name: p.detach() for name, p in tuned.named_parameters()}

    def block(name: str) -> int:
        return 4 if name.startswith("head") else int(name.split(".")[1]) // 3

    def loss(w: Any, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(tuned, w, (x,)), y)

    return Problem(
        {"log_rates": torch.full((5,), math.log(0.02))},
        3.0,
        start,
        lambda w, s: loss(w, x, y),
        lambda w, s: loss(w, vx, vy),
        lambda w: tested(functional_call(tuned, w, (tx,)), ty),
        lambda s: {name: s["log_rates"].exp()[block(name)] for name in start},
        TUNED_STEPS,
    )


def tasks(draw: int) -> Problem:
    """Six losses of one network; the validation loss is one less the mean skill."""
    drawn = factor_tasks(glyphs().split_groups()[0], generator=seeded(draw))
    x, y = drawn.train

    def some(part: tuple[Tensor, Params], count: int) -> tuple[Tensor, Params]:
        rows = torch.randperm(len(part[0]), generator=seeded(draw))[:count]
        return part[0][rows], {name: target[rows] for name, target in part[1].items()}

    (vx, vy), (tx, ty) = some(drawn.validation, 256), some(drawn.test, 2000)
    rows = torch.randint(len(x), (TASK_STEPS, 64), generator=seeded(draw))
    step = 0  # of the training, so that each has the same minibatches

    def rewind() -> None:
        nonlocal step
        step = 0

    net = drawn.network(width=8, generator=seeded(draw))
    start = {name: p.detach() for name, p in net.named_parameters()}

    def guesses(targets: Params) -> dict[str, float]:
        found = {}
        for name, target in targets.items():
            if target.is_floating_point():
                found[name] = target.var(unbiased=False).item()
            else:
                share = target.bincount() / len(target)
                found[name] = -(share * share.clamp_min(1e-9).log()).sum().item()
        return found

    def train(w: Any, s: Any) -> Tensor:
        nonlocal step
        batch, step = rows[step], step + 1
        targets = {name: target[batch] for name, target in y.items()}
        found = task_losses(functional_call(net, w, (x[batch],)), targets)
        losses = torch.stack(list(found.values()))
        total: Tensor = (len(losses) * s["log_weights"].softmax(0) * losses).sum()
        return total

    def unlearned(w: Any, x: Tensor, targets: Params) -> Tensor:
        losses, floor = task_losses(functional_call(net, w, (x,)), targets), guesses(targets)
        return torch.stack([losses[name] / floor[name] for name in losses]).mean()

    def test(w: Params) -> Scores:
        with torch.no_grad():
            loss = unlearned(w, tx, ty).item()
        return {"loss": loss, "right": 100 * (1 - loss)}

    return Problem(
        {"log_weights": torch.zeros(len(y))},
        math.log(5),
        start,
        train,
        lambda w, s: unlearned(w, vx, vy),
        test,
        lambda s: TASK_RATE,
        TASK_STEPS,
        rewind,
    )


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "penalty": penalty,
    "penalties": penalties,
    "rates": rates,
    "tasks": tasks,
    "examples": examples,
}


def tune(name: str) -> dict[str, Any]:
    """Choose Adam's step size on draws that are not scored."""
    tried = {}
    for lr in OUTER_RATES:
        losses = []
        for draw in TUNING_DRAWS:
            met = search(PROBLEMS[name](draw), "hypergradient", BUDGETS[name], lr, draw)
            losses.append(min(loss for _, _, loss in met))
        tried[str(lr)] = sum(losses) / len(losses)
    return {"tried": tried, "lr": float(min(tried, key=lambda lr: tried[lr]))}


def controls(draw: int) -> dict[str, Scores]:
    """Train on the validation images instead, or too, with equal weights."""
    train, validation, test = wrong_labels(draw)
    both = torch.cat([train[0], validation[0]]), torch.cat([train[1], validation[1]])
    found = {}
    for name, data in {"validation images alone": validation, "both": both}.items():
        settings = {"log_weights": torch.zeros(len(data[1])).double()}
        problem = probe([data, validation, test], settings, 0.0)
        found[name] = examine(problem, settings)
    return found


def measure_draw(name: str, draw: int, lr: float) -> dict[str, Any]:
    """Let each way choose, then test what it has chosen."""
    problem, budget = PROBLEMS[name](draw), BUDGETS[name]
    result: dict[str, Any] = {"default": examine(problem, problem.settings)}
    for way in NAMES[name]:
        met = search(problem, way, budget, lr, draw)
        result[way] = examine(problem, chosen(met, budget)) | {
            "quarter": examine(problem, chosen(met, budget / 4)),
            "spent": [spent for spent, _, _ in met],
            "losses": [loss if math.isfinite(loss) else None for _, _, loss in met],
        }
        if way == "hypergradient":
            best = chosen(met, budget)
            result[way]["settings"] = {n: s.tolist() for n, s in best.items()}
            if name in ("penalty", "penalties", "examples"):
                result["path"] = [examine(problem, settings) for _, settings, _ in met]
    if name == "examples":
        result |= controls(draw)
        weights, wrong = best["log_weights"].exp(), is_wrong(draw)
        means = {"wrong": weights[wrong].mean().item(), "right": weights[~wrong].mean().item()}
        result["weights"] = means
    return result


def pieces(draws: Iterable[int], names: Iterable[str]) -> list[str]:
    """Name the work: the tuning of each problem, then its draws."""
    return [p for n in names for p in (f"tune/{n}", *(f"{n}/{d}" for d in draws if d <= DRAWS[n]))]


def new_ledger() -> dict[str, Any]:
    settings = {"budgets": BUDGETS, "outer rates": list(OUTER_RATES), "cg steps": CG_STEPS}
    settings |= {"task steps": TASK_STEPS, "tuned steps": TUNED_STEPS, "wrong": WRONG}
    return how_made("python results/learned_settings.py") | {"settings": settings}


def main() -> None:
    parser = recipe_parser(__file__, __doc__, range(1, 1 + max(DRAWS.values())))
    parser.add_argument("--only", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    options = parser.parse_args()
    torch.set_num_threads(1)

    def measure(piece: str, ledger: Mapping[str, Any]) -> dict[str, Any]:
        kind, which = piece.split("/")
        if kind == "tune":
            return tune(which)
        return measure_draw(kind, int(which), ledger["draws"][f"tune/{kind}"]["lr"])

    fill_ledger(options.to, pieces(options.draws, options.only), new_ledger, measure)


if __name__ == "__main__":
    main()
