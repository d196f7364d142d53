import copy
import hashlib
import math
from dataclasses import dataclass, replace

import pytest
import torch

from metalearn_lite.evaluation import (
    Scores,
    accuracy,
    default_metric,
    evaluate,
    paired_difference,
)
from metalearn_lite.models import conv4, mlp
from metalearn_lite.tasks import Episode, ImageTasks, SineTasks


@pytest.fixture
def tasks(generator):
    return ImageTasks(torch.rand(20, 10, 1, 28, 28, generator=generator), 5, 1, 3)


def forward(model, episode):
    return model(episode.query_x)


def zeros(model, episode):
    return torch.zeros(len(episode.query_x), 5)


PARTS = ("support_x", "support_y", "query_x", "query_y")


class Listed:
    """Gives the episodes of a list, one after the other."""

    def __init__(self, *episodes):
        self.episodes = iter(episodes)

    def sample(self, generator, batch=None):
        return next(self.episodes)


def digest(*episodes):
    count = len(episodes)
    return evaluate(
        None, zeros, Listed(*episodes), episodes=count, generator=torch.Generator()
    ).digest


def test_a_constant_guess_scores_chance_exactly(tasks, generator):
    def always_first(model, episode):
        return torch.eye(5)[0].expand(15, 5)

    scores = evaluate(None, always_first, tasks, episodes=10, generator=generator)
    assert scores.mean == pytest.approx(0.2) and scores.half_width == pytest.approx(0)
    assert scores.values.shape == (10,)


def test_an_oracle_scores_one(tasks, generator):
    def oracle(model, episode):
        return torch.nn.functional.one_hot(episode.query_y, 5)

    assert evaluate(None, oracle, tasks, episodes=3, generator=generator).mean == 1


def test_regression_is_scored_by_mean_squared_error(generator):
    tasks = SineTasks(5, 200)
    scores = evaluate(
        None, lambda _, e: torch.zeros_like(e.query_y), tasks, episodes=400, generator=generator
    )
    # E[a²]/2 with a uniform in [0.1, 5], and the sine's mean square near one half
    expected = (5**3 - 0.1**3) / (3 * 4.9) / 2
    assert abs(scores.mean - expected) < 0.5


def test_every_method_sees_the_same_episodes(tasks):
    seen = []

    def remember(model, episode):
        torch.rand(3)  # a method may draw what it likes from elsewhere
        seen.append(episode.query_x)
        return torch.zeros(15, 5)

    for _ in range(2):
        evaluate(None, remember, tasks, episodes=3, generator=torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(seen[:3], seen[3:], strict=True))


def test_the_interval_is_that_of_student():
    values = torch.tensor([1.0, 2.0, 3.0])
    scores = Scores.of(values)
    assert scores.mean == 2
    assert scores.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert Scores.of([1.0]).half_width == math.inf
    assert str(scores) == "2.000 ± 2.484"
    assert Scores.of([0.5, 0.7]).percent() == "60.0 ± 127.1"


def test_the_interval_covers_the_truth_as_often_as_it_says(generator):
    draws = torch.randn(2000, 12, generator=generator, dtype=torch.float64)
    scores = [Scores.of(row) for row in draws]
    covered = sum(abs(s.mean) <= s.half_width for s in scores) / len(scores)
    assert covered == pytest.approx(0.95, abs=5 * math.sqrt(0.95 * 0.05 / 2000))


def test_a_paired_difference_is_tighter_than_its_parts(generator):
    shared = torch.randn(500, generator=generator)
    a = Scores.of(shared + 0.1)
    b = Scores.of(shared + 0.05 * torch.randn(500, generator=generator))
    difference = paired_difference(a, b)
    assert difference.mean == pytest.approx(a.mean - b.mean)
    assert difference.half_width < a.half_width / 5
    assert paired_difference(a, a).half_width == 0


def test_scores_of_different_episodes_cannot_be_paired(tasks):
    def score(seed, episodes=4):
        generator = torch.Generator().manual_seed(seed)
        return evaluate(
            None, lambda *_: torch.zeros(15, 5), tasks, episodes=episodes, generator=generator
        )

    paired_difference(score(0), score(0))
    with pytest.raises(ValueError, match="different episodes"):
        paired_difference(score(0), score(1))
    with pytest.raises(ValueError, match="hold 4 and 3 values"):
        paired_difference(score(0), score(0, episodes=3))


