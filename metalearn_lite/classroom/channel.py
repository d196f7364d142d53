"""Plain numbers between a check and the process that it asks: text in, numbers out.

What comes from there was written by a stranger. It is read as JSON, by plain code that makes
numbers, texts, lists, dictionaries and tensors, and nothing else.
"""

import base64
import json
import math
import socket
import time
from typing import Any

import torch
from torch import Tensor

MOST = 32 * 2**20  # bytes of a message
DEEPEST = 20  # lists in lists
_REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_KINDS = {str(kind).removeprefix("torch."): kind for kind in (*_REAL, *_WHOLE)}


class Broken(Exception):  # noqa: N818  the channel is
    """The other side has ended, or what it says cannot be read."""


def write(value: object) -> str:
    """Write numbers, texts, lists, dictionaries and tensors as one line of text.

    Raises:
        TypeError: if there is something else in it; the message names its kind.
    """
    return json.dumps(_plain(value, DEEPEST))


def _plain(value: Any, depth: int) -> Any:
    if depth < 0:
        raise TypeError("lists that deep")
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        data = base64.b64encode(flat.view(torch.uint8).numpy().tobytes()).decode()
        return {
            "tensor": str(value.dtype).removeprefix("torch."),
            "of": [*value.shape],
            "data": data,
        }
    if isinstance(value, list | tuple):
        parts = [_plain(part, depth - 1) for part in value]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    if isinstance(value, dict):
        return {"pairs": [[_plain(part, depth - 1) for part in pair] for pair in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(type(value).__name__)


def read(text: str) -> Any:
    """Read what ``write`` wrote; whoever wrote it.

    Raises:
        Broken: if it is anything else.
    """
    try:
        return _value(json.loads(text), DEEPEST)
    except (ValueError, TypeError, KeyError, RecursionError, RuntimeError) as error:
        raise Broken(f"the answer cannot be read ({type(error).__name__})") from None


def _value(plain: Any, depth: int) -> Any:
    if depth < 0:
        raise ValueError("too deep")
    if isinstance(plain, list):
        return [_value(part, depth - 1) for part in plain]
    if isinstance(plain, dict) and "tuple" in plain:
        return tuple(_value(part, depth - 1) for part in plain["tuple"])
    if isinstance(plain, dict):
        return _tensor(plain) if "tensor" in plain else _dictionary(plain["pairs"], depth)
    return plain


def _dictionary(pairs: Any, depth: int) -> dict[Any, Any]:
    found = {key: _value(value, depth - 1) for key, value in pairs}
    if not all(isinstance(key, str | int | float) for key in found):
        raise ValueError("keys are texts or numbers")
    return found


def _tensor(plain: dict[str, Any]) -> Tensor:
    """Make a tensor of its bytes; they must be as many as type and shape say."""
    kind, shape = _KINDS[plain["tensor"]], plain["of"]
    data = bytearray(base64.b64decode(plain["data"], validate=True))
    if not all(type(size) is int and 0 <= size <= MOST for size in shape):
        raise ValueError("a shape is a list of sizes")
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError("another number of bytes")
    flat = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    if kind is torch.bool:
        flat = (flat != 0).to(torch.uint8)
    return flat.clone().view(kind).reshape(shape)


def send(channel: socket.socket, value: object) -> None:
    """Send a value as a line.

    Raises:
        Broken: if nobody is there to take it.
        TypeError: if it is not plain.
    """
    line = write(value).encode() + b"\n"
    try:
        channel.sendall(line)
    except OSError:
        raise Broken("nobody listens") from None


def receive(channel: socket.socket, *, seconds: float) -> Any:
    """Return the value of the next line.

    Raises:
        Broken: if there is none, or it is too long, or no value.
        TimeoutError: if it has not come within these seconds by the clock.
    """
    line, end = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        channel.settimeout(max(0.01, end - time.monotonic()))
        try:
            seen = channel.recv(2**20, socket.MSG_PEEK)
            part = channel.recv(seen.find(b"\n") + 1 or len(seen)) if seen else b""
        except TimeoutError:
            raise TimeoutError(f"it did not end within {seconds:g} s by the clock") from None
        except OSError:
            part = b""
        if not part or len(line) + len(part) > MOST:
            raise Broken("it says too much" if part else "it has ended")
        line += part
    return read(line.decode(errors="replace"))
