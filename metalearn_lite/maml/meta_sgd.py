"""Meta-SGD: a step size of the inner loop for each weight, learned along with the start."""

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_not_negative
from metalearn_lite.maml.plain import maml_learn
from metalearn_lite.models.functional import AdaptedNetwork, parameters_to_adapt
from metalearn_lite.tasks import Episode, check_single


class MetaSGD(nn.Module):
    """A network together with a learned inner step size for each of its parameters.

    Give it to ``meta_train`` in place of the network, so that the optimiser and the
    checkpoints hold the rates too::

        def objective(model, episode):
            return maml_loss(model.network, episode, inner_lr=model.inner_lr, inner_steps=1)

    Args:
        network: the network; it is kept, not copied.
        inner_lr: the rate that all start from.

    Attributes:
        network: the network.
        rates: the rates, in the order of ``network.named_parameters()``. Nothing keeps them
            from becoming negative.

    Reference:
        Li et al. (2017), "Meta-SGD: learning to learn quickly for few-shot learning",
        equation 3.
    """

    def __init__(self, network: nn.Module, inner_lr: float) -> None:
        super().__init__()
        check_not_negative(inner_lr=inner_lr)
        self.network = network
        self.rates = nn.ParameterList(
            torch.full_like(p, inner_lr) for p in network.parameters() if p.requires_grad
        )

    @property
    def inner_lr(self) -> dict[str, Tensor]:
        """The rates by the name of their parameter, for ``adapt`` and ``maml_loss``."""
        adapting = parameters_to_adapt(self.network)
        if len(adapting) != len(self.rates):
            raise ValueError(
                f"{len(adapting)} parameters of the network require a gradient, and MetaSGD was "
                f"made with a rate for {len(self.rates)}: expected the same; freeze what is to "
                "stay before MetaSGD is made"
            )
        return dict(zip(adapting, self.rates, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs of the network as it is, without adaptation."""
        return self.network(x)  # type: ignore[no-any-return]


def meta_sgd_learn(learner: MetaSGD, task: Episode, *, inner_steps: int) -> AdaptedNetwork:
    """Adapt to one task with the learned step sizes, and return what answers its queries.

    Args:
        learner: network and step sizes; shared, and not changed.
        task: a single episode.
        inner_steps: number of steps.

    Returns:
        A network from inputs ``(n, ...)`` to outputs ``(n, outputs)``.
    """
    check_single(task)
    return maml_learn(learner.network, task, inner_lr=learner.inner_lr, inner_steps=inner_steps)
