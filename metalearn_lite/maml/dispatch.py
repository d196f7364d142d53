"""What ``metalearn_lite.maml`` hands out: the algorithm of ``plain``, fast where it can be.

Finn, Abbeel and Levine (2017), "Model-agnostic meta-learning for fast adaptation of deep
networks". First-order MAML, ANIL and Meta-SGD are options of the same functions. Where the tasks
of a batch can be computed together (``stacked_network`` knows the layers, the inputs and their
type, and no other loss is asked for) ``batched`` does it, else ``plain``, one task after another.
Both give the same numbers.
"""

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_kind
from metalearn_lite.losses import Loss, task_loss
from metalearn_lite.maml import batched, plain
from metalearn_lite.maml.batched import Settings
from metalearn_lite.maml.second_derivatives import twice_differentiable
from metalearn_lite.maml.step_sizes import Clipped, Rate, check_rate_names, check_steps
from metalearn_lite.models.functional import (
    AdaptedNetwork,
    Params,
    check_names,
    parameters_to_adapt,
)
from metalearn_lite.models.query_statistics import Statistics
from metalearn_lite.models.stacked import StackedNetwork, stacked_network
from metalearn_lite.tasks import Episode, check_single, holds_tasks


def adapt(
    model: nn.Module,
    params: Params,
    support_x: Tensor,
    support_y: Tensor,
    *,
    inner_lr: Rate,
    inner_steps: int,
    first_order: bool = False,
    loss_fn: Loss | None = None,
    is_batch: bool | None = None,
) -> dict[str, Tensor]:
    r"""Take gradient steps on the support loss, as a function of where they start.

    .. math::

        \theta_{k+1} = \theta_k - \alpha \nabla L_{\text{support}}(\theta_k), \qquad
        \theta_0 = \theta .

    The adapted parameters stay connected to ``params`` and to ``inner_lr``: a loss of theirs
    can be differentiated through the steps. Nothing is changed in place. Where gradients are
    off (``torch.no_grad()``) the steps are taken all the same, and nothing is connected.

    Args:
        model: the network; what ``params`` leaves out is taken from it.
        params: θ by name, as in ``dict(model.named_parameters())``. All are adapted, so give
            those of the head alone to adapt the head alone.
        support_x: inputs ``(n, ...)``, or ``(T, n, ...)`` for T tasks.
        support_y: int64 labels ``(n,)`` or float targets ``(n, outputs)``; or with a leading T.
        inner_lr: α: a number, a tensor, or one of either for each name in ``params``;
            ``clipped(α, max_norm=...)`` clips the gradient of each step.
        inner_steps: number of steps, 0 or more.
        first_order: treat the gradients of the inner loop as constants.
        loss_fn: ``loss_fn(outputs, targets)`` gives a scalar; None means the mean
            cross-entropy for integer labels and the mean squared error for floating targets.
        is_batch: whether the tensors hold T tasks, as in ``Episode``; None reads it off
            ``support_y``.

    Returns:
        The adapted parameters by name, with a leading T for T tasks.

    Raises:
        ValueError: if a setting, a label or a shape is wrong, or if the forward pass changes
            a buffer of the model.

    Reference:
        Finn et al. (2017), equation 1 and algorithm 2, lines 5 to 7.
    """
    several = holds_tasks(support_y) if is_batch is None else is_batch
    check_steps(inner_lr, inner_steps, params)
    check_names(model, params)
    check_rate_names(model, inner_lr)
    if len(support_x) != len(support_y):
        what = "tasks" if several else "examples"
        raise ValueError(
            f"support_x holds {len(support_x)} {what} and support_y {len(support_y)}: "
            "expected the same number"
        )
    settings = Settings(inner_lr, inner_steps, first_order)
    network = _together(model, settings, loss_fn, support_x) if several else None
    if network is not None:
        return batched.adapt(network, model, params, support_x, support_y, settings)

    def adapt_one(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        with twice_differentiable(model, inner_steps=inner_steps, first_order=first_order):
            return plain.adapt(
                model,
                params,
                x,
                y,
                inner_lr=inner_lr,
                inner_steps=inner_steps,
                first_order=first_order,
                loss_fn=loss_fn or task_loss,
            )

    if not several:
        return adapt_one(support_x, support_y)
    tasks = [adapt_one(x, y) for x, y in zip(support_x, support_y, strict=True)]
    return {name: torch.stack([adapted[name] for adapted in tasks]) for name in params}


def maml_loss(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: Rate,
    inner_steps: int,
    first_order: bool = False,
    head_only: bool = False,
    loss_fn: Loss | None = None,
    task_by_task: bool = False,
    chunk: int | None = None,
) -> Tensor:
    r"""Mean query loss after adaptation: the objective of MAML.

    .. math::

        \frac{1}{T} \sum_{i=1}^{T} L_i^{\text{query}}\big(U_i(\theta)\big),

    where :math:`U_i` is ``adapt`` on the support set of task i. Its gradient is the
    meta-gradient: for one step :math:`(I - \alpha H_i) \nabla L_i^{\text{query}}`, with the
    Hessian :math:`H_i` of the support loss.

    For a network whose layers ``stacked_network`` knows, the tasks are computed together, and the
    meta-gradient along with the loss, a few tasks at a time; ``loss.backward()`` then only
    hands it on. For any other network, for a ``loss_fn``, and with ``task_by_task``, they go
    one after another, as written in the source. Both give the same numbers.

    Args:
        model: the network; it is not changed. Parameters that do not require a gradient stay
            as they are in both loops.
        episode: one task or T of them.
        inner_lr: α of ``adapt``. What of it requires a gradient gets one (Meta-SGD).
        inner_steps: number of inner steps; with 0 this is joint training.
        first_order: leave the Hessian out (first-order MAML).
        head_only: adapt only the head of a ``Network`` (ANIL); all is trained.
        loss_fn: the loss of both loops, as in ``adapt``.
        task_by_task: do not compute the tasks together. Needed to differentiate the
            meta-gradient once more.
        chunk: tasks in one go; None lets the size of the network's layers decide.

    Returns:
        A scalar with a gradient.

    Raises:
        ValueError: as in ``adapt``.

    Reference:
        Finn et al. (2017), algorithm 2, line 10; Raghu et al. (2020), "Rapid learning or
        feature reuse?", for ANIL; Li et al. (2017), "Meta-SGD".
    """
    check_kind(Episode, episode=episode)
    check_counts(chunk=1 if chunk is None else chunk)
    settings = Settings(inner_lr, inner_steps, first_order, head_only, chunk)
    check_steps(inner_lr, inner_steps, parameters_to_adapt(model, head_only=head_only))
    check_rate_names(model, inner_lr)
    if not task_by_task:
        several = episode.as_batch()
        network = _together(model, settings, loss_fn, several.support_x, several.query_x)
        if network is not None:
            return batched.maml_loss(network, model, several, settings)
    with twice_differentiable(model, inner_steps=inner_steps, first_order=first_order):
        return plain.maml_loss(
            model,
            episode,
            inner_lr=inner_lr,
            inner_steps=inner_steps,
            first_order=first_order,
            head_only=head_only,
            loss_fn=loss_fn or task_loss,
        )


def maml_learn(
    model: nn.Module,
    task: Episode,
    *,
    inner_lr: Rate,
    inner_steps: int,
    head_only: bool = False,
    loss_fn: Loss | None = None,
) -> AdaptedNetwork:
    """Adapt to the support set of one task, and return what answers its queries.

    Gradients are turned on for the adaptation, also under ``torch.no_grad()``.

    Args:
        model: the network; it is shared, and not changed.
        task: a single episode.
        inner_lr: α, as in ``adapt``.
        inner_steps: number of steps; it may differ from that in training.
        head_only: adapt only the head (ANIL).
        loss_fn: the loss of the adaptation, as in ``adapt``.

    Returns:
        A network from inputs ``(n, ...)`` to outputs ``(n, outputs)``, with the adapted parameters.

    Raises:
        ValueError: as in ``adapt``.
    """
    check_single(task)
    return plain.maml_learn(
        model,
        task,
        inner_lr=inner_lr,
        inner_steps=inner_steps,
        head_only=head_only,
        loss_fn=loss_fn or task_loss,
    )


def maml_predict(
    model: nn.Module,
    episode: Episode,
    *,
    inner_lr: Rate,
    inner_steps: int,
    head_only: bool = False,
    loss_fn: Loss | None = None,
    statistics: Statistics = "queries",
) -> Tensor:
    """Adapt to the support set, then answer the queries.

    Gradients are turned on for the adaptation, also under ``torch.no_grad()``. A network
    that normalises by the batch it sees lets the answers to different queries depend on each
    other; ``statistics`` says which images are in that batch.

    Args:
        model: the network; it is not changed.
        episode: one task or T of them.
        inner_lr: α, as in ``adapt``.
        inner_steps: number of steps; it may differ from that in training.
        head_only: adapt only the head (ANIL).
        loss_fn: the loss of the adaptation, as in ``adapt``.
        statistics: ``"queries"``: all queries of the task in one batch, as in Finn et al.
            (2017), a *transductive* answer; ``"support"``: each query in a batch with the
            support set, as in the non-transductive runs of Nichol et al. (2018);
            ``"single"``: each query alone. The last two are inductive.

    Returns:
        The query outputs ``(m, outputs)``, or ``(T, m, outputs)``, without a gradient.

    Raises:
        ValueError: as in ``adapt``, and for an unknown ``statistics``.
    """
    return plain.maml_predict(
        model,
        episode,
        inner_lr=inner_lr,
        inner_steps=inner_steps,
        head_only=head_only,
        loss_fn=loss_fn or task_loss,
        statistics=statistics,
    )


def _together(
    model: nn.Module, settings: Settings, loss_fn: Loss | None, *inputs: Tensor
) -> StackedNetwork | None:
    """Return the network for many tasks at once, or None where they go one after another."""
    if loss_fn is not None or isinstance(settings.inner_lr, Clipped):
        return None
    return stacked_network(model, *inputs)
