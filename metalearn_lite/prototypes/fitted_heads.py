"""Shared features, a convex head: what is fitted to a task has one optimum.

The features are shared by all tasks; a task has a linear layer of its own, the optimum of a
convex problem on the features of its support set. Ridge regression has it in closed form, so
the features can be trained through it: Bertinetto, Henriques, Torr and Vedaldi (2019),
"Meta-learning with differentiable closed-form solvers" (R2-D2). Logistic regression and the
support vector machine, by scikit-learn, are for features that are already there.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.arguments import check_positive
from metalearn_lite.losses import task_loss
from metalearn_lite.models.expectations import features_of
from metalearn_lite.models.functional import FeaturesAndHead, call
from metalearn_lite.models.linear_fits import fit_logistic
from metalearn_lite.models.networks import Network
from metalearn_lite.models.query_statistics import Statistics, answer_each_task, task_features
from metalearn_lite.prototypes.means import count_examples, count_ways
from metalearn_lite.tasks import Episode, check_single
from metalearn_lite.tensors import check_classes, full_precision

Head = tuple[Tensor, Tensor]
Fit = Callable[[Tensor, Tensor], Head]


def ridge_head(
    features: Tensor, labels: Tensor, *, ways: int | None = None, penalty: float | Tensor = 1.0
) -> Head:
    r"""Solve ridge regression on one-hot labels; the solution can be differentiated.

    .. math::

        \min_{W, b} \; \sum_i \lVert W z_i + b - e_{y_i} \rVert^2 + \lambda \lVert W \rVert^2 .

    The bias is free: with features and labels centred, :math:`\bar Z` and :math:`\bar Y`, it
    drops out. With fewer examples than features the system to solve is one of n, not d:

    .. math::

        W = \bar Y^\top (\bar Z \bar Z^\top + \lambda I)^{-1} \bar Z
          = \bar Y^\top \bar Z \, (\bar Z^\top \bar Z + \lambda I)^{-1} .

    Args:
        features: z, ``(n, d)``.
        labels: y, ``(n,)`` int64 in ``0 .. ways - 1``, each at least once.
        ways: number of classes; None means the largest label and one.
        penalty: λ, of the *sum* of squared errors; it may require a gradient.

    Returns:
        ``W (ways, d)`` and ``b (ways,)``.

    Raises:
        ValueError: if a class has no example, or ``penalty`` is not positive.

    Reference:
        Bertinetto et al. (2019), section 3. A free bias is the convention of scikit-learn.
    """
    check_positive(penalty=penalty)
    ways, dtype = len(count_examples(features, labels, ways)), features.dtype
    features = full_precision(features)
    targets = F.one_hot(labels, ways).to(features.dtype)
    z, y = features - features.mean(dim=0), targets - targets.mean(dim=0)
    n, d = z.shape
    if n < d:
        weight = torch.linalg.solve(z @ z.T + penalty * _identity(n, z), y).T @ z
    else:
        weight = torch.linalg.solve(z.T @ z + penalty * _identity(d, z), z.T @ y).T
    bias = targets.mean(dim=0) - weight @ features.mean(dim=0)
    return weight.to(dtype), bias.to(dtype)


def ridge_loss(
    model: Network, episode: Episode, *, penalty: float | Tensor = 1.0, scale: float | Tensor = 1.0
) -> Tensor:
    """Mean cross-entropy of the queries, an objective for ``meta_train``.

    The head is solved for the support set of each task, and the gradient goes through the
    solution. The head of the network is not used.

    Args:
        model: the network; its features are trained.
        episode: one task or T of them, of any number of ways.
        penalty: λ of ``ridge_head``.
        scale: what the outputs are multiplied with before the softmax. They are fitted to 0
            and 1, too close for a softmax to be sure.

    Returns:
        A scalar with a gradient, also for ``penalty`` and ``scale`` if they require one.

    Raises:
        ValueError: if a class has no example, or ``penalty`` or ``scale`` is not positive.

    Reference:
        Bertinetto et al. (2019), section 3.
    """
    check_positive(scale=scale)
    losses = []
    for task, support, queries in task_features(features_of(model), episode):
        head = ridge_head(support, task.support_y, ways=count_ways(task), penalty=penalty)
        losses.append(task_loss(scale * F.linear(queries, *head), task.query_y))
    return torch.stack(losses).mean()


def ridge_predict(
    model: Network,
    episode: Episode,
    *,
    penalty: float | Tensor = 1.0,
    scale: float | Tensor = 1.0,
    statistics: Statistics = "queries",
) -> Tensor:
    """Answer the queries by ridge regression on the support set.

    Args:
        model: the network; it is not changed.
        episode: one task or T of them.
        penalty: λ of ``ridge_head``.
        scale: as in ``ridge_loss``; it does not change the best class.
        statistics: as in ``head_predict``.

    Returns:
        Logits ``(m, ways)``, or ``(T, m, ways)``, without a gradient.
    """
    check_positive(scale=scale)
    fit = partial(ridge_head, penalty=penalty)
    return (scale * head_predict(model, episode, fit, statistics=statistics)).detach()


class LearnedRidge(nn.Module):
    """A network together with a learned penalty and scale of its ridge head.

    Give it to ``meta_train`` in place of the network::

        def objective(model, episode):
            return ridge_loss(model.network, episode, penalty=model.penalty, scale=model.scale)

    Args:
        network: the network; it is kept, not copied.
        penalty: where λ starts.
        scale: where the scale starts.

    Attributes:
        network: the network.
        log_penalty: logarithm of λ, so that λ stays positive.
        log_scale: logarithm of the scale.

    Reference:
        Bertinetto et al. (2019), section 3, learn both across tasks too.
    """

    def __init__(self, network: Network, *, penalty: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        check_positive(penalty=penalty, scale=scale)
        like = next(network.parameters())
        self.network = network
        self.log_penalty = nn.Parameter(like.new_tensor(penalty).log())
        self.log_scale = nn.Parameter(like.new_tensor(scale).log())

    @property
    def penalty(self) -> Tensor:
        """λ, for ``ridge_loss`` and ``ridge_predict``."""
        return self.log_penalty.exp()

    @property
    def scale(self) -> Tensor:
        """The scale of the outputs, for ``ridge_loss`` and ``ridge_predict``."""
        return self.log_scale.exp()


def ridge_learn(learner: LearnedRidge, task: Episode, *, factor: float = 1.0) -> FeaturesAndHead:
    """Solve ridge regression for one task, with ``factor`` times the learned penalty.

    Args:
        learner: gives features and penalty; its features are shared, and nothing is changed.
        task: a single episode.
        factor: what the penalty is multiplied with.

    Returns:
        A network from inputs ``(n, ...)`` to outputs ``(n, ways)``.
    """
    penalty = factor * learner.penalty.item()
    return head_learn(learner.network, task, fit=partial(ridge_head, penalty=penalty))


def svm_head(
    features: Tensor, labels: Tensor, *, ways: int | None = None, strength: float = 1.0
) -> Head:
    r"""Fit a linear support vector machine, one class against the rest, by scikit-learn.

    With :math:`s_i = 1` for the examples of a class and :math:`-1` for all others,

    .. math::

        \min_{w, b} \; \tfrac{1}{2} (\lVert w \rVert^2 + b^2)
        + C \sum_i \max(0, 1 - s_i (w^\top z_i + b))^2 .

    Args:
        features: z, ``(n, d)``.
        labels: y, ``(n,)`` int64 in ``0 .. ways - 1``, each at least once.
        ways: number of classes; None means the largest label and one.
        strength: C, above zero.

    Returns:
        ``W (ways, d)`` and ``b (ways,)``, without a gradient.

    Raises:
        ValueError: if a class has no example, or ``strength`` is not positive.

    Reference:
        Lee et al. (2019), "Meta-learning with differentiable convex optimization"
        (MetaOptNet), train features through such a head; this one is for prediction.
    """
    from sklearn.svm import LinearSVC  # slow to import, and needed only here

    check_positive(strength=strength)
    ways = len(count_examples(features, labels, ways))
    z, y = features.detach().cpu().double().numpy(), labels.cpu().numpy()
    if ways == 1:
        return torch.zeros_like(features[:1]).detach(), features.new_zeros(1)
    fitted = LinearSVC(C=strength, dual=False, tol=1e-8, max_iter=10_000).fit(z, y)
    weight, bias = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
    if ways == 2:  # scikit-learn fits one of the two; the other is its negative
        weight, bias = torch.cat([-weight, weight]), torch.cat([-bias, bias])
    return weight.to(features), bias.to(features)


def svm_predict(
    model: Network, episode: Episode, *, strength: float = 1.0, statistics: Statistics = "queries"
) -> Tensor:
    """Answer the queries by a linear support vector machine on fixed features.

    Args:
        model: the network; it is not changed.
        episode: one task or T of them.
        strength: C of ``svm_head``.
        statistics: as in ``head_predict``.

    Returns:
        Scores ``(m, ways)``, or ``(T, m, ways)``, without a gradient.
    """
    fit = partial(svm_head, strength=strength)
    return head_predict(model, episode, fit, statistics=statistics)


def logistic_head(features: Tensor, labels: Tensor, *, l2: float = 1e-3) -> Head:
    """Fit the head of ``transfer.linear_probe`` on features, for ``head_predict``.

    Args:
        features: z, ``(n, d)``.
        labels: y, ``(n,)`` int64 from 0 on, each at least once.
        l2: weight of the penalty beside the *mean* cross-entropy.

    Returns:
        ``W (ways, d)`` and ``b (ways,)``, without a gradient.
    """
    check_positive(l2=l2)
    count_examples(features, labels)
    z, y = features.detach().cpu().double().numpy(), labels.cpu().numpy()
    weight, bias = fit_logistic(z, y, l2)
    return torch.from_numpy(weight).to(features), torch.from_numpy(bias).to(features)


def head_learn(model: Network, task: Episode, *, fit: Fit) -> FeaturesAndHead:
    """Fit a head to the support set of one task, and return what answers its queries.

    Args:
        model: gives the features; it is shared, and not changed.
        task: a single episode. With batch statistics the head is fitted on features normalised by
            the support set's own.
        fit: ``fit(features, labels)`` gives weight and bias, such as ``ridge_head``,
            ``svm_head`` or ``logistic_head``.

    Returns:
        A network from inputs ``(n, ...)`` to scores ``(n, ways)``.
    """
    check_single(task)
    check_classes(task.support_y, task.query_y)
    with torch.no_grad():
        head = fit(call(features_of(model), {}, task.support_x), task.support_y)
    return FeaturesAndHead(features_of(model), *head)


def head_predict(
    model: Network, episode: Episode, fit: Fit, *, statistics: Statistics = "queries"
) -> Tensor:
    """Fit a head to the support set of each task, and answer its queries.

    Args:
        model: gives the features; it is not changed.
        episode: one task or T of them.
        fit: as in ``head_learn``.
        statistics: what a query is normalised with, as in ``maml_predict``; ``"queries"`` is
            transductive.

    Returns:
        Scores ``(m, ways)``, or ``(T, m, ways)``, without a gradient.
    """
    return answer_each_task(model, episode, partial(head_learn, model, fit=fit), statistics)


def _identity(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
