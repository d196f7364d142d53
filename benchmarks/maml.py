"""How fast is a meta-gradient, beside the plain loop over tasks and beside higher?

Times one meta-iteration (loss and gradient, second order) of three programs on the same
network and the same episodes, in turn, after checking that their gradients agree:

* ``maml_loss``, which computes tasks together;
* a plain loop over the tasks with ``torch.autograd.grad(..., create_graph=True)``, which goes
  backward after each task and so holds one task at a time;
* the same loop with higher (Grefenstette et al., 2019), as in its Omniglot example.

Prints medians, ratios, the peak memory of each above that of the data, measured in a process
of its own, and which share of the machine's matrix-product speed ``maml_loss`` reaches. For the
memory there is a fourth program, "plain": ``maml_loss(..., task_by_task=True)``, which holds all
tasks until the loss goes backward, as any loop does that returns a loss. About six minutes.

    python benchmarks/maml.py
"""

import argparse
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from statistics import median

import psutil
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from metalearn_lite.losses import task_loss
from metalearn_lite.maml import maml_loss
from metalearn_lite.models import conv4, mlp
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import higher

REPEATS = 5
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# name: tasks, ways, shots, queries, inner steps, inner rate; no ways: sines
ROWS = {
    "5-way 1-shot, 1 query": (32, 5, 1, 1, 1, 0.4),
    "the same, 15 queries": (32, 5, 1, 15, 1, 0.4),
    "the same, 5 inner steps": (32, 5, 1, 1, 5, 0.1),
    "5-way 5-shot, 5 queries": (32, 5, 5, 5, 1, 0.4),
    "20-way 1-shot, 5 steps": (16, 20, 1, 1, 5, 0.1),
    "sines, 10 shots": (25, 0, 10, 10, 1, 0.01),
}


def together(model: nn.Module, episode: Episode, steps: int, lr: float) -> None:
    maml_loss(model, episode, inner_lr=lr, inner_steps=steps).backward()  # type: ignore[no-untyped-call]


def loop(model: nn.Module, episode: Episode, steps: int, lr: float) -> None:
    for task in episode.unbind():
        params: dict[str, Tensor] = dict(model.named_parameters())
        for _ in range(steps):
            loss = task_loss(functional_call(model, params, (task.support_x,)), task.support_y)
            gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {n: p - lr * g for (n, p), g in zip(params.items(), gradients, strict=True)}
        loss = task_loss(functional_call(model, params, (task.query_x,)), task.query_y)
        (loss / len(episode.query_y)).backward()  # type: ignore[no-untyped-call]


def with_higher(model: nn.Module, episode: Episode, steps: int, lr: float) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for task in episode.unbind():
        context = higher.innerloop_ctx(model, optimizer, copy_initial_weights=False)
        with context as (network, inner):
            for _ in range(steps):
                inner.step(task_loss(network(task.support_x), task.support_y))
            loss = task_loss(network(task.query_x), task.query_y)
            (loss / len(episode.query_y)).backward()  # type: ignore[no-untyped-call]


def plain(model: nn.Module, episode: Episode, steps: int, lr: float) -> None:
    loss = maml_loss(model, episode, inner_lr=lr, inner_steps=steps, task_by_task=True)
    loss.backward()  # type: ignore[no-untyped-call]


PROGRAMS: dict[str, Callable[..., None]] = {
    "maml_loss": together,
    "loop": loop,
    "higher": with_higher,
}


def setting(row: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Episode, int, float]:
    tasks, ways, shots, queries, steps, lr = ROWS[row]
    generator = torch.Generator().manual_seed(0)
    if not ways:
        model = mlp(generator=generator)
        episode = SineTasks(shots, queries, dtype=dtype).sample(generator, tasks)
    else:
        model = conv4(ways, generator=generator)
        classes = torch.rand(50, 20, 1, 28, 28, generator=generator, dtype=dtype)
        episode = ImageTasks(classes, ways, shots, queries).sample(generator, tasks)
    return model.to(DEVICE, dtype), episode.to(DEVICE), steps, lr


def gradient(program: Callable[..., None], row: str) -> Tensor:
    model, episode, steps, lr = setting(row, torch.float64)
    parts = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    program(model, Episode(*(part[:2] for part in parts)), steps, lr)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def check_gradients(row: str) -> None:
    wanted = gradient(loop, row)
    for program in (together, with_higher):
        torch.testing.assert_close(gradient(program, row), wanted, rtol=1e-9, atol=1e-12)


def seconds(row: str) -> dict[str, float]:
    """Time the programs in turn, so that a slow moment of the machine meets all."""
    model, *rest = setting(row)
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(REPEATS + 1):
        for name, program in PROGRAMS.items():
            model.zero_grad()
            start = time.perf_counter()
            program(model, *rest)
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return {name: median(found[1:]) for name, found in times.items()}  # the first warms up


def megabytes(program: str, row: str) -> float:
    """Peak memory of a program above what the process held before, in a process of its own."""
    command = [sys.executable, __file__, "--memory", program, row]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_memory(program: str, row: str) -> None:
    model, *rest = setting(row)
    if DEVICE == "cuda":
        before = torch.cuda.max_memory_allocated()
        (PROGRAMS | {"plain": plain})[program](model, *rest)
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    process, seen, done = psutil.Process(), [], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            seen.append(process.memory_info().rss)

    before = process.memory_info().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        (PROGRAMS | {"plain": plain})[program](model, *rest)
    done.set()
    watcher.join()
    print((max(seen) - before) / 2**20)


def operations(row: str) -> float:
    """Count the multiplications and additions of the plain loop's matrix work."""
    model, episode, steps, lr = setting(row)
    with FlopCounterMode(display=False) as counter:
        loop(model, episode, steps, lr)
    return float(counter.get_total_flops())


def peak() -> float:
    """Operations a second of a large matrix product."""
    a = torch.rand(2048, 2048, device=DEVICE)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        a @ a
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    if options.memory:
        print_memory(*options.memory)
        return
    fastest = peak()
    print(
        f"{DEVICE}, {torch.get_num_threads()} threads, medians of {REPEATS}; "
        f"a matrix product runs at {fastest / 1e9:.0f} GFLOP/s"
    )
    print(f"{'':26}{'seconds':>30}{'times slower':>20}{'peak MB':>40}{'share':>8}")
    columns = (*PROGRAMS, "loop", "higher", *PROGRAMS, "plain")
    print(f"{'':26}" + "".join(f"{name:>10}" for name in columns), "of peak")
    for row in options.rows:
        check_gradients(row)
        found = seconds(row)
        own = found["maml_loss"]
        cells = [f"{s:10.4f}" for s in found.values()]
        cells += [f"{found[name] / own:10.1f}" for name in ("loop", "higher")]
        cells += [f"{megabytes(name, row):10.0f}" for name in (*PROGRAMS, "plain")]
        print(f"{row:26}{''.join(cells)}{operations(row) / own / fastest:8.0%}", flush=True)


if __name__ == "__main__":
    main()
