import math
from itertools import product

import pytest
import torch
from torch import nn

from metalearn_lite.multitask import gradient_cosine, mgda, mgda_weights, pcgrad, task_gradients
from metalearn_lite.multitask.gradient_surgery import frank_wolfe
from metalearn_lite.randomness import seeded


def gradients(tasks, size=6, seed=0, dtype=torch.float64):
    return torch.randn(tasks, size, generator=seeded(seed), dtype=dtype)


# --- the gradients of the tasks -----------------------------------------------------


@pytest.fixture
def problem(generator):
    trunk = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 16, 4))
    z = trunk.double()(torch.randn(5, 1, 6, 6, generator=generator, dtype=torch.float64))
    losses = {"a": z.square().mean(), "b": z[:, 0].exp().mean(), "c": z.sin().sum()}
    return list(trunk.parameters()), losses


@pytest.mark.parametrize("vectorize", [False, True])
def test_each_gradient_is_the_one_of_its_loss_alone(problem, vectorize):
    parameters, losses = problem
    found = task_gradients(losses, parameters, vectorize=vectorize)
    assert list(found) == ["a", "b", "c"]
    for name, loss in losses.items():
        alone = torch.autograd.grad(loss, parameters, retain_graph=True)
        torch.testing.assert_close(found[name], torch.cat([g.flatten() for g in alone]))


@pytest.mark.parametrize("vectorize", [False, True])
def test_the_gradients_add_up_to_the_gradient_of_the_sum(problem, vectorize):
    parameters, losses = problem
    found = task_gradients(losses, iter(parameters), vectorize=vectorize)
    total = torch.autograd.grad(sum(losses.values()), parameters)
    torch.testing.assert_close(sum(found.values()), torch.cat([g.flatten() for g in total]))


@pytest.mark.parametrize("vectorize", [False, True])
def test_a_loss_that_does_not_depend_on_the_trunk_has_a_gradient_of_zero(problem, vectorize):
    parameters, losses = problem
    other = torch.ones((), dtype=torch.float64, requires_grad=True)
    losses |= {"constant": torch.tensor(1.0, dtype=torch.float64), "other": 2 * other}
    found = task_gradients(losses, parameters, vectorize=vectorize)
    assert list(found) == list(losses)
    assert not found["constant"].any() and not found["other"].any() and found["a"].any()
    alone = task_gradients({"other": 2 * other}, parameters, vectorize=vectorize)
    assert torch.equal(alone["other"], torch.zeros_like(found["a"]))


@pytest.mark.parametrize("vectorize", [False, True])
def test_a_weight_of_no_dimension_and_one_that_no_loss_depends_on_have_their_place(vectorize):
    scale, idle = torch.tensor(3.0, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    losses = {"a": scale.square(), "b": 5 * scale}
    found = task_gradients(losses, [idle, scale], vectorize=vectorize)
    assert found["a"].tolist() == [0, 0, 0, 0, 6] and found["b"].tolist() == [0, 0, 0, 0, 5]


@pytest.mark.parametrize("vectorize", [False, True])
def test_gradients_lie_where_the_weights_do_whatever_the_default_device(problem, vectorize):
    parameters, losses = problem
    losses |= {"constant": torch.tensor(1.0, dtype=torch.float64)}
    expected = task_gradients(losses, parameters, vectorize=vectorize)
    with torch.device("meta"):
        found = task_gradients(losses, parameters, vectorize=vectorize)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)


def test_a_backward_pass_that_looks_at_its_values_is_taken_unless_all_go_at_once():
    class Looking(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient if gradient.sum() > 0 else -gradient

    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = Looking.apply(weight).sum()
    assert torch.equal(task_gradients({"a": loss}, [weight])["a"], torch.ones(2))
    with pytest.raises(RuntimeError, match=r"Batching|vmap"):
        task_gradients({"a": loss}, [weight], vectorize=True)


def test_the_graph_is_kept_and_grad_is_left_alone(problem):
    parameters, losses = problem
    task_gradients(losses, parameters)
    assert all(p.grad is None for p in parameters)
    losses["a"].backward()  # would raise if the graph were gone


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({}, "expected a mapping"),
        ({"a": torch.ones(3)}, r"not scalar tensors: \{'a': \(3,\)\}"),
        ({"a": 1.0}, "'a': 'float'"),
    ],
)
def test_losses_that_are_not_scalars_raise(problem, losses, message):
    with pytest.raises(ValueError, match=message):
        task_gradients(losses, problem[0])


def test_no_parameters_raise(problem):
    with pytest.raises(ValueError, match="no parameters"):
        task_gradients(problem[1], [])


