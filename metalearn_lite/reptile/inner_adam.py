"""Adam for the inner loop: a function of parameters, with a state that can outlive a task."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class InnerAdam(nn.Module):
    r"""Adam's moments of some parameters, and the step that they give.

    .. math::

        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \\
        \theta' &= \theta - \alpha\,
        \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} .

    The numbers are those of ``torch.optim.Adam``; but the parameters are returned, not changed,
    so that each task can have its own. It is a module in order to be saved: put it beside the
    network into what ``meta_train`` trains, and checkpoints hold its state.

    Args:
        parameters: what will be adapted; those that require no gradient are passed over.
        betas: β₁ and β₂. Nichol et al. (2018) take β₁ = 0, so that no momentum is carried from
            one task into the next.
        eps: ε.

    Raises:
        ValueError: if nothing requires a gradient, or a beta is not in [0, 1).

    Reference:
        Kingma and Ba (2015), "Adam: a method for stochastic optimization", algorithm 1.
    """

    steps: Tensor

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        betas: tuple[float, float] = (0.0, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        adapted = [p.detach() for p in parameters if p.requires_grad]
        if not adapted:
            raise ValueError("no parameter requires a gradient: expected some to adapt")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas are {betas}: expected two numbers from 0 to below 1")
        self.betas, self.eps = betas, eps
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for i, p in enumerate(adapted):
            self.register_buffer(f"first_{i}", torch.zeros_like(p))
            self.register_buffer(f"second_{i}", torch.zeros_like(p))
        self.count = len(adapted)

    def step(self, params: list[Tensor], gradients: list[Tensor], lr: float) -> list[Tensor]:
        """Take the gradients into the moments and return the parameters one step on.

        Args:
            params: θ, in the order of ``parameters``; not changed.
            gradients: their gradients.
            lr: α.

        Raises:
            ValueError: if there are not as many as there are moments, or not of their shapes.
        """
        shapes = [tuple(g.shape) for g in gradients]
        expected = [tuple(self.get_buffer(f"first_{i}").shape) for i in range(self.count)]
        if shapes != expected:
            raise ValueError(
                f"the gradients have shapes {shapes} and the moments {expected}: expected the "
                "same; build InnerAdam from the parameters that adapt"
            )
        self.steps += 1
        unbias_first, unbias_second = (1 - beta ** self.steps.item() for beta in self.betas)
        after = []
        for i, (p, g) in enumerate(zip(params, gradients, strict=True)):
            first, second = self.get_buffer(f"first_{i}"), self.get_buffer(f"second_{i}")
            first.lerp_(g, 1 - self.betas[0])
            second.lerp_(g.square(), 1 - self.betas[1])
            size = (second / unbias_second).sqrt() + self.eps
            after.append(p - lr * (first / unbias_first) / size)
        return after
