"""Transfer learning: what was learned on many classes, used for others.

Train on source classes as usual (``pretrain``), then give the network to a new problem:
fit a new last layer and nothing else (``linear_probe``), or train on from the weights that
are there (``fine_tune``). All take a network made of ``features`` and a linear ``head``, and
return another; the one that is given is never changed, its buffers included. A layer that
behaves differently in training and evaluation mode (PyTorch's batch norm, dropout) does as
the mode of the given network says.
"""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import functional_call
from tqdm import tqdm

from metalearn_lite.augmentation import Augment
from metalearn_lite.baselines import check_single
from metalearn_lite.descent import (
    check_counts,
    check_positive,
    descend,
    layer_rates,
    sampler,
    take_step,
)
from metalearn_lite.evaluation import Predict
from metalearn_lite.linear_heads import fit_logistic, fit_ridge, new_head, outputs_for
from metalearn_lite.models import Network
from metalearn_lite.tasks import Episode

Adapt = Callable[[Network, Tensor, Tensor], Network]


@torch.enable_grad()
def pretrain(
    model: Network,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    batch: int = 64,
    lr: float = 6e-3,
    augment: Augment | None = None,
    progress: bool = False,
) -> Network:
    """Train on source classes by ordinary supervised learning.

    Adam, with a step size that falls in a straight line to zero; each step sees ``batch``
    examples drawn with replacement.

    Args:
        model: where to start from; its head has an output for each source class.
        x: source inputs, ``(n, ...)``; ``ClassImages.flatten()`` gives both.
        y: their labels ``(n,)`` int64, or targets ``(n, outputs)`` float.
        steps: number of steps.
        generator: draws the examples and what ``augment`` needs.
        batch: examples in a step.
        lr: first step size.
        augment: ``augment(x, generator)`` changes the inputs of each step, see
            ``per_image``.
        progress: show a progress bar.

    Returns:
        The trained copy.

    Raises:
        ValueError: if inputs, labels and head do not fit, or the loss is not finite.
    """
    _check_data(model, x, y)
    check_counts(steps=steps)
    check_positive(batch=batch, lr=lr)
    draw = sampler(x, y, batch, augment, generator)
    trained = copy.deepcopy(model)
    optimizer = torch.optim.Adam(trained.parameters(), lr=lr)
    for step in tqdm(range(steps), disable=not progress, leave=False):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        inputs, targets = draw()
        take_step(optimizer, trained(inputs), targets, step)
    trained.zero_grad()
    return trained


def features(model: Network, x: Tensor, *, batch: int = 512) -> Tensor:
    """Compute ``model.features`` without gradient and without touching the model.

    Args:
        model: the network; with batch statistics, those of each ``batch``.
        x: inputs, ``(n, ...)``.
        batch: inputs in one pass, which bounds the memory.

    Returns:
        ``(n, d)``.
    """
    check_positive(batch=batch)
    state = {name: b.clone() for name, b in model.features.named_buffers()}
    with torch.no_grad():
        parts = [functional_call(model.features, state, (part,)) for part in torch.split(x, batch)]
    return torch.cat(parts)


def linear_probe(model: Network, x: Tensor, y: Tensor, *, l2: float = 1e-3) -> Network:
    r"""Fit a new head on fixed features, to the optimum.

    .. math::

        \min_{W, b} \; \mathcal{L}(W z(x) + b, y) + \lambda \lVert W \rVert^2,

    with the mean cross-entropy for labels (scikit-learn's logistic regression) and the mean
    squared error for float targets (its ridge regression). A closed form exists for the
    squared error on labels too and is faster, but it is the optimum of another loss: going
    on with ``fine_tune`` would begin by undoing it.

    Args:
        model: gives the features; its head is not used.
        x: inputs, ``(n, ...)``.
        y: labels ``(n,)`` int64 in ``0 .. ways - 1``, each at least once, or float targets
            ``(n, outputs)``.
        l2: λ. Without it separable features have no optimum: the weights grow for ever.

    Returns:
        A copy of ``model`` with the new head.

    Raises:
        ValueError: if the inputs do not fit, a class has no example, or ``l2`` is not
            positive.
    """
    check_positive(l2=l2)
    probed = new_head(model, outputs_for(y))
    _check_data(probed, x, y)
    z = features(model, x).double().cpu().numpy()
    fit = fit_ridge if y.is_floating_point() else fit_logistic
    weight, bias = fit(z, y.detach().cpu().numpy(), l2)
    with torch.no_grad():
        probed.head.weight.copy_(torch.from_numpy(weight))
        probed.head.bias.copy_(torch.from_numpy(bias))
    return probed