# --- cosines ------------------------------------------------------------------------


def test_cosines_are_those_of_torch():
    g = gradients(4)
    expected = torch.cosine_similarity(g[:, None], g[None], dim=-1)
    torch.testing.assert_close(gradient_cosine(g), expected)
    named = dict(zip("abcd", g, strict=True))
    torch.testing.assert_close(gradient_cosine(named), expected)


def test_cosines_do_not_depend_on_the_length_of_a_gradient():
    g = gradients(3)
    lengths = torch.tensor([[1e-6], [1.0], [1e6]], dtype=torch.float64)
    torch.testing.assert_close(gradient_cosine(lengths * g), gradient_cosine(g))


def test_no_cosine_is_beyond_one_not_even_by_rounding():
    for seed in range(50):
        g = gradients(1, seed=seed)
        assert gradient_cosine(torch.cat([g, 3 * g, -0.7 * g])).abs().max() <= 1


def test_a_gradient_of_zero_has_cosines_of_zero():
    g = gradients(3)
    g[1] = 0
    cosine = gradient_cosine(g)
    assert not cosine[1].any() and not cosine[:, 1].any()
    assert cosine[0, 0] == pytest.approx(1) and cosine[0, 2] != 0


# --- PCGrad -------------------------------------------------------------------------


def by_the_letter(g, generator):
    """Algorithm 1 of the paper, on the vectors themselves."""
    changed = g.clone()
    for i in range(len(g)):
        order = torch.randperm(len(g), generator=generator).tolist()
        for j in order:
            if i != j and changed[i] @ g[j] < 0:
                changed[i] -= changed[i] @ g[j] / (g[j] @ g[j]) * g[j]
    return changed.sum(0)


