"""Linear functions, of which the best possible answer is known in closed form."""

from functools import partial

import torch
from torch import Tensor

from metalearn_lite.arguments import (
    check_counts,
    check_generator,
    check_not_negative,
    check_positive,
)
from metalearn_lite.models.query_statistics import Answer, answer_each_task
from metalearn_lite.tasks import Episode, check_single


class LinearTasks:
    r"""Few-shot regression: which linear function runs close to these points?

    .. math::

        y = w^\top x + \sigma \varepsilon, \qquad w, x \sim \mathcal{N}(0, I), \;
        \varepsilon \sim \mathcal{N}(0, 1) .

    Args:
        shots: points to learn from.
        queries: points to be judged on.
        inputs: numbers in x.
        noise: σ, on the support targets; the query targets are always exact.
        device: where the episodes are made.
        dtype: their floating-point type.

    Reference:
        Garg et al. (2022), "What can transformers learn in-context?", section 3.
    """

    def __init__(
        self,
        shots: int,
        queries: int,
        *,
        inputs: int = 2,
        noise: float = 0.5,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_counts(shots=shots, queries=queries, inputs=inputs)
        check_not_negative(noise=noise)
        self.shots, self.queries, self.inputs, self.noise = shots, queries, inputs, noise
        self.device, self.dtype = torch.device(device), dtype

    def __repr__(self) -> str:
        return f"LinearTasks(shots={self.shots}, queries={self.queries}, inputs={self.inputs})"

    def sample(self, generator: torch.Generator, batch: int | None = None) -> Episode:
        """Draw one episode, or ``batch`` of them in one go.

        Args:
            generator: the source of all randomness.
            batch: number of tasks ``T``; None draws a single, unbatched episode.

        Returns:
            Inputs ``(shots, inputs)`` and ``(queries, inputs)`` and targets ``(shots, 1)`` and
            ``(queries, 1)``, all with a leading ``T`` if ``batch`` is given.
        """
        check_generator(generator)
        tasks, n = 1 if batch is None else batch, self.shots
        check_counts(batch=tasks)
        weights = self._normal((tasks, self.inputs, 1), generator)
        x = self._normal((tasks, n + self.queries, self.inputs), generator)
        y, noise = x @ weights, self.noise * self._normal((tasks, n, 1), generator)
        episode = Episode(x[:, :n], y[:, :n] + noise, x[:, n:], y[:, n:])
        return episode if batch is not None else next(episode.unbind())

    def _normal(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=self.dtype)
        return drawn.to(self.device)


def bayes_predict(model: object, episode: Episode, *, noise: float) -> Tensor:
    r"""Answer tasks of ``LinearTasks`` as well as anything can: by the mean of the posterior.

    With :math:`w \sim \mathcal{N}(0, I)` and noise of standard deviation σ this is ridge
    regression without a bias, with σ² as its penalty:

    .. math::

        \hat w = (X^\top X + \sigma^2 I)^{-1} X^\top y .

    Args:
        model: not used; the argument is there because every ``predict`` has it.
        episode: one task or T of them.
        noise: σ of the support targets, above 0.

    Returns:
        ``(m, 1)``, or ``(T, m, 1)``. No other answer has a smaller mean squared error.
    """
    return answer_each_task(model, episode, partial(bayes_learn, model, noise=noise))


def bayes_learn(model: object, task: Episode, *, noise: float) -> Answer:
    """Take the mean of the posterior of one task; return what answers its queries."""
    check_single(task)
    check_positive(noise=noise)
    x, y = task.support_x, task.support_y
    penalty = noise**2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.mT @ x + penalty, x.mT @ y)
    return lambda queries: queries @ weights
