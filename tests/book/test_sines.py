"""The waves of the page adapt as those of the package, or read, and are moved in every way."""

import pytest
import torch
from test_pages import HEAD, Visit

from metalearn_lite.in_context import SetTransformer
from metalearn_lite.maml import adapt
from metalearn_lite.models import mlp
from metalearn_lite.models.functional import call
from metalearn_lite.randomness import seeded
from metalearn_lite.widgets.waves import PLACES, WAVES, sines

NAMES = ("from scratch", "MAML")


def reader(**sizes):
    """A set transformer with weights far enough from their start that every part counts."""
    model = SetTransformer(1, 1, generator=seeded(5), **sizes).double()
    generator = seeded(6)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=generator).double())
    return model.float()


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


@pytest.mark.parametrize("sizes", [{}, {"width": 12, "heads": 3, "layers": 1}])
@pytest.mark.parametrize("count", [1, 7])
def test_a_set_transformer_reads_the_points_as_in_the_package(browser, tmp_path, sizes, count):
    model = reader(**sizes)
    found, points = read_by_the_page(browser, tmp_path, html({"reader": model}), count)
    grid = torch.linspace(-5, 5, 101, dtype=torch.float64)[None, :, None]
    curve = model.double()(points[None, :, :1], points[None, :, 1:], grid)
    torch.testing.assert_close(found, curve[0, :, 0].detach(), rtol=1e-9, atol=1e-9)


def read_by_the_page(browser, folder, shown, count):
    path = folder / "reader.html"
    path.write_text(f"{HEAD}<title>waves</title>{shown}", encoding="utf-8")
    visit = Visit(browser, path)
    visit.page.locator(".count").fill(str(count))
    visit.page.locator(".steps").fill("3")  # which a reader does not take
    values = visit.page.evaluate("() => document.querySelector('.sines').values")
    assert "reads them" in visit.page.locator(".does").inner_text()
    assert visit.problems == []
    visit.context.close()
    points = torch.tensor(values["points"], dtype=torch.float64)
    return torch.tensor(values["found"]["reader"]["values"], dtype=torch.float64), points


BUGS = {
    "a query reads the other queries": ("{ length: n }", "{ length: rows.length }"),
    "scores that are not scaled": ("sum / Math.sqrt(size)", "sum"),
    "a row that does not read itself": ("concat(i < n ? [] : [i])", "concat(i === n ? [i] : [])"),
    "no way around the attention": (
        "plus(rows, attend",
        "plus(rows.map((r) => r.map(() => 0)), attend",
    ),
    "a norm of n - 1": ("(v - mean) ** 2, 0) / width", "(v - mean) ** 2, 0) / (width - 1)"),
    "tanh for erf": ("(1 + erf(x / Math.SQRT2))", "(1 + Math.tanh(x / Math.SQRT2))"),
    "keys for values": ("* v[j][c]", "* k[j][c]"),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_in_the_attention_is_noticed(browser, tmp_path, name):
    right, wrong = BUGS[name]
    model = reader(width=12, heads=3, layers=2)
    shown = html({"reader": model})
    assert shown.count(right) == 1
    found, points = read_by_the_page(browser, tmp_path, shown.replace(right, wrong), 5)
    grid = torch.linspace(-5, 5, 101, dtype=torch.float64)[None, :, None]
    curve = model.double()(points[None, :, :1], points[None, :, 1:], grid)[0, :, 0].detach()
    assert (found - curve).abs().max() > 1e-3


def test_another_wave_and_the_true_one(waves):
    waves.page.get_by_role("button", name="Show the true wave").click()
    assert waves.page.locator("path[stroke-dasharray]").count() == 1
    waves.page.get_by_role("button", name="Another wave").click()
    (x, y), (amplitude, phase) = waves.values()["points"][0], WAVES[1]
    assert y == pytest.approx(amplitude * torch.tensor(x - phase).sin().item(), abs=1e-5)
    waves.page.get_by_role("button", name="Hide the true wave").click()
    assert waves.page.locator("path[stroke-dasharray]").count() == 0


def test_a_curve_that_leaves_the_figure_does_not_run_over_the_words(waves):
    clipped = "node => getComputedStyle(node).overflow"
    assert waves.page.locator(".figure svg svg").evaluate(clipped) == "hidden"


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
