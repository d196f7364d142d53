"""The waves of the page adapt as those of the package, and can be moved in every way."""

import pytest
import torch
from test_pages import HEAD, Visit

from metalearn_lite.maml import adapt
from metalearn_lite.models import mlp
from metalearn_lite.models.functional import call
from metalearn_lite.randomness import seeded
from metalearn_lite.widgets.waves import PLACES, WAVES, sines

NAMES = ("from scratch", "MAML")


def html(models):
    return sines(models, inner_lr=0.02, colours={}, label="Which is closest?").data


class Waves(Visit):
    def __init__(self, browser, folder, **window):
        self.models = {n: mlp(generator=seeded(k)) for k, n in enumerate(NAMES)}
        path = folder / "waves.html"
        path.write_text(f"{HEAD}<title>waves</title>{html(self.models)}", encoding="utf-8")
        super().__init__(browser, path, **window)

    def values(self):
        return self.page.evaluate("() => document.querySelector('.sines').values")

    def slide(self, name, value):
        self.page.locator(f".{name}").fill(str(value))


@pytest.fixture(scope="module")
def waves(browser, tmp_path_factory):
    waves = Waves(browser, tmp_path_factory.mktemp("waves"))
    yield waves
    assert waves.problems == []
    waves.context.close()


@pytest.mark.parametrize(("steps", "rate", "count"), [(0, 2, 5), (1, 2, 1), (5, 3, 10), (10, 1, 4)])
def test_all_networks_adapt_as_in_the_package(waves, steps, rate, count):
    for name, value in (("steps", steps), ("rate", rate), ("count", count)):
        waves.slide(name, value)
    values = waves.values()
    points = torch.tensor(values["points"], dtype=torch.float64)
    assert values["steps"] == steps and len(points) == count
    amplitude, phase = WAVES[0]
    expected = amplitude * (points[:, 0] - phase).sin()
    torch.testing.assert_close(points[:, 1], expected)
    assert points[:, 0].tolist() == list(PLACES[:count])
    grid = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    for name, model in waves.models.items():
        double = mlp().double()
        double.load_state_dict(model.state_dict())
        x, y = points[:, :1], points[:, 1:]
        options = {"inner_lr": values["rate"], "inner_steps": steps}
        adapted = adapt(double, dict(double.named_parameters()), x, y, **options)
        curve = call(double, adapted, grid).detach()
        found = values["found"][name]
        torch.testing.assert_close(
            torch.tensor(found["values"]).double(), curve[:, 0], atol=1e-5, rtol=1e-5
        )
        error = (curve - amplitude * (grid - phase).sin()).square().mean().item()
        assert found["error"] == pytest.approx(error, rel=1e-5)


def test_a_point_is_moved_by_keys_and_the_curves_follow(waves):
    waves.slide("steps", 3)
    waves.slide("count", 5)
    before = waves.values()
    waves.page.get_by_role("slider", name="Point 2").focus()
    for key in ("ArrowUp", "Shift+ArrowRight"):
        waves.page.keyboard.press(key)
    after = waves.values()
    moved = [b - a for a, b in zip(before["points"][1], after["points"][1], strict=True)]
    assert moved == pytest.approx([1.0, 0.1])
    assert after["found"]["MAML"]["values"] != before["found"]["MAML"]["values"]
    waves.page.wait_for_timeout(900)
    assert "After 3 steps" in waves.page.locator("[role=status]").inner_text()


def test_another_wave_and_the_true_one(waves):
    waves.page.get_by_role("button", name="Show the true wave").click()
    assert waves.page.locator("path[stroke-dasharray]").count() == 1
    waves.page.get_by_role("button", name="Another wave").click()
    (x, y), (amplitude, phase) = waves.values()["points"][0], WAVES[1]
    assert y == pytest.approx(amplitude * torch.tensor(x - phase).sin().item(), abs=1e-5)
    waves.page.get_by_role("button", name="Hide the true wave").click()
    assert waves.page.locator("path[stroke-dasharray]").count() == 0


def test_by_finger_on_a_telephone_in_the_dark(browser, tmp_path):
    telephone = {"width": 390, "scheme": "dark", "has_touch": True, "is_mobile": True}
    waves = Waves(browser, tmp_path, **telephone)
    assert waves.page.evaluate("() => document.documentElement.scrollWidth") <= 390
    box = waves.page.get_by_role("slider", name="Point 1", exact=True).bounding_box()
    before = waves.values()["points"][0]
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    waves.page.mouse.move(*middle)
    waves.page.mouse.down()
    waves.page.mouse.move(middle[0] + 30, middle[1] + 20)
    waves.page.mouse.up()
    x, y = waves.values()["points"][0]
    assert x > before[0] and y < before[1]
    waves.page.get_by_role("button", name="Another wave").tap()
    assert waves.problems == []
    waves.context.close()
