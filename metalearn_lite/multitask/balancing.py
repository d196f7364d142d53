r"""Weights for the losses of several tasks: fixed, by uncertainty, by gradient norm.

All combine losses into one number, Σ w_i L_i; they differ in where the weights come from.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_not_negative

Losses = Mapping[str, Tensor]
Kind = Literal["classification", "regression"]


def weighted_loss(losses: Losses, weights: Mapping[str, float] | None = None) -> Tensor:
    """Add the losses, each times its weight.

    Args:
        losses: a scalar for each task.
        weights: a number of 0 or more for each task; None weighs each by 1.

    Returns:
        A scalar.

    Raises:
        ValueError: if the names of losses and weights differ, a loss is not a scalar, or a
            weight is negative or not finite.
    """
    check_losses(losses)
    weights = dict.fromkeys(losses, 1.0) if weights is None else weights
    check_names("weights", weights, losses)
    if len(weights) != len(losses):
        raise ValueError(
            f"weights are given for {sorted(weights)}: expected one for each of {sorted(losses)}"
        )
    check_weights(weights)
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def tune_weights(
    score: Callable[[dict[str, float]], float],
    weights: Mapping[str, float],
    *,
    generator: torch.Generator,
    candidates: int = 16,
    spread: float = 5.0,
) -> dict[str, float]:
    """Tune fixed weights by random search: try some, and keep the best.

    The baseline that methods which choose weights should beat. To refine, call it again with
    what it returned and a smaller ``spread``.

    Args:
        score: trains with the weights and returns how good it is, on validation data.
        weights: the middle of the search, above 0; the first candidate.
        generator: draws the candidates, on the CPU.
        candidates: how many are tried.
        spread: a candidate has each weight times ``1 / spread`` to ``spread``, uniformly in
            the logarithm.

    Returns:
        The candidate with the highest score; of equals the first.

    Raises:
        ValueError: if a number is out of range.
    """
    check_weights(weights)
    if candidates < 1 or not spread >= 1 or not weights or min(weights.values()) <= 0:
        raise ValueError(
            f"got weights {dict(weights)}, {candidates} candidates and a spread of {spread}: "
            "expected weights above 0, at least one candidate, and a spread of 1 or more"
        )
    exponents = 2 * torch.rand(candidates, len(weights), generator=generator) - 1
    exponents[0] = 0
    tried = [
        {name: weights[name] * spread**e for name, e in zip(weights, row, strict=True)}
        for row in exponents.tolist()
    ]
    scores = [score(candidate) for candidate in tried]
    right = [i for i, found in enumerate(scores) if math.isfinite(found)]
    if not right:
        raise ValueError(f"every candidate scored {scores[0]}: expected finite numbers")
    return tried[max(right, key=lambda i: scores[i])]


class UncertaintyWeights(nn.Module):
    r"""Weights learned as the noise of each task.

    A regression with noise of variance σ² has the negative log-likelihood L / (2σ²) + log σ
    (for the mean squared error L, up to a constant); a classification whose logits are
    divided by σ² has about L / σ² + log σ. Their sum over the tasks is minimised over the
    network and over the numbers s = log σ²,

    .. math::

        \sum_{\text{regression}} \tfrac12 e^{-s_i} L_i +
        \sum_{\text{classification}} e^{-s_i} L_i + \sum_i \tfrac12 s_i .

    For fixed losses it is least where σ² = L (regression) or σ² = 2L (classification). In
    both cases the weight of the loss is then 1 / (2L).

    Args:
        kinds: ``"classification"`` or ``"regression"`` for each task.

    Attributes:
        log_variance: s, ``(tasks,)``, in the order of ``kinds``; zeros at first. Give it to
            the optimiser, with a step size that lets it travel: from 0 to log L.

    Reference:
        Kendall, Gal and Cipolla (2018), "Multi-task learning using uncertainty to weigh
        losses", equations 7 and 10.
    """

    halves: Tensor

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        super().__init__()
        if not isinstance(kinds, Mapping) or not kinds:
            raise ValueError(
                f"kinds is {kinds!r}: expected a mapping from task names to 'classification' or "
                "'regression', at least one"
            )
        wrong = {k: v for k, v in kinds.items() if v not in ("classification", "regression")}
        if wrong:
            raise ValueError(f"got kinds {wrong}: expected 'classification' or 'regression'")
        self.names = tuple(kinds)
        self.log_variance = nn.Parameter(torch.zeros(len(kinds)))
        factors = [0.5 if kind == "regression" else 1.0 for kind in kinds.values()]
        self.register_buffer("halves", torch.tensor(factors))

    def forward(self, losses: Losses) -> Tensor:
        """Combine the losses of some or all tasks into a scalar.

        A task that is left out, having no label at hand, has its variance left alone.
        """
        check_losses(losses)
        check_names("losses", losses, self.names)
        index = [self.names.index(name) for name in losses]
        s = self.log_variance[index]
        weights = self.halves[index] * torch.exp(-s)
        return (weights * torch.stack(list(losses.values()))).sum() + s.sum() / 2

    def weights(self) -> dict[str, float]:
        """Return what each loss is multiplied by now."""
        values = (self.halves * torch.exp(-self.log_variance)).tolist()
        return dict(zip(self.names, values, strict=True))


def gradnorm_loss(
    weights: Tensor, norms: Tensor, losses: Tensor, initial_losses: Tensor, *, alpha: float = 1.5
) -> Tensor:
    r"""Measure how far the weighted gradients are from the lengths that GradNorm wants.

    .. math::

        \sum_i \Big| G_i - \bar G \, r_i^{\alpha} \Big|, \qquad
        G_i = w_i \lVert \nabla L_i \rVert, \qquad
        r_i = \frac{L_i / L_i(0)}{\text{their mean}} ,

    with the mean Ḡ of the G_i; the target Ḡ r_i^α is held constant in derivatives. A task
    that lags behind (r_i > 1) shall have a longer gradient.

    Args:
        weights: w, ``(tasks,)``.
        norms: lengths of the gradients of the unweighted losses, ``(tasks,)``.
        losses: now, ``(tasks,)``.
        initial_losses: at the first step, ``(tasks,)``, above 0.
        alpha: how strongly laggards are pulled along; 0 asks for equal lengths.

    Returns:
        A scalar, differentiable in ``weights``.

    Reference:
        Chen et al. (2018), "GradNorm", equations 1 and 2.
    """
    lengths = weights * norms
    progress = losses / initial_losses
    rates = progress / progress.mean()
    target = (lengths.mean() * rates**alpha).detach()
    return (lengths - target).abs().sum()


def gradnorm_step(
    weights: Mapping[str, float],
    norms: Mapping[str, float],
    losses: Mapping[str, float],
    initial_losses: Mapping[str, float],
    *,
    alpha: float = 1.5,
    lr: float = 0.025,
) -> dict[str, float]:
    """Take one step of GradNorm on the weights, and restore their sum.

    The step goes down ``gradnorm_loss`` in the *logarithm* of the weights, and in units of
    the mean gradient length. The paper steps on the weights themselves; where one loss is a
    thousand times another, that can make weights negative.

    Args:
        weights: above 0, for each task.
        norms: length of the gradient of each unweighted loss on the last shared layer.
        losses: now. Tasks without a label at hand are left out of ``norms`` and ``losses``,
            and keep their weight.
        initial_losses: at the first step, above 0.
        alpha: see ``gradnorm_loss``.
        lr: step size.

    Returns:
        The new weights, of the same sum.

    Raises:
        ValueError: if names do not fit or a number is out of range.
    """
    check_names("losses", losses, weights)
    check_names("initial_losses", losses, initial_losses)
    if set(norms) != set(losses):
        raise ValueError(f"norms are of {sorted(norms)}: expected {sorted(losses)}, as the losses")
    check_weights(weights)
    check_not_negative(alpha=alpha, lr=lr)
    for what, numbers in {"norms": norms, "losses": losses}.items():
        check_not_negative(**{f"{what}[{name!r}]": value for name, value in numbers.items()})
    names = list(losses)
    w, start, length, now = (
        torch.tensor([float(d[n]) for n in names], dtype=torch.float64)
        for d in (weights, initial_losses, norms, losses)
    )
    if min(w.min(), start.min()) <= 0:
        raise ValueError(
            f"weights are {dict(weights)}, initial losses {dict(initial_losses)}: expected "
            "numbers above 0"
        )
    unit = (w * length).mean()
    if unit == 0 or (now == 0).all():
        return dict(weights)
    log_w = w.log().requires_grad_()
    with torch.enable_grad():
        gradnorm_loss(log_w.exp(), length / unit, now, start, alpha=alpha).backward()  # type: ignore[no-untyped-call]
    assert log_w.grad is not None
    stepped = (log_w.detach() - lr * log_w.grad).exp()
    stepped *= w.sum() / stepped.sum()
    return dict(weights) | dict(zip(names, stepped.tolist(), strict=True))


def check_losses(losses: Losses) -> None:
    """Raise a ``ValueError`` unless there is a scalar tensor for at least one task."""
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError(f"got losses {losses!r}: expected a mapping from task names to scalars")
    wrong = {
        name: tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        for name, loss in losses.items()
        if not isinstance(loss, Tensor) or loss.ndim != 0
    }
    if wrong:
        raise ValueError(
            f"losses that are not scalar tensors: {wrong}; expected a tensor of shape () for each "
            "task, such as the mean over the batch"
        )


def check_names(what: str, got: Collection[str], known: Collection[str]) -> None:
    """Raise a ``ValueError`` if a name is not among those that are known."""
    unknown = set(got) - set(known)
    if unknown:
        raise ValueError(
            f"{what} of unknown tasks {sorted(unknown)}: expected names from {sorted(known)}"
        )


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise a ``ValueError`` if a weight is negative or not finite."""
    check_not_negative(**{f"weights[{name!r}]": weight for name, weight in weights.items()})
