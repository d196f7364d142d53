"""Draw the weights of a network from a generator, so that a seed decides them."""

from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)
NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)  # begin with ones and zeros


def initialise(model: Model, generator: torch.Generator | None) -> Model:
    """Draw all weights and biases of ``model`` afresh from ``generator``, in place.

    The distribution is PyTorch's own for linear layers and convolutions, uniform in
    ``±1 / sqrt(fan_in)``, drawn on the CPU so that every device starts alike. Any other layer
    that can draw its own parameters does so, from a seed that the generator gives. Scales and
    shifts of normalisation layers keep their ones and zeros.

    Args:
        model: the network to start anew.
        generator: a CPU generator; None leaves the model as it is.

    Returns:
        The same model.
    """
    if generator is None:
        return model
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = layer.weight[0].numel() ** -0.5
            for p in layer.parameters():
                unit = torch.rand(p.shape, generator=generator, dtype=p.dtype)
                p.data.copy_(bound * (2 * unit - 1))
        else:
            draw_by_seed(layer, generator)
    return model


def draw_by_seed(layer: nn.Module, generator: torch.Generator) -> None:
    """Let a layer draw its own parameters, by a seed from ``generator``."""
    draw = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
    if draw is None or isinstance(layer, NORMS) or not list(layer.parameters(recurse=False)):
        return
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        draw()