def test_a_predict_that_draws_from_the_generator_of_the_episodes_is_found_out(tasks):
    """The first episode is the same for both, and only the later ones differ."""
    shared = torch.Generator().manual_seed(0)
    seen = {"honest": [], "drawing": []}

    def honest(model, episode):
        seen["honest"].append(episode.query_x)
        return torch.zeros(15, 5)

    def drawing(model, episode):
        seen["drawing"].append(episode.query_x)
        return torch.rand(15, 5, generator=shared)

    own = torch.Generator().manual_seed(0)
    one = evaluate(None, honest, tasks, episodes=5, generator=own)
    two = evaluate(None, drawing, tasks, episodes=5, generator=shared)
    same = [torch.equal(a, b) for a, b in zip(seen["honest"], seen["drawing"], strict=True)]
    assert same == [True, False, False, False, False]
    with pytest.raises(ValueError, match="different episodes: evaluate both with the same tasks"):
        paired_difference(one, two)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_digest_is_of_every_number_of_every_episode(part, position, tasks, generator):
    episodes = [tasks.sample(generator) for _ in range(3)]
    changed = getattr(episodes[position], part).clone()
    changed.view(-1)[-1] = 1 if changed.view(-1)[-1] == 0 else 0
    other = list(episodes)
    other[position] = replace(episodes[position], **{part: changed})
    assert digest(*episodes) != digest(*other)


def test_equal_episodes_have_equal_digests(tasks, generator):
    one, two = tasks.sample(generator), tasks.sample(generator)
    again = Episode(*(getattr(one, name).clone() for name in PARTS))
    columns = one.support_x.transpose(-1, -2).contiguous().transpose(-1, -2)  # in other memory
    assert not columns.is_contiguous()
    moved = replace(one, support_x=columns.requires_grad_())
    assert digest(one, two) == digest(again, two) == digest(moved, two) != ""
    assert digest(one, two) != digest(two, one)  # pairs go by position
    assert digest(one) != digest(one, one)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.uint8])
def test_inputs_of_every_type_have_a_digest(dtype, tasks, generator):
    episode = tasks.sample(generator)
    low = replace(
        episode,
        support_x=(9 * episode.support_x).to(dtype),
        query_x=(9 * episode.query_x).to(dtype),
    )
    changed = low.query_x.clone()
    changed.view(torch.uint8)[-1, -1, -1, -changed.element_size()] ^= 1  # the last binary digit
    assert digest(low) == digest(low) != digest(replace(low, query_x=changed))


def test_methods_in_bfloat16_can_be_paired(tasks):
    class Half:
        def sample(self, generator, batch=None):
            e = tasks.sample(generator)
            return Episode(e.support_x.bfloat16(), e.support_y, e.query_x.bfloat16(), e.query_y)

    model = conv4(5, width=8, norm="none").bfloat16()
    one, two = (
        evaluate(model, forward, Half(), episodes=3, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    assert paired_difference(one, two).mean == 0


def test_values_of_which_no_episodes_are_known_can_be_paired(tasks, generator):
    scores = evaluate(None, zeros, tasks, episodes=3, generator=generator)
    assert paired_difference(scores, Scores.of([0.1, 0.2, 0.3])).mean == pytest.approx(0)
    assert paired_difference(Scores.of([0.1, 0.2, 0.3]), scores).mean == pytest.approx(0)


def test_a_difference_belongs_to_the_episodes_of_its_parts(tasks):
    def score(seed):
        generator = torch.Generator().manual_seed(seed)
        return evaluate(None, zeros, tasks, episodes=3, generator=generator)

    difference = paired_difference(score(0), score(0))
    paired_difference(difference, score(0))
    with pytest.raises(ValueError, match="different episodes"):
        paired_difference(difference, score(1))


def test_a_predict_that_trains_the_model_itself_is_caught(tasks, generator):
    def leaky(model, episode):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.nn.functional.cross_entropy(model(episode.support_x), episode.support_y).backward()
        optimizer.step()
        return model(episode.query_x)

    with pytest.raises(ValueError, match="adapt a copy"):
        evaluate(conv4(5), leaky, tasks, episodes=2, generator=generator)
    evaluate(
        conv4(5), lambda m, e: leaky(copy.deepcopy(m), e), tasks, episodes=2, generator=generator
    )


def by_data(model, episode):
    for p in model.parameters():
        p.data.add_(0.01)  # PyTorch counts no version for it
    return model(episode.query_x)


def by_exchange(model, episode):
    model[1] = torch.nn.Linear(784, 5)
    return model(episode.query_x)


def by_another_layer(model, episode):
    model.append(torch.nn.Linear(5, 5))
    return model(episode.query_x)


def by_not_a_number(model, episode):
    model.register_buffer("seen", torch.full((2,), torch.nan))
    return model(episode.query_x)


@pytest.mark.parametrize("leak", [by_data, by_exchange, by_another_layer, by_not_a_number])
def test_every_change_of_a_value_is_found_however_it_was_made(leak, tasks, generator):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 5))
    with pytest.raises(ValueError, match=r"predict changed .* of the model in episode 0"):
        evaluate(model, leak, tasks, episodes=2, generator=generator)


