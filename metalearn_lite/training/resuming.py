"""A run of training that can be broken off: what is saved of it, and how it goes on.

Model, optimiser, random states and history are saved together, so that a run that was killed ends
bit for bit where the uninterrupted run would have ended.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint

PARTS = ("model", "optimizer", "generator", "global", "batch", "history")


@dataclass
class History:
    """What happened during training.

    Attributes:
        loss: the objective before each step, one number an iteration.
        validation: ``(iteration, mean, half_width)`` of each validation.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[tuple[int, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """What changes while a model is trained, and the number of tasks in each step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    batch: int | None


def save_run(run: Run, path: Path, history: History) -> None:
    """Save all that the next iteration depends on."""
    state = {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "generator": run.generator.get_state(),
        "global": torch.get_rng_state(),  # dropout draws from it
        "batch": run.batch,
        "history": asdict(history),
    }
    save_checkpoint(path, state, metadata={"iteration": len(history.loss)})


def resume_run(run: Run, path: Path, iterations: int) -> History:
    """Put a run where its checkpoint stood, and return its history until then.

    Raises:
        ValueError: if the file is no checkpoint of a run, or of another run.
    """
    state = load_checkpoint(path)
    missing = sorted(set(PARTS) - state.keys())
    if missing:
        raise ValueError(
            f"{path} is no checkpoint of meta_train, {missing} are missing: "
            "give the path of a file that does not exist yet, or of an earlier run"
        )
    done = len(state["history"]["loss"])
    if state["batch"] != run.batch or done > iterations:
        raise ValueError(
            f"{path} was trained for {done} iterations with batch={state['batch']}, and this call "
            f"asks for {iterations} with batch={run.batch}: use another path for another run"
        )
    load_checkpoint(path, expected={**state, "model": run.model.state_dict()})
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.generator.set_state(state["generator"])
    torch.set_rng_state(state["global"])
    validation = [(int(i), m, h) for i, m, h in state["history"]["validation"]]
    return History(list(state["history"]["loss"]), validation)
