import hashlib
import io
import json
import os
import random
import zipfile

import pytest
import torch

from metalearn_lite.checkpoint import (
    load_checkpoint,
    load_manifest,
    save_checkpoint,
    write_atomically,
)
from metalearn_lite.models import mlp


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.zip"


def test_what_is_saved_is_loaded(path):
    state = {"model": mlp().state_dict(), "step": 3, "names": ["a"], "nested": {"x": (1.5, None)}}
    save_checkpoint(path, state, metadata={"seed": 0})
    loaded = load_checkpoint(path)
    assert loaded["step"] == 3 and loaded["nested"] == {"x": (1.5, None)}
    for name, tensor in state["model"].items():
        assert torch.equal(loaded["model"][name], tensor)
    assert load_manifest(path)["metadata"] == {"seed": 0}
    assert load_manifest(path)["tensors"]["model.head.weight"] == "float32 (1, 40)"


def flip_a_byte_of_the_state(path):
    with zipfile.ZipFile(path) as archive:
        manifest, payload = archive.read("manifest.json"), bytearray(archive.read("state.pt"))
    payload[len(payload) // 2] ^= 1
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", manifest)
        archive.writestr("state.pt", bytes(payload))


def test_a_flipped_byte_is_noticed(path):
    save_checkpoint(path, {"x": torch.zeros(1000)})
    flip_a_byte_of_the_state(path)
    with pytest.raises(ValueError, match=r"damaged: its state has sha256"):
        load_checkpoint(path)


def test_a_truncated_file_is_noticed(path):
    save_checkpoint(path, {"x": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        load_checkpoint(path)


def test_a_missing_file_is_an_error_of_its_own_kind(path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)


def test_another_zip_file_is_no_checkpoint(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": "other 7"}))
        archive.writestr("state.pt", b"")
    with pytest.raises(ValueError, match="format 'other 7'"):
        load_checkpoint(path)


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (print, ("code was run",))


def test_code_in_a_checkpoint_is_never_run(path, capsys):
    torch.save({"x": Trap()}, path.with_name("state.pt"))
    payload = path.with_name("state.pt").read_bytes()
    save_checkpoint(path, {"x": torch.zeros(1)})
    manifest = load_manifest(path)
    manifest["sha256"] = hashlib.sha256(payload).hexdigest()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("state.pt", payload)
    with pytest.raises(ValueError, match="more than tensors and plain values"):
        load_checkpoint(path)
    assert capsys.readouterr().out == ""


def test_saving_what_could_not_be_loaded_is_an_error_and_keeps_the_old_file(path):
    save_checkpoint(path, {"x": 1})
    with pytest.raises(ValueError, match="more than tensors and plain values"):
        save_checkpoint(path, {"x": Trap()})
    assert load_checkpoint(path) == {"x": 1}
    assert [p.name for p in path.parent.iterdir()] == ["run.zip"]


def test_the_message_lists_every_difference(path):
    save_checkpoint(path, mlp(hidden=(30, 40)).state_dict())
    expected = dict(mlp().state_dict(), extra=torch.zeros(2))
    with pytest.raises(ValueError, match="does not fit in 4 place") as error:
        load_checkpoint(path, expected=expected)
    message = str(error.value)
    assert "extra: missing" in message
    assert "features.0.weight: saved float32 (30, 1), expected float32 (40, 1)" in message


def test_a_matching_state_passes_the_comparison(path):
    save_checkpoint(path, mlp().state_dict())
    mlp().load_state_dict(load_checkpoint(path, expected=mlp().state_dict()))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_every_flipped_bit_is_said_to_be_damage_or_does_no_harm(path):
    """Where a bit lies decides what zipfile raises: none of it may get through.

    All bits of the archive's headers are flipped, and a thousand of what it holds.
    """
    save_checkpoint(path, {"x": torch.arange(3)})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        held = [archive.read(name) for name in archive.namelist()]
    inside = {whole.index(part) + i for part in held for i in range(len(part))}
    headers = sorted(set(range(len(whole))) - inside)
    assert 200 < len(headers) < 300 < len(inside)
    bits = [(position, bit) for position in headers for bit in range(8)]
    draw = random.Random(0)
    bits += [(draw.choice(sorted(inside)), draw.randrange(8)) for _ in range(1000)]
    harmless = 0
    for position, bit in bits:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            state = load_checkpoint(path)
        except ValueError:
            continue
        harmless += 1
        assert torch.equal(state["x"], torch.arange(3))
    assert harmless < len(bits) / 2  # times, systems and versions, which nobody reads


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_file_gets_the_permissions_that_new_files_get(mask, path):
    before = os.umask(mask)
    try:
        save_checkpoint(path, {"x": torch.zeros(1)})
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_what_killed_writes_left_behind_is_removed_and_a_write_under_way_is_not(path):
    old, new, other = (path.parent / f".{n}.unfinished" for n in ("run.zip.a", "run.zip.b", "x.a"))
    for left in (old, new, other):
        left.write_bytes(b"half")
    for left in (old, other):
        os.utime(left, (0, 0))
    save_checkpoint(path, {"x": torch.zeros(1)})
    assert not old.exists() and new.exists() and other.exists()


@pytest.mark.parametrize(("age", "stays"), [(3600, True), (3601, False)])
def test_what_was_left_behind_is_removed_after_an_hour(age, stays, path, monkeypatch):
    left = path.parent / ".run.zip.a.unfinished"
    left.write_bytes(b"half")
    os.utime(left, (10_000, 10_000))
    monkeypatch.setattr("time.time", lambda: 10_000.0 + age)
    write_atomically(path, b"whole")
    assert left.exists() == stays


def test_what_is_written_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    path, sizes = tmp_path / "new" / "folder" / "file", []

    def sync(descriptor):
        sizes.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr("os.fsync", sync)
    write_atomically(path, b"content")
    assert sizes == [(7, False)] and path.read_bytes() == b"content"


def test_a_state_that_is_no_dict_is_named(path):
    with pytest.raises(ValueError, match=r"the state is a list: expected a dict, such as model"):
        save_checkpoint(path, [torch.zeros(1)])


def test_a_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="is a folder: expected a file written by save_checkp"):
        load_checkpoint(tmp_path)


def test_a_manifest_tells_a_reader_without_this_package_what_is_in_the_file(path):
    save_checkpoint(path, {"a": [torch.zeros(2), {"b": torch.zeros(3, dtype=torch.int64)}], "c": 1})
    manifest = load_manifest(path)
    assert manifest["tensors"] == {"a.0": "float32 (2,)", "a.1.b": "int64 (3,)"}
    assert manifest["torch"] == torch.__version__ and manifest["metadata"] == {}
    with zipfile.ZipFile(path) as archive:
        payload, text = archive.read("state.pt"), archive.read("manifest.json").decode()
    assert manifest["sha256"] == hashlib.sha256(payload).hexdigest()
    assert text.startswith('{\n "format": ')  # one entry a line


def test_tensors_go_to_the_device_that_is_asked_for(path):
    save_checkpoint(path, {"x": torch.zeros(2)})
    assert load_checkpoint(path)["x"].device.type == "cpu"
    assert load_checkpoint(path, device="meta")["x"].device.type == "meta"


@pytest.mark.parametrize(("count", "more"), [(8, False), (9, True)])
def test_eight_differences_are_shown(count, more, path):
    save_checkpoint(path, {})
    expected = {f"x{i}": torch.zeros(1) for i in range(count)}
    with pytest.raises(ValueError, match=f"does not fit in {count} place") as error:
        load_checkpoint(path, expected=expected)
    assert str(error.value).count(": missing") == 8 and ("; …" in str(error.value)) == more


def test_a_checkpoint_that_someone_has_compressed_is_refused_however_small(path):
    save_checkpoint(path, {"x": torch.rand(10)})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("padding", bytes(10_000))
        archive.writestr("manifest.json", parts["manifest.json"], zipfile.ZIP_DEFLATED)
        archive.writestr("state.pt", parts["state.pt"])
    with pytest.raises(ValueError, match="checkpoints are not compressed"):
        load_checkpoint(path)


@pytest.mark.parametrize("manifest", ["[]", "{}"])
def test_a_manifest_without_a_format_is_named(manifest, path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", manifest)
        archive.writestr("state.pt", b"")
    with pytest.raises(ValueError, match="has format None: expected 'metalearn_lite checkpoint 1'"):
        load_checkpoint(path)


def test_a_bomb_is_refused_before_it_is_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr("state.pt", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"would unpack to 50,000,\d+"):
        load_checkpoint(path)


def test_a_bomb_within_the_state_is_refused_too(path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    save_checkpoint(path, {"x": torch.zeros(1)})
    manifest = load_manifest(path)
    manifest["sha256"] = hashlib.sha256(inner.getvalue()).hexdigest()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("state.pt", inner.getvalue())
    with pytest.raises(ValueError, match=r"state that is damaged .* would unpack to 50,000,000"):
        load_checkpoint(path)


def test_the_refusal_of_code_does_not_say_how_to_run_it(path):
    with pytest.raises(ValueError, match="could run code when it is loaded") as refused:
        save_checkpoint(path, {"x": Trap()})
    assert "plain values (print), which" in str(refused.value)
    assert "weights_only" not in str(refused.value) and "safe_globals" not in str(refused.value)
