"""The transformer for texts: padding changes nothing, and every method of the course takes it."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.evaluation import evaluate
from metalearn_lite.maml import adapt, maml_loss, maml_predict, plain, proto_maml_loss
from metalearn_lite.models.stacked import stacked_network
from metalearn_lite.prototypes import prototype_loss, prototype_predict
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_loss
from metalearn_lite.tasks import Episode
from metalearn_lite.text import TextClasses, TextEncoder, TextTasks, characters, transformer
from metalearn_lite.text.encoder import positions
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import (
    as_predict,
    features,
    fine_tune,
    linear_probe,
    pretrain,
)
from metalearn_lite.transfer.adapters import lora, merge_adapters

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
STEPS = {"inner_lr": 0.1, "inner_steps": 2}


def words(letters, n):
    drawn = torch.randint(len(letters), (n, 8), generator=seeded(len(letters) + ord(letters[0])))
    return tuple("".join(letters[i] for i in row[: 3 + k % 5]) for k, row in enumerate(drawn))


# each "language" has a letter of its own besides those that all have
CLASSES = TextClasses(
    tuple(words("abc" + 2 * own, 12) for own in "rstuvwxyz"), tuple("rstuvwxyz"), tuple("rstuvwxyz")
)
TOKENS = characters(CLASSES)
TASKS = TextTasks(CLASSES, 3, 2, 3, tokens=TOKENS)


def network(outputs=3, width=8, layers=1, **options):
    sizes = {"width": width, "heads": 2, "layers": layers} | options
    return transformer(len(TOKENS), outputs, generator=seeded(0), **sizes).double()


def rows():
    return TOKENS.encode([text for own in CLASSES.texts for text in own[:2]])


def test_more_padding_changes_no_logit():
    model, x = network(layers=2), rows()
    wanted = model(x)
    for more in (1, 30):
        torch.testing.assert_close(model(F.pad(x, (0, more))), wanted, **CLOSE)
    single = model.float()
    torch.testing.assert_close(single(F.pad(x, (0, 30))), single(x), rtol=1e-5, atol=1e-6)


def test_a_text_is_read_alone_and_to_its_end():
    model, x = network(layers=2), rows()
    for i in range(len(x)):
        own = x[i : i + 1, : int((x[i] != 0).sum())]
        torch.testing.assert_close(model(own), model(x)[i : i + 1], **CLOSE)
        changed = own.clone()
        changed[0, -2] = 3 if own[0, -2] != 3 else 4
        assert (model(changed) - model(own)).abs().max() > 1e-6


def test_the_order_of_letters_counts():
    model = network()
    one, two = model(TOKENS.encode(["abr", "rba"]))
    assert (one - two).abs().max() > 1e-6


def test_nothing_but_padding_gives_finite_features_and_gradients():
    model = network()
    model(torch.zeros(2, 4, dtype=torch.int64)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_positions_are_sines_and_cosines_and_all_differ():
    found = positions(50, 6)
    for place in (0, 1, 49):
        rates = [1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)]
        wanted = [f(place * rate) for f in (math.sin, math.cos) for rate in rates]
        assert found[place].tolist() == pytest.approx(wanted, abs=1e-5)
    assert (torch.cdist(found, found) + torch.eye(50)).min() > 1e-3
    assert positions(3, 5).shape == (3, 5) and torch.equal(positions(3, 6), found[:3])


def test_features_are_the_mean_over_the_tokens_that_are_there():
    """Without layers and with an embedding of numbers that is known."""
    encoder = TextEncoder(5, width=4, heads=1, layers=1).double()
    encoder.layers = torch.nn.ModuleList()
    x = torch.tensor([[2, 3, 4, 0, 0]])
    each = encoder.norm(encoder.embedding(x[0, :3]) + positions(3, 4))
    torch.testing.assert_close(encoder(x)[0], each.mean(dim=0), **CLOSE)


def test_the_generator_decides_the_weights():
    one, two = network(), network()
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    other = transformer(len(TOKENS), 3, width=8, heads=2, layers=1, generator=seeded(1))
    assert not torch.equal(other.features.embedding.weight.double(), one.features.embedding.weight)


# methods


def test_the_fast_path_of_maml_does_not_know_it_and_the_plain_one_is_taken():
    model, batch = network(), TASKS.sample(seeded(1), 2)
    assert stacked_network(model, batch.support_x) is None
    found = maml_loss(model, batch, **STEPS)
    wanted = plain.maml_loss(model, batch, **STEPS)
    torch.testing.assert_close(found, wanted, **CLOSE)
    names = list(dict(model.named_parameters()))
    grads = (torch.autograd.grad(loss, model.parameters()) for loss in (found, wanted))
    for name, a, b in zip(names, *grads, strict=True):
        torch.testing.assert_close(a, b, msg=name, **CLOSE)


def test_the_meta_gradient_through_attention_is_a_central_difference():
    model, batch = network(layers=2), TASKS.sample(seeded(1), 2)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    drawn, h = seeded(2), 1e-5
    along = {n: torch.randn(p.shape, generator=drawn, dtype=p.dtype) for n, p in start.items()}

    def loss(step, first_order=False):
        model.load_state_dict({name: p + step * along[name] for name, p in start.items()})
        return maml_loss(model, batch, first_order=first_order, **STEPS)

    def along_gradient(**options):
        gradients = torch.autograd.grad(loss(0.0, **options), list(model.parameters()))
        return sum((g * a).sum() for g, a in zip(gradients, along.values(), strict=True)).item()

    difference = (loss(h) - loss(-h)).item() / (2 * h)
    assert along_gradient() == pytest.approx(difference, rel=1e-6)
    assert along_gradient(first_order=True) != pytest.approx(difference, rel=1e-3)


def test_prototypes_do_not_depend_on_the_order_of_the_support_set():
    model, task = network(), TASKS.sample(seeded(1))
    order = torch.randperm(6, generator=seeded(2))
    mixed = Episode(task.support_x[order], task.support_y[order], task.query_x, task.query_y)
    for predict in (prototype_predict, partial(maml_predict, **STEPS), as_predict(linear_probe)):
        close = CLOSE if predict is prototype_predict else {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(predict(model, mixed), predict(model, task), **close)


@pytest.mark.parametrize(
    "objective",
    [
        prototype_loss,
        partial(maml_loss, **STEPS),
        partial(maml_loss, head_only=True, **STEPS),
        partial(proto_maml_loss, **STEPS),
        partial(reptile_loss, **STEPS),
    ],
    ids=["prototypes", "MAML", "ANIL", "Proto-MAML", "Reptile"],
)
def test_an_objective_of_a_batch_is_the_mean_of_those_of_its_tasks(objective):
    model, batch = network(), TASKS.sample(seeded(1), 2)
    tasks = [objective(model, task) for task in batch.unbind()]
    torch.testing.assert_close(objective(model, batch), sum(tasks) / 2, **CLOSE)


def test_adaptation_of_several_tasks_is_that_of_each():
    model, batch = network(), TASKS.sample(seeded(1), 2)
    params = dict(model.named_parameters())
    together = adapt(model, params, batch.support_x, batch.support_y, **STEPS)
    for i, task in enumerate(batch.unbind()):
        alone = adapt(model, params, task.support_x, task.support_y, **STEPS)
        for name in params:
            torch.testing.assert_close(together[name][i], alone[name], **CLOSE)


def test_pretraining_probe_and_low_rank_adapters_take_it():
    texts, y = CLASSES.flatten()
    x = TOKENS.encode(texts)
    start = network(outputs=9, width=16)
    trained = pretrain(start, x, y, steps=60, generator=seeded(3), minibatch=32, lr=1e-2)
    assert (trained(x).argmax(dim=1) == y).double().mean() > 0.6
    assert features(trained, x).shape == (108, 16)
    task = TASKS.sample(seeded(4))
    probed = linear_probe(trained, task.support_x, task.support_y)
    low = lora(probed, rank=1, generator=seeded(5))
    assert torch.equal(low(task.query_x), probed(task.query_x))
    tuned = fine_tune(low, task.support_x, task.support_y, steps=3, lr=0.1)
    changed = [n for n, p in tuned.named_parameters() if not torch.equal(p, low.get_parameter(n))]
    assert any("attention.query.A" in n or "attention.query.B" in n for n in changed)
    assert not any("embedding" in n or "layer.weight" in n for n in changed)
    merged = merge_adapters(tuned)
    torch.testing.assert_close(merged(task.query_x), tuned(task.query_x), **CLOSE)


def test_trained_by_prototypes_it_tells_texts_apart_better():
    model = network(width=16).float()
    score = partial(evaluate, model, prototype_predict, TASKS, episodes=40)
    before = score(generator=seeded(1)).mean
    rate = torch.optim.Adam(model.parameters(), lr=5e-3)
    options = {"iterations": 60, "batch": 2, "generator": seeded(2), "progress": False}
    meta_train(model, prototype_loss, TASKS, optimizer=rate, **options)
    assert score(generator=seeded(1)).mean > before + 0.15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network()(rows().int()), "tokens are torch.int32"),
        (lambda: network()(rows().double()), "tokens are torch.float64"),
        (lambda: network()(rows() + 10), rf"to \d+: expected int64 from 0 to {len(TOKENS) - 1}"),
        (lambda: network()(rows() - 1), "from -1 to"),
        (lambda: transformer(0, 2), "tokens is 0"),
        (lambda: transformer(9, 0), "outputs is 0"),
        (lambda: transformer(9, 2, layers=0), "layers is 0"),
        (lambda: transformer(9, 2, width=6), "width is 6: expected a multiple of heads"),
    ],
)
def test_what_cannot_be_meant_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
