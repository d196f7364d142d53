"""What the answer to one new picture is worth: names, how sure they are, and "none of these".

A classifier that is shown something of another kind still names a class. Whether to believe it is
a second question, with two ways to be wrong: to refuse what is known, to accept what is not.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn_lite.arguments import check_counts, check_positive
from metalearn_lite.evaluation import Predict, Scores
from metalearn_lite.tasks import Episode, Tasks
from metalearn_lite.tensors import in_float64


def ranked_names(
    outputs: Tensor, class_names: Sequence[str], *, temperature: float = 1.0
) -> list[list[tuple[str, float]]]:
    """Turn outputs into names of classes and their probabilities, the likeliest first.

    Args:
        outputs: logits ``(m, ways)``.
        class_names: a name for each column, such as ``ClassImages.class_names``.
        temperature: what the logits are divided by before the softmax, such as that of the function
            ``fit_temperature``; it does not change the order.

    Returns:
        For each row ``(name, probability)`` of all classes.

    Raises:
        ValueError: if there is not one name for each column.
    """
    check_positive(temperature=temperature)
    if outputs.ndim != 2 or outputs.shape[1] != len(class_names):
        raise ValueError(f"outputs have shape {outputs.shape}: expected (m, {len(class_names)})")
    probabilities = (in_float64(outputs.detach()) / temperature).softmax(dim=1)
    best, order = probabilities.sort(dim=1, descending=True, stable=True)
    rows = zip(order.tolist(), best.tolist(), strict=True)
    return [[(class_names[k], p) for k, p in zip(*row, strict=True)] for row in rows]


def leave_one_out(model: Any, predict: Predict, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Answer each support example from the others, of which every class has lost one as well.

    If only the class of the example lost one, what all classes share would speak against it: with
    a class mean, say, that of its own class alone would move away from it. Where a class has one
    example only, it keeps it, and is not asked about.

    Args:
        model: what ``predict`` takes first.
        predict: ``predict(model, episode)`` gives outputs ``(m, ways)``.
        x: support examples ``(n, ...)``.
        y: their labels ``(n,)``, int64 from 0 on.

    Returns:
        The outputs ``(m, ways)`` and the labels ``(m,)`` of those that could be left out, the first
        of each class first, then the second of each.

    Raises:
        ValueError: if no class has two examples.
    """
    sizes, number = y.bincount()[y], torch.stack([(y[:i] == y[i]).sum() for i in range(len(y))])
    if sizes.max() < 2:
        raise ValueError("no class has two examples: expected one to leave out and one to keep")
    outputs, labels = [], []
    for turn in range(int(sizes.max())):
        out = (number == turn % sizes) & (sizes > 1)
        asked = out & (number == turn)  # a class that is through loses one again, unasked
        outputs.append(predict(model, Episode(x[~out], y[~out], x[asked])).detach())
        labels.append(y[asked])
    return torch.cat(outputs), torch.cat(labels)


def fit_temperature(outputs: Tensor, labels: Tensor) -> float:
    r"""Choose how sure to be: the T with the least cross-entropy of ``outputs / T``.

    With n answers, one more is imagined of which nothing was known, a uniform label shared by all
    of them. Without it, T would go to 0 as soon as all answers were right, and no answer after
    that would be in doubt.

    Args:
        outputs: logits ``(n, ways)`` of examples that were not learned from, as by
            ``leave_one_out``.
        labels: ``(n,)`` int64.

    Returns:
        T above 0, for ``ranked_names``.

    Reference:
        Guo et al. (2017), "On calibration of modern neural networks", section 4.2.
    """
    logits = in_float64(outputs.detach())
    candidates = torch.logspace(-3, 3, 601).to(logits) * (logits.std().item() or 1.0)
    smoothing = 1 / (len(labels) + 1)
    losses = [F.cross_entropy(logits / t, labels, label_smoothing=smoothing) for t in candidates]
    return candidates[torch.stack(losses).argmin()].item()


