"""Numbers get through the channel as they are, and nothing else does."""

import json
import math
import socket

import pytest
import torch

from metalearn_lite.classroom import channel
from metalearn_lite.classroom.channel import Broken, read, receive, send, write


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        -0.1,
        1e-320,
        math.inf,
        "ä\n",
        [],
        (1, [2, (3,)]),
        {"a": 1, 2: "b", 0.5: {"c": None}},
    ],
)
def test_plain_values_come_back_equal(value):
    found = read(write(value))
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("kind", channel._KINDS.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 1)])
def test_tensors_come_back_to_the_last_bit(kind, shape):
    tensor = (10 * torch.rand(shape) - 2).to(kind)
    found = read(write({"x": tensor}))["x"]
    assert found.dtype is kind and torch.equal(found, tensor)


def test_nan_and_the_sign_of_zero_come_back():
    found = read(write(torch.tensor([math.nan, -0.0], dtype=torch.float64)))
    assert found[0].isnan() and math.copysign(1, found[1]) == -1
    assert math.isnan(read(write(math.nan)))


def test_a_graph_stays_behind():
    x = torch.ones(2, requires_grad=True)
    assert not read(write(x * 2)).requires_grad


class Lie(float):
    def __eq__(self, _):
        return True

    __hash__ = float.__hash__


class LyingTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.equal, torch.allclose):
            return True
        return super().__torch_function__(function, types, args, kwargs or {})


def test_of_a_subclass_the_number_gets_through_and_nothing_of_its_manners():
    assert type(read(write(Lie(3)))) is float and read(write(Lie(3))) != 4
    lie = torch.ones(2).as_subclass(LyingTensor)
    assert torch.equal(lie, torch.zeros(2))
    found = read(write(lie))
    assert type(found) is torch.Tensor and not torch.equal(found, torch.zeros(2))


class Loads:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("value", [Loads(), lambda: 1, {1}, b"1", 1j, [object()], {"a": print}])
def test_what_is_no_number_is_refused_by_its_kind(value):
    with pytest.raises(TypeError):
        write(value)


def nested(depth):
    return [] if depth == 0 else [nested(depth - 1)]


def test_lists_are_not_deep():
    assert read(write(nested(20))) == nested(20)
    with pytest.raises(TypeError, match="that deep"):
        write(nested(21))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        json.dumps(nested(50)),
        "1" * 5000,
        "{}",
        '{"pairs": 3}',
        '{"pairs": [[[1], 2]]}',
        '{"pairs": [[null, 2]]}',
        '{"tuple": 3}',
        '{"tensor": "float32"}',
        '{"tensor": "float32", "of": [1000000000], "data": ""}',
        '{"tensor": "float32", "of": [-1], "data": "AAAAAA=="}',
        '{"tensor": "float32", "of": [true], "data": "AAAAAA=="}',
        '{"tensor": "float32", "of": [1.0], "data": "AAAAAA=="}',
        '{"tensor": "float32", "of": [1], "data": "not base64"}',
        '{"tensor": "object", "of": [1], "data": "AAAAAA=="}',
        '{"tensor": ["float32"], "of": [1], "data": "AAAAAA=="}',
    ],
)
def test_what_was_not_written_here_is_refused(text):
    with pytest.raises(Broken, match="cannot be read"):
        read(text)


def test_truth_is_zero_or_one_whatever_the_bytes():
    found = read('{"tensor": "bool", "of": [3], "data": "AP8C"}')
    assert found.tolist() == [False, True, True] and found.sum() == 2


@pytest.fixture
def ends():
    pair = socket.socketpair()
    yield pair
    for end in pair:
        end.close()


def test_lines_come_one_at_a_time(ends):
    for value in ([1], "two", {"three": torch.ones(1)}):
        send(ends[0], value)
    assert receive(ends[1], seconds=1) == [1] and receive(ends[1], seconds=1) == "two"
    assert receive(ends[1], seconds=1)["three"].item() == 1


def test_silence_ends(ends):
    with pytest.raises(TimeoutError, match=r"within 0\.1 s by the clock"):
        receive(ends[1], seconds=0.1)
    ends[0].sendall(b"1")
    ends[0].close()
    with pytest.raises(Broken, match="it has ended"):
        receive(ends[1], seconds=1)


def test_too_much_is_not_read(ends, monkeypatch):
    monkeypatch.setattr(channel, "MOST", 100)
    ends[0].sendall(b"1" * 200)
    with pytest.raises(Broken, match="says too much"):
        receive(ends[1], seconds=1)


def test_nobody_listens(ends):
    ends[1].close()
    with pytest.raises(Broken, match="nobody listens"):
        send(ends[0], 1)
