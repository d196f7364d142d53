"""What do the gradients of six tasks cost, beside the gradient of their sum?

Times, in one run and on the same batch of 64 images, a forward and backward pass of the sum
of the losses, the gradients of all tasks one after the other from one forward pass, and all
at once by vmap. Prints medians, and ratios to the sum.

    python benchmarks/task_gradients.py
"""

from functools import partial

import torch
from sampling import REPEATS, milliseconds
from torch import Tensor, nn

from metalearn_lite.models import conv4, initialise, mlp
from metalearn_lite.multitask import MultiTask, task_gradients, task_losses

TASKS = 6


def summed(
    model: MultiTask, x: Tensor, targets: dict[str, Tensor], weights: list[Tensor]
) -> tuple[Tensor, ...]:
    losses = task_losses(model(x), targets)
    return torch.autograd.grad(torch.stack(list(losses.values())).sum(), weights)


def each(
    model: MultiTask,
    x: Tensor,
    targets: dict[str, Tensor],
    weights: list[Tensor],
    *,
    vectorize: bool = False,
) -> dict[str, Tensor]:
    return task_gradients(task_losses(model(x), targets), weights, vectorize=vectorize)


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 1, 28, 28, generator=generator).to(device)
    rows = {
        "mlp, 2 x 40 units": (mlp(784).features, 40, images.flatten(1)),
        "conv4, 16 filters": (conv4(1, width=16).features, 16, images),
        "conv4, 32 filters": (conv4(1, width=32).features, 32, images),
        "conv4, 64 filters": (conv4(1, width=64).features, 64, images),
    }
    print(f"{device}, {torch.get_num_threads()} threads, medians of {REPEATS}, {TASKS} tasks")
    for name, (trunk, width, x) in rows.items():
        heads = {f"task{i}": nn.Linear(width, 1) for i in range(TASKS)}
        model = initialise(MultiTask(trunk, heads), generator).to(device)
        targets = {task: torch.randn(64, 1, device=device) for task in heads}
        weights: list[Tensor] = list(model.trunk.parameters())
        whole = milliseconds(partial(summed, model, x, targets, weights))
        loop = milliseconds(partial(each, model, x, targets, weights)) / whole
        at_once = milliseconds(partial(each, model, x, targets, weights, vectorize=True)) / whole
        print(
            f"{name:18} sum {whole:6.2f} ms; one by one {loop:5.1f} times, by vmap {at_once:5.1f}"
        )


if __name__ == "__main__":
    main()
