from pathlib import Path

import pytest
import torch
import torchvision

from metalearn_lite.evaluation import evaluate
from metalearn_lite.models.pretrained import AsPhotograph, resnet18, weights_path
from metalearn_lite.tasks import ImageTasks
from metalearn_lite.transfer import as_predict, features, fine_tune, linear_probe


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder in place of PyTorch's own, and any download an error."""

    def refuse(url, *args, **kwargs):
        raise AssertionError(f"tried to fetch {url}")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path


@pytest.fixture
def weights(cache):
    """Random weights, saved where and how torchvision keeps the real ones."""
    torch.manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    weights_path().parent.mkdir(parents=True)
    torch.save(state, weights_path())
    return state


def test_the_weights_are_looked_for_in_the_cache_of_pytorch(cache):
    assert weights_path() == cache / "hub" / "checkpoints" / "resnet18-f37072fd.pth"


def test_without_weights_the_error_says_where_they_belong_and_how_to_get_them(cache):
    with pytest.raises(FileNotFoundError, match=r"resnet18-f37072fd.pth.*download=True.*copy"):
        resnet18(5)


def test_a_download_is_tried_only_when_asked_for(cache):
    with pytest.raises(AssertionError, match=r"tried to fetch https://download\.pytorch\.org"):
        resnet18(5, download=True)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02N."])
def test_a_damaged_file_is_an_error_that_names_it(cache, content):
    weights_path().parent.mkdir(parents=True)
    weights_path().write_bytes(content)
    with pytest.raises(ValueError, match="does not hold the weights of ResNet-18: delete it"):
        resnet18(5)


def test_a_cut_off_file_and_foreign_weights_are_errors_too(weights):
    whole = weights_path().read_bytes()
    weights_path().write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="delete it"):
        resnet18(5)
    torch.save({"weight": torch.zeros(2)}, weights_path())
    with pytest.raises(ValueError, match="delete it"):
        resnet18(5)


def test_a_download_is_checked_and_shows_no_bar(cache, monkeypatch):
    def fetch(url, path, start_of_hash, *, progress):
        raise ValueError(f"{start_of_hash} with bar: {progress}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(ValueError, match="f37072fd with bar: False"):
        resnet18(5, download=True)


def test_a_file_that_would_run_code_is_refused_and_runs_none(cache):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (cache / "was run",))

    weights_path().parent.mkdir(parents=True)
    torch.save({"weight": Trap()}, weights_path())
    with pytest.raises(ValueError, match="delete it"):
        resnet18(5)
    assert not (cache / "was run").exists()


def test_the_features_are_those_of_torchvision_on_its_own_preprocessing(weights, generator):
    reference = torchvision.models.resnet18()
    reference.load_state_dict(weights)
    reference.fc = torch.nn.Identity()
    photos = torch.rand(2, 3, 224, 224, generator=generator)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = reference.eval()((photos - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    torch.testing.assert_close(features(resnet18(5), photos), expected)


def test_small_grey_images_become_photographs_of_three_equal_channels():
    grey = torch.rand(2, 1, 28, 28)
    out = AsPhotograph(64)(grey)
    assert out.shape == (2, 3, 64, 64)
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    plain = out * torch.tensor(preset.std).view(3, 1, 1) + torch.tensor(preset.mean).view(3, 1, 1)
    torch.testing.assert_close(plain[:, 0], plain[:, 2])
    assert AsPhotograph()(grey).shape == (2, 3, 224, 224)
    assert AsPhotograph(32)(grey).shape == (2, 3, 32, 32)
    assert plain.min() >= -1e-6 and plain.max() <= 1 + 1e-6


def test_a_large_picture_is_averaged_and_not_thinned_out():
    one_row_in_ten = (torch.arange(320) % 10 == 0).float().view(-1, 1).expand(1, 1, -1, 320)
    grey = AsPhotograph(32)(torch.full((1, 1, 32, 32), 0.1))
    small = AsPhotograph(32)(one_row_in_ten)
    torch.testing.assert_close(small[:, :, 2:-2], grey[:, :, 2:-2], atol=0.1, rtol=0)


def test_it_can_be_probed_fine_tuned_and_scored_like_every_other_network(weights, generator):
    model = resnet18(5, side=32, generator=generator)
    tasks = ImageTasks(torch.rand(6, 4, 1, 28, 28, generator=generator), 3, 2, 1)
    for adapt in (linear_probe, lambda m, x, y: fine_tune(m, x, y, steps=1, lr=1e-3)):
        scores = evaluate(
            model, as_predict(adapt), tasks, episodes=2, generator=generator, progress=False
        )
        assert len(scores.values) == 2


def test_bad_arguments_are_errors(weights):
    with pytest.raises(ValueError, match="ways is 0"):
        resnet18(0)
    with pytest.raises(ValueError, match="side is 16"):
        resnet18(5, side=16)
    with pytest.raises(ValueError, match="side is 31: expected 32 or more"):
        AsPhotograph(31)
    with pytest.raises(ValueError, match=r"shape \(2, 2, 28, 28\)"):
        resnet18(5)(torch.zeros(2, 2, 28, 28))
