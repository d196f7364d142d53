"""The known causes of an image as tasks to learn, and one score for tasks of every kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metalearn_lite.datasets.class_images import ClassImages
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.models.networks import conv4
from metalearn_lite.multitask.network import MISSING, MultiTask, task_losses

FACTORS = ("script", "family", "weight", "slant", "rotation", "scale")

Labelled = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class FactorTasks:
    """Images with their factors as targets, in three parts that share no character.

    Attributes:
        train: inputs ``(n, 1, h, w)``, and targets by task name.
        validation: the same of other characters.
        test: the same of others again.
        outputs: the number of outputs that each task needs.
        moments: for a numeric factor the mean and the standard deviation over the training
            images. Targets are in standard deviations from the mean.
    """

    train: Labelled
    validation: Labelled
    test: Labelled
    outputs: Mapping[str, int]
    moments: Mapping[str, tuple[float, float]]

    def network(
        self,
        names: Sequence[str] = (),
        *,
        width: int = 32,
        generator: torch.Generator | None = None,
    ) -> MultiTask:
        """Build ``conv4`` features with a linear head for each task.

        Args:
            names: the tasks; none means all.
            width: filters of each convolution.
            generator: draws the initial weights; those of the trunk come first, so that
                networks for different tasks begin with the same trunk.
        """
        unknown = set(names) - set(self.outputs)
        if unknown:
            raise ValueError(f"got tasks {sorted(unknown)}: expected some of {list(self.outputs)}")
        heads = {n: nn.Linear(width, self.outputs[n]) for n in names or self.outputs}
        return initialise(MultiTask(conv4(1, width=width).features, heads), generator)


def factor_tasks(
    images: ClassImages,
    *,
    generator: torch.Generator,
    names: Sequence[str] = FACTORS,
    validation: int = 100,
    test: int = 288,
) -> FactorTasks:
    """Split the characters at random, and make tasks of their factors.

    Args:
        images: characters with factors, such as the training scripts of ``glyphs()``.
        generator: draws the split.
        names: the factors.
        validation: number of characters to validate on.
        test: number of characters to test on; the rest is for training.

    Returns:
        The tasks; no character is in two parts.

    Raises:
        ValueError: if a factor is unknown or no character is left to train on.
    """
    left = len(images) - validation - test
    if min(left, validation, test) < 1:
        raise ValueError(
            f"got {len(images)} characters, {validation} to validate and {test} to test on: "
            "expected at least one for each and one to train on"
        )
    order = torch.randperm(len(images), generator=generator)
    parts = [images.select(o.tolist()) for o in torch.split(order, [left, validation, test])]
    moments = factor_moments(parts[0], names)
    train, held_out, exam = (
        (part.flatten()[0], factor_targets(part, names, moments=moments)) for part in parts
    )
    outputs = {name: len(images.factor_names.get(name, "1")) for name in names}
    return FactorTasks(train, held_out, exam, outputs, moments)


def factor_targets(
    images: ClassImages,
    names: Sequence[str],
    *,
    moments: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Tensor]:
    """Read factors as targets, in the order of ``images.flatten()``.

    Args:
        images: n images in all, with the factors.
        names: which factors.
        moments: for numeric factors that shall be standardised, the mean to subtract and
            the standard deviation to divide by; see ``factor_moments``.

    Returns:
        For a factor of codes ``(n,)`` int64, for a numeric one ``(n, 1)`` float32, on the
        device of the images.

    Raises:
        ValueError: if a factor is unknown.
    """
    targets = {}
    for name in names:
        values = _factor(images, name).flatten().to(images.images.device)
        if values.is_floating_point():
            mean, deviation = (moments or {}).get(name, (0.0, 1.0))
            values = ((values - mean) / deviation).float().unsqueeze(1)
        targets[name] = values
    return targets


def factor_moments(images: ClassImages, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of those of the factors that are numeric."""
    values = {name: _factor(images, name) for name in names}
    return {
        name: (v.mean().item(), v.std(unbiased=False).item())
        for name, v in values.items()
        if v.is_floating_point()
    }


def skill(
    model: MultiTask, x: Tensor, targets: Mapping[str, Tensor], *, chunk: int = 128
) -> dict[str, float]:
    r"""Score each task by the share of the loss of guessing that the network removes.

    .. math::

        1 - \frac{L}{L_{\text{guess}}} .

    The guess does not look at the image: it is the best constant for these targets, the
    frequencies of the classes or the mean of the values. So 1 is perfect, 0 is no better
    than guessing, and a network that is surely wrong is below. For regression this is R²,
    for classification McFadden's (1974) pseudo-R². It has no unit, so that tasks of
    different kinds can be averaged.

    Args:
        model: the network; with batch statistics, those of each ``chunk``.
        x: inputs, ``(n, ...)``.
        targets: as for ``task_losses``; a task without a head or without targets is left out.
        chunk: inputs in one pass; many small passes stay in the cache and are faster.

    Returns:
        The skill of each task; NaN for one whose labels are all alike.
    """
    targets = {name: values for name, values in targets.items() if name in model.heads}
    with torch.no_grad():
        parts = [model(part) for part in torch.split(x, chunk)]
        outputs = {name: torch.cat([part[name] for part in parts]) for name in targets}
        guesses = {name: _guess(targets[name], outputs[name]) for name in targets}
        losses, floor = task_losses(outputs, targets), task_losses(guesses, targets)
    return {
        name: 1 - losses[name].item() / floor[name].item() if floor[name] > 0 else float("nan")
        for name in losses
    }


def _guess(values: Tensor, output: Tensor) -> Tensor:
    if values.is_floating_point():
        return values.nanmean(dim=0).nan_to_num().expand_as(output)
    known = values[values != MISSING]
    share = known.bincount(minlength=output.shape[1]) / max(1, len(known))
    return share.clamp_min(torch.finfo(share.dtype).tiny).log().expand_as(output)


def _factor(images: ClassImages, name: str) -> Tensor:
    if name not in images.factors:
        raise ValueError(f"got factor {name!r}: expected one of {sorted(images.factors)}")
    return images.factors[name]
