import torch

from metalearn_lite.judging import saved_bytes
from metalearn_lite.maml import maml_loss
from metalearn_lite.models import mlp
from metalearn_lite.tasks import SineTasks


def test_a_product_keeps_both_factors_and_a_square_its_root_once():
    a = torch.ones(100, requires_grad=True)
    b = torch.ones(100, requires_grad=True)
    assert saved_bytes(lambda: a * b) == 2 * 100 * 4
    assert saved_bytes(lambda: a * a) == 100 * 4
    assert saved_bytes(lambda: a[:50] * a[50:]) == 100 * 4


def test_the_peak_counts_and_not_what_is_left():
    a = torch.ones(100, requires_grad=True)

    def two_that_are_freed():
        for _ in range(2):
            (a * 2).exp().sum().backward()

    assert saved_bytes(two_that_are_freed) == 100 * 4
    assert saved_bytes(lambda: [a.exp(), (a + 1).exp()]) == 2 * 100 * 4


def test_what_another_operation_still_keeps_is_not_freed():
    a, b, c = (torch.ones(100, requires_grad=True) for _ in range(3))

    def some_is_freed():
        kept, freed = a * b, a * c
        del freed
        return kept, a * c, (b + c).exp()

    assert saved_bytes(some_is_freed) == 4 * 100 * 4


def test_nothing_is_kept_without_gradients():
    a = torch.ones(100)
    assert saved_bytes(lambda: a * a) == 0


def test_inner_steps_are_kept_by_second_order_alone():
    model = mlp(generator=torch.Generator().manual_seed(0))
    task = SineTasks(10, 10).sample(torch.Generator().manual_seed(1))

    def kept(steps, first_order):
        options = {"inner_lr": 0.01, "inner_steps": steps, "first_order": first_order}
        return saved_bytes(lambda: maml_loss(model, task, task_by_task=True, **options))

    assert kept(5, True) == kept(1, True) == kept(0, False)
    by_step = [kept(steps, False) for steps in (1, 2, 3)]
    assert by_step[2] - by_step[1] == by_step[1] - by_step[0] > 0
