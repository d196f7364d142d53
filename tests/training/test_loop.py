import copy
import math
from contextlib import nullcontext

import pytest
import torch

from metalearn_lite.checkpoint import load_checkpoint, load_manifest
from metalearn_lite.evaluation import Scores, evaluate
from metalearn_lite.losses import default_loss
from metalearn_lite.models import mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import SineTasks
from metalearn_lite.training import meta_train

TASKS = SineTasks(shots=5, queries=5)


def joint(model, episode):
    """Joint training: the loss of the shared model on all points of all tasks."""
    return default_loss(model(episode.query_x), episode.query_y)


def new_model():
    return mlp(generator=torch.Generator().manual_seed(0))


def train(model, objective=joint, **options):
    options = {"iterations": 20, "batch": 4, "progress": False} | options
    generator = torch.Generator().manual_seed(1)
    return meta_train(model, objective, TASKS, generator=generator, **options)


def assert_bitwise_equal(one, two):
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_the_loop_is_the_plain_loop():
    model, twin = new_model(), new_model()
    history = train(model)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(20):
        loss = joint(twin, TASKS.sample(generator, 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert history.loss == losses
    assert_bitwise_equal(model, twin)


def test_training_lowers_the_loss():
    history = train(new_model(), iterations=300, optimizer=None)
    assert sum(history.loss[-50:]) < 0.9 * sum(history.loss[:50])


def test_an_optimizer_of_ones_own_is_used():
    model, start = new_model(), new_model()
    train(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0))
    assert_bitwise_equal(model, start)


def test_a_schedule_scales_the_step_size_also_after_a_resumption(tmp_path):
    def run(model, steps, seen):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def objective(model, episode):
            seen.append(optimizer.param_groups[0]["lr"])
            if len(seen) > steps:
                raise InterruptedError
            return joint(model, episode)

        options = {"checkpoint": tmp_path / "run.zip", "checkpoint_every": 2}
        schedule = {"optimizer": optimizer, "schedule": lambda done: 1 - done}
        train(model, objective, iterations=8, **options, **schedule)

    first, second = [], []
    with pytest.raises(InterruptedError):
        run(new_model(), 4, first)
    run(new_model(), 8, second)
    assert first[:4] + second == pytest.approx([0.1 * (1 - i / 8) for i in range(8)])


def test_without_a_batch_the_objective_gets_single_episodes():
    seen = []

    def remember(model, episode):
        seen.append(episode.batch)
        return joint(model, episode)

    train(new_model(), remember, iterations=2, batch=None)
    assert seen == [None, None]


def test_validation_is_called_on_time_and_remembered():
    calls = []

    def validate(model):
        calls.append(len(calls))
        return Scores.of([0.25, 0.75])

    history = train(new_model(), iterations=10, validate=validate, validate_every=4)
    assert [(i, mean) for i, mean, _ in history.validation] == [(4, 0.5), (8, 0.5)]
    assert len(calls) == 2 and history.validation[0][2] > 0


def test_unless_it_is_told_otherwise_every_500th_iteration_is_validated_and_saved(tmp_path):
    def stop_at_502(model, episode):
        stop_at_502.calls += 1
        if stop_at_502.calls == 502:
            raise InterruptedError
        return model.weight.square().sum()

    stop_at_502.calls, path = 0, tmp_path / "run.zip"
    options = {"batch": None, "checkpoint": path, "validate": lambda _: Scores.of([0.25, 0.75])}
    with pytest.raises(InterruptedError):
        train(torch.nn.Linear(1, 1), stop_at_502, iterations=600, **options)
    saved = load_checkpoint(path)["history"]
    assert len(saved["loss"]) == 500 and [i for i, *_ in saved["validation"]] == [500]


def test_a_loss_that_is_not_finite_stops_the_run_and_loses_nothing(tmp_path):
    def diverge_at_8(model, episode):
        diverge_at_8.calls += 1
        loss = joint(model, episode)
        return loss * math.nan if diverge_at_8.calls == 8 else loss

    diverge_at_8.calls = 0
    model, twin = new_model(), new_model()
    with pytest.raises(ValueError, match="loss is nan in iteration 8"):
        train(model, diverge_at_8, checkpoint=tmp_path / "run.zip", checkpoint_every=5)
    train(twin, iterations=7)
    assert_bitwise_equal(model, twin)
    assert load_manifest(tmp_path / "run.zip")["metadata"] == {"iteration": 5}


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda m, e: (m(e.query_x) - e.query_y).square(), "gave \\(4, 5, 1\\) in iteration 1"),
        (lambda m, e: joint(m, e).detach(), "with a gradient"),
        (lambda m, e: 3.0, "gave float"),
    ],
)
def test_an_objective_without_a_scalar_gradient_is_an_error(objective, message):
    with pytest.raises(ValueError, match=message):
        train(new_model(), objective)


def test_a_validation_gives_scores():
    with pytest.raises(ValueError, match="validation is a float: expected"):
        train(new_model(), validate=lambda model: 0.5, validate_every=1)


