r"""How the validation loss changes with a setting of the training: a penalty, a rate, a weight.

Settings s decide which weights w training finds, and these are judged by another loss:

.. math::

    \frac{d L_V}{d s} = \frac{\partial L_V}{\partial s}
    + \Big( \frac{d w}{d s} \Big)^{\!\top} \frac{\partial L_V}{\partial w} .

``unrolled_hypergradient`` differentiates the steps of the training. ``implicit_hypergradient``
asks where they end instead: at an optimum the gradient of the training loss is zero for every s,
and from that alone follows how the optimum moves. It needs no step of the way, and is right only
at an optimum.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from metalearn_lite.arguments import check_counts, check_positive
from metalearn_lite.maml.plain import descend
from metalearn_lite.maml.step_sizes import Rate, check_steps
from metalearn_lite.models.functional import Params
from metalearn_lite.tensors import check_gradients_possible

LossOf = Callable[[Params, Params], Tensor]  # of weights and settings
Product = Callable[[Tensor], Tensor]


def unrolled_hypergradient(
    train_loss: LossOf,
    validation_loss: LossOf,
    weights: Params,
    settings: Params,
    *,
    lr: Rate | Callable[[Params], Rate],
    steps: int,
) -> dict[str, Tensor]:
    """Differentiate the validation loss after ``steps`` of gradient descent, by the settings.

    Every step is kept until the end, so memory grows with their number. Few steps answer for a
    short training only, and favour settings that pay at once (Wu et al., 2018).

    Args:
        train_loss: ``train_loss(weights, settings)`` gives a scalar.
        validation_loss: likewise; it may use the settings too.
        weights: where the descent starts, by name; constants here.
        settings: what to differentiate by: floating tensors of any shape, by name.
        lr: step size of all weights, or one for each by name; or a function that makes it of the
            settings, such as ``lambda settings: settings["log_lr"].exp()``, to learn it.
        steps: number of steps, 1 or more.

    Returns:
        The gradient by each setting, in its shape. Nothing that is given is changed.

    Raises:
        ValueError: if a number or a tensor does not fit, or a loss is not a finite scalar.

    Reference:
        Maclaurin, Duvenaud and Adams (2015); Franceschi et al. (2017), algorithm 1.
    """
    check_counts(steps=steps)
    w, s = _leaves(weights=weights, settings=settings)
    with torch.enable_grad():
        rates = lr(s) if callable(lr) else lr
        check_steps(rates, steps, w)
        trained = descend(
            lambda at: _value(train_loss, at, s), w, inner_lr=rates, inner_steps=steps
        )
        loss = _value(validation_loss, trained, s)
        found = torch.autograd.grad(loss, list(s.values()), materialize_grads=True)
    return dict(zip(s, found, strict=True))


def implicit_hypergradient(
    train_loss: LossOf,
    validation_loss: LossOf,
    weights: Params,
    settings: Params,
    *,
    steps: int,
    neumann_lr: float | None = None,
) -> dict[str, Tensor]:
    r"""Differentiate the validation loss at an optimum of the training loss, by the settings.

    .. math::

        \frac{d L_V}{d s} = \frac{\partial L_V}{\partial s}
        - \frac{\partial^2 L_T}{\partial s \, \partial w} \, v, \qquad
        H v = \frac{\partial L_V}{\partial w},

    with the Hessian H of the training loss by the weights, of which only products with a vector
    are computed.

    Args:
        train_loss: ``train_loss(weights, settings)`` gives a scalar.
        validation_loss: likewise; it may use the settings too.
        weights: an optimum of ``train_loss``, by name. Elsewhere the result is no derivative.
        settings: what to differentiate by: floating tensors of any shape, by name.
        steps: of conjugate gradients; or terms of the Neumann series.
        neumann_lr: None takes conjugate gradients; a number the Neumann series with that α.

    Returns:
        The gradient by each setting, in its shape. Nothing that is given is changed.

    Raises:
        ValueError: if a number or a tensor does not fit, or a loss is not a finite scalar.

    Reference:
        Pedregosa (2016), algorithm 1, for conjugate gradients; Lorraine, Vicol and Duvenaud
        (2020), algorithms 1 to 3, for the series.
    """
    check_counts(steps=steps)
    check_positive(neumann_lr=1.0 if neumann_lr is None else neumann_lr)
    w, s = _leaves(weights=weights, settings=settings)
    with torch.enable_grad():
        slope = joined(slopes(_value(train_loss, w, s), w))
        judged = _value(validation_loss, w, s)
    by_both = torch.autograd.grad(judged, [*w.values(), *s.values()], materialize_grads=True)

    def hessian(v: Tensor) -> Tensor:
        return joined(pulled_back(slope, w, v))

    right = joined(by_both[: len(w)])
    if neumann_lr is None:
        v, _ = conjugate_gradients(hessian, right, steps=steps)
    else:
        v, _ = neumann_series(hessian, right, steps=steps, lr=neumann_lr)
    moved = zip(s, by_both[len(w) :], pulled_back(slope, s, v), strict=True)
    return {name: direct - indirect for name, direct, indirect in moved}


def conjugate_gradients(product: Product, b: Tensor, *, steps: int) -> tuple[Tensor, Tensor]:
    r"""Solve :math:`A x = b` from products with the symmetric, positive definite A alone.

    As many steps as b has numbers give the solution up to rounding; k distinct eigenvalues need
    only k. Where what is left is rounding it stops, and along a direction of no or negative
    curvature: it keeps what it has.

    Args:
        product: ``product(v)`` is A v, in the shape of b.
        b: ``(P,)``, or ``(T, P)`` for T systems side by side.
        steps: number of products.

    Returns:
        x and what is left, b - A x, in the shape of b; the latter as the steps keep count of it,
        without their rounding.

    Reference:
        Hestenes and Stiefel (1952), section 3; Steihaug (1983), for where it stops.
    """
    x, residual, direction = torch.zeros_like(b), b, b
    square = b.square().sum(-1, keepdim=True)
    rounding = torch.finfo(b.dtype).eps ** 2 * square
    for _ in range(steps):
        image = product(direction)
        curvature = (direction * image).sum(-1, keepdim=True)
        over = (curvature <= 0) | (square < rounding)
        length = torch.where(over, 0.0, square / curvature)
        x, residual = x + length * direction, residual - length * image
        before, square = square, residual.square().sum(-1, keepdim=True)
        direction = torch.where(over, direction, residual + square / before * direction)
    return x, residual


def neumann_series(product: Product, b: Tensor, *, steps: int, lr: float) -> tuple[Tensor, Tensor]:
    r"""Sum the first terms of :math:`A^{-1} b = \alpha \sum_k (I - \alpha A)^k b`.

    These are the steps of gradient descent, so the sum is what unrolling as many steps at an
    optimum gives. It converges if α is below 2 by the largest eigenvalue of A, and diverges above.

    Args:
        product: ``product(v)`` is A v, in the shape of b.
        b: the right side.
        steps: number of terms.
        lr: α.

    Returns:
        The sum, and what is left, b - A x: the next term.
    """
    total, term = torch.zeros_like(b), b
    for _ in range(steps):
        total, term = total + lr * term, term - lr * product(term)
    return total, term


def joined(tensors: Sequence[Tensor], *, lead: int = 0) -> Tensor:
    """Lay tensors end to end, ``(P,)``, but for their first ``lead`` dimensions."""
    return torch.cat([t.reshape(*t.shape[:lead], -1) for t in tensors], dim=-1)


def slopes(loss: Tensor, by: Params) -> tuple[Tensor, ...]:
    """Return the gradient of a loss, to be differentiated once more."""
    return torch.autograd.grad(loss, list(by.values()), create_graph=True, materialize_grads=True)


def pulled_back(slope: Tensor, by: Params, v: Tensor) -> tuple[Tensor, ...]:
    """Return the derivative of ``slope`` times v, by each of ``by``; the graph is kept."""
    sources = list(by.values())
    if not slope.requires_grad:  # the gradient of a linear loss is constant
        return tuple(torch.zeros_like(source) for source in sources)
    return torch.autograd.grad(slope, sources, v, retain_graph=True, materialize_grads=True)


def _leaves(**groups: Params) -> list[dict[str, Tensor]]:
    """Return copies of each group that gradients can be taken by, apart from what is given."""
    check_gradients_possible()
    for name, given in groups.items():
        tensors = given.values() if isinstance(given, Mapping) else ()
        kinds = [getattr(t, "dtype", type(t).__name__) for t in tensors]
        if not kinds or not all(getattr(kind, "is_floating_point", False) for kind in kinds):
            raise ValueError(
                f"{name} holds {kinds}: expected floating tensors by name, one or more"
            )
    return [{n: t.detach().requires_grad_() for n, t in given.items()} for given in groups.values()]


def _value(loss: LossOf, weights: Params, settings: Params) -> Tensor:
    """Compute a loss, and look at it."""
    value = loss(weights, settings)
    if not isinstance(value, Tensor) or value.ndim or not value.isfinite():
        raise ValueError(
            f"a loss gave {value!r}: expected a scalar tensor, finite; lower lr if it grew"
        )
    return value
