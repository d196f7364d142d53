"""The set transformer: who sees whom, labels of both kinds, derivatives, and what it refuses."""

import pytest
import torch
from torch.func import functional_call

from metalearn_lite.in_context import SetTransformer, in_context_loss
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode

CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # in float64: sums in another order
KINDS = ["values", "classes"]


def network(inputs=3, outputs=2, **sizes):
    sizes = {"width": 8, "heads": 2, "layers": 2} | sizes
    return SetTransformer(inputs, outputs, generator=seeded(0), **sizes).double()


def task(kind="values", tasks=2, shots=5, queries=4):
    x = torch.randn(tasks, shots + queries, 3, generator=seeded(1), dtype=torch.float64)
    y = x[..., :2].cos()
    y = y if kind == "values" else y.argmax(dim=-1)
    return x[:, :shots], y[:, :shots], x[:, shots:]


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_examples_changes_nothing(kind):
    support_x, support_y, query_x = task(kind)
    order = torch.tensor([3, 0, 4, 1, 2])
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        model = network().to(dtype)
        y = support_y.to(dtype) if kind == "values" else support_y
        given = support_x.to(dtype), y, query_x.to(dtype)
        found = model(given[0][:, order], given[1][:, order], given[2])
        torch.testing.assert_close(found, model(*given), rtol=limit, atol=limit)
    swapped = model(given[0][:, order], given[1], given[2])  # inputs without their labels
    assert (swapped - model(*given)).abs().max() > 1e-3


