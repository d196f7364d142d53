"""Tokens: the algorithm of byte pairs step by step, round trips, and what a vocabulary knows."""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from metalearn_lite.text import TextClasses, Tokens, byte_pairs, characters, from_texts
from metalearn_lite.text.tokens import BYTES, EDGE, FIRST, PADDING, UNKNOWN

TRAIN = from_texts(["banana", "bandana", "ananas", "aaaaa", "été", "tête"], [0, 0, 0, 1, 1, 1])
TEST = from_texts(["žluťoučký", "žlutý kůň", "øre", "ørne"], ["cs", "cs", "da", "da"])
ALL = TextClasses(TRAIN.texts + TEST.texts, ("0", "1", "cs", "da"), ("0", "1", "cs", "da"))


def joined(row, pair, new):
    """Exchange a pair in a list of numbers from left to right, one after another."""
    found, i = [], 0
    while i < len(row):
        here = tuple(row[i : i + 2]) == pair
        found.append(new if here else row[i])
        i += 1 + here
    return found


def learned_step_by_step(texts, merges):
    """Algorithm 1 of Sennrich et al. (2016), in lists of numbers."""
    rows, found = [list((EDGE + text + EDGE).encode()) for text in texts], []
    for number in range(256, 256 + merges):
        counts = Counter(pair for row in rows for pair in pairwise(row))
        # overlapping pairs count too, as they do in the paper's counts of bigrams
        pair = min(counts, key=lambda p: (-counts[p], p))
        if counts[pair] < 2:
            break
        found.append(pair)
        rows = [joined(row, pair, number) for row in rows]
    return found


def split_step_by_step(text, merges):
    """The pair that was learned first is joined first, until none is left."""
    row, rank = list((EDGE + text + EDGE).encode()), {pair: i for i, pair in enumerate(merges)}
    while True:
        known = [pair for pair in pairwise(row) if pair in rank]
        if not known:
            return row
        first = min(known, key=rank.__getitem__)
        row = joined(row, first, 256 + rank[first])


@pytest.mark.parametrize("merges", [1, 7, 1000])
def test_byte_pairs_are_those_of_the_algorithm_step_by_step(merges):
    tokens, wanted = (
        byte_pairs(TRAIN, merges=merges),
        learned_step_by_step(TRAIN.flatten()[0], merges),
    )
    assert [tuple(map(ord, pair)) for pair in tokens.merges] == wanted
    assert len(tokens) == FIRST + 256 + len(wanted)
    for text in (*TRAIN.flatten()[0], *TEST.flatten()[0], "nananana", ""):
        row = [number - FIRST for number in tokens.encode([text])[0].tolist()]
        assert row == split_step_by_step(text, wanted)


@given(st.text())
@example("aaaa\n\n\x00\U0010ffff")
@example("")
@example("banana bandana ananas")
def test_byte_pairs_go_there_and_back_for_any_text(text):
    if text.encode(errors="ignore").decode() == text:  # no half of a pair of UTF-16
        for tokens in (Tokens(), byte_pairs(TRAIN, merges=30)):
            row = tokens.encode([text, text + "more"])[0]
            assert tokens.decode(row) == text and UNKNOWN not in row


def test_characters_go_there_and_back_and_what_is_unknown_says_so():
    tokens = characters(TRAIN)
    assert tokens.symbols == EDGE + "abdenstéê" and len(tokens) == 12
    assert tokens.encode(["abt", "x"]).tolist() == [[2, 3, 4, 9, 2], [2, UNKNOWN, 2, 0, 0]]
    for text in TRAIN.flatten()[0]:
        assert tokens.decode(tokens.encode([text])[0]) == text
    assert tokens.decode(tokens.encode(["taxi"])[0]) == "ta??"


def test_rows_end_in_padding_and_the_longest_has_none():
    rows = Tokens().encode(["", "abc"])
    assert rows.dtype == torch.int64 and rows.shape == (2, 5)
    assert (rows != PADDING).sum(dim=1).tolist() == [2, 5]
    assert rows[1].tolist() == [FIRST + byte for byte in b"\nabc\n"]


def unknown_pieces(tokens, classes):
    """What a vocabulary knows, and these classes do not have: pieces of text in none of them."""
    texts = [Tokens().split(text) if tokens.in_bytes else text for text in classes.flatten()[0]]
    whole = "\0".join(EDGE + text.strip(EDGE) + EDGE for text in texts)
    learned = tokens.symbols[256:] if tokens.in_bytes else tokens.symbols
    pieces = []
    for piece in learned:
        for pair, symbol in reversed([*zip(tokens.merges, tokens.symbols[256:], strict=False)]):
            piece = piece.replace(symbol, pair)
        pieces.append(piece)
    return [piece for piece in pieces if piece not in whole]


@pytest.mark.parametrize("learn", [characters, lambda classes: byte_pairs(classes, merges=60)])
def test_the_vocabulary_knows_no_test_class_and_a_leak_would_be_seen(learn):
    assert unknown_pieces(learn(TRAIN), TRAIN) == []
    assert unknown_pieces(learn(ALL), TRAIN)  # the leak
    assert learn(TRAIN) == learn(TRAIN) != learn(ALL)


def test_bytes_know_nothing():
    assert Tokens().symbols == BYTES and len(Tokens()) == 258 and Tokens().merges == ()
    assert repr(byte_pairs(TRAIN, merges=3)) == "Tokens(261 numbers, 3 merges)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Tokens().encode("one"), "texts are 'one': expected a list"),
        (lambda: Tokens().encode([]), "one text or more"),
        (lambda: byte_pairs(TRAIN, merges=0), "merges is 0"),
        (lambda: byte_pairs(TRAIN, merges=1.5), "merges is 1.5"),
    ],
)
def test_what_cannot_be_meant_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
