r"""Gradients of several tasks on shared weights: their angles, and ways to combine them.

With losses L_1 ... L_T on shared weights θ, let g_i = ∇L_i(θ). Plain joint training steps
along the sum of the g_i. Where two of them have a negative inner product, a step along one
alone raises the loss of the other: the tasks *conflict*. The two methods here choose another
combination Σ c_i g_i. Both need nothing but the inner products of the gradients, so they
work on that small matrix, in float64.

Wherever ``gradients`` are asked for, give ``(tasks, p)``, or what ``task_gradients`` returns.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from metalearn_lite.multitask.balancing import Losses, check_losses
from metalearn_lite.tensors import in_float64

Gradients = Tensor | Mapping[str, Tensor]


def task_gradients(
    losses: Losses, parameters: Iterable[Tensor], *, vectorize: bool = False
) -> dict[str, Tensor]:
    """Compute the gradient of each loss, from the one forward pass that gave them all.

    Args:
        losses: a scalar for each task.
        parameters: the shared weights, p numbers in all; a loss that does not depend on
            them has a gradient of zero.
        vectorize: go back through the graph for all tasks at once, by ``vmap``. This saves
            time where kernels are small. Through wide convolutions on a CPU it costs time
            (``benchmarks/task_gradients.py``).

    Returns:
        For each task ``(p,)``, in the order of ``parameters``. The graph is kept, and no
        ``.grad`` is touched.

    Raises:
        ValueError: if there is no loss or no parameter, or a loss is not a scalar.
    """
    check_losses(losses)
    weights = list(parameters)
    if not weights:
        raise ValueError("got no parameters: expected the shared weights, model.trunk.parameters()")
    names = [name for name, loss in losses.items() if loss.requires_grad]
    size = sum(p.numel() for p in weights)
    zero = torch.zeros(size, dtype=weights[0].dtype, device=weights[0].device)
    gradients = dict.fromkeys(losses, zero)
    if vectorize and names:
        stacked = torch.stack([losses[name] for name in names])
        one_each = torch.eye(len(names), dtype=stacked.dtype, device=stacked.device)
        # unused ones are none: materialized, a gradient of zero would have no row for each task
        parts = torch.autograd.grad(
            stacked, weights, one_each, retain_graph=True, is_grads_batched=True, allow_unused=True
        )
        tasks, pairs = len(names), zip(weights, parts, strict=True)
        columns = [
            p.new_zeros(tasks, p.numel()) if g is None else g.reshape(tasks, -1) for p, g in pairs
        ]
        return gradients | dict(zip(names, torch.cat(columns, dim=1), strict=True))
    for name in names:
        parts = torch.autograd.grad(
            losses[name], weights, retain_graph=True, materialize_grads=True
        )
        gradients[name] = torch.cat([part.flatten() for part in parts])
    return gradients


def gradient_cosine(gradients: Gradients) -> Tensor:
    """Compute the cosine of the angle between each two gradients.

    Args:
        gradients: ``(tasks, p)`` or by task name.

    Returns:
        ``(tasks, tasks)``, symmetric, in [-1, 1]. A gradient of zero has no direction: its
        row and column are zero.
    """
    inner = _inner_products(_stacked(gradients))
    length = inner.diagonal().sqrt()
    cosine = inner / torch.outer(length, length).clamp_min(torch.finfo(inner.dtype).tiny)
    return cosine.clamp(-1, 1).to(_stacked(gradients))


def pcgrad(gradients: Gradients, generator: torch.Generator | None = None) -> Tensor:
    r"""Project each gradient off those it conflicts with, then add all.

    For each task i, go through the other tasks j in random order; whenever
    :math:`g_i^{PC} \cdot g_j < 0`, take away the part that lies along :math:`g_j`,

    .. math::

        g_i^{PC} \leftarrow g_i^{PC} - \frac{g_i^{PC} \cdot g_j}{\lVert g_j \rVert^2} g_j .

    The other tasks' gradients are the original ones. With two tasks the result never
    conflicts with either; with more it may.

    Args:
        gradients: ``(tasks, p)`` or by task name.
        generator: draws the orders; needed with more than two tasks.

    Returns:
        :math:`\sum_i g_i^{PC}`, ``(p,)``: the plain sum if no two gradients conflict.

    Reference:
        Yu et al. (2020), "Gradient surgery for multi-task learning", algorithm 1.
    """
    rows = _stacked(gradients)
    tasks = len(rows)
    if generator is None and tasks > 2:
        raise ValueError(
            f"got {tasks} gradients and no generator: the order of the projections is random "
            "and matters with more than two tasks; give generator=torch.Generator()"
        )
    inner = _inner_products(rows).cpu()
    mixture = torch.eye(tasks, dtype=inner.dtype)  # row i: g_i^PC in terms of the gradients
    for i in range(tasks):
        order = range(tasks) if tasks <= 2 else torch.randperm(tasks, generator=generator).tolist()
        for j in order:
            along = mixture[i] @ inner[:, j]
            if j != i and along < 0:
                mixture[i, j] -= along / inner[j, j]
    return mixture.sum(dim=0).to(rows) @ rows


def mgda(gradients: Gradients) -> Tensor:
    r"""Find the shortest vector among all weighted means of the gradients.

    .. math::

        d &= \sum_i \alpha_i g_i, \qquad \alpha = \arg\min_{\alpha \in \Delta}
        \big\lVert \textstyle\sum_i \alpha_i g_i \big\rVert^2, \\
        \Delta &= \{ \alpha : \alpha_i \ge 0, \textstyle\sum_i \alpha_i = 1 \} .

    It satisfies :math:`d \cdot g_i \ge \lVert d \rVert^2` for every task: a small step along
    -d lowers every loss, or d is zero and no direction does (the point is Pareto
    stationary). A task whose gradient is zero is such a case: leave it out if it only has
    no label at hand. The gradients are taken as they are, so that a task with small
    gradients has most of the weight.

    Args:
        gradients: ``(tasks, p)`` or by task name.

    Returns:
        d, ``(p,)``. It is a mean, so about a tasks-th as long as the sum.

    Reference:
        Désidéri (2012), "Multiple-gradient descent algorithm (MGDA) for multiobjective
        optimization"; Sener and Koltun (2018), "Multi-task learning as multi-objective
        optimization", algorithm 1 for two tasks. For more they take the plain steps of Frank
        and Wolfe (algorithm 2), here the steps of ``frank_wolfe``.
    """
    rows = _stacked(gradients)
    return mgda_weights(rows).to(rows) @ rows


def mgda_weights(gradients: Gradients, *, iterations: int = 10_000, tol: float = 1e-12) -> Tensor:
    """Find the weights α of ``mgda``: two tasks in closed form, more by ``frank_wolfe``.

    Args:
        gradients: ``(tasks, p)`` or by task name.
        iterations: at most so many steps.
        tol: end when no vertex promises more than this share of the longest squared length.

    Returns:
        ``(tasks,)``, float64 on the CPU, 0 or more, of sum 1.
    """
    inner = _inner_products(_stacked(gradients)).cpu()
    inner = inner / inner.diagonal().max().clamp_min(torch.finfo(inner.dtype).tiny)
    if len(inner) == 2:
        share = _share(inner, 0, 1, torch.tensor([0.0, 1.0], dtype=inner.dtype))
        return torch.stack([share, 1 - share])
    return frank_wolfe(inner, iterations=iterations, tol=tol)


def frank_wolfe(inner: Tensor, *, iterations: int = 10_000, tol: float = 1e-12) -> Tensor:
    """Minimise αᵀMα over weights that are 0 or more and of sum 1.

    Each step moves weight from the worst task that has some to the best, as much as is
    best (the pairwise variant, which reaches the optimum much faster than steps
    towards one task do: Lacoste-Julien and Jaggi, 2015).

    Args:
        inner: M, ``(tasks, tasks)``, the inner products of the gradients.
        iterations: at most so many steps.
        tol: end when the gap, an upper bound on what can still be gained, is below.

    Returns:
        α, ``(tasks,)``.

    Reference:
        Lacoste-Julien and Jaggi (2015), "On the global linear convergence of Frank-Wolfe
        optimization variants", algorithm 2.
    """
    alpha = torch.full((len(inner),), 1 / len(inner), dtype=inner.dtype)
    for _ in range(iterations):
        slope = inner @ alpha
        best = int(slope.argmin())
        worst = int(torch.where(alpha > 0, slope, -torch.inf).argmax())
        if slope[worst] - slope[best] <= tol:
            break
        moved = alpha[worst] * _share(inner, best, worst, alpha)
        alpha[best] += moved
        alpha[worst] -= moved
    return alpha


def _share(inner: Tensor, best: int, worst: int, alpha: Tensor) -> Tensor:
    """Return the share of the weight of ``worst`` that should go to ``best``, in [0, 1]."""
    slope = inner @ alpha
    curvature = inner[best, best] + inner[worst, worst] - 2 * inner[best, worst]
    moved = (slope[worst] - slope[best]) / curvature.clamp_min(torch.finfo(inner.dtype).tiny)
    return (moved / alpha[worst]).clamp(0, 1)


def _stacked(gradients: Gradients) -> Tensor:
    if not isinstance(gradients, Tensor | Mapping):
        raise ValueError(
            f"gradients are a {type(gradients).__name__}: expected a tensor (tasks, p) or a dict"
        )
    rows = gradients if isinstance(gradients, Tensor) else torch.stack(list(gradients.values()))
    if rows.ndim != 2 or len(rows) == 0 or not rows.isfinite().all():
        raise ValueError(
            f"gradients have shape {tuple(rows.shape)}, all finite: "
            f"{bool(rows.isfinite().all())}; expected (tasks, p), finite numbers, at least one task"
        )
    return rows


def _inner_products(rows: Tensor) -> Tensor:
    exact = in_float64(rows)
    return exact @ exact.T