def test_values_that_are_put_back_are_no_change(tasks, generator):
    def careful(model, episode):
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        by_data(model, episode)
        outputs = model(episode.query_x)
        model.load_state_dict(state)
        return outputs

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 5))
    model.register_buffer("unknown", torch.tensor([torch.nan, 1.0]))
    assert evaluate(model, careful, tasks, episodes=2, generator=generator).values.numel() == 2


def test_a_query_without_a_label_is_answered_and_not_scored(tasks, generator):
    class Unlabelled:
        def sample(self, generator):
            e = tasks.sample(generator)
            return Episode.unlabelled(e.support_x, e.support_y, e.query_x)

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 5))
    with pytest.raises(ValueError, match="a query has no label in episode 0: expected labels"):
        evaluate(model, forward, Unlabelled(), episodes=1, generator=generator)


def test_running_statistics_that_move_during_evaluation_are_caught(tasks, generator):
    model = torch.nn.Sequential(
        torch.nn.BatchNorm2d(1), torch.nn.Flatten(), torch.nn.Linear(784, 5)
    )
    with pytest.raises(ValueError, match=r"changed 0\.running_mean of the model in episode 0"):
        evaluate(model, forward, tasks, episodes=1, generator=generator)
    evaluate(model.eval(), forward, tasks, episodes=1, generator=generator)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            torch.zeros(5, 15),
            "outputs of shape \\(5, 15\\) in episode 0: expected \\(15, 'ways'\\)",
        ),
        (torch.zeros(15), "expected \\(15, 'ways'\\)"),
        (torch.full((15, 5), torch.nan), "not finite in episode 0"),
        (torch.full((15, 5), -torch.inf), "not finite in episode 0"),
    ],
)
def test_wrong_outputs_are_errors(tasks, generator, outputs, message):
    with pytest.raises(ValueError, match=message):
        evaluate(None, lambda *_: outputs, tasks, episodes=1, generator=generator)


def test_regression_outputs_without_their_last_dimension_are_errors(generator):
    """(m,) against (m, 1) would broadcast to (m, m) and give a wrong mean silently."""
    with pytest.raises(ValueError, match="expected \\(20, 1\\)"):
        evaluate(
            mlp(),
            lambda m, e: m(e.query_x).squeeze(1),
            SineTasks(5, 20),
            episodes=1,
            generator=generator,
        )


def test_an_error_names_the_episode_in_which_it_happened(tasks, generator):
    model, calls = torch.nn.Linear(1, 1), []

    def late(change):
        def predict(model, episode):
            calls.append(0)
            return change(torch.zeros(15, 5)) if len(calls) == 3 else torch.zeros(15, 5)

        calls.clear()
        return predict

    def train(outputs):
        with torch.no_grad():
            model.bias.add_(1)
        return outputs

    for change, message in {
        lambda outputs: outputs[:2]: r"shape \(2, 5\) in episode 2",
        lambda outputs: outputs / 0: "not finite in episode 2",
        train: "predict changed bias of the model in episode 2",
    }.items():
        with pytest.raises(ValueError, match=message):
            evaluate(model, late(change), tasks, episodes=4, generator=generator)


def test_values_are_plain_numbers_in_double_precision():
    values = torch.tensor([0.1, 0.3], requires_grad=True)
    scores = Scores.of(values)
    assert scores.values.dtype == torch.float64 and not scores.values.requires_grad
    assert isinstance(scores.mean, float) and scores.mean == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"shape \(2, 1\): expected one number per episode"):
        Scores.of(values.unsqueeze(1))