def strangeness(outputs: Tensor) -> Tensor:
    """Score how little a query is like any of the classes: by the distance to the nearest.

    The other usual score is the largest probability, and ``outputs.log_softmax(-1)`` in place of
    the outputs gives it. It compares the classes only with each other: what is far from all of
    them, and less far from one, passes for known.

    Args:
        outputs: ``(m, ways)``, minus distances, as of ``prototype_predict``.

    Returns:
        ``(m,)``; the larger, the stranger.

    Reference:
        Hendrycks and Gimpel (2017), "A baseline for detecting misclassified and out-of-distribution
        examples in neural networks", for the probability.
    """
    return -outputs.amax(dim=-1)


def open_set_scores(
    model: Any, predict: Predict, tasks: Tasks, *, episodes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Find the strangeness of queries of known classes, and of one kept from the support set.

    In each episode the class with the last label, which ``ImageTasks`` gives to a class by chance,
    is the stranger; the others are learned.

    Args:
        model: what ``predict`` takes first.
        predict: as for ``evaluate``. If queries are normalised together, strangers are among them.
        tasks: episodes of the known classes and one more, two ways or more.
        episodes: how many to draw.
        generator: draws them.

    Returns:
        The scores of known classes ``(episodes, (ways - 1) * queries)``, and of unknown ones
        ``(episodes, queries)``.

    Raises:
        ValueError: if an episode has fewer than two ways.
    """
    check_counts(episodes=episodes)
    known, unknown = [], []
    for _ in range(episodes):
        task = tasks.sample(generator)
        last = int(task.support_y.max())
        if last == 0:
            raise ValueError("the tasks have one way: expected two or more, one of them to be kept")
        kept = task.support_y < last
        answered = Episode(task.support_x[kept], task.support_y[kept], task.query_x)
        scores = strangeness(predict(model, answered).detach())
        known.append(scores[task.query_y < last])
        unknown.append(scores[task.query_y == last])
    return torch.stack(known), torch.stack(unknown)


def refusal_threshold(known: Tensor, unknown: Tensor, *, refusals: float | None = None) -> float:
    """Choose above which score to say "none of these", on classes held out for that.

    Args:
        known: scores of known classes, of any shape.
        unknown: scores of unknown classes.
        refusals: the largest share of known ones to be refused; the lowest threshold that keeps to
            it is taken. None: that with the least mean of the two shares of errors.

    Returns:
        A number midway between two scores; infinite where all or nothing is refused.

    Raises:
        ValueError: if there are no scores, or they are not finite.
    """
    ours, others = (in_float64(scores).flatten().sort().values for scores in (known, unknown))
    values = ours.new_tensor(sorted({*ours.tolist(), *others.tolist()}))
    if not len(ours) or not len(others) or not values.isfinite().all():
        raise ValueError(f"got the scores {known} and {unknown}: expected finite numbers of both")
    infinity = values.new_tensor([torch.inf])
    candidates = torch.cat([-infinity, (values[1:] + values[:-1]) / 2, infinity])
    refused = len(ours) - torch.searchsorted(ours, candidates, right=True)
    accepted = torch.searchsorted(others, candidates, right=True)
    if refusals is None:  # the least sum of shares, both times both counts
        return candidates[(refused * len(others) + accepted * len(ours)).argmin()].item()
    return candidates[refused <= refusals * len(ours) + 1e-9].min().item()


def refusal_rates(known: Tensor, unknown: Tensor, threshold: float) -> tuple[Scores, Scores]:
    """Measure both kinds of error, on other classes than those that the threshold was chosen on.

    Args:
        known: scores of known classes, ``(episodes, m)``, as by ``open_set_scores``.
        unknown: those of unknown ones, ``(episodes, u)``.
        threshold: scores above it are refused.

    Returns:
        The share of known ones that are refused wrongly, and of unknown ones that are accepted
        wrongly, each with its interval over episodes.
    """
    refused, accepted = in_float64(known > threshold), in_float64(unknown <= threshold)
    return Scores.of(refused.mean(dim=1)), Scores.of(accepted.mean(dim=1))
