"""Give a trained network to a new problem: fit a new last layer, or train on from its weights.

All take a network made of ``features`` and a linear ``head``, and return another; the one that is
given is never changed, its buffers included. A layer that behaves differently in training and
evaluation mode (PyTorch's batch norm, dropout) does as the mode of the given network says.
"""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_not_negative, check_positive
from metalearn_lite.datasets.augmentation import Augment
from metalearn_lite.evaluation import Predict
from metalearn_lite.models.heads import new_head, outputs_for
from metalearn_lite.models.linear_fits import fit_logistic, fit_ridge
from metalearn_lite.models.networks import Network
from metalearn_lite.models.query_statistics import answer_each_task
from metalearn_lite.tasks import Episode, check_single
from metalearn_lite.tensors import check_classes
from metalearn_lite.transfer.descent import sampler, take_steps
from metalearn_lite.transfer.supervised import check_data, features

Adapt = Callable[[Network, Tensor, Tensor], Network]


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
    check_data(probed, x, y)
    z = features(model, x).cpu().double().numpy()
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
    minibatch: int | None = None,
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
        minibatch: examples in a step, drawn with replacement; None takes all.
        augment: ``augment(x, generator)`` changes the inputs of each step.
        generator: needed with ``minibatch`` or ``augment``.

    Returns:
        The fine-tuned copy.

    Raises:
        ValueError: if the inputs do not fit, a number is negative, a layer is unknown or
            the loss is not finite.
    """
    check_data(model, x, y)
    check_counts(steps=steps, head_steps=head_steps, least=0)
    check_positive(lr=lr)
    check_not_negative(l2_sp=l2_sp, momentum=momentum)
    if momentum >= 1:
        raise ValueError(f"momentum is {momentum}: expected less than 1")
    draw = sampler(x, y, minibatch, augment, generator)
    rates = layer_rates(model, lr, layer_lrs or {})
    head_alone = {name: r if name.startswith("head.") else 0.0 for name, r in rates.items()}
    tuned = copy.deepcopy(model)
    take_steps(tuned, draw, head_alone, steps=head_steps, l2_sp=0.0, momentum=momentum)
    take_steps(tuned, draw, rates, steps=steps, l2_sp=l2_sp, momentum=momentum)
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
        def learn(task: Episode) -> Network:
            generator = None if head_seed is None else torch.Generator().manual_seed(head_seed)
            check_classes(task.support_y, task.query_y)
            start = new_head(model, outputs_for(task.support_y), generator=generator)
            return adapt(start, task.support_x, task.support_y)

        return answer_each_task(model, episode, learn)

    return predict


def probe_learn(model: Network, task: Episode, *, l2: float = 1e-3) -> Network:
    """Fit a new head to one task, to the optimum, and return what answers its queries.

    Args:
        model: gives the features; not changed.
        task: a single episode.
        l2: as in ``linear_probe``.
    """
    check_single(task)
    check_classes(task.support_y, task.query_y)
    return linear_probe(model, task.support_x, task.support_y, l2=l2)


def fine_tune_learn(model: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Train all layers on one task, with a new head that begins at zero.

    Args:
        model: where the other layers begin; not changed.
        task: a single episode.
        steps: as in ``fine_tune``.
        lr: as in ``fine_tune``.
    """
    check_single(task)
    check_classes(task.support_y, task.query_y)
    start = new_head(model, outputs_for(task.support_y))
    return fine_tune(start, task.support_x, task.support_y, steps=steps, lr=lr)


def lp_ft_learn(model: Network, task: Episode, *, steps: int, lr: float) -> Network:
    """Fit the head to one task, then train all layers (LP-FT, Kumar et al., 2022).

    Args:
        model: where the other layers begin; not changed.
        task: a single episode.
        steps: as in ``fine_tune``.
        lr: as in ``fine_tune``.
    """
    probed = probe_learn(model, task)
    return fine_tune(probed, task.support_x, task.support_y, steps=steps, lr=lr)


def layer_decay(model: nn.Module, lr: float, decay: float) -> dict[str, float]:
    """Compute step sizes that fall by ``decay`` from each layer to the one below it.

    The head has ``lr``, the layer below it ``lr / decay``, and so on; a normalisation layer
    counts with the convolution before it. The "discriminative" rates of Howard and Ruder
    (2018), section 3.2, who use a decay of 2.6.

    Args:
        model: the network.
        lr: step size of the last layer.
        decay: 1 gives every layer the same.

    Returns:
        ``layer_lrs`` for ``fine_tune``.
    """
    check_positive(lr=lr, decay=decay)
    depths, depth = {}, -1
    for name, layer in model.named_modules():
        if next(layer.parameters(recurse=False), None) is not None:
            depth += isinstance(layer, nn.Linear | nn.Conv2d) or depth < 0
            depths[name] = depth
    return {name: lr * decay ** (d - depth) for name, d in depths.items()}


def layer_rates(model: nn.Module, lr: float, layer_lrs: Mapping[str, float]) -> dict[str, float]:
    """Return the step size of each parameter; 0 for those that do not require a gradient."""
    names = [name for name, _ in model.named_parameters()]
    matches = {n: [k for k in layer_lrs if n == k or n.startswith(f"{k}.")] for n in names}
    unknown = set(layer_lrs) - {k for found in matches.values() for k in found}
    negative = {k: rate for k, rate in layer_lrs.items() if not rate >= 0}
    if unknown or negative:
        raise ValueError(
            f"layer_lrs: no layer is named {sorted(unknown)}, rates below 0: {negative}; expected "
            f"rates of 0 or more for the start of some of {names}"
        )
    return {
        n: (layer_lrs[max(matches[n], key=len)] if matches[n] else lr) * p.requires_grad
        for n, p in model.named_parameters()
    }
