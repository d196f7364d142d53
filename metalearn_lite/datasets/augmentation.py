"""Random changes of training images, drawn from an explicit generator."""

from collections.abc import Callable

import torch
from torch import Tensor

Augment = Callable[[Tensor, torch.Generator], Tensor]


def per_image(transform: Callable[[Tensor], Tensor]) -> Augment:
    """Make a random transform of ``torchvision.transforms.v2`` an ``augment`` function.

    A v2 transform draws once for a whole batch and from PyTorch's global generator. Here it
    draws anew for each image, from the generator that is given.
    """

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return torch.stack([transform(image) for image in x])

    return augment
