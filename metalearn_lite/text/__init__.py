"""Texts by class, tokens for them, and a small transformer: the same methods, and no image."""

from metalearn_lite.text.cldr import languages
from metalearn_lite.text.encoder import TextEncoder, transformer
from metalearn_lite.text.episodes import TextTasks
from metalearn_lite.text.text_classes import TextClasses, from_texts, read_texts
from metalearn_lite.text.tokens import Tokens, byte_pairs, characters

__all__ = [
    "TextClasses",
    "TextEncoder",
    "TextTasks",
    "Tokens",
    "byte_pairs",
    "characters",
    "from_texts",
    "languages",
    "read_texts",
    "transformer",
]
