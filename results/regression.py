"""Values in place of classes: which wave runs through these points, by all methods that can say.

    python results/regression.py [--part 0/2] [--threads 1] [--to FILE]

The waves and the network are those of the chapter on MAML. Learners see 50,000 waves, with ten
points each to adapt to, without noise or with noise of standard deviation NOISE on these points;
three seeds. Each is first tuned on other waves, with a quarter of the waves and a seed that is not
scored: nine settings far apart, then eight about the best, as in ``comparison.py``. How many steps
an adaptation takes, and of what size, is chosen on these waves too, for each number of points. All
are scored on the same 1,000 waves, with 5, 10 and 20 points.

Three rows learn nothing. *From scratch* takes steps from random weights; a *Gaussian process* with
a smooth kernel, whose width, height and noise are fitted to the points of each wave, knows that the
answer is smooth; *least squares* knows the family. About three hours of one core.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comparison import Start, fill_pieces
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from torch import Tensor, nn

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging.ledger import how_made
from metalearn_lite.maml import MetaSGD, maml_loss, maml_predict
from metalearn_lite.models import Network, mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_loss
from metalearn_lite.tasks import Episode, SineTasks
from metalearn_lite.training import meta_train

NOISE, POINTS = 0.5, (5, 10, 20)
WAVES, BATCH, EPISODES, VALIDATION = 50_000, 25, 1000, 200
SEEDS, TUNING_SEED = range(3), 100

Predict = Callable[[Any, Episode], Tensor]


class RidgeFeatures(nn.Module):
    """Features, and the weight of the penalty of the ridge regression on them (R2-D2)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.features = network.features
        self.log_penalty = nn.Parameter(torch.zeros(()))

    def answer(self, task: Episode) -> Tensor:
        """Fit values by ridge regression on the features, an intercept among them."""
        z, queries = (self._extended(x) for x in (task.support_x, task.query_x))
        penalty = self.log_penalty.exp() * torch.eye(z.shape[1]).to(z)
        solution: Tensor = torch.linalg.solve(z.T @ z + penalty, z.T @ task.support_y)
        return queries @ solution

    def _extended(self, x: Tensor) -> Tensor:
        z = self.features(x)
        return torch.cat([z, torch.ones_like(z[:, :1])], dim=1)


def ridge_values_loss(learner: RidgeFeatures, episode: Episode) -> Tensor:
    losses = [(learner.answer(t) - t.query_y).square().mean() for t in episode.unbind()]
    return torch.stack(losses).mean()


def meta_sgd_loss(learner: MetaSGD, episode: Episode) -> Tensor:
    return maml_loss(learner.network, episode, inner_lr=learner.inner_lr, inner_steps=1)


def train(
    learner: nn.Module, objective: Any, noise: float, waves: int, seed: int, meta_lr: float
) -> nn.Module:
    meta_train(
        learner,
        objective,
        SineTasks(10, 10, noise=noise),
        iterations=waves // BATCH,
        batch=BATCH,
        generator=seeded(1000 + seed),
        optimizer=torch.optim.Adam(learner.parameters(), lr=meta_lr),
        schedule=lambda done: 1 - done,
        progress=False,
    )
    return learner


def by_steps(
    *,
    noise: float,
    waves: int,
    seed: int,
    meta_lr: float,
    inner_lr: float = 0.01,
    inner_steps: int = 1,
    first_order: bool = False,
) -> nn.Module:
    options = {"inner_lr": inner_lr, "inner_steps": inner_steps, "first_order": first_order}
    objective = partial(maml_loss, **options)  # type: ignore[arg-type]
    return train(mlp(generator=seeded(seed)), objective, noise, waves, seed, meta_lr)


def by_meta_sgd(
    *, noise: float, waves: int, seed: int, meta_lr: float, inner_lr: float
) -> nn.Module:
    learner = MetaSGD(mlp(generator=seeded(seed)), inner_lr)
    return train(learner, meta_sgd_loss, noise, waves, seed, meta_lr)


def by_reptile(
    *, noise: float, waves: int, seed: int, meta_lr: float, inner_lr: float
) -> nn.Module:
    walk = {"inner_lr": inner_lr, "inner_steps": 10, "minibatch": 10}
    objective = partial(reptile_loss, generator=seeded(3000 + seed), **walk)  # type: ignore[arg-type]
    return train(mlp(generator=seeded(seed)), objective, noise, waves, seed, meta_lr)


def by_ridge(*, noise: float, waves: int, seed: int, meta_lr: float) -> nn.Module:
    learner = RidgeFeatures(mlp(generator=seeded(seed)))
    return train(learner, ridge_values_loss, noise, waves, seed, meta_lr)


def untrained(*, noise: float, waves: int, seed: int) -> nn.Module:
    return mlp(generator=seeded(seed))


def nothing(*, noise: float, waves: int, seed: int) -> nn.Module:
    return nn.Identity()


RATES = {"meta_lr": 0.005, "inner_lr": 0.02}
LEARNERS = {
    "from scratch": Start(untrained),
    "joint training": Start(partial(by_steps, inner_steps=0), {"meta_lr": 0.005}),
    "MAML, one step": Start(by_steps, RATES),
    "MAML, five steps": Start(partial(by_steps, inner_steps=5), RATES),
    "first-order MAML": Start(partial(by_steps, inner_steps=5, first_order=True), RATES),
    "Reptile": Start(by_reptile, RATES),
    "Meta-SGD": Start(by_meta_sgd, RATES),
    "ridge on learned features": Start(by_ridge, {"meta_lr": 0.005}),
    "Gaussian process": Start(nothing),
    "least squares in the family": Start(nothing),
}


def basis(x: Tensor) -> Tensor:
    return torch.cat([x.sin(), x.cos()], dim=1).double()


