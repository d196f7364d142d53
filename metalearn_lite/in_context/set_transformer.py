"""A transformer that reads a set of labelled examples, and answers queries in the same pass."""

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts
from metalearn_lite.losses import outside
from metalearn_lite.models.attention import TransformerLayer
from metalearn_lite.models.initialisation import initialise


class SetTransformer(nn.Module):
    """Labelled examples and queries in, answers out; no weight changes from task to task.

    An example enters as the sum of its input and its label, each through a linear layer, a query
    as its input alone. Examples read examples; a query reads the examples and itself. Nothing says
    where in a row anything stands, so the order of the examples does not matter, and a query is
    answered as if it were alone.

    The classes of a task are told apart by their numbers only. So these must be drawn anew in each
    episode, as ``ImageTasks`` does, or the network learns what stands behind a number.

    Args:
        inputs: numbers in an input; those of more dimensions are flattened.
        outputs: numbers in a target, or the most classes that a task may have.
        width: numbers in a row on its way through the layers.
        heads: as in ``models.attention.Attention``.
        layers: number of layers.
        generator: draws the initial weights; None uses PyTorch's global generator.

    Raises:
        ValueError: if a size is no count, or ``heads`` does not divide ``width``.

    Reference:
        Garg et al. (2022), "What can transformers learn in-context?", for functions; Müller et al.
        (2022), "Transformers can do Bayesian inference" (PFN), for the mask.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_counts(inputs=inputs, outputs=outputs, layers=layers)
        self.inputs, self.outputs, self.heads = inputs, outputs, heads
        self.read_x, self.read_y = nn.Linear(inputs, width), nn.Linear(outputs, width)
        self.layers = nn.ModuleList(TransformerLayer(width, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))
        initialise(self, generator)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """Answer the queries of T tasks in one pass.

        Args:
            support_x: the examples' inputs, ``(T, n, ...)``; n may be 0.
            support_y: their values ``(T, n, outputs)`` float, or classes ``(T, n)`` int64.
            query_x: ``(T, m, ...)``.

        Returns:
            Values, or logits of the classes, ``(T, m, outputs)``.

        Raises:
            ValueError: if a shape, a type or a class does not fit the network, or a value is NaN.
        """
        examples, queries = self._rows(support_x), self._rows(query_x)
        n, x = examples.shape[1], torch.cat([examples, queries], dim=1)
        examples, queries = self.read_x(x).tensor_split([n], dim=1)
        targets = self._targets(support_y, support_x).to(x.dtype)
        rows = torch.cat([examples + self.read_y(targets), queries], dim=1)
        mask = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)  # each reads itself
        mask[:, :n] = True  # and the examples
        for layer in self.layers:
            rows = layer(rows, mask)
        return self.head(rows[:, n:])  # type: ignore[no-any-return]

    def _rows(self, x: Tensor) -> Tensor:
        """Return inputs ``(T, n, ...)`` as rows ``(T, n, inputs)``."""
        if x.ndim < 3 or x.shape[2:].numel() != self.inputs or not x.is_floating_point():
            raise ValueError(
                f"inputs are {x.dtype} of shape {tuple(x.shape)}: expected floats (T, n, "
                f"{self.inputs}) for T tasks; episode.as_batch() makes one task a batch"
            )
        return x.flatten(2)

    def _targets(self, y: Tensor, x: Tensor) -> Tensor:
        """Return labels as values ``(T, n, outputs)``, classes one-hot."""
        whole, shape = y.dtype == torch.int64, tuple(x.shape[:2])
        fits = y.shape == (shape if whole else (*shape, self.outputs))
        if not (fits and (whole or y.is_floating_point())):
            raise ValueError(
                f"support_y is {y.dtype} of shape {tuple(y.shape)}: expected values "
                f"{(*shape, self.outputs)} in float, or classes {shape} in int64"
            )
        if outside(y, self.outputs):
            raise ValueError(
                f"support_y goes from {y.min():g} to {y.max():g}: expected finite values, or "
                f"classes from 0 to {self.outputs - 1}; number the classes of each task from 0, or "
                "build the network with more outputs"
            )
        classes = torch.arange(self.outputs, device=y.device)
        return y.unsqueeze(-1) == classes if whole else y  # one-hot
