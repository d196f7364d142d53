"""How much of a training step goes into drawing its episodes?

Times, in one run, the sampling of a batch of tasks and one step of joint training on the
same batch (forward, backward, Adam), which is the cheapest step any method of the course
takes. Prints medians and the share of the sum that sampling takes.

    python benchmarks/sampling.py
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch

from metalearn_lite.datasets import glyphs
from metalearn_lite.losses import default_loss
from metalearn_lite.models import Network, conv4, mlp
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks, Tasks

REPEATS = 15


def milliseconds(action: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000 * median(times[1:])  # the first call warms up


def training_step(model: Network, episode: Episode) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.cat([episode.support_x, episode.query_x], dim=1).flatten(0, 1)
    y = torch.cat([episode.support_y, episode.query_y], dim=1).flatten(0, 1)

    def step() -> None:
        optimizer.zero_grad()
        default_loss(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train = glyphs().split_groups()[0].to(device)
    generator = torch.Generator().manual_seed(0)
    rows: list[tuple[str, Tasks, Network]] = [
        ("5-way 1-shot, 1 query, 32 tasks", ImageTasks(train, 5, 1, 1), conv4(5)),
        ("5-way 1-shot, 15 queries, 32 tasks", ImageTasks(train, 5, 1, 15), conv4(5)),
        ("20-way 5-shot, 5 queries, 32 tasks", ImageTasks(train, 20, 5, 5), conv4(20)),
        ("sines, 10 + 10 points, 32 tasks", SineTasks(10, 10, device=device), mlp()),
    ]
    print(f"{device}, {torch.get_num_threads()} threads, medians of {REPEATS}")
    for name, tasks, model in rows:
        episode = tasks.sample(generator, batch=32)
        sampling = milliseconds(partial(tasks.sample, generator, batch=32))
        step = milliseconds(training_step(model.to(device), episode))
        share = 100 * sampling / (sampling + step)
        print(f"{name:36} sample {sampling:6.2f} ms, step {step:7.2f} ms, share {share:4.1f} %")


if __name__ == "__main__":
    main()