def test_inference_mode_is_named_before_anything_is_drawn():
    with torch.inference_mode(), pytest.raises(ValueError, match=r"gradients .* torch.no_grad"):
        train(new_model(), None)


@pytest.mark.parametrize("option", ["iterations", "batch", "validate_every", "checkpoint_every"])
def test_counts_below_one_are_errors(option):
    with pytest.raises(ValueError, match=f"{option} is 0"):
        train(new_model(), **{option: 0})


def test_what_is_no_generator_is_refused_whatever_the_tasks():
    with pytest.raises(ValueError, match="generator is 0: expected a torch"):
        meta_train(new_model(), joint, Bandits(), iterations=1, batch=4, generator=0)


def test_the_progress_bar_is_shown_unless_switched_off(capsys):
    train(new_model(), progress=True)
    shown = capsys.readouterr().err
    assert "0/20" in shown and not shown.endswith("\n")  # and cleared at the end
    options = {"iterations": 20, "batch": 4, "generator": torch.Generator()}
    meta_train(new_model(), joint, TASKS, **options)
    assert "0/20" in capsys.readouterr().err
    train(new_model(), progress=False)
    assert capsys.readouterr().err == ""


def test_beside_the_bar_stands_the_loss(monkeypatch):
    shown = []

    class Bar(nullcontext):
        def __init__(self, **options):
            super().__init__(self)

        def update(self):
            shown.append(None)

        def set_postfix(self, *, loss, refresh):
            shown[-1] = loss

    monkeypatch.setattr("metalearn_lite.training.loop.tqdm", Bar)
    history = train(new_model(), iterations=3)
    assert shown == [f"{loss:.3f}" for loss in history.loss]


def test_the_gradient_can_be_changed_before_the_step():
    """Clipped to nothing, the model stays where it was; the same length gives the same run."""
    still, free, loose = new_model(), new_model(), new_model()
    before = copy.deepcopy(still.state_dict())

    def clip(most):
        return lambda model: torch.nn.utils.clip_grad_norm_(model.parameters(), most)

    train(still, iterations=3, before_step=lambda m: [p.grad.zero_() for p in m.parameters()])
    assert all(torch.equal(p, before[n]) for n, p in still.state_dict().items())
    assert train(free, iterations=3) == train(loose, iterations=3, before_step=clip(1e6))
    clipped, steps = new_model(), torch.optim.SGD
    one = steps(clipped.parameters(), lr=1.0)
    train(clipped, iterations=1, before_step=clip(0.01), optimizer=one)
    moved = [p - before[n] for n, p in clipped.named_parameters()]
    assert torch.cat([m.flatten() for m in moved]).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_each_iteration_is_told_with_its_loss_rates_and_validation():
    told = []
    model = new_model()
    history = train(
        model,
        iterations=4,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        schedule=lambda done: 1 - done,
        validate=lambda model: Scores.of([0.25, 0.75]),
        validate_every=3,
        after_iteration=told.append,
    )
    assert [one.number for one in told] == [1, 2, 3, 4]
    assert [one.loss for one in told] == history.loss
    assert [one.rates for one in told] == [(0.5,), (0.375,), (0.25,), (0.125,)]
    assert [one.validation and one.validation[0] for one in told] == [None, None, 0.5, None]


def test_a_schedule_leaves_the_rates_of_the_optimiser_as_they_were():
    """So a cell that is run twice trains twice alike."""
    model = new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        told = []
        falling = {"optimizer": optimizer, "schedule": lambda done: 1 - done}
        train(model, iterations=4, after_iteration=told.append, **falling)
        assert told[0].rates == (0.01,)
    assert optimizer.param_groups[0]["lr"] == 0.01


class Bandit:
    """A task that is no episode: which of its arms pays, found out by trying."""

    def __init__(self, payoff):
        self.payoff = payoff


class Bandits:
    def sample(self, generator, batch=None):
        return [Bandit(torch.rand(3, generator=generator)) for _ in range(batch or 1)]


def test_tasks_of_any_kind_are_trained_on_and_scored():
    model = torch.nn.Linear(1, 3)

    def objective(model, bandits):
        choice = model(torch.ones(1)).softmax(dim=0)
        return -torch.stack([(choice * bandit.payoff).sum() for bandit in bandits]).mean()

    def predict(model, bandits):
        return model(torch.ones(1))

    def regret(outputs, bandits):
        (bandit,) = bandits
        return bandit.payoff.max() - bandit.payoff[outputs.argmax()]

    options = {"iterations": 5, "batch": 2, "generator": seeded(0), "progress": False}
    assert len(meta_train(model, objective, Bandits(), **options).loss) == 5
    one, two, other = (
        evaluate(model, predict, Bandits(), episodes=8, generator=seeded(s), metric=regret)
        for s in (1, 1, 2)
    )
    assert one.mean == two.mean and one.digest == two.digest != other.digest
    with pytest.raises(ValueError, match="expected an Episode, or a metric that scores it"):
        evaluate(model, predict, Bandits(), episodes=1, generator=seeded(1))
