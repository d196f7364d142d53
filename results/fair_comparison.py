"""The long run behind the chapter on fair comparison: all methods of the course, one protocol.

    python results/fair_comparison.py [--draws 0 1 2 ...] [--threads 2] [--to FILE]

All share the backbone, the training scripts, the number of training images, the number of
settings that were tried, and 1,000 test episodes. Before the first draw four settings of every
start (``LEARNERS``), and up to four of every adaptation (``METHODS``), are tried on the
validation scripts, with a quarter of the images and a draw that is not scored. A draw is a start of
the networks and an order of what they see. It is written when it is done, with the answers to
every episode in results/fair_comparison/; the first also leaves its weights
for one example there.

Then, in fair_comparison_time.json, the same with one example and as many *seconds* as MAML took,
on fewer episodes.

With METALEARN_OMNIGLOT set, five alphabets of real handwriting are scored too; the ledger that is
stored has them. About forty-five minutes a draw on one core, and as much for tuning.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from metalearn_lite.checkpoint import save_checkpoint
from metalearn_lite.datasets import ClassImages, digits, glyphs, omniglot
from metalearn_lite.judging import LEARNERS, METHODS, answers
from metalearn_lite.judging.learners import WAYS
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.judging.methods import Method
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks

HERE = Path(__file__).resolve().parent
IMAGES = 96_000  # drawn in training
TUNING, TUNING_DRAW = 24_000, 100
SMALL = 12_000  # what a chapter can afford
SHOTS = (1, 5)
EPISODES, FEWER = 1000, 100  # of the test scripts; of other domains, and in tuning
TIMED_EPISODES = 200  # the first of them, for equal time
DRAWS = range(3)
REPEATED = ("linear probe", "MAML", "Reptile", "prototypes")  # by the chapter, in small

Settings = dict[str, float]


def score(
    method: Method, learner: nn.Module, tasks: ImageTasks, settings: Settings, episodes: int
) -> Tensor:
    """Count the right answers to each episode, ``(2, episodes)``: transductive, inductive."""
    generator, right = seeded(2), []
    for _ in range(episodes):
        task = tasks.sample(generator)
        outputs = answers(method.adapt(learner, task, **settings), task)
        right.append([int((o.argmax(dim=1) == task.query_y).sum()) for o in outputs])
    return torch.tensor(right, dtype=torch.uint8).T


def share_right(right: Tensor) -> dict[str, float]:
    means = right.double().mean(dim=1) / (WAYS * 15)
    return dict(zip(("transductive", "inductive"), means.tolist(), strict=True))


def choices(settings: Mapping[str, tuple[float, ...]]) -> Iterator[Settings]:
    """Go through all combinations, the usual one first."""
    for values in itertools.product(*settings.values()):
        yield dict(zip(settings, values, strict=True))


def for_task(name: str, chosen: Settings, start: Settings) -> Settings:
    """Complete the settings of an adaptation by the inner rate that its start was trained for."""
    inner = "inner_steps" in METHODS[name].settings
    return chosen | ({"inner_lr": start["inner_lr"]} if inner else {})


def tune(shots: int) -> dict[str, dict[str, Any]]:
    """Try all settings on the validation scripts.

    Each start is judged by the first method that uses it, at its usual settings; then each
    adaptation on the best start. What each would have scored on the test scripts is noted as
    well, and not used.
    """
    train, validation, test = glyphs().split_groups()
    parts = {"validation": validation, "test": test}

    def judge(name: str, learner: nn.Module, settings: Settings) -> dict[str, list[int]]:
        return {
            part: score(
                METHODS[name], learner, ImageTasks(classes, WAYS, shots, 15), settings, FEWER
            )[0].tolist()
            for part, classes in parts.items()
        }

    def best(tried: list[dict[str, Any]]) -> Settings:
        settings: Settings = max(tried, key=lambda entry: sum(entry["validation"]))["settings"]
        return settings

    learners: dict[str, nn.Module] = {}
    found: dict[str, dict[str, Any]] = {"starts": {}, "methods": {}, "tried": {}}
    for name, start in LEARNERS.items():
        user = next(n for n, m in METHODS.items() if m.learner == name)
        usual = next(choices(METHODS[user].settings))
        tried: list[dict[str, Any]] = []
        for settings in choices(start.settings):
            learner = start.learn(train, shots=shots, images=TUNING, seed=TUNING_DRAW, **settings)
            result = judge(user, learner, for_task(user, usual, settings))
            tried.append({"settings": settings, **result})
            if best(tried) == settings:
                learners[name] = learner
        found["starts"][name] = best(tried)
        found["tried"][f"start {name}"] = tried
    for name, method in METHODS.items():
        tried = []
        for chosen in choices(method.settings):
            settings = for_task(name, chosen, found["starts"][method.learner])
            result = judge(name, learners[method.learner], settings)
            tried.append({"settings": settings, **result})
        found["methods"][name] = best(tried)
        found["tried"][name] = tried
    return found


def learn(
    name: str, tuning: Mapping[str, Any], *, shots: int, images: int, draw: int
) -> tuple[nn.Module, float]:
    """Learn a start with its tuned settings; return it with the seconds of one core it took."""
    train = glyphs().split_groups()[0]
    begin = time.process_time()
    settings = tuning[str(shots)]["starts"][name]
    learner = LEARNERS[name].learn(train, shots=shots, images=images, seed=draw, **settings)
    return learner, time.process_time() - begin


class Passes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count passes through the four convolutions, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.forward = self.backward = 0.0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.forward += 0.25 * (func is torch.ops.aten.convolution.default)
        self.backward += 0.25 * (func is torch.ops.aten.convolution_backward.default)
        return func(*args, **(kwargs or {}))


def cost(method: Method, learner: nn.Module, task: Episode, settings: Settings) -> dict[str, float]:
    """Measure what it takes to adapt to one task, before any query is answered."""
    times = []
    for _ in range(15):
        begin = time.process_time()
        method.adapt(learner, task, **settings)
        times.append(time.process_time() - begin)
    with Passes() as passes:
        method.adapt(learner, task, **settings)
    found = {"milliseconds": 1000 * min(times)}
    return found | {"forward": passes.forward, "backward": passes.backward}


def domains() -> dict[str, tuple[ClassImages, int]]:
    """Return what is scored, and in how many episodes."""
    found = {"glyphs": (glyphs().split_groups()[2], EPISODES), "digits": (digits(), FEWER)}
    if root := os.environ.get("METALEARN_OMNIGLOT"):
        found["handwriting"] = (omniglot(root).split_groups()[1], FEWER)
    return found


def shot_results(
    shots: int, draw: int, tuning: Mapping[str, Any], weights: Path | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train, score and time everything for a number of examples.

    Returns:
        The numbers for the ledger, and the right answers to each episode.
    """
    found: dict[str, Any] = {"seconds": {}, "costs": {}, "scores": {}}
    right: dict[str, Tensor] = {}
    scored, learners = domains(), {}
    for name in LEARNERS:
        learners[name], found["seconds"][name] = learn(
            name, tuning, shots=shots, images=IMAGES, draw=draw
        )
        if weights is not None and name != "nothing":
            path = weights / f"{name.replace(' ', '_')}.zip"
            save_checkpoint(path, learners[name].state_dict(), metadata={"network": name})
    for name, method in METHODS.items():
        learner, settings = learners[method.learner], tuning[str(shots)]["methods"][name]
        found["scores"][name] = {}
        for domain, (classes, episodes) in scored.items():
            tasks = ImageTasks(classes, WAYS, shots, 15)
            seen = score(method, learner, tasks, settings, episodes)
            right[f"{shots}/{domain}/{name}"] = seen
            found["scores"][name][domain] = share_right(seen)
        found["costs"][name] = cost(method, learner, tasks.sample(seeded(3)), settings)
    return found, right


