"""What people hand in: every whole type of label, arrays, lists, half precision, modes.

The table puts kinds of inputs against the functions that answer or train on an episode: each
cell gives what the plain input gives, or a ``ValueError`` that says what was got and expected.
"""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging import from_scratch, nearest_class, nearest_feature, nearest_pixel
from metalearn_lite.maml import (
    MetaSGD,
    maml_loss,
    maml_predict,
    proto_maml_loss,
    proto_maml_predict,
)
from metalearn_lite.models import conv4
from metalearn_lite.prototypes import (
    prototype_logits,
    prototype_loss,
    prototype_predict,
    ridge_head,
    ridge_loss,
    ridge_predict,
    svm_predict,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_loss, reptile_predict, reptile_step
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.tensors import (
    as_data,
    check_classes,
    check_gradients_possible,
    full_precision,
    in_float64,
    unknown_labels,
)
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import as_predict, fine_tune, linear_probe, pretrain

RATE = {"inner_lr": 0.1, "inner_steps": 1}
BY_GRADIENTS = {
    "MAML": partial(maml_predict, **RATE),
    "Reptile": partial(reptile_predict, **RATE),
    "Proto-MAML": partial(proto_maml_predict, **RATE),
    "fine-tuning": as_predict(partial(fine_tune, steps=1, lr=0.1)),
    "from scratch": partial(from_scratch, steps=1, lr=0.1),
}
WITHOUT_GRADIENTS = {
    "prototypes": prototype_predict,
    "ridge": ridge_predict,
    "support vectors": svm_predict,
    "linear probe": as_predict(linear_probe),
    "nearest pixel": nearest_pixel,
    "nearest feature": nearest_feature,
}
PREDICTIONS = BY_GRADIENTS | WITHOUT_GRADIENTS
LOSSES = {
    "loss of MAML": partial(maml_loss, **RATE),
    "loss of Reptile": partial(reptile_loss, **RATE),
    "loss of Proto-MAML": partial(proto_maml_loss, **RATE),
    "loss of prototypes": prototype_loss,
    "loss of ridge": ridge_loss,
}
OUTPUTS_ARE_FIXED = ("MAML", "Reptile", "from scratch", "loss of MAML", "loss of Reptile")


def network():
    return conv4(3, width=8, generator=seeded(0))


def tasks(dtype=torch.float32):
    return ImageTasks(torch.rand(12, 8, 1, 28, 28, generator=seeded(0)).to(dtype), 3, 2, 3)


def drawn(dtype=torch.float32):
    return tasks(dtype).sample(seeded(1))


def parts(episode):
    return episode.support_x, episode.support_y, episode.query_x, episode.query_y


def relabelled(change):
    e = drawn()
    return Episode(e.support_x, change(e.support_y), e.query_x, change(e.query_y))


ALL = PREDICTIONS | LOSSES


def value(name, model, episode):
    return ALL[name](model, episode).detach()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_every_whole_type_are_labels(name, dtype):
    episode = relabelled(lambda y: y.to(dtype))
    assert episode.support_y.dtype == episode.query_y.dtype == torch.int64
    assert torch.equal(value(name, network(), episode), value(name, network(), drawn()))


@pytest.mark.parametrize("name", ALL)
def test_labels_that_say_yes_or_no_are_two_classes(name):
    model = conv4(2, width=8, generator=seeded(0))
    pair = ImageTasks(torch.rand(12, 8, 1, 28, 28, generator=seeded(0)), 2, 2, 3).sample(seeded(1))
    yes = Episode(pair.support_x, pair.support_y > 0, pair.query_x, pair.query_y > 0)
    assert torch.equal(value(name, model, yes), value(name, model, pair))


@pytest.mark.parametrize("name", ALL)
def test_labels_from_1_are_refused_in_words(name):
    with pytest.raises(ValueError, match=r"class \[0\]|from 1 to 3: expected int64 from 0"):
        value(name, network(), relabelled(lambda y: y + 1))


def test_one_hot_labels_are_refused_where_the_episode_is_made():
    with pytest.raises(ValueError, match=r"support_y \(6, 3\): expected one label for each input"):
        relabelled(torch.nn.functional.one_hot)


def test_values_without_a_dimension_for_outputs_are_refused_where_the_episode_is_made():
    with pytest.raises(ValueError, match=r"values of shape \(6,\): expected \(n, outputs\), or"):
        relabelled(torch.Tensor.float)


@pytest.mark.parametrize("name", ALL)
def test_a_class_without_an_example_is_refused_unless_the_network_has_an_output_for_it(name):
    e = drawn()
    known = e.support_y < 2
    missing = Episode(e.support_x[known], e.support_y[known], e.query_x, e.query_y)
    if name in OUTPUTS_ARE_FIXED:
        assert torch.isfinite(value(name, network(), missing)).all()
        return
    with pytest.raises(ValueError, match=r"class \[2\] has no example"):
        value(name, network(), missing)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_queries_without_labels_are_answered(name):
    e = drawn()
    unlabelled = Episode.unlabelled(e.support_x, e.support_y, e.query_x)
    assert torch.equal(value(name, network(), unlabelled), value(name, network(), e))


@pytest.mark.parametrize("name", LOSSES)
def test_queries_without_labels_have_no_loss(name):
    if name == "loss of Reptile":
        return  # of all examples, it asks for their labels
    e = drawn()
    with pytest.raises(ValueError, match=r"labels are .* from -1"):
        LOSSES[name](network(), Episode.unlabelled(e.support_x, e.support_y, e.query_x))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_same_up_to_its_rounding(name, dtype):
    half = value(name, network().to(dtype), drawn(dtype))
    assert half.dtype == dtype and torch.isfinite(half).all()
    e = drawn(dtype)
    same = Episode(e.support_x.double(), e.support_y, e.query_x.double(), e.query_y)
    exact = value(name, network().to(dtype).double(), same)
    torch.testing.assert_close(half.double(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_are_taken_in_every_precision(dtype):
    model = network().to(dtype)
    found = evaluate(model, BY_GRADIENTS["MAML"], tasks(dtype), episodes=3, generator=seeded(2))
    assert found.values.dtype == torch.float64 and 0 <= found.mean <= 1


@pytest.mark.parametrize("name", ALL)
def test_memory_in_another_order_changes_nothing(name):
    e = drawn()
    turned = Episode(
        e.support_x.transpose(-1, -2).contiguous().transpose(-1, -2),
        torch.stack([e.support_y, e.support_y], 1)[:, 0],
        e.query_x.flip(0).flip(0),
        e.query_y[torch.arange(len(e.query_y))],
    )
    assert not turned.support_x.is_contiguous() or turned.support_x.shape[1] == 1
    torch.testing.assert_close(
        value(name, network(), turned), value(name, network(), e), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ALL)
def test_an_expanded_tensor_is_read_and_not_written(name):
    one = torch.rand(1, 1, 28, 28, generator=seeded(3))
    y = torch.arange(3)
    expanded = Episode(one.expand(3, -1, -1, -1), y, one.expand(3, -1, -1, -1), y)
    written = Episode(one.repeat(3, 1, 1, 1), y, one.repeat(3, 1, 1, 1), y)
    before = one.clone()
    torch.testing.assert_close(
        value(name, network(), expanded), value(name, network(), written), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(one, before)


# modes


@pytest.mark.parametrize("name", [*BY_GRADIENTS, *LOSSES])
def test_inference_mode_is_named_where_gradients_are_needed(name):
    if name in ("loss of prototypes", "loss of ridge"):
        return  # a value without a gradient, as under no_grad
    with torch.inference_mode(), pytest.raises(ValueError, match=r"expected torch\.no_grad\(\)"):
        ALL[name](network(), drawn())


@pytest.mark.parametrize("name", WITHOUT_GRADIENTS)
def test_inference_mode_is_a_mode_like_any_other_where_they_are_not(name):
    wanted = value(name, network(), drawn())
    with torch.inference_mode():
        assert torch.equal(value(name, network(), drawn()), wanted)


def test_every_training_names_inference_mode():
    e, model, loss = drawn(), network(), LOSSES["loss of MAML"]
    options = {"iterations": 1, "batch": 2, "generator": seeded(0), "progress": False}
    for train in (
        lambda: meta_train(model, loss, tasks(), **options),
        lambda: pretrain(model, e.support_x, e.support_y, steps=1, generator=seeded(0)),
        lambda: reptile_step(model, e, **RATE),
        lambda: maml_loss(model, e, inner_lr=MetaSGD(model, 0.1).inner_lr, inner_steps=1),
    ):
        with torch.inference_mode(), pytest.raises(ValueError, match=r"expected torch\.no_grad"):
            train()


@pytest.mark.parametrize("name", ALL)
def test_data_that_was_made_in_inference_mode_can_be_learned_from(name):
    with torch.inference_mode():
        data = [part.clone() for part in parts(drawn())]
    assert data[0].is_inference()
    assert torch.equal(value(name, network(), Episode(*data)), value(name, network(), drawn()))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("name", ["MAML", "Reptile", "prototypes", "loss of MAML"])
def test_a_compiled_network_gives_the_same(name):
    model = network()
    compiled = torch.compile(model, backend="eager")
    found = value(name, compiled, drawn())
    torch.testing.assert_close(found, value(name, model, drawn()), rtol=1e-4, atol=1e-5)


# the functions


@pytest.mark.parametrize("made", [np.ones(2), [1, 2], "x", 3.0])
def test_what_is_no_tensor_is_named_with_the_way_to_make_one(made):
    kind = type(made).__name__
    with pytest.raises(ValueError, match=rf"support_x is a {kind}: expected a tensor; torch\.as_"):
        as_data("support_x", made)
    e = drawn()
    with pytest.raises(ValueError, match=rf"query_y is a {kind}: .*Episode\.unlabelled"):
        Episode(e.support_x, e.support_y, e.query_x, made)


def test_complex_numbers_are_named():
    with pytest.raises(ValueError, match=r"support_x holds torch\.complex64: expected real"):
        as_data("support_x", torch.ones(2, dtype=torch.complex64))


def test_inputs_of_whole_numbers_stay_so_and_what_is_right_is_handed_on():
    tokens, images = torch.ones(2, 3, dtype=torch.int32), torch.ones(2)
    assert as_data("support_x", tokens) is tokens and as_data("query_x", images) is images
    labels = torch.tensor([0, 1])
    assert as_data("query_y", labels) is labels


@pytest.mark.parametrize(
    ("support_y", "query_x", "is_batch", "shape"),
    [
        (torch.zeros(4, dtype=torch.int64), torch.ones(3, 5), None, (3,)),
        (torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 3, 5), None, (2, 3)),
        (torch.zeros(4, 1), torch.ones(3, 5), None, (3, 1)),
        (torch.zeros(2, 4, 1), torch.ones(2, 3, 5), None, (2, 3, 1)),
        (torch.zeros(4, 7, dtype=torch.int64), torch.ones(3, 5), False, (3, 7)),
        (torch.zeros(2, 4, 7, dtype=torch.int64), torch.ones(2, 3, 5), True, (2, 3, 7)),
    ],
)
def test_unknown_labels_have_the_shape_of_known_ones(support_y, query_x, is_batch, shape):
    unknown = unknown_labels(support_y, query_x, is_batch)
    assert unknown.shape == shape and unknown.dtype == support_y.dtype
    assert unknown.isnan().all() if support_y.is_floating_point() else (unknown == -1).all()
    support_x = torch.ones(*support_y.shape[: query_x.ndim - 1], query_x.shape[-1])
    episode = Episode.unlabelled(support_x, support_y, query_x, is_batch=is_batch)
    torch.testing.assert_close(episode.query_y, unknown, equal_nan=True)


def test_classes_are_compared_only_where_there_are_any():
    check_classes(torch.tensor([0, 1]), torch.tensor([1, -1]))
    check_classes(torch.tensor([0.5]), torch.tensor([7.0]))
    check_classes(torch.tensor([0]), torch.tensor([], dtype=torch.int64))
    check_classes(torch.tensor([], dtype=torch.int64), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"class \[5\] has no example .* labels go up to 1"):
        check_classes(torch.tensor([0, 1]), torch.tensor([5, 0]))


def test_gradients_are_possible_everywhere_but_in_inference_mode():
    check_gradients_possible()
    with torch.no_grad():
        check_gradients_possible()


def test_float64_is_exact_wherever_it_is_computed():
    x = torch.tensor([1.0, 1e-8])
    assert in_float64(x).dtype == torch.float64 and in_float64(x).tolist() == x.tolist()
    assert in_float64(torch.tensor([True, False])).mean() == 0.5


def test_what_lies_where_there_is_no_float64_goes_to_the_cpu_first():
    def lying_on(device):
        here = SimpleNamespace(double=lambda: "in float64 where it was")
        there = SimpleNamespace(double=lambda: "in float64 on the CPU")
        here.device, here.cpu = SimpleNamespace(type=device), lambda: there
        return here

    assert in_float64(lying_on("mps")) == "in float64 on the CPU"
    assert in_float64(lying_on("cuda")) == "in float64 where it was"


def test_full_precision_changes_half_types_alone():
    for dtype in (torch.float16, torch.bfloat16):
        assert full_precision(torch.ones(1, dtype=dtype)).dtype == torch.float32
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(1, dtype=dtype)
        assert full_precision(x) is x


def one_of_each(function):
    """A function of features and labels, on a thousand classes with one example each."""
    return lambda z, means: function(means, torch.arange(len(means)), z)


def by_a_ridge_head(support, labels, queries):
    weight, bias = ridge_head(support, labels)
    return queries @ weight.T + bias


def plain_ridge(z, means):
    fitted = Ridge(alpha=1.0).fit(means.numpy(), torch.eye(len(means)).numpy())
    return torch.from_numpy(fitted.predict(z.numpy()))


THOUSAND = {
    "prototypes": (prototype_logits, lambda z, c: -torch.cdist(z, c).square()),
    "nearest class": (one_of_each(nearest_class), lambda z, c: -torch.cdist(z, c)),
    "ridge": (one_of_each(by_a_ridge_head), plain_ridge),
}


@pytest.mark.parametrize("name", THOUSAND)
def test_a_thousand_classes_take_no_memory_for_their_differences(name):
    """Inputs and outputs here take 4 MB, all differences would take 600."""
    function, plain = THOUSAND[name]
    z = 100 + torch.randn(300, 512, generator=seeded(0))
    means = 100 + torch.randn(1000, 512, generator=seeded(1))
    with torch.profiler.profile(profile_memory=True, acc_events=True) as seen:
        mine = function(z, means)
    taken = max(event.self_cpu_memory_usage for event in seen.events())
    assert taken < 8 * 2**20
    torch.testing.assert_close(
        mine.double(), plain(z.double(), means.double()), rtol=1e-3, atol=1e-2
    )
