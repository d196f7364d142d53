"""What do the gradients of six tasks cost, beside the gradient of their sum?

Times, in one run and on the same batch of 64 images, a forward and backward pass of the sum
of the losses, the gradients of all tasks one after the other from one forward pass, and all
at once by vmap. Prints medians, and ratios to the sum.

    python benchmarks/task_gradients.py
"""

import torch
from sampling import REPEATS, milliseconds
from torch import nn

from metalearn_lite.models import conv4, initialise, mlp
from metalearn_lite.multitask import MultiTask, task_gradients, task_losses

TASKS = 6


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
        weights = list(model.trunk.parameters())

        def plain(model=model, x=x, targets=targets, weights=weights) -> object:
            return torch.autograd.grad(sum(task_losses(model(x), targets).values()), weights)

        def each(model=model, x=x, targets=targets, weights=weights, **how) -> object:
            return task_gradients(task_losses(model(x), targets), weights, **how)

        whole = milliseconds(plain)
        loop = milliseconds(each) / whole
        at_once = milliseconds(lambda each=each: each(vectorize=True)) / whole
        print(
            f"{name:18} sum {whole:6.2f} ms; one by one {loop:5.1f} times, by vmap {at_once:5.1f}"
        )


if __name__ == "__main__":
    main()