def test_outputs_with_a_gradient_and_metrics_that_are_floats_are_scored(generator):
    scores = evaluate(
        mlp(generator=generator),
        forward,
        SineTasks(5, 20),
        episodes=2,
        generator=generator,
        metric=lambda outputs, targets: float(outputs.requires_grad),
    )
    assert scores.values.tolist() == [0, 0]


def test_a_bar_is_shown_if_it_is_asked_for(tasks, generator, capsys):
    evaluate(None, zeros, tasks, episodes=2, generator=generator)
    assert capsys.readouterr().err == ""
    evaluate(None, zeros, tasks, episodes=2, generator=generator, progress=True)
    shown = capsys.readouterr().err
    assert "0/2" in shown and shown.endswith("\r")  # and it is wiped away when it is full


def test_no_episodes_and_no_values_are_errors(tasks, generator):
    with pytest.raises(ValueError, match="episodes is 0"):
        evaluate(None, forward, tasks, episodes=0, generator=generator)
    with pytest.raises(ValueError, match="one number per episode"):
        Scores.of([])


@pytest.mark.parametrize("shape", [(3, 1), (2,), (1, 3)])
def test_accuracy_takes_one_label_for_each_row(shape):
    with pytest.raises(ValueError, match=r"outputs have shape \(3, 4\) and labels \(.*expected"):
        accuracy(torch.rand(3, 4), torch.zeros(shape, dtype=torch.int64))


def test_accuracy_looks_along_the_ways_not_the_images():
    """Five images meet five classes: the wrong axis has the right shape and a wrong answer."""
    logits = torch.tensor([[9.0, 0, 0], [9, 1, 0], [9, 0, 1]])
    labels = torch.tensor([0, 0, 0])
    assert accuracy(logits, labels) == 1
    assert (logits.argmax(dim=0) == labels).double().mean() < 1


def test_a_metric_of_ones_own_is_used_and_gets_the_targets(generator):
    for shape in ((5, 1), (3,)):  # whatever it is for
        scores = evaluate(
            None,
            lambda _, e, shape=shape: torch.zeros(shape),
            SineTasks(1, 5),
            episodes=2,
            generator=generator,
            metric=lambda outputs, targets, shape=shape: float(
                outputs.shape == shape and targets.shape == (5, 1)
            ),
        )
        assert scores.mean == 1


def test_a_metric_of_ones_own_replaces_the_usual_one(generator):
    scores = evaluate(
        None,
        lambda _, e: torch.zeros_like(e.query_y),
        SineTasks(1, 5),
        episodes=2,
        generator=generator,
        metric=lambda outputs, targets: torch.tensor(7.0),
    )
    assert scores.mean == 7


@dataclass
class Arm:
    """A task of control: no labels, but a reward for what is chosen."""

    name: str
    rewards: dict[str, list[float] | torch.Tensor]


def choose(model, arm):
    return torch.tensor([1.0])


def reward(outputs, arm):
    return arm.rewards["known"][int(outputs)]


def score_arms(*arms, metric=reward):
    generator = torch.Generator()
    return evaluate(
        None, choose, Listed(*arms), episodes=len(arms), generator=generator, metric=metric
    )


def test_a_task_of_another_kind_is_scored_by_a_metric_that_gets_the_task():
    arms = [Arm(name, {"known": [0.0, value]}) for name, value in (("a", 1.0), ("b", 3.0))]
    assert score_arms(*arms).values.tolist() == [1, 3]
    with pytest.raises(ValueError, match="the task is a Arm: expected an Episode, or a metric"):
        score_arms(*arms, metric=None)


@pytest.mark.parametrize(
    "other",
    [
        Arm("b", {"known": [0.0, 1.0], "hidden": torch.tensor([1.0, 2.0])}),
        Arm("a", {"known": [0.0, 2.0], "hidden": torch.tensor([1.0, 2.0])}),
        Arm("a", {"known": [0.0, 1.0], "hidden": torch.tensor([1.0, 3.0])}),
        Arm("a", {"known": [0.0, 1.0], "secret": torch.tensor([1.0, 2.0])}),
    ],
)
def test_a_digest_is_of_all_that_a_task_holds(other):
    arm = Arm("a", {"known": [0.0, 1.0], "hidden": torch.tensor([1.0, 2.0])})
    assert score_arms(arm).digest == score_arms(copy.deepcopy(arm)).digest
    assert score_arms(arm).digest != score_arms(other).digest
    with pytest.raises(ValueError, match="different episodes"):
        paired_difference(score_arms(arm), score_arms(other))


