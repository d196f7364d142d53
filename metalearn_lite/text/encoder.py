"""A small transformer over tokens, as features with a head: every method of the course takes it."""

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts
from metalearn_lite.losses import outside
from metalearn_lite.models.attention import TransformerLayer
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.models.networks import Network
from metalearn_lite.text.tokens import PADDING


class TextEncoder(nn.Module):
    """Features of texts: an embedding and a position for each token, layers, and the mean.

    Padding is read by no other token and counts in no mean, so that more of it changes nothing.

    Args:
        tokens: how many there are, ``len(tokens)``.
        width: numbers for each token, and size of a feature vector.
        heads: as in ``models.attention.Attention``.
        layers: number of layers.
    """

    def __init__(self, tokens: int, *, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        check_counts(tokens=tokens, layers=layers)
        self.layers = nn.ModuleList(TransformerLayer(width, heads) for _ in range(layers))
        self.embedding, self.norm = nn.Embedding(tokens, width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(n, length)`` int64, 0 for padding, to features ``(n, width)``.

        Raises:
            ValueError: for anything else than numbers of tokens.
        """
        tokens, width = self.embedding.weight.shape
        if x.dtype != torch.int64 or outside(x, tokens):
            raise ValueError(
                f"tokens are {x.dtype} from {x.min():g} to {x.max():g}: expected int64 from 0 to "
                f"{tokens - 1}; make the network for len(tokens) of the Tokens that encode texts"
            )
        there = x != PADDING
        mask = there.unsqueeze(-2) | torch.eye(x.shape[-1], dtype=torch.bool, device=x.device)
        places = positions(x.shape[-1], width, device=x.device)
        rows = self.embedding(x) + places.to(self.embedding.weight.dtype)
        for layer in self.layers:
            rows = layer(rows, mask)
        kept = there.unsqueeze(-1)
        return (self.norm(rows) * kept).sum(dim=-2) / kept.sum(dim=-2).clamp(min=1)  # type: ignore[no-any-return]


def positions(length: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """Return sines and cosines of many wavelengths, by which places ``0 .. length - 1`` differ.

    Returns:
        ``(length, width)``, for any length; Vaswani et al. (2017), section 3.5.
    """
    rates = 10_000 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(length, device=device).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def transformer(
    tokens: int,
    outputs: int,
    *,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
    generator: torch.Generator | None = None,
) -> Network:
    """Build a small transformer for texts, with a linear head.

    Args:
        tokens: how many there are, ``len(tokens)``.
        outputs: number of outputs.
        width: as in ``TextEncoder``, and so are the next two.
        heads: number of heads.
        layers: number of layers.
        generator: draws the initial weights; None uses PyTorch's global generator.

    Returns:
        A network from tokens ``(n, length)`` to logits ``(n, outputs)``.

    Raises:
        ValueError: if a size is no count, or ``heads`` does not divide ``width``.
    """
    check_counts(outputs=outputs)
    features = TextEncoder(tokens, width=width, heads=heads, layers=layers)
    return initialise(Network(features, nn.Linear(width, outputs)), generator)
