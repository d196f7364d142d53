"""Checkpoints that survive a crash and cannot run code.

A checkpoint is one zip file with two members: ``state.pt``, tensors and plain values as
written by ``torch.save``, and ``manifest.json``, which holds the sha256 of ``state.pt``
and the name, shape and type of every tensor, readable without this package. The file is
written beside its target and renamed, so a reader finds the old or the new one, whole.
"""

import contextlib
import glob
import hashlib
import io
import json
import os
import pickle
import re
import secrets
import time
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FORMAT = "metalearn_lite checkpoint 1"
UNFINISHED = ".unfinished"

# What zipfile raises for a flipped bit, depending on where it lies.
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def write_atomically(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path`` so that the file is never seen half written.

    It gets the permissions that any new file gets. What writes that were killed have left behind
    is removed after an hour.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED}"):
        with contextlib.suppress(OSError):  # another process may be quicker
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{UNFINISHED}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def describe_tensors(state: Any, name: str = "") -> dict[str, str]:
    """List the tensors in nested dicts, lists and tuples: name to type and shape."""
    if isinstance(state, Tensor):
        return {name: f"{str(state.dtype).removeprefix('torch.')} {tuple(state.shape)}"}
    listed = enumerate(state if isinstance(state, list | tuple) else ())
    found: dict[str, str] = {}
    for key, value in state.items() if isinstance(state, Mapping) else listed:
        found |= describe_tensors(value, f"{name}.{key}" if name else str(key))
    return found


def save_checkpoint(
    path: Path | str, state: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Save ``state`` to ``path``, all or nothing.

    Args:
        path: the file to write; its folder is made if need be.
        state: tensors, numbers, strings, lists and dicts of them, such as a model's
            ``state_dict()``.
        metadata: what a reader should know (seed, command, scores); must fit JSON.

    Raises:
        ValueError: if ``state`` holds something that could not be loaded safely; nothing
            is written then, and an older checkpoint stays as it was.
    """
    if not isinstance(state, Mapping):
        raise ValueError(
            f"the state is a {type(state).__name__}: expected a dict, such as model.state_dict()"
        )
    payload = io.BytesIO()
    torch.save(dict(state), payload)
    _unpickle(payload.getvalue(), f"the state to be saved to {path}", "cpu")
    manifest = {
        "format": FORMAT,
        "sha256": hashlib.sha256(payload.getvalue()).hexdigest(),
        "tensors": describe_tensors(state),
        "metadata": dict(metadata or {}),
        "torch": torch.__version__,
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest, indent=1))
        archive.writestr("state.pt", payload.getvalue())
    write_atomically(path, file.getvalue())


def load_checkpoint(
    path: Path | str,
    *,
    expected: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Load what ``save_checkpoint`` wrote, after checking it; never runs code from it.

    Args:
        path: the file to read.
        expected: a state of the same form, such as ``model.state_dict()``: names, shapes
            and types of all its tensors must agree.
        device: where the tensors go.

    Returns:
        The saved state.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, is no checkpoint, holds more than tensors and
            plain values, or does not fit ``expected``; the message lists the differences.
    """
    manifest, payload = _read(Path(path))
    digest = hashlib.sha256(payload).hexdigest()
    if digest != manifest["sha256"]:
        raise ValueError(
            f"{path} is damaged: its state has sha256 {digest[:12]}…, and the manifest "
            f"says {manifest['sha256'][:12]}…; delete it, or take it from a backup"
        )
    state = _unpickle(payload, str(path), device)
    if expected is not None:
        _compare(describe_tensors(state), describe_tensors(expected), str(path))
    return state


def load_manifest(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint's manifest: sha256, tensors, metadata and versions."""
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: expected a file written by save_checkpoint")
    content = io.BytesIO(path.read_bytes())
    try:
        _check_sizes(content)
        with zipfile.ZipFile(content) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            payload = archive.read("state.pt")
    except (*DAMAGED_ZIP, OSError, KeyError, ValueError) as error:  # no JSON, no UTF-8
        raise ValueError(
            f"{path} is damaged or no checkpoint of this package ({error}); "
            "expected a file written by save_checkpoint"
        ) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path} has format {found!r}: expected {FORMAT!r}")
    try:
        _check_sizes(io.BytesIO(payload))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} holds a state that is damaged ({error})") from error
    return manifest, payload


def _check_sizes(content: io.BytesIO) -> None:
    """Refuse an archive that would unpack to more than it is; ours are not compressed."""
    with zipfile.ZipFile(content) as archive:
        members = archive.infolist()
    size = len(content.getbuffer())
    unpacked = sum(member.file_size for member in members)
    if unpacked > size or any(member.compress_type for member in members):
        raise zipfile.BadZipFile(
            f"its {size:,} bytes would unpack to {unpacked:,}, and checkpoints are not compressed"
        )


def _unpickle(payload: bytes, name: str, device: torch.device | str) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), device, weights_only=True)
    except pickle.UnpicklingError as error:
        kinds = re.findall(r"(?:GLOBAL|Unsupported class|of type) ['`]?([\w.]+)", str(error))
        reason = f" ({kinds[0]})" if kinds else ""
        raise ValueError(
            f"{name} holds more than tensors and plain values{reason}, which could run code when "
            "it is loaded; keep only tensors, numbers, strings, lists and dicts"
        ) from None  # PyTorch's own message says how to switch the guard off
    return state


def _compare(found: dict[str, str], wanted: dict[str, str], path: str) -> None:
    differences = [f"{name}: missing" for name in sorted(wanted.keys() - found.keys())]
    differences += [f"{name}: not expected" for name in sorted(found.keys() - wanted.keys())]
    differences += [
        f"{name}: saved {found[name]}, expected {wanted[name]}"
        for name in sorted(found.keys() & wanted.keys())
        if found[name] != wanted[name]
    ]
    if differences:
        shown = "; ".join(differences[:8]) + ("; …" if len(differences) > 8 else "")
        raise ValueError(
            f"{path} does not fit in {len(differences)} place(s): {shown}. "
            "Build the model with the settings it was saved with"
        )
