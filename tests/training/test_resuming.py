"""A run that is broken off goes on where it stood, bit for bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from metalearn_lite.checkpoint import load_checkpoint, load_manifest
from metalearn_lite.losses import default_loss
from metalearn_lite.models import mlp
from metalearn_lite.tasks import SineTasks
from metalearn_lite.training import History, meta_train

TASKS = SineTasks(shots=5, queries=5)


def joint(model, episode):
    """Joint training: the loss of the shared model on all points of all tasks."""
    return default_loss(model(episode.query_x), episode.query_y)


def with_dropout(model, episode):
    """An objective that draws from PyTorch's global generator as well."""
    outputs = torch.nn.functional.dropout(model(episode.query_x), 0.1)
    return default_loss(outputs, episode.query_y)


def new_model():
    return mlp(generator=torch.Generator().manual_seed(0))


def train(model, objective=joint, **options):
    options = {"iterations": 20, "batch": 4, "progress": False} | options
    generator = torch.Generator().manual_seed(1)
    return meta_train(model, objective, TASKS, generator=generator, **options)


def assert_bitwise_equal(one, two):
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("objective", [joint, with_dropout])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, objective):
    whole, parts = new_model(), new_model()
    torch.manual_seed(2)
    uninterrupted = train(whole, objective)

    class PowerCutError(Exception):
        pass

    def fail_at_13(model, episode):
        fail_at_13.calls += 1
        if fail_at_13.calls == 13:
            raise PowerCutError
        return objective(model, episode)

    fail_at_13.calls = 0
    options = {"checkpoint": tmp_path / "run.zip", "checkpoint_every": 5}
    torch.manual_seed(2)
    with pytest.raises(PowerCutError):
        train(parts, fail_at_13, **options)
    assert load_manifest(tmp_path / "run.zip")["metadata"] == {"iteration": 10}
    torch.manual_seed(99)  # a new process starts elsewhere
    resumed = new_model()
    history = train(resumed, objective, **options)
    assert history == uninterrupted
    assert_bitwise_equal(resumed, whole)


KILLED = """
import sys, time, torch
sys.path.insert(0, {tests!r})
import test_resuming as t
torch.set_num_threads(1)

def slow(model, episode):
    time.sleep(0.005)
    return t.joint(model, episode)

t.train(t.new_model(), slow, iterations=400, checkpoint={path!r}, checkpoint_every=1)
"""


@pytest.mark.long
def test_a_run_killed_without_warning_resumes_bit_for_bit(tmp_path):
    """`kill -9` strikes wherever it does, in the middle of a write as well."""
    path = tmp_path / "run.zip"
    code = KILLED.format(tests=os.path.dirname(__file__), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait(60)
    done = load_manifest(path)["metadata"]["iteration"]
    assert 0 < done < 400
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the killed process: sums depend on it bit for bit
    whole, resumed = new_model(), new_model()
    history = train(resumed, iterations=400, checkpoint=path, checkpoint_every=400)
    assert history == train(whole, iterations=400)
    assert_bitwise_equal(resumed, whole)
    torch.set_num_threads(threads)


def test_a_finished_run_is_only_loaded(tmp_path):
    path = tmp_path / "run.zip"
    one, two = new_model(), new_model()
    history = train(one, checkpoint=path)
    assert train(two, checkpoint=path) == history
    assert_bitwise_equal(one, two)


def test_a_checkpoint_of_another_run_is_an_error_and_is_kept(tmp_path):
    path = tmp_path / "run.zip"
    train(new_model(), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"20 iterations with batch=4.*asks for 10 with batch=4"):
        train(new_model(), checkpoint=path, iterations=10)
    with pytest.raises(ValueError, match="asks for 20 with batch=2"):
        train(new_model(), checkpoint=path, batch=2)
    with pytest.raises(ValueError, match="does not fit"):
        train(mlp(hidden=(20, 20)), checkpoint=path, iterations=30)
    assert path.read_bytes() == before


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path):
    path = tmp_path / "run.zip"
    train(new_model(), checkpoint=path)
    longer, whole = new_model(), new_model()
    assert train(longer, checkpoint=path, iterations=30) == train(whole, iterations=30)
    assert_bitwise_equal(longer, whole)
    assert len(load_checkpoint(path)["history"]["loss"]) == 30


def test_a_file_that_is_another_checkpoint_is_named_as_such(tmp_path):
    from metalearn_lite.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "run.zip", {"weights": torch.zeros(3)})
    with pytest.raises(ValueError, match="no checkpoint of meta_train"):
        train(new_model(), checkpoint=tmp_path / "run.zip")


def test_a_history_starts_empty():
    assert History() == History([], [])


OPTIMIZERS = {
    "lr": lambda p: torch.optim.Adam(p, lr=0.01),
    "betas": lambda p: torch.optim.Adam(p, betas=(0.5, 0.999)),
    "amsgrad": lambda p: torch.optim.Adam(p, amsgrad=True),
    "amsgrad|momentum|betas": lambda p: torch.optim.SGD(p, lr=0.001, momentum=0.9),
}


@pytest.mark.parametrize("key", OPTIMIZERS)
@pytest.mark.parametrize("schedule", [None, lambda done: 1 - done])
def test_a_resumption_with_another_optimiser_says_so_and_changes_nothing(key, schedule, tmp_path):
    path = tmp_path / "run.zip"
    begun = new_model()
    options = {"checkpoint": path, "checkpoint_every": 5, "schedule": schedule}
    train(begun, iterations=10, **options)
    model, before = new_model(), path.read_bytes()
    optimizer = OPTIMIZERS[key](model.parameters())
    with pytest.raises(ValueError, match=rf"was trained with ({key})=.*: expected the"):
        train(model, iterations=20, optimizer=optimizer, **options)
    assert_bitwise_equal(model, new_model())
    assert path.read_bytes() == before


def test_a_resumption_with_the_same_optimiser_and_a_schedule_goes_on(tmp_path):
    options = {"schedule": lambda done: 1 - done, "checkpoint_every": 5}
    whole, resumed = new_model(), new_model()
    train(whole, iterations=20, optimizer=torch.optim.Adam(whole.parameters(), lr=0.01), **options)
    for _ in range(2):  # the second call finds the run at its end
        optimizer = torch.optim.Adam(resumed.parameters(), lr=0.01)
        train(resumed, iterations=20, optimizer=optimizer, checkpoint=tmp_path / "a.zip", **options)
    assert_bitwise_equal(resumed, whole)


def test_a_checkpoint_from_before_the_rates_were_kept_is_taken(tmp_path):
    from metalearn_lite.checkpoint import save_checkpoint

    path, begun = tmp_path / "run.zip", new_model()
    train(begun, iterations=10, checkpoint=path)
    state = load_checkpoint(path)
    del state["rates"], state["cuda"]
    save_checkpoint(path, state)
    resumed, whole = new_model(), new_model()
    train(resumed, checkpoint=path)
    train(whole)
    assert_bitwise_equal(resumed, whole)


def test_the_random_state_of_every_gpu_goes_on_too(tmp_path, monkeypatch):
    """Imitated: as many GPUs as states, and what is set is what was got."""
    states, given = [torch.arange(8, dtype=torch.uint8), torch.ones(8, dtype=torch.uint8)], []
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", given.extend)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    options = {"checkpoint": tmp_path / "run.zip", "checkpoint_every": 5}
    train(new_model(), iterations=10, **options)
    assert given == []
    train(new_model(), iterations=20, **options)
    assert len(given) == 2 and all(map(torch.equal, given, states))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    train(new_model(), iterations=20, **options)  # on another machine they mean nothing
    assert len(given) == 2
