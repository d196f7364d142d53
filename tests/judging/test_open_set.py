"""One new picture: names, how sure they are, and "none of these", against counting by hand."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import nn

from metalearn_lite.judging import (
    fit_temperature,
    leave_one_out,
    open_set_scores,
    ranked_names,
    refusal_rates,
    refusal_threshold,
    strangeness,
)
from metalearn_lite.models import Network
from metalearn_lite.prototypes import prototype_predict
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks

FLAT = Network(nn.Flatten(), nn.Linear(4, 2))


def test_names_come_with_their_probabilities_the_likeliest_first():
    outputs = torch.tensor([[0.0, 2.0, 1.0], [3.0, 3.0, 0.0]])
    rows = ranked_names(outputs, ("ash", "elm", "oak"))
    assert [[name for name, _ in row] for row in rows] == [
        ["elm", "oak", "ash"],
        ["ash", "elm", "oak"],  # a tie in the order of the classes
    ]
    e = math.e
    assert rows[0][0][1] == pytest.approx(e**2 / (1 + e + e**2))
    assert all(sum(p for _, p in row) == pytest.approx(1) for row in rows)
    warm = ranked_names(outputs, ("ash", "elm", "oak"), temperature=2)
    assert warm[0][0] == ("elm", pytest.approx(e / (1 + e**0.5 + e)))


def test_names_that_do_not_fit_are_refused():
    for outputs in (torch.zeros(2, 3), torch.zeros(2)):
        with pytest.raises(ValueError, match=r"expected \(m, 2\)"):
            ranked_names(outputs, ("a", "b"))
    with pytest.raises(ValueError, match="temperature is 0"):
        ranked_names(torch.zeros(2, 2), ("a", "b"), temperature=0)


def test_each_example_is_answered_from_the_others():
    x = torch.rand(6, 1, 2, 2, generator=seeded(0))
    y = torch.tensor([0, 1, 0, 2, 1, 0])  # one example of class 2: it stays
    outputs, labels = leave_one_out(FLAT, prototype_predict, x, y)
    assert labels.tolist() == [0, 1, 0, 1, 0]
    left = {0: (0, 1), 1: (0, 1), 2: (2, 4), 4: (2, 4), 5: (5, 1)}  # who is out with whom
    for row, i in zip(outputs, left, strict=True):
        kept = [[j for j in range(6) if y[j] == k and j not in left[i]] for k in range(3)]
        means = [torch.stack([x[j].flatten() for j in own]).mean(dim=0) for own in kept]
        by_hand = torch.stack([-(x[i].flatten() - mean).square().sum() for mean in means])
        torch.testing.assert_close(row, by_hand)
    with pytest.raises(ValueError, match="no class has two examples: expected one to leave out"):
        leave_one_out(FLAT, prototype_predict, x[:2], y[:2])


def test_what_all_classes_share_does_not_speak_against_the_right_one():
    """Both classes are the same four images: left out alone, each would look like the other."""
    x = torch.rand(4, 1, 2, 2, generator=seeded(0))
    outputs, _ = leave_one_out(FLAT, prototype_predict, torch.cat([x, x]), torch.arange(8) // 4)
    torch.testing.assert_close(outputs[:, 0], outputs[:, 1])


def test_the_temperature_has_the_least_cross_entropy():
    outputs = 5 * torch.randn(30, 4, generator=seeded(0))
    labels = torch.randint(4, (30,), generator=seeded(1))
    labels[:20] = outputs[:20].argmax(dim=1)

    def loss(t):
        p = (outputs.double() / t).log_softmax(dim=1)
        seen = -sum(p[i, labels[i]] for i in range(30))
        imagined = -p.mean()  # one more, uniform over the classes and shared by all
        return (seen + imagined).item()

    best = minimize_scalar(loss, bounds=(0.1, 100), method="bounded").x
    assert fit_temperature(outputs, labels) == pytest.approx(best, rel=0.02)
    assert fit_temperature(7 * outputs, labels) == pytest.approx(7 * best, rel=0.02)


def test_labels_that_follow_a_temperature_give_it_back():
    outputs = 6 * torch.randn(20_000, 5, generator=seeded(0))
    labels = (outputs / 3).softmax(dim=1).multinomial(1, generator=seeded(1)).flatten()
    assert fit_temperature(outputs, labels) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("count", [2, 10])
def test_answers_that_were_all_right_are_not_believed_for_ever(count):
    outputs = torch.tensor([[1.0, 0.0]]).repeat(count, 1)
    t = fit_temperature(outputs, torch.zeros(count, dtype=torch.int64))
    ((_, sure), _) = ranked_names(outputs[:1], ("a", "b"), temperature=t)[0]
    assert sure == pytest.approx((count + 0.5) / (count + 1), abs=0.005)  # 1 of n + 1 is unknown


def test_outputs_that_are_all_alike_have_a_temperature_too():
    assert 0 < fit_temperature(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)) < math.inf


def test_strange_is_what_is_far_from_every_class():
    outputs = torch.tensor([[-1.0, -9.0], [-4.0, -3.0], [-50.0, -90.0]])
    assert strangeness(outputs).tolist() == [1, 3, 50]
    by_probability = strangeness(outputs.log_softmax(-1)).neg().exp()
    torch.testing.assert_close(by_probability, outputs.softmax(-1).amax(-1))
    assert by_probability[2] > by_probability[1]  # far from both, and sure of one


def rates(known, unknown, threshold):
    """Both shares of errors, counted one by one."""
    refused = sum(s > threshold for s in known) / len(known)
    return refused, sum(s <= threshold for s in unknown) / len(unknown)


@pytest.mark.parametrize("known", [(1, 2, 2), (5,), (1, 4, 6, 6)])
def test_the_threshold_is_the_best_of_all_there_are(known):
    for unknown in product(range(7), repeat=2):
        possible = [-math.inf, *(i + 0.5 for i in range(-1, 7)), math.inf]
        best = min(sum(rates(known, unknown, t)) for t in possible)
        chosen = refusal_threshold(torch.tensor(known), torch.tensor(unknown))
        assert sum(rates(known, unknown, chosen)) == pytest.approx(best)


@pytest.mark.parametrize("share", [0, 0.2, 0.25, 0.5, 1])
def test_the_threshold_keeps_to_a_share_of_wrong_refusals(share):
    known, unknown = (1, 3, 5, 7), (2, 4, 6, 8)
    chosen = refusal_threshold(torch.tensor(known), torch.tensor(unknown), refusals=share)
    possible = [-math.inf, *(i + 0.5 for i in range(9)), math.inf]
    fit = [t for t in possible if rates(known, unknown, t)[0] <= share]
    assert rates(known, unknown, chosen) == rates(known, unknown, min(fit))


def test_a_threshold_lies_midway_between_two_scores():
    assert refusal_threshold(torch.tensor([1.0, 2.0, 2.0]), torch.tensor([6.0, 9.0])) == 4
    assert refusal_threshold(torch.tensor([5.0]), torch.tensor([5.0])) in (-math.inf, math.inf)


def test_two_scores_with_no_number_between_them_are_told_apart_all_the_same():
    known = torch.tensor([1.0], dtype=torch.float64)
    unknown = known.nextafter(torch.full_like(known, 2))
    assert rates(known, unknown, refusal_threshold(known, unknown)) == (0, 0)


@pytest.mark.parametrize("bad", [[], [math.nan], [math.inf]])
def test_scores_that_say_nothing_are_refused(bad):
    for pair in ((torch.tensor(bad), torch.ones(2)), (torch.ones(2), torch.tensor(bad))):
        with pytest.raises(ValueError, match="expected finite numbers of both"):
            refusal_threshold(*pair)


def test_error_rates_are_counted_and_have_their_interval_over_episodes():
    known = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 3.0], [5.0, 5.0, 1.0, 2.0]])
    unknown = torch.tensor([[2.0, 3.0], [2.5, 2.5], [9.0, 9.0]])
    refused, accepted = refusal_rates(known, unknown, 2.5)
    assert refused.values.tolist() == [0.5, 0.25, 0.5]  # above the threshold
    assert accepted.values.tolist() == [0.5, 1, 0]  # at it is accepted
    assert refused.mean == pytest.approx(5 / 12) and 0 < refused.half_width < 1


class Two:
    """Episodes of three classes, written out: class k has the values 10 k, and around."""

    def sample(self, generator, batch=None):
        shift = torch.rand((), generator=generator)
        x = torch.tensor([[0.0], [10.0], [20.0]]) + shift
        queries = torch.tensor([[1.0], [12.0], [23.0], [2.0], [13.0], [24.0]]) + shift
        y = torch.tensor([0, 1, 2])
        return Episode(x, y, queries, y.repeat(2))


def test_the_class_that_is_kept_is_the_stranger():
    known, unknown = open_set_scores(
        Network(nn.Identity(), nn.Linear(1, 2)),
        prototype_predict,
        Two(),
        episodes=2,
        generator=seeded(0),
    )
    expected = torch.tensor([[1.0, 4.0, 4.0, 9.0]] * 2), torch.tensor([[169.0, 196.0]] * 2)
    torch.testing.assert_close((known, unknown), expected, rtol=1e-4, atol=1e-4)


def test_no_label_of_a_query_reaches_the_answer():
    def predict(model, episode):
        assert (episode.query_y == -1).all() and int(episode.support_y.max()) == 1
        return torch.zeros(len(episode.query_x), 2)

    tasks = ImageTasks(torch.rand(4, 5, 1, 2, 2, generator=seeded(0)), 3, 2, 2)
    known, unknown = open_set_scores(None, predict, tasks, episodes=3, generator=seeded(0))
    assert known.shape == (3, 4) and unknown.shape == (3, 2)


def test_each_class_is_the_stranger_in_its_turn():
    seen = set()

    def predict(model, episode):
        seen.add(tuple(sorted(episode.support_x[:, 0, 0, 0].tolist())))
        return F.one_hot(torch.zeros(len(episode.query_x)).long(), 2).float()

    images = torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 2, 1, 2, 2)
    open_set_scores(None, predict, ImageTasks(images, 3, 1, 1), episodes=30, generator=seeded(0))
    assert seen == {(0, 1), (0, 2), (1, 2)}


def test_one_way_leaves_nothing_to_know():
    tasks = ImageTasks(torch.rand(2, 3, 1, 2, 2), 1, 1, 1)
    with pytest.raises(ValueError, match="the tasks have one way: expected two or more"):
        open_set_scores(FLAT, prototype_predict, tasks, episodes=1, generator=seeded(0))
    with pytest.raises(ValueError, match="episodes is 0"):
        open_set_scores(FLAT, prototype_predict, tasks, episodes=0, generator=seeded(0))