def in_the_family(_: object, task: Episode) -> Tensor:
    """Fit A sin x + B cos x, which is every wave of the family."""
    solution: Tensor = torch.linalg.lstsq(basis(task.support_x), task.support_y.double()).solution
    return (basis(task.query_x) @ solution).to(task.query_y)


def gaussian_process(_: object, task: Episode) -> Tensor:
    kernel = ConstantKernel(5.0) * RBF(1.5) + WhiteKernel(0.1, (1e-6, 1e1))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five points do not always say how wide a kernel is
        process.fit(task.support_x.numpy(), task.support_y[:, 0].numpy())
    return torch.from_numpy(process.predict(task.query_x.numpy())).to(task.query_y)[:, None]


def ridge_answer(learner: RidgeFeatures, task: Episode) -> Tensor:
    return learner.answer(task)


def meta_sgd_answer(learner: MetaSGD, task: Episode, *, inner_steps: int) -> Tensor:
    rates = learner.inner_lr
    return maml_predict(learner.network, task, inner_lr=rates, inner_steps=inner_steps)


def ways_to_answer(name: str) -> Iterator[tuple[dict[str, float], Predict]]:
    """Give every way to adapt that is tried, with its settings, the cheapest first."""
    closed: dict[str, Predict] = {
        "Gaussian process": gaussian_process,
        "least squares in the family": in_the_family,
        "ridge on learned features": ridge_answer,
    }
    if name in closed:
        yield {}, closed[name]
        return
    for steps in (1, 5, 10, 30):
        if name == "Meta-SGD":
            yield {"inner_steps": steps}, partial(meta_sgd_answer, inner_steps=steps)
            continue
        for rate in (0.003, 0.01, 0.02, 0.05):
            settings = {"inner_steps": steps, "inner_lr": rate}
            yield settings, partial(maml_predict, **settings)  # type: ignore[arg-type]


def error(
    learner: Any, predict: Predict, points: int, noise: float, episodes: int, seed: int
) -> list[float]:
    """Return the squared error on each wave; without an end where the numbers run away."""
    waves = SineTasks(points, 100, noise=noise)
    try:
        scores = evaluate(learner, predict, waves, episodes=episodes, generator=seeded(seed))
    except ValueError:
        return [float("inf")]
    found: list[float] = scores.values.tolist()
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def best_way(name: str, learner: Any, points: int, noise: float) -> dict[str, float]:
    tried = [
        (mean(error(learner, predict, points, noise, VALIDATION, 3)), number, settings)
        for number, (settings, predict) in enumerate(ways_to_answer(name))
    ]
    return min(tried)[2]


def tune(name: str, noise: float) -> dict[str, Any]:
    """Choose the settings of a learner, and how it adapts to each number of points."""
    start, tried = LEARNERS[name], list[dict[str, Any]]()

    def attempt(settings: Mapping[str, float]) -> None:
        try:
            learner = start.learn(noise=noise, waves=WAVES // 4, seed=TUNING_SEED, **settings)
        except ValueError:
            tried.append({"settings": settings, "error": float("inf")})
            return
        best = min(
            mean(error(learner, predict, 10, noise, VALIDATION, 3))
            for _, predict in ways_to_answer(name)
        )
        tried.append({"settings": settings, "error": best})

    def best() -> dict[str, float]:
        found: dict[str, float] = min(tried, key=lambda t: t["error"])["settings"]
        return found

    for settings in start.far_apart() or [{}]:
        attempt(settings)
    for settings in start.about(best()) if start.rates else []:
        attempt(settings)
    for entry in tried:  # JSON has no infinity
        entry["error"] = min(entry["error"], 1e9)
    learner = start.learn(noise=noise, waves=WAVES // 4, seed=TUNING_SEED, **best())
    ways = {str(points): best_way(name, learner, points, noise) for points in POINTS}
    return {"settings": best(), "tried": tried, "ways": ways}


def measure(
    name: str, noise: float, seed: int, tuned: Mapping[str, Any], folder: Path
) -> dict[str, float]:
    """Return the mean error by the number of points; that of each wave goes to ``folder``."""
    learner = LEARNERS[name].learn(noise=noise, waves=WAVES, seed=seed, **tuned["settings"])
    found = {}
    for points in POINTS:
        way = tuned["ways"][str(points)]
        predict = next(p for settings, p in ways_to_answer(name) if settings == way)
        found[str(points)] = error(learner, predict, points, noise, EPISODES, 2)
    words = f"{name}_{noise}_{seed}".replace(", ", "_").replace(" ", "_")
    errors = {points: torch.tensor(values) for points, values in found.items()}
    save_checkpoint(folder / f"{words}.zip", errors, metadata={"learner": name, "seed": seed})
    return {points: mean(values) for points, values in found.items()}


def pieces(name: str) -> Iterator[str]:
    seeds = SEEDS if LEARNERS[name].rates or name == "from scratch" else SEEDS[:1]
    for noise in (0.0, NOISE):
        yield f"tune/{name}/{noise}"
        yield from (f"run/{name}/{noise}/{seed}" for seed in seeds)


def make(piece: str, ledger: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    kind, name, noise, *seed = piece.split("/")
    if kind == "tune":
        return tune(name, float(noise))
    tuned = ledger["draws"][f"tune/{name}/{noise}"]
    return measure(name, float(noise), int(seed[0]), tuned, folder)


def begin() -> dict[str, Any]:
    about = {"waves": WAVES, "episodes": EPISODES, "noise": NOISE, "points": list(POINTS)}
    return {**how_made("python results/regression.py"), "settings": about}


if __name__ == "__main__":
    fill_pieces(__file__, __doc__, LEARNERS, pieces, begin, make)