@torch.enable_grad()
def fine_tune(
    model: Network,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    lr: float,
    l2_sp: float = 0.0,
    head_steps: int = 0,
    layer_lrs: Mapping[str, float] | None = None,
    momentum: float = 0.0,
    batch: int | None = None,
    augment: Augment | None = None,
    generator: torch.Generator | None = None,
) -> Network:
    r"""Go on training from the weights of ``model``.

    First ``head_steps`` steps on the head alone, then ``steps`` on all weights. With
    ``head_steps`` (or with a model from ``linear_probe``) this is LP-FT of Kumar et al.
    (2022). With ``l2_sp`` the second phase minimises

    .. math::

        \mathcal{L}(\theta') + \lambda \lVert \theta' - \theta \rVert^2,

    where θ is where that phase starts. This is L2-SP of Li et al. (2018), but with the new
    head drawn to its start, where they draw it to zero. The penalty is taken by an implicit
    step, ``θ' ← (θ' - lr ∇L + 2 lr λ θ) / (1 + 2 lr λ)``, which has the same resting points
    as an explicit one and is stable for every λ.

    Args:
        model: where to start from. Its head has to fit the labels: ``new_head`` makes one.
        x: inputs, ``(n, ...)``.
        y: labels ``(n,)`` int64, or targets ``(n, outputs)`` float.
        steps: gradient steps on all weights; 0 changes nothing.
        lr: their size, and that of the steps on the head.
        l2_sp: λ; 0 is plain fine-tuning.
        head_steps: steps on the head alone, before.
        layer_lrs: step sizes of layers that shall not have ``lr``, by the start of the
            parameters' names, such as ``{"features.0": 0.0}``; of several that match, the
            longest decides. A rate of 0 freezes. See ``layer_decay``.
        momentum: of the gradient steps.
        batch: examples in a step, drawn with replacement; None takes all.
        augment: ``augment(x, generator)`` changes the inputs of each step.
        generator: needed with ``batch`` or ``augment``.

    Returns:
        The fine-tuned copy.

    Raises:
        ValueError: if the inputs do not fit, a number is negative, a layer is unknown or
            the loss is not finite.
    """
    _check_data(model, x, y)
    check_counts(steps=steps, head_steps=head_steps)
    check_positive(lr=lr)
    if not l2_sp >= 0 or not 0 <= momentum < 1:
        raise ValueError(
            f"l2_sp is {l2_sp} and momentum {momentum}: expected 0 or more, and 0 or more below 1"
        )
    draw = sampler(x, y, batch, augment, generator)
    rates = layer_rates(model, lr, layer_lrs or {})
    head_alone = {name: r if name.startswith("head.") else 0.0 for name, r in rates.items()}
    tuned = copy.deepcopy(model)
    descend(tuned, draw, head_alone, steps=head_steps, l2_sp=0.0, momentum=momentum)
    descend(tuned, draw, rates, steps=steps, l2_sp=l2_sp, momentum=momentum)
    return tuned


def as_predict(adapt: Adapt, *, head_seed: int | None = None) -> Predict:
    """Make a way of adapting a ``predict(model, episode)`` that ``evaluate`` can score.

    Args:
        adapt: ``adapt(model, support_x, support_y)`` returns an adapted network, such as
            ``linear_probe`` or ``functools.partial(fine_tune, steps=20, lr=0.1)``.
        head_seed: draws the head that each episode begins with; None begins with zeros.

    Returns:
        A function that gives the query outputs, ``(m, ways)`` or ``(m, outputs)``.
    """

    def predict(model: Network, episode: Episode) -> Tensor:
        check_single(episode)
        generator = None if head_seed is None else torch.Generator().manual_seed(head_seed)
        start = new_head(model, outputs_for(episode.support_y), generator=generator)
        adapted = adapt(start, episode.support_x, episode.support_y)
        with torch.no_grad():
            return adapted(episode.query_x)  # type: ignore[no-any-return]

    return predict


def _check_data(model: Network, x: Tensor, y: Tensor) -> None:
    outputs = model.head.out_features
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"got {len(x)} inputs and {len(y)} labels: expected the same number, at least 1"
        )
    if y.is_floating_point():
        if y.shape != (len(x), outputs):
            raise ValueError(
                f"targets have shape {tuple(y.shape)}: expected {(len(x), outputs)}, a value "
                "for each output of the head"
            )
    elif y.dtype != torch.int64 or y.ndim != 1 or int(y.min()) < 0 or int(y.max()) >= outputs:
        raise ValueError(
            f"labels are {y.dtype} of shape {tuple(y.shape)} from {int(y.min())} to "
            f"{int(y.max())}: expected int64 of shape ({len(x)},) from 0 to {outputs - 1}, an "
            "output of the head for each class; new_head(model, ways) makes one that fits"
        )
