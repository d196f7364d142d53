"""Texts as rows of whole numbers: by characters, or by pairs of bytes that often stand together.

What a vocabulary is made of must be the training classes alone. One that has seen the test classes
has learned something of them: which of their letters and syllables are frequent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metalearn_lite.arguments import check_counts
from metalearn_lite.text.text_classes import TextClasses

PADDING, UNKNOWN, FIRST = 0, 1, 2  # and from there on a number for each symbol
EDGE = "\n"  # stands before and after each text
BYTES = "".join(map(chr, range(256)))


@dataclass(frozen=True)
class Tokens:
    """What each number stands for, 0 for padding and 1 for anything unknown.

    The default is bytes, which know no class and have no unknown.

    Attributes:
        symbols: a character for each number from 2 on; where ``in_bytes``, 256 bytes, and then one
            for each merge.
        merges: pairs of symbols that became one, in their order.
        in_bytes: whether texts are taken as bytes of UTF-8.
    """

    symbols: str = field(default_factory=lambda: BYTES)  # which no page need show
    merges: tuple[str, ...] = ()
    in_bytes: bool = True

    def __len__(self) -> int:
        return FIRST + len(self.symbols)

    def __repr__(self) -> str:
        return f"Tokens({len(self)} numbers, {len(self.merges)} merges)"

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the numbers of each text, with 0 after the end.

        Args:
            texts: n texts, one or more.

        Returns:
            ``(n, length)`` int64, as long as the longest needs.

        Raises:
            ValueError: for a single text, and for none.
        """
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"texts are {texts!r}: expected a list of one text or more")
        numbers = {symbol: i for i, symbol in enumerate(self.symbols, FIRST)}
        rows = [[numbers.get(s, UNKNOWN) for s in self.split(text)] for text in texts]
        return pad_sequence([*map(torch.tensor, rows)], batch_first=True, padding_value=PADDING)

    def split(self, text: str) -> str:
        """Return a text as a row of symbols."""
        row = EDGE + text + EDGE
        row = row.encode().decode("latin-1") if self.in_bytes else row  # a character a byte
        for pair, symbol in zip(self.merges, self.symbols[256:], strict=False):
            row = row.replace(pair, symbol)
        return row

    def decode(self, row: Tensor) -> str:
        """Return the text of numbers ``(length,)``; what is unknown becomes a question mark."""
        symbols = {i: s for i, s in enumerate(self.symbols, FIRST)} | {UNKNOWN: "?"}
        text = "".join(symbols[i] for i in row.tolist() if i != PADDING)
        for pair, symbol in reversed([*zip(self.merges, self.symbols[256:], strict=False)]):
            text = text.replace(symbol, pair)
        return (text.encode("latin-1").decode() if self.in_bytes else text)[1:-1]


def characters(classes: TextClasses) -> Tokens:
    """Take every character of these classes as a token.

    Args:
        classes: those to train on, and no others.
    """
    return Tokens("".join(sorted({EDGE, *"".join(classes.flatten()[0])})), in_bytes=False)


def byte_pairs(classes: TextClasses, *, merges: int) -> Tokens:
    """Begin with bytes, and make the most frequent pair of symbols one, again and again.

    Args:
        classes: those to train on, and no others.
        merges: how often; fewer where no pair is left that stands there twice.

    Returns:
        Tokens of 256 bytes and one for each merge. Of pairs alike frequent the one with the
        smaller numbers goes first.

    Reference:
        Sennrich, Haddow and Birch (2016), "Neural machine translation of rare words with subword
        units", algorithm 1; with bytes in place of characters Radford et al. (2019).
    """
    check_counts(merges=merges)
    apart, found = 256 + merges, list[str]()  # what stands between two texts, in no pair
    row = chr(apart).join(map(Tokens().split, classes.flatten()[0]))
    for number in range(256, apart):
        codes = np.frombuffer(row.encode("utf-32-le"), np.uint32).astype(np.int64)
        first, second = codes[:-1], codes[1:]
        inside = (first < apart) & (second < apart)
        counts = np.bincount((apart * first + second)[inside], minlength=1)
        best = int(counts.argmax())
        if counts[best] < 2:
            break
        found.append(chr(best // apart) + chr(best % apart))
        row = row.replace(found[-1], chr(number))
    return Tokens("".join(map(chr, range(256 + len(found)))), tuple(found))
