"""Tasks of texts: what is drawn is what it says, cut to the longest, and no text is lost."""

from functools import partial

import pytest
import torch

from metalearn_lite.checks import audit_episodes
from metalearn_lite.randomness import seeded
from metalearn_lite.text import TextClasses, TextTasks, Tokens, characters

WORDS = tuple(
    tuple(letter * k + "!" for k in range(1, size + 1))
    for letter, size in zip("abcdefgh", (4, 5, 6, 7, 8, 9, 10, 20), strict=True)
)
CLASSES = TextClasses(WORDS, tuple("abcdefgh"), tuple("ppppqqqq"))
TOKENS = characters(CLASSES)


def texts_of(x):
    return [TOKENS.decode(row) for row in x]


def test_an_episode_is_made_of_texts_of_classes_in_random_order():
    tasks = TextTasks(CLASSES, 3, 2, 1, tokens=TOKENS)
    orders = set()
    for seed in range(20):
        task = tasks.sample(seeded(seed))
        support, queries = texts_of(task.support_x), texts_of(task.query_x)
        letters = [text[0] for text in support]
        assert letters[::2] == letters[1::2] == [text[0] for text in queries]
        assert task.support_y.tolist() == [0, 0, 1, 1, 2, 2] and task.query_y.tolist() == [0, 1, 2]
        assert len(set(letters)) == 3 and not set(support) & set(queries)
        assert {*support, *queries} <= {text for own in WORDS for text in own}
        orders.add(letters[0] < letters[2])
    assert orders == {True, False} and repr(tasks) == "TextTasks(ways=3, shots=2, queries=1)"


def test_inputs_are_as_long_as_the_longest_text_drawn():
    tasks, lengths = TextTasks(CLASSES, 3, 1, 2, tokens=TOKENS), set()
    for seed in range(10):
        task = tasks.sample(seeded(seed), 2)
        assert task.support_x.dtype == torch.int64 and task.batch == 2
        assert task.support_x.shape[-1] == task.query_x.shape[-1]
        longest = max(
            len(text) for x in (task.support_x, task.query_x) for text in texts_of(x.flatten(0, 1))
        )
        assert task.support_x.shape[-1] == longest + 2  # and the edges
        lengths.add(longest)
    assert len(lengths) > 1


def test_each_text_of_a_class_is_drawn_and_padding_between_classes_never():
    tasks, seen = TextTasks(CLASSES, 8, 1, 3, tokens=TOKENS), set()
    for seed in range(60):
        task = tasks.sample(seeded(seed))
        assert (torch.cat([task.support_x, task.query_x]) != 0).any(dim=1).all()
        seen |= {*texts_of(task.support_x), *texts_of(task.query_x)}
    assert seen == {text for own in WORDS for text in own}


def test_the_sampler_passes_the_checks_and_draws_within_groups():
    tasks = partial(TextTasks, CLASSES, tokens=TOKENS)
    audit_episodes(tasks(3, 2, 2), ways=3, shots=2, queries=2, episodes=20, generator=seeded(0))
    task = tasks(4, 1, 1, within_groups=True).sample(seeded(1))
    assert {text[0] for text in texts_of(task.support_x)} in ({*"abcd"}, {*"efgh"})


def test_without_tokens_texts_are_bytes():
    task = TextTasks(CLASSES, 2, 1, 1).sample(seeded(0))
    assert Tokens().decode(task.support_x[0])[-1] == "!"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TextTasks(WORDS, 2, 1, 1), "classes is a tuple: expected a .*TextClasses"),
        (lambda: TextTasks(CLASSES, 9, 1, 1), "9 ways need 9 classes"),
        (lambda: TextTasks(CLASSES, 2, 3, 2), r"5 examples of each class, but a has 4"),
        (lambda: TextTasks(CLASSES, 2, 0, 1), "shots is 0"),
        (lambda: TextTasks(CLASSES, 2, 1, 1).sample(0), "generator is 0"),
        (lambda: TextTasks(CLASSES, 2, 1, 1).sample(seeded(0), 0), "batch is 0"),
    ],
)
def test_what_cannot_be_meant_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
