"""The engine of the page computes what the package computes: in Chromium, from disk, in double."""

import pytest
import torch
from test_pages import Visit
from torch import nn

from metalearn_lite.losses import task_loss
from metalearn_lite.maml import adapt, maml_predict
from metalearn_lite.models import Network, conv4, fix_statistics, initialise, mlp, new_head
from metalearn_lite.models.functional import call
from metalearn_lite.prototypes import prototype_logits, prototypes
from metalearn_lite.tasks import Episode
from metalearn_lite.transfer import features, fine_tune
from metalearn_lite.widgets.engine import page_network
from metalearn_lite.widgets.filling import part

CLOSE = {"atol": 1e-10, "rtol": 1e-8}
IMAGE, VECTOR = (1, 28, 28), (1, 1, 1)


def pooled(running, generator):
    """Convolutions with max-pooling, as the challenge's, and PyTorch's own batch norm."""
    layers = []
    for fan_in in (1, 6, 6):
        layers += [nn.Conv2d(fan_in, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    model = Network(nn.Sequential(*layers, nn.Flatten()), nn.Linear(54, 5))
    initialise(model, generator)
    for layer in running(model):
        layer.running_mean.normal_(generator=generator)
        layer.running_var.uniform_(0.5, 2, generator=generator)
    return model.double().eval()


def norms(model):
    return [layer for layer in model.features if isinstance(layer, nn.BatchNorm2d)]


def networks(name, generator):
    """Return a network in float64, its inputs and answers."""
    x = torch.randn(7, *IMAGE, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 3, 4, 0, 3])
    if name == "mlp":
        points = torch.randn(7, 1, generator=generator, dtype=torch.float64)
        return mlp(generator=generator).double(), points, points.sin()
    if name == "max-pooling":
        return pooled(norms, generator), x, y
    if name == "flat":
        return conv4(5, 8, "group", pool=False, generator=generator).double(), x, y
    if name == "fixed":
        batch = conv4(5, 8, "batch", generator=generator).double()
        return fix_statistics(batch, x), x, y
    if name == "colours":
        model = conv4(5, 8, "none", channels=3, generator=generator).double()
        return model, torch.randn(7, 3, 28, 28, generator=generator, dtype=torch.float64), y
    model = conv4(5, 16, name, generator=generator).double()
    for p in model.parameters():  # norms that are learned, too
        p.data.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model, x, y


NAMES = ("group", "batch", "none", "fixed", "flat", "max-pooling", "colours", "mlp")


class Engine(Visit):
    """The engine in a page that was opened from disk."""

    def __init__(self, browser, folder, script):
        path = folder / "engine.html"
        text = f"<!doctype html><title>engine</title><script>{script}</script>"
        path.write_text(text, encoding="utf-8")
        super().__init__(browser, path)
        self.page.evaluate("() => { window.engine = makeEngine(); }")

    def computes(self, expression, model, x, y=None, **more):
        shape = tuple(x.shape[1:]) if x.ndim == 4 else (x.shape[1], 1, 1)
        network = page_network(model, shape, digits=64)
        script = f"""({{network, x, y, more}}) => {{
            const theta = engine.parameters(network.weights);
            const listed = (v) => (v instanceof Float64Array ? [...v] : v);
            return listed({expression}); }}"""
        data = {"network": network, "x": x.flatten(1).tolist(), "more": more}
        data["y"] = None if y is None else y.tolist()
        return torch.tensor(self.page.evaluate(script, data), dtype=torch.float64)


@pytest.fixture(scope="module")
def engine(browser, tmp_path_factory):
    engine = Engine(browser, tmp_path_factory.mktemp("engine"), part("engine.js"))
    yield engine
    engine.context.close()


def flat_gradient(model, x, y):
    params = list(model.parameters())
    loss = task_loss(model(x), y)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, params)])


@pytest.mark.parametrize("name", NAMES)
def test_outputs_features_and_gradients_are_those_of_the_package(engine, name, generator):
    model, x, y = networks(name, generator)
    assert_same(engine, model, x, y)


def assert_same(engine, model, x, y):
    outputs = engine.computes("engine.outputs(network, theta, x)", model, x)
    torch.testing.assert_close(outputs, model(x).detach(), **CLOSE)
    vectors = engine.computes("engine.features(network, theta, x)", model, x)
    torch.testing.assert_close(vectors, features(model, x), **CLOSE)
    loss = engine.computes("engine.gradient(network, theta, x, y).loss", model, x, y)
    torch.testing.assert_close(loss, task_loss(model(x), y).detach(), **CLOSE)
    gradient = engine.computes("engine.gradient(network, theta, x, y).gradient", model, x, y)
    torch.testing.assert_close(gradient, flat_gradient(model, x, y), **CLOSE)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("name", ["group", "batch", "mlp"])