@pytest.mark.parametrize("tasks", [3, 4, 7])
def test_pcgrad_is_the_algorithm_of_the_paper(tasks):
    for seed in range(20):
        g = gradients(tasks, seed=seed)
        torch.testing.assert_close(pcgrad(g, seeded(seed)), by_the_letter(g, seeded(seed)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_without_conflict_are_untouched(dtype):
    g = gradients(4, dtype=dtype).abs()
    assert torch.equal(pcgrad(g, seeded(0)), torch.ones(4, dtype=dtype) @ g)
    axes = torch.eye(3, dtype=dtype)  # cosines of exactly zero
    assert torch.equal(pcgrad(axes, seeded(0)), axes.sum(0))


def test_with_two_tasks_the_result_never_conflicts_with_either():
    for seed in range(200):
        g = gradients(2, size=3, seed=seed)
        assert (g @ pcgrad(g)).min() > -1e-12


def test_with_two_tasks_in_conflict_each_is_projected_onto_the_normal_plane_of_the_other():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    # a loses its part along b and becomes (1/2, 1/2); b loses its part along a: (0, 1)
    torch.testing.assert_close(pcgrad(torch.stack([a, b])), torch.tensor([0.5, 1.5]))


def test_with_more_tasks_the_result_may_conflict():
    worst = min(
        (g @ pcgrad(g, seeded(0))).min() for g in (gradients(5, size=2, seed=s) for s in range(50))
    )
    assert worst < -0.01


def test_the_order_matters_with_more_than_two_tasks_and_the_generator_decides_it():
    g = gradients(5, size=3)
    results = torch.stack([pcgrad(g, seeded(s)) for s in range(10)])
    assert results.std(dim=0).max() > 1e-3
    assert torch.equal(pcgrad(g, seeded(3)), pcgrad(g, seeded(3)))
    with pytest.raises(ValueError, match="no generator"):
        pcgrad(g)


def test_the_order_of_three_is_drawn_and_that_of_two_is_not():
    with pytest.raises(ValueError, match="got 3 gradients and no generator"):
        pcgrad(gradients(3))
    generator, state = seeded(0), torch.get_rng_state()
    before = generator.get_state()
    pcgrad(gradients(2), generator)
    pcgrad(gradients(2))
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_opposite_gradients_cancel():
    g = gradients(1)
    torch.testing.assert_close(pcgrad(torch.cat([g, -2 * g])), torch.zeros(6, dtype=g.dtype))


# --- MGDA ---------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [1, 2, 3, 6, 12])
def test_the_direction_has_a_non_negative_product_with_every_gradient(tasks):
    for seed in range(30):
        g = gradients(tasks, size=5, seed=seed)
        d = mgda(g)
        slack = 1e-6 * g.square().sum(1).max()
        assert (g @ d).min() >= d @ d - slack


def test_the_weights_are_non_negative_and_sum_to_one():
    for tasks, seed in product((1, 2, 3, 8), range(10)):
        alpha = mgda_weights(gradients(tasks, seed=seed))
        assert alpha.min() >= 0 and alpha.sum() == pytest.approx(1)


def test_for_two_tasks_the_closed_form_equals_the_solver():
    for seed in range(50):
        g = gradients(2, size=2 + seed % 3, seed=seed)
        torch.testing.assert_close(mgda_weights(g), frank_wolfe(g @ g.T), atol=1e-7, rtol=0)


def test_for_two_tasks_the_direction_is_the_nearest_point_of_the_segment():
    for seed in range(20):
        g = gradients(2, size=2, seed=seed)
        shares = torch.linspace(0, 1, 10_001, dtype=g.dtype)[:, None]
        lengths = (shares * g[0] + (1 - shares) * g[1]).norm(dim=1)
        assert mgda(g).norm() == pytest.approx(lengths.min().item(), abs=1e-4)


@pytest.mark.parametrize("options", [{"iterations": 0}, {"tol": 1e9}])
def test_a_search_that_ends_at_once_weighs_all_alike(options):
    g, thirds = gradients(3), torch.full((3,), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(mgda_weights(g, **options), thirds)
    torch.testing.assert_close(frank_wolfe(g @ g.T, **options), thirds)


def test_no_mixture_is_shorter():
    g = gradients(4, size=8)
    d = mgda(g)
    others = torch.distributions.Dirichlet(torch.full((4,), 0.5, dtype=g.dtype))
    torch.manual_seed(0)
    assert d.norm() <= (others.sample((5000,)) @ g).norm(dim=1).min() + 1e-9


def test_orthogonal_gradients_are_weighed_by_one_over_their_squared_length():
    g = torch.diag(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    expected = torch.tensor([1, 1 / 4, 1 / 16], dtype=torch.float64)
    torch.testing.assert_close(mgda_weights(g), expected / expected.sum())


def test_a_gradient_of_zero_is_pareto_stationary():
    g = gradients(3)
    g[2] = 0
    assert mgda(g).norm() < 1e-9
    assert not mgda(torch.zeros(3, 4)).any() and not mgda(torch.zeros(2, 4)).any()


def test_equal_gradients_give_that_gradient():
    g = gradients(1).expand(3, -1)
    torch.testing.assert_close(mgda(g), g[0])
    torch.testing.assert_close(mgda(g[:2]), g[0])


@pytest.mark.parametrize("factor", [1e-12, 1e9])
def test_the_weights_do_not_depend_on_the_common_unit(factor):
    g = gradients(4)
    torch.testing.assert_close(mgda_weights(factor * g), mgda_weights(g), atol=1e-6, rtol=0)


# --- all of them --------------------------------------------------------------------

combinations = pytest.mark.parametrize(
    "combine", [lambda g: pcgrad(g, seeded(0)), mgda, lambda g: g.sum(0)], ids=["pc", "mgda", "sum"]
)


@combinations
def test_a_single_task_keeps_its_gradient(combine):
    g = gradients(1)
    torch.testing.assert_close(combine(g), g[0])


@combinations
def test_what_comes_out_is_as_long_and_of_the_type_of_what_went_in(combine):
    assert combine(gradients(3, dtype=torch.float32)).dtype == torch.float32
    assert combine(gradients(3)).shape == (6,)


def test_names_and_rows_give_the_same():
    g = gradients(3)
    named = dict(zip("abc", g, strict=True))
    assert torch.equal(pcgrad(named, seeded(0)), pcgrad(g, seeded(0)))
    assert torch.equal(mgda(named), mgda(g))


def test_a_gradient_of_zero_changes_nothing_in_pcgrad():
    g = gradients(3)
    with_zero = torch.cat([g[:2], torch.zeros(1, 6, dtype=g.dtype)])
    torch.testing.assert_close(pcgrad(with_zero, seeded(0)), pcgrad(g[:2]))


@pytest.mark.parametrize("use", [gradient_cosine, pcgrad, mgda])
@pytest.mark.parametrize(
    "rows",
    [torch.zeros(3), torch.zeros(0, 3), torch.tensor([[math.nan, 1.0]])],
    ids=["one row", "none", "nan"],
)
def test_gradients_that_are_no_gradients_raise(use, rows):
    with pytest.raises(ValueError, match="expected \\(tasks, p\\), finite"):
        use(rows)


@pytest.mark.parametrize("use", [gradient_cosine, pcgrad, mgda])
def test_gradients_that_are_a_list_raise(use):
    with pytest.raises(ValueError, match=r"gradients are a list: expected a tensor \(tasks, p\)"):
        use([torch.ones(3)])