def test_an_untouched_episode_type_is_enough_for_predict(generator):
    """`predict` takes any Episode, so one made by hand can be scored as well."""
    x, y = torch.eye(3), torch.arange(3)

    class OneTask:
        def sample(self, generator, batch=None):
            return Episode(x, y, x, y)

    assert (
        evaluate(None, lambda _, e: e.query_x, OneTask(), episodes=2, generator=generator).mean == 1
    )


def test_a_digest_knows_shapes_types_arrays_and_slots():
    """What differs only there, or in the middle of a large array, is another task."""
    import dataclasses

    import numpy as np

    from metalearn_lite.evaluation import _add_to

    @dataclasses.dataclass(slots=True)
    class Slots:
        values: torch.Tensor

    large, other = np.zeros(5000), np.zeros(5000)
    other[2500] = 1

    def digest(task):
        digest = hashlib.blake2b(digest_size=8)
        _add_to(digest, task)
        return digest.hexdigest()

    tasks = [torch.zeros(4, 2), torch.zeros(2, 4), torch.zeros(8, dtype=torch.int32), large, other]
    tasks += [Slots(torch.zeros(3)), Slots(torch.ones(3))]
    assert len({digest(task) for task in tasks}) == len(tasks)
    assert digest(large) == digest(np.zeros(5000))
    one, many = torch.ones(1, dtype=torch.float64), torch.ones(3, 1)
    for tensor in (one.expand(6), one.expand(1), torch.zeros(()).expand(1), many.expand(3, 4).mT):
        assert digest(tensor) == digest(tensor.contiguous().clone())
        assert digest(tensor) == digest(torch.tensor(tensor.tolist(), dtype=tensor.dtype))


def test_equal_scores_can_be_compared():
    assert Scores.of([1.0, 2.0]) == Scores.of([1.0, 2.0]) != Scores.of([1.0, 3.0])


def test_what_is_no_generator_no_tasks_no_outputs_and_no_scores_is_named(tasks, generator):
    score = {"episodes": 1, "generator": generator}
    with pytest.raises(ValueError, match=r"generator is 0: expected a torch\.Generator"):
        evaluate(None, zeros, tasks, episodes=1, generator=0)
    with pytest.raises(ValueError, match=r"tasks is a list: expected something with sample"):
        evaluate(None, zeros, [], **score)
    with pytest.raises(ValueError, match=r"outputs is a list: expected a torch\.Tensor"):
        evaluate(None, lambda *_: [0.0], tasks, **score)
    scores = Scores.of([1.0, 2.0])
    for pair in ((scores, [1.0, 2.0]), ([1.0, 2.0], scores)):
        with pytest.raises(ValueError, match=r"is a list: expected a metalearn_lite\.evaluation"):
            paired_difference(*pair)


def test_values_that_nobody_knows_are_not_scored(generator):
    class Unknown:
        def sample(self, generator):
            e = SineTasks(5, 3).sample(generator)
            return Episode.unlabelled(e.support_x, e.support_y, e.query_x)

    with pytest.raises(ValueError, match="a query has no label in episode 0"):
        evaluate(mlp(), forward, Unknown(), episodes=1, generator=generator)


def test_the_usual_metric_is_the_mean_of_squares_or_the_share_that_is_right():
    values = default_metric(torch.tensor([[1.0], [5.0]]), torch.tensor([[0.0], [2.0]]))
    assert values.item() == 5 and values.dtype == torch.float64
    right = default_metric(torch.eye(4)[[0, 1, 2, 0]], torch.arange(4))
    assert right.item() == 0.75 and right.dtype == torch.float64


def test_accuracy_refuses_what_is_not_a_number():
    outputs = torch.rand(3, 4)
    outputs[1, 2] = math.nan
    with pytest.raises(ValueError, match="outputs hold NaN: expected finite numbers"):
        accuracy(outputs, torch.zeros(3, dtype=torch.int64))