def test_the_inner_loop_is_that_of_maml(engine, name, steps, generator):
    model, x, y = networks(name, generator)
    params = dict(model.named_parameters())
    rate = 0.05
    adapted = adapt(model, params, x, y, inner_lr=rate, inner_steps=steps)
    expected = call(model, adapted, x[:3]).detach()
    loop = """(() => { let t = theta;
        for (let k = 0; k < more.steps; k++) t = engine.step(network, t, x, y, more.rate).theta;
        return engine.outputs(network, t, x.slice(0, 3)); })()"""
    found = engine.computes(loop, model, x, y, steps=steps, rate=rate)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_fine_tuning_begins_with_a_head_of_zeros(engine, generator):
    model, x, y = networks("group", generator)
    expected = fine_tune(new_head(model, 5), x, y, steps=3, lr=0.1)(x).detach()
    loop = """(() => { let t = engine.withoutHead(network, theta);
        for (let k = 0; k < 3; k++) t = engine.step(network, t, x, y, 0.1).theta;
        return engine.outputs(network, t, x); })()"""
    torch.testing.assert_close(engine.computes(loop, model, x, y), expected, **CLOSE)


def test_prototypes_and_distances_are_those_of_the_package(engine, generator):
    model, x, y = networks("group", generator)
    z = features(model, x)
    expected = prototype_logits(z, prototypes(z, y))
    found = engine.computes(
        """(() => { const z = engine.features(network, theta, x);
        const means = engine.prototypes(z, y, 5);
        return z.map((v) => means.map((c) => -engine.squared(v, c))); })()""",
        model,
        x,
        y,
    )
    torch.testing.assert_close(found, expected, **CLOSE)


def test_a_prediction_with_batch_statistics_depends_on_its_company_as_in_the_package(
    engine, generator
):
    model, x, y = networks("batch", generator)
    task = Episode(x[:5], y[:5], x[5:], y[5:])
    options = {"inner_steps": 1, "inner_lr": 0.05}
    loop = """(() => { const examples = x.slice(0, 5), queries = x.slice(5);
        const t = engine.step(network, theta, examples, y.slice(0, 5), 0.05).theta;
        const company = more.beside ? examples : [];
        return queries.map((q) => engine.outputs(network, t, [...company, q]).at(-1)); })()"""
    for statistics in ("support", "single"):
        expected = maml_predict(model, task, statistics=statistics, **options)
        found = engine.computes(loop, model, x, y, beside=statistics == "support")
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("digits", [16, 32, 64])
def test_weights_arrive_as_they_were_rounded(engine, digits, generator):
    model, _, _ = networks("group", generator)
    model.head.bias.data[:3] = torch.tensor([1e-7, -6.1e-5, 0.0])  # halves below the normal ones
    weights = page_network(model, digits=digits)["weights"]
    found = engine.page.evaluate("(weights) => [...engine.parameters(weights)]", weights)
    dtype = {16: torch.float16, 32: torch.float32, 64: torch.float64}[digits]
    expected = torch.cat([p.detach().flatten() for p in model.parameters()]).to(dtype)
    assert torch.tensor(found, dtype=torch.float64).equal(expected.double())


def test_damaged_weights_are_refused(engine, generator):
    weights = page_network(mlp(generator=generator))["weights"]
    at = len(weights["data"]) // 2
    other = "A" if weights["data"][at] != "A" else "B"
    weights["data"] = weights["data"][:at] + other + weights["data"][at + 1 :]
    with pytest.raises(Exception, match="damaged"):
        engine.page.evaluate("(weights) => engine.parameters(weights)", weights)


PLANTED = {
    "a sign": ("v - rate * g[i]", "v + rate * g[i]"),
    "a stride": ("oy * stride + ky", "oy + ky"),
    "a missing mean": ("dy[p] * theta[at + d] - first -", "dy[p] * theta[at + d] -"),
    "the mean of a batch": ("(x.data[p] - m) * scale", "x.data[p] * scale"),
    "a bias without a gradient": ("grad[at + out * into + o] +=", "grad[at + o] +="),
    "a place in the patches": ("ox * stride] += patches", "ox * stride] = patches"),
    "the gate of the ReLU": ("if (!(x.data[p] > 0)) dx[p] = 0", ""),
    "sum for mean": ("(p[k] - (k === answers[i])) / n", "(p[k] - (k === answers[i]))"),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_noticed(browser, tmp_path, bug, generator):
    script, (right, wrong) = part("engine.js"), PLANTED[bug]
    assert script.count(right) == 1
    broken = Engine(browser, tmp_path, script.replace(right, wrong))
    model, x, y = networks("batch", generator)
    with pytest.raises(AssertionError):
        assert_same(broken, model, x, y)
        test_the_inner_loop_is_that_of_maml(broken, "batch", 1, generator)
    broken.context.close()