def draw_results(
    draw: int, tuning: Mapping[str, Any], folder: Path, *, keep: bool = False
) -> dict[str, Any]:
    """Everything for one draw; the answers and, with ``keep``, the weights go to ``folder``."""
    result: dict[str, Any] = {}
    right: dict[str, Tensor] = {}
    for shots in SHOTS:
        weights = folder if keep and shots == 1 else None
        result[str(shots)], seen = shot_results(shots, draw, tuning, weights)
        right |= seen
    result["small"] = {name: repeat(name, tuning, draw) for name in REPEATED}
    save_checkpoint(folder / f"answers_{draw}.zip", right, metadata={"draw": draw})
    return result


def repeat(name: str, tuning: Mapping[str, Any], draw: int) -> float:
    """Train with few images and one example, score few episodes: what the chapter does again."""
    method, settings = METHODS[name], tuning["1"]["methods"][name]
    learner, _ = learn(method.learner, tuning, shots=1, images=SMALL, draw=draw)
    tasks = ImageTasks(glyphs().split_groups()[2], WAYS, 1, 15)
    return share_right(score(method, learner, tasks, settings, FEWER))["transductive"]


def equal_time(
    draw: int, tuning: Mapping[str, Any], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Learn every start from as many images as fit into the time of MAML; with one example."""
    found: dict[str, Any] = {"images": {}, "scores": {}}
    tasks, learners = ImageTasks(glyphs().split_groups()[2], WAYS, 1, 15), {}
    for name in (n for n in LEARNERS if n != "nothing"):
        images = int(IMAGES * seconds["MAML"] / seconds[name])
        learners[name], _ = learn(name, tuning, shots=1, images=images, draw=draw)
        found["images"][name] = images
    for name, method in METHODS.items():
        if method.learner in learners:
            settings = tuning["1"]["methods"][name]
            right = score(method, learners[method.learner], tasks, settings, TIMED_EPISODES)
            found["scores"][name] = share_right(right)
    return found


def new_ledger() -> dict[str, Any]:
    settings = {
        "images": IMAGES,
        "tuning images": TUNING,
        "small images": SMALL,
        "episodes": EPISODES,
        "timed episodes": TIMED_EPISODES,
        "episodes of other domains": FEWER,
    }
    tuning = {str(shots): tune(shots) for shots in SHOTS}
    made = how_made("python results/fair_comparison.py")
    return made | {"settings": settings, "tuning": tuning}


def main() -> None:
    options = recipe_parser(__file__, __doc__, DRAWS).parse_args()
    torch.set_num_threads(options.threads)
    folder = options.to.with_suffix("")
    timed = folder.with_name(f"{folder.name}_time.json")

    def measure(draw: int, ledger: Mapping[str, Any]) -> dict[str, Any]:
        return draw_results(draw, ledger["tuning"], folder, keep=draw == 0)

    def measure_timed(draw: int, _: object) -> dict[str, Any]:
        ledger = json.loads(options.to.read_text())
        seconds = ledger["draws"][str(draw)]["1"]["seconds"]
        return equal_time(draw, ledger["tuning"], seconds)

    def about() -> dict[str, Any]:
        return how_made("python results/fair_comparison.py")

    fill_ledger(options.to, options.draws, new_ledger, measure)
    fill_ledger(timed, options.draws, about, measure_timed)


if __name__ == "__main__":
    main()
