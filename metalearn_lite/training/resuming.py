"""A run of training that can be broken off: what is saved of it, and how it goes on.

Model, optimiser, random states and history are saved together, so that a run that was killed ends
bit for bit where the uninterrupted run would have ended.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

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
    """What changes while a model is trained, and what stays: tasks in a step, and the rates.

    Attributes:
        rates: the step size of each group of the optimiser, before a schedule changes it.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    batch: int | None
    rates: tuple[float, ...]


def save_run(run: Run, path: Path, history: History) -> None:
    """Save all that the next iteration depends on."""
    state = {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "generator": run.generator.get_state(),
        "global": torch.get_rng_state(),  # dropout draws from it
        "cuda": torch.cuda.get_rng_state_all(),
        "batch": run.batch,
        "rates": list(run.rates),
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
    _check_optimizer(run, state, path)
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.generator.set_state(state["generator"])
    torch.set_rng_state(state["global"])
    if len(state.get("cuda", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state.get("cuda", []))
    validation = [(int(i), m, h) for i, m, h in state["history"]["validation"]]
    return History(list(state["history"]["loss"]), validation)


def _check_optimizer(run: Run, state: dict[str, Any], path: Path) -> None:
    """Raise a ``ValueError`` if the optimiser of a resumption is not that of the run."""
    saved = _settings(state["optimizer"]["param_groups"], state.get("rates"))
    given = _settings(
        run.optimizer.state_dict()["param_groups"], run.rates if "rates" in state else None
    )
    none: dict[str, Any] = {}
    for before, now in zip_longest(saved, given, fillvalue=none):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise ValueError(
                    f"{path} was trained with {key}={before.get(key)}, and the optimiser of this "
                    f"call, {type(run.optimizer).__name__}, has {key}={now.get(key)}: expected the "
                    "same, for a resumed run goes on as it began; use another path for another"
                )


def _settings(groups: list[dict[str, Any]], rates: Sequence[float] | None) -> list[dict[str, Any]]:
    """Return what an optimiser was told, with the rates that a schedule began with, if known."""
    kept = [{k: v for k, v in g.items() if k not in ("lr", "initial_lr")} for g in groups]
    return [g | {"lr": r} for g, r in zip(kept, rates, strict=True)] if rates else kept