def test_the_order_of_the_queries_is_that_of_the_answers():
    model, (support_x, support_y, query_x) = network(), task()
    order = torch.tensor([2, 0, 3, 1])
    answers = model(support_x, support_y, query_x)
    found = model(support_x, support_y, query_x[:, order])
    torch.testing.assert_close(found, answers[:, order], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_is_answered_as_if_it_were_alone(kind):
    model, (support_x, support_y, query_x) = network(), task(kind)
    together = model(support_x, support_y, query_x)
    for i in range(query_x.shape[1]):
        alone = model(support_x, support_y, query_x[:, i : i + 1])
        torch.testing.assert_close(alone, together[:, i : i + 1], **CLOSE)
    far = query_x.clone()
    far[:, 1:] = 1e3
    assert torch.equal(model(support_x, support_y, far)[:, 0], together[:, 0])


def test_who_reads_whom_is_what_the_mask_says():
    """By the derivative of each row after all layers with respect to each input."""
    model, (support_x, support_y, query_x) = network(), task(tasks=1)
    rows, n = [], support_x.shape[1]
    model.layers[-1].register_forward_hook(lambda layer, given, out: rows.append(out))

    def last(x):
        model(x[:, :n], support_y, x[:, n:])
        return rows.pop()[0]

    x = torch.cat([support_x, query_x], dim=1)
    jacobian = torch.autograd.functional.jacobian(last, x)
    reads = jacobian.abs().amax(dim=(1, 2, 4)) > 0
    wanted = torch.eye(9, dtype=torch.bool)
    wanted[:, :n] = True
    assert torch.equal(reads, wanted)


def test_a_task_does_not_depend_on_the_others_of_its_batch():
    model, (support_x, support_y, query_x) = network(), task("classes")
    alone = model(support_x[1:], support_y[1:], query_x[1:])
    together = model(support_x, support_y, query_x)[1:]
    torch.testing.assert_close(alone, together, **CLOSE)


def test_a_class_enters_as_the_values_of_its_one_hot_code():
    model, (support_x, support_y, query_x) = network(), task("classes")
    code = torch.eye(2, dtype=torch.float64)[support_y]
    answers = model(support_x, support_y, query_x)
    torch.testing.assert_close(model(support_x, code, query_x), answers, **CLOSE)
    other = model(support_x, 1 - support_y, query_x)
    assert (other - answers).abs().max() > 1e-3


def test_inputs_of_more_dimensions_are_flattened_and_no_example_is_an_answer_too():
    model, (support_x, support_y, query_x) = network(inputs=6), task()
    wide = support_x.repeat(1, 1, 2), query_x.repeat(1, 1, 2)
    flat = model(wide[0], support_y, wide[1])
    square = model(wide[0].unflatten(-1, (2, 3)), support_y, wide[1].unflatten(-1, (2, 3)))
    assert torch.equal(flat, square)
    none = model(wide[0][:, :0], support_y[:, :0], wide[1])
    assert none.shape == flat.shape and none.isfinite().all()


def test_the_generator_decides_the_weights_and_sizes_have_defaults():
    torch.manual_seed(0)
    one, two = (SetTransformer(2, 1, generator=seeded(3)) for _ in range(2))
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    other = SetTransformer(2, 1, generator=seeded(4))
    assert not torch.equal(one.read_x.weight, other.read_x.weight)
    assert SetTransformer(2, 1).read_x.weight.std() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_by_the_inputs_are_those_of_finite_differences(kind):
    model = network(width=2, heads=1, layers=1)
    given = [x.requires_grad_(x.is_floating_point()) for x in task(kind, 1, 2, 2)]
    assert torch.autograd.gradcheck(model, given)
    assert torch.autograd.gradgradcheck(model, given)


def test_first_and_second_derivatives_by_the_weights_are_central_differences():
    model, (support_x, support_y, query_x) = network(layers=1), task("classes", 2, 3, 2)
    episode = Episode(support_x, support_y, query_x, query_x[..., 0].gt(0).long())
    start = {name: p.detach() for name, p in model.named_parameters()}
    drawn = seeded(2)
    along = {n: torch.randn(p.shape, generator=drawn, dtype=p.dtype) for n, p in start.items()}

    def loss(step):
        moved = {name: p + step * along[name] for name, p in start.items()}
        return in_context_loss(lambda *given: functional_call(model, moved, given), episode)

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(loss(step), step, create_graph=True)
    (second,) = torch.autograd.grad(first, step)
    h = 1e-4
    below, middle, above = (loss(h * k).item() for k in (-1, 0, 1))
    assert first.item() == pytest.approx((above - below) / (2 * h), rel=1e-6)
    assert second.item() == pytest.approx((above - 2 * middle + below) / h**2, rel=1e-4)


GOOD = task("classes")
WRONG = {
    "one task without its dimension": ((GOOD[0][0], GOOD[1][0], GOOD[2][0]), "as_batch"),
    "a row of numbers": ((torch.zeros(3), GOOD[1], GOOD[2]), "as_batch"),
    "other inputs": ((GOOD[0][..., :2], GOOD[1], GOOD[2]), r"expected floats \(T, n, 3\)"),
    "other queries": ((GOOD[0], GOOD[1], GOOD[2][..., :2]), r"expected floats \(T, n, 3\)"),
    "whole inputs": ((GOOD[0].long(), GOOD[1], GOOD[2]), "inputs are torch.int64"),
    "other targets": ((GOOD[0], GOOD[0], GOOD[2]), r"expected values \(2, 5, 2\)"),
    "fewer labels": ((GOOD[0], GOOD[1][:, 1:], GOOD[2]), r"classes \(2, 5\) in int64"),
    "small labels": ((GOOD[0], GOOD[1].int(), GOOD[2]), "support_y is torch.int32"),
    "a class too many": ((GOOD[0], GOOD[1] + 1, GOOD[2]), "from 1 to 2.*classes from 0 to 1"),
    "a class below 0": ((GOOD[0], GOOD[1] - 1, GOOD[2]), "from -1 to 0.*number the classes"),
    "a value that is none": ((GOOD[0], task()[1] * torch.nan, GOOD[2]), "expected finite values"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(name):
    given, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        network()(*given)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"inputs": 0}, "inputs is 0"),
        ({"outputs": 1.5}, "outputs is 1.5"),
        ({"layers": 0}, "layers is 0"),
        ({"width": 9}, "width is 9: expected a multiple of heads"),
        ({"heads": -1}, "heads is -1"),
    ],
)
def test_sizes_that_are_no_sizes_are_errors(sizes, message):
    with pytest.raises(ValueError, match=message):
        network(**sizes)
