"""How many meta-iterations a second does MAML take in the setting of its paper?

Second order, one inner step with a rate of 0.4, 32 tasks of 5 ways, 1 example and 1 query a class,
four convolutions of 64 filters: Finn et al. (2017) run 60,000 such iterations. Trains for some
seconds, the drawing of the tasks included, and scores the result; a GPU records the kernels of an
iteration once and plays them back. With METALEARN_OMNIGLOT set it
is real handwriting with quarter turns, else the course's glyphs.

    python benchmarks/omniglot_rate.py --seconds 60
"""

import argparse
import contextlib
import os
import time
from functools import partial

import torch
from torch import Tensor, nn

from metalearn_lite.datasets import ClassImages, glyphs, omniglot
from metalearn_lite.evaluation import evaluate
from metalearn_lite.maml import maml_loss, maml_predict
from metalearn_lite.models import conv4
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import Iteration, meta_train, recorded

ITERATIONS = 60_000
WARM_UP = 5  # iterations that are not counted


class TimeIsUp(Exception):  # noqa: N818  it is no error
    """Ends a training that is measured by the clock."""


class Watch:
    """Counts iterations, and ends the training when the time is up."""

    def __init__(self, seconds: float, device: str) -> None:
        self.limit, self.device, self.count = seconds, device, 0

    def __call__(self, iteration: Iteration) -> None:
        """Note an iteration; raise ``TimeIsUp`` when it was the last."""
        if iteration.number <= WARM_UP:
            self.start = self.now()
            return
        self.count = iteration.number - WARM_UP
        if time.perf_counter() - self.start >= self.limit:
            raise TimeIsUp

    def now(self) -> float:
        """Return the time at which all that was asked for is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def rate(self) -> float:
        """Return iterations a second."""
        return self.count / (self.now() - self.start)


def data() -> tuple[str, ClassImages, ClassImages]:
    """Return what is trained on, by name, and what is held out."""
    if root := os.environ.get("METALEARN_OMNIGLOT"):
        train, held_out = omniglot(root).split_groups()
        return "Omniglot", train.rotated(), held_out
    train, held_out, _ = glyphs().split_groups()
    return "glyphs", train.rotated(), held_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    name, train, held_out = data()
    model = conv4(5, generator=seeded(0)).to(options.device)
    watch = Watch(options.seconds, options.device)

    def objective(model: nn.Module, episode: Episode) -> Tensor:
        return maml_loss(model, episode, inner_lr=0.4, inner_steps=1)

    with contextlib.suppress(TimeIsUp):
        meta_train(
            model,
            recorded(objective),
            ImageTasks(train.to(options.device), 5, 1, 1),
            iterations=ITERATIONS,
            batch=32,
            generator=seeded(1),
            after_iteration=watch,
            progress=False,
        )
    rate = watch.rate()
    scores = evaluate(
        model,
        partial(maml_predict, inner_lr=0.4, inner_steps=3),
        ImageTasks(held_out.to(options.device), 5, 1, 1),
        episodes=400,
        generator=seeded(2),
    )
    print(
        f"{name}, {options.device}: {rate:.1f} iterations a second over {watch.count}, "
        f"{ITERATIONS / rate / 60:.1f} minutes for {ITERATIONS:,}; "
        f"then {scores.percent()} % in 5 ways, transductive"
    )


if __name__ == "__main__":
    main()
