"""Do the running statistics of built-in batch norm fit the data they are used on?"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

Built = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def check_running_statistics(model: nn.Module, x: Tensor, *, factor: float = 4.0) -> None:
    """Check that built-in batch norm has running statistics that fit the data.

    Args:
        model: the network; a copy is used.
        x: inputs as they come in use, ``(n, ...)``.
        factor: the running variance may be so many times larger or smaller than that of the
            data, and the mean so many standard deviations away, on average over the channels.

    Raises:
        ValueError: if a layer was never updated, or does not fit.
    """
    model = copy.deepcopy(model).eval()
    names = {m: n for n, m in model.named_modules() if isinstance(m, Built)}
    layers = [m for m in names if m.track_running_stats]
    for layer in layers:
        if not int(layer.num_batches_tracked or 0):
            raise ValueError(
                f"the running statistics of {names[layer]!r} were never updated, and are mean 0 "
                "and variance 1: expected those of the data. Use the statistics of the batch "
                "(track_running_stats=False), or pass data through model.train() first"
            )
    misfits = {layer: list[float]() for layer in layers}

    def compare(layer: Any, inputs: tuple[Tensor]) -> None:
        misfits[layer].append(_misfit(layer, inputs[0]))  # a layer may be passed more than once

    for layer in layers:
        layer.register_forward_pre_hook(compare)
    with torch.no_grad():
        model(x)
    for judged, found in misfits.items():
        if not all(misfit <= factor for misfit in found):
            raise ValueError(
                f"the running statistics of {names[judged]!r} do not fit the data, by a factor of "
                f"{max(found):.1f}: expected at most {factor:g}. Other data has left them; use "
                "the statistics of the batch, or measure them on data like these"
            )


def _misfit(layer: nn.Module, x: Tensor) -> float:
    """Return the larger of the ratio of the variances and the shift of the mean."""
    kept_mean, kept = layer.running_mean, layer.running_var
    if not isinstance(kept_mean, Tensor) or not isinstance(kept, Tensor):
        return 0.0
    variance, mean = torch.var_mean(x.transpose(0, 1).flatten(1), dim=1, correction=0)
    ratio = ((variance + 1e-5) / (kept + 1e-5)).log().abs().mean().exp()
    shift = ((mean - kept_mean).abs() / (kept + 1e-5).sqrt()).mean()
    return max(ratio.item(), shift.item())
