"""Every structure of network through every function that takes one: right, or refused in words.

A row is a network that people bring, a column a public function. Each cell is compared in float64
with the same thing done plainly, on copies, by code that shares nothing with the package; or it
raises a ``ValueError`` that is listed here. In every cell the network that came in is afterwards
the same, by value and by identity of its tensors.
"""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from metalearn_lite.checks import (
    check_batch,
    check_gradient,
    check_predict,
    check_running_statistics,
    check_unchanged,
)
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging import activations, from_scratch, nearest_feature, scratch_learn
from metalearn_lite.maml import (
    MetaSGD,
    adapt,
    implicit_maml_learn,
    implicit_maml_loss,
    implicit_maml_predict,
    implicit_maml_residuals,
    maml_learn,
    maml_loss,
    maml_predict,
    meta_sgd_learn,
    proto_maml_learn,
    proto_maml_loss,
    proto_maml_predict,
)
from metalearn_lite.models import Network, new_head
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.multitask import MultiTask, task_gradients, task_losses, train_together
from metalearn_lite.prototypes import (
    LearnedRidge,
    logistic_head,
    prototype_learn,
    prototype_loss,
    prototype_predict,
    prototypes,
    ridge_head,
    ridge_learn,
    ridge_loss,
    ridge_predict,
    svm_predict,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_loss, reptile_predict, reptile_step
from metalearn_lite.tasks import Episode
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import (
    as_predict,
    features,
    fine_tune,
    fine_tune_learn,
    linear_probe,
    lp_ft_learn,
    pretrain,
    probe_learn,
)

WAYS, TASKS, LR, STEPS = 3, 2, 0.1, 2
RATE = {"inner_lr": LR, "inner_steps": STEPS}
TIED = {"penalty": 20.0, **RATE}  # to the start of implicit MAML
D = 6  # features of every network


# Structures. Each is what comes before the head, and the shape of one input.


class TwoNames(nn.Module):
    """A layer that is an attribute, and stands in a Sequential besides."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, D)
        self.net = nn.Sequential(self.layer, nn.Tanh())

    def forward(self, x):
        return self.net(x)


class TiedWeights(nn.Module):
    """Two layers with one weight, as an autoencoder or a language model has them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(D, D), nn.Linear(D, D)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).tanh())


class Listed(nn.Module):
    """Layers in a ModuleList, in another order than they are called in."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, D), nn.Linear(4, 5)])

    def forward(self, x):
        return self.layers[0](self.layers[1](x).tanh())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, D, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(D, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0].mean(dim=1)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(D, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, x):
        return self.layer(x).mean(dim=1)


class Branching(nn.Module):
    """A forward pass that no list of layers describes: a layer is used twice."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(D, D), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x + self.scale * self.layer(self.layer(x).relu())


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, D)

    def forward(self, x):
        return self.embedding(x).mean(dim=1)


class Pair(Network):
    """A network that returns two things."""

    def forward(self, x):
        return super().forward(x), x


def frozen():
    layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, D))
    layers[0].requires_grad_(False)
    return layers


def running(training):
    return nn.Sequential(nn.Linear(4, D), nn.BatchNorm1d(D), nn.Tanh()).train(training)


class Remembering(TwoNames):
    """Running statistics in a layer that is reached by two names."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(D)
        self.net = nn.Sequential(self.layer, self.norm, nn.Tanh())
        self.eval()


def images(*layers):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


STRUCTURES = {
    "a layer under two names": (TwoNames, (4,)),
    "tied weights": (TiedWeights, (D,)),
    "a ModuleList": (Listed, (4,)),
    "frozen layers": (frozen, (4,)),
    "a layer used twice": (Branching, (D,)),
    "layers over time steps": (
        lambda: nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, D)),
        (4, 3),
    ),
    "as many time steps as examples": (
        lambda: nn.Sequential(nn.Linear(3, 2, bias=False), nn.Flatten(), nn.Linear(12, D)),
        (6, 3),
    ),
    "group norm of vectors over time": (
        lambda: nn.Sequential(nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(9, D)),
        (3, 3),
    ),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, D), nn.LayerNorm(D), nn.GELU()), (4,)),
    "convolution over time": (
        lambda: nn.Sequential(nn.Conv1d(2, D, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        (2, 7),
    ),
    "convolution of volumes": (
        lambda: nn.Sequential(nn.Conv3d(1, D, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()),
        (1, 3, 3, 3),
    ),
    "images of height 1": (lambda: images(nn.Conv2d(1, D, (1, 3)), nn.ReLU()), (1, 1, 8)),
    "images of width 1": (
        lambda: images(nn.Conv2d(1, D, (3, 1)), nn.ReLU(), nn.Conv2d(D, D, 1)),
        (1, 8, 1),
    ),
    "transposed convolution": (lambda: images(nn.ConvTranspose2d(1, D, 2), nn.ReLU()), (1, 3, 3)),
    "grouped, dilated convolution": (
        lambda: images(nn.Conv2d(2, D, 2, groups=2, dilation=2), nn.ReLU()),
        (2, 5, 5),
    ),
    "max-pooling": (lambda: images(nn.Conv2d(1, D, 3), nn.MaxPool2d(2), nn.ReLU()), (1, 6, 6)),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, D), nn.Dropout(0.5), nn.Tanh()), (4,)),
    "running statistics in use": (lambda: running(training=False), (4,)),
    "running statistics that move": (lambda: running(training=True), (4,)),
    "running statistics under two names": (Remembering, (4,)),
    "weight norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, D)),
        (4,),
    ),
    "orthogonal weights": (
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(D, D), use_trivialization=False),
        (D,),
    ),
    "an LSTM": (Recurrent, (4, 3)),
    "attention": (Attentive, (3, D)),
    "a transformer's layer": (Transformer, (3, D)),
    "a transformer's layer in evaluation": (lambda: Transformer().eval(), (3, D)),
    "tokens": (Tokens, (5,)),
    "two outputs": (lambda: nn.Sequential(nn.Linear(4, D), nn.Tanh()), (4,)),
    "a head of two layers": (lambda: nn.Sequential(nn.Linear(4, D), nn.Tanh()), (4,)),
    "a hook": (lambda: nn.Sequential(nn.Linear(4, D), nn.Tanh()), (4,)),
}


def build(name):
    torch.manual_seed(0)
    make, _ = STRUCTURES[name]
    body, head = make(), nn.Linear(D, WAYS)
    if name == "a head of two layers":
        head = nn.Sequential(nn.Linear(D, 5), nn.ReLU(), nn.Linear(5, WAYS))
    if name == "a hook":
        body[0].register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    model = (Pair if name == "two outputs" else Network)(body, head).double()
    model.train(body.training)
    return model


def draw(name):
    """Two tasks of 3 ways, 2 examples and 1 query a class."""
    shape, lead = STRUCTURES[name][1], (TASKS,)
    generator = seeded(1)

    def inputs(n):
        if name == "tokens":
            return torch.randint(7, (*lead, n, *shape), generator=generator)
        return torch.randn(*lead, n, *shape, generator=generator, dtype=torch.float64)

    labels = torch.arange(WAYS).repeat(2).expand(*lead, -1)
    return Episode(inputs(2 * WAYS), labels, inputs(WAYS), labels[:, :WAYS], is_batch=True)


# The plain way: copies whose tensors are exchanged where they stand.


def with_parameters(model, params):
    """A copy in which each named parameter is another tensor, that a gradient can follow."""
    other = copy.deepcopy(model)
    names = {id(p): name for name, p in other.named_parameters()}
    for module in other.modules():
        for key, p in list(module._parameters.items()):
            if p is not None and names[id(p)] in params:
                del module._parameters[key]
                setattr(module, key, params[names[id(p)]])
    return other


def trained(model, prefix=""):
    return {n: p for n, p in model.named_parameters() if p.requires_grad and n.startswith(prefix)}


def loss_of(model, params, x, y):
    return F.cross_entropy(with_parameters(model, params)(x), y)


def descend(model, params, x, y, *, first_order=False, steps=STEPS):
    for _ in range(steps):
        loss = loss_of(model, trained(model) | params, x, y)
        gradients = torch.autograd.grad(
            loss, list(params.values()), create_graph=not first_order, materialize_grads=True
        )
        params = {n: p - LR * g for (n, p), g in zip(params.items(), gradients, strict=True)}
    return params


def ends(model, task, **options):
    adapted = descend(model, trained(model), task.support_x, task.support_y, **options)
    return {name: p.detach() for name, p in adapted.items()}


def slopes(model, loss):
    params = list(trained(model).values())
    return [loss.detach(), *torch.autograd.grad(loss, params, materialize_grads=True)]


def plain_maml(model, episode, *, first_order=False, prefix=""):
    start = trained(model, prefix)
    losses = []
    for t in episode.unbind():
        adapted = descend(model, start, t.support_x, t.support_y, first_order=first_order)
        losses.append(loss_of(model, trained(model) | adapted, t.query_x, t.query_y))
    return slopes(model, torch.stack(losses).mean())


def each(episode, answer):
    return torch.stack([answer(t) for t in episode.unbind()]).detach()


def plain_predict(model, episode, **options):
    return each(episode, lambda t: with_parameters(model, ends(model, t, **options))(t.query_x))


def plain_reptile(model, episode):
    """Where the mean of the tasks lies, from steps on all of their examples."""
    found = []
    for t in episode.unbind():
        x, y = torch.cat([t.support_x, t.query_x]), torch.cat([t.support_y, t.query_y])
        found.append(descend(model, trained(model), x, y))
    return {n: torch.stack([f[n].detach() for f in found]).mean(dim=0) for n in trained(model)}


def plain_features(model, x):
    return copy.deepcopy(model).features(x)


def on_features(function, model, episode):
    """The function on features that were computed before: nothing is left of the structure."""
    bare = Network(nn.Identity(), nn.Linear(D, WAYS)).double()
    with torch.no_grad():
        tasks = [
            Episode(
                plain_features(model, t.support_x),
                t.support_y,
                plain_features(model, t.query_x),
                t.query_y,
            )
            for t in episode.unbind()
        ]
        return torch.stack([function(bare, t) for t in tasks])


def plain_heads(model, episode, logits):
    losses = []
    for t in episode.unbind():
        net = with_parameters(model, trained(model)).features
        support, queries = net(t.support_x), net(t.query_x)
        losses.append(F.cross_entropy(logits(support, t.support_y, queries), t.query_y))
    return slopes(model, torch.stack(losses).mean())


def by_means(support, labels, queries):
    return -torch.cdist(queries, prototypes(support, labels)).square()


def by_ridge(support, labels, queries):
    weight, bias = ridge_head(support, labels)
    return queries @ weight.T + bias


def plain_tuned(model, t, count):
    """Steps of torch.optim.SGD on a copy."""
    tuned = copy.deepcopy(model)
    optimizer = torch.optim.SGD(tuned.parameters(), lr=LR)
    for _ in range(count):
        optimizer.zero_grad()
        F.cross_entropy(tuned(t.support_x), t.support_y).backward()
        optimizer.step()
    return tuned(t.query_x)


def plain_pretrained(model, t):
    tuned, generator = copy.deepcopy(model), seeded(0)
    optimizer = torch.optim.Adam(tuned.parameters(), lr=LR)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = LR * (1 - step / STEPS)
        chosen = torch.randint(len(t.support_x), (4,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(tuned(t.support_x[chosen]), t.support_y[chosen]).backward()
        optimizer.step()
    return tuned(t.query_x)


def together(model, episode):
    """A MultiTask with the features as trunk: the gradient of each of two losses."""
    t, shared = first(episode), two_heads(model)
    targets = {"one": t.support_y, "two": t.support_y.double().unsqueeze(1)}
    losses = task_losses(shared(t.support_x), targets)
    return task_gradients(losses, list(trained(model.features).values()))


def plain_together(model, episode):
    t = next(episode.unbind())
    params = trained(model.features)
    z = with_parameters(model.features, params)(t.support_x)
    same = z.new_full((WAYS, D), 0.1)
    one = F.cross_entropy(z @ same.T + 0.1, t.support_y)
    two = F.mse_loss(z @ same[:1].T + 0.1, t.support_y.double().unsqueeze(1))
    found = {}
    for name, loss in (("one", one), ("two", two)):
        gradients = torch.autograd.grad(
            loss, list(params.values()), retain_graph=True, materialize_grads=True
        )
        found[name] = torch.cat([g.flatten() for g in gradients])
    return found


class Fixed:
    """Tasks that are always the same one."""

    def __init__(self, episode):
        self.episode = episode

    def sample(self, generator, batch=None):
        return self.episode


def first(episode):
    return next(episode.unbind())


def meta_sgd(model, episode):
    learner = MetaSGD(model, LR)
    return slopes(model, maml_loss(model, episode, inner_lr=learner.inner_lr, inner_steps=STEPS))


def gradients_agree(model, episode):
    """The check of gradients itself, which moves the weights and puts them back."""
    objective = partial(maml_loss, inner_lr=LR, inner_steps=1)
    return torch.tensor(check_gradient(objective, model, episode, directions=1) < 1e-4)


def batch_agrees(model, episode):
    objective = partial(maml_loss, inner_lr=LR, inner_steps=1)
    return torch.tensor(check_batch(objective, model, episode) < 1e-8)


def scored(model, episode):
    predict = partial(maml_predict, **RATE)
    return evaluate(model, predict, Fixed(first(episode)), episodes=2, generator=seeded(0)).values


def plain_scored(model, episode):
    t = first(episode)
    right = with_parameters(model, ends(model, t))(t.query_x).argmax(dim=1) == t.query_y
    return right.double().mean().expand(2)


def proto_start(model, t):
    """All that is trained, apart from what the means were made of, and the head of the means."""
    net = with_parameters(model, trained(model)).features
    means = prototypes(net(t.support_x), t.support_y)
    body = {n: p.clone() for n, p in trained(model).items() if not n.startswith("head.")}
    return body | {"head.weight": 2 * means, "head.bias": -means.square().sum(dim=1)}


def plain_proto_maml(model, episode):
    losses = []
    for t in episode.unbind():
        adapted = descend(model, proto_start(model, t), t.support_x, t.support_y)
        losses.append(loss_of(model, adapted, t.query_x, t.query_y))
    return slopes(model, torch.stack(losses).mean())


def plain_tied(model, t):
    """Steps on one task, each drawn back to the start."""
    start = {n: p.detach().clone() for n, p in trained(model).items()}
    at, pull = start, LR * TIED["penalty"]
    for _ in range(STEPS):
        leaves = {n: p.detach().requires_grad_() for n, p in at.items()}
        slope = grads(loss_of(model, leaves, t.support_x, t.support_y), leaves)
        stepped = {n: p.detach() - LR * g for (n, p), g in zip(leaves.items(), slope, strict=True)}
        at = {n: (p + pull * start[n]) / (1 + pull) for n, p in stepped.items()}
    return {n: p.requires_grad_() for n, p in at.items()}


def grads(value, by, **options):
    return torch.autograd.grad(value, list(by.values()), materialize_grads=True, **options)


def plain_implicit(model, episode):
    """Two steps of conjugate gradients for each task, by the book; the mean, split as weights."""
    found, losses, residuals = [], [], []
    for t in episode.unbind():
        at = plain_tied(model, t)
        query_loss = loss_of(model, at, t.query_x, t.query_y)
        slope = grads(loss_of(model, at, t.support_x, t.support_y), at, create_graph=True)
        slope, right = (torch.cat([g.flatten() for g in s]) for s in (slope, grads(query_loss, at)))
        x, rest, way = torch.zeros_like(right), right, right
        for _ in range(2):
            bent = grads(slope @ way, at, retain_graph=True) if slope.requires_grad else [0 * way]
            image = way + torch.cat([b.flatten() for b in bent]) / TIED["penalty"]
            length = rest @ rest / (way @ image)
            x, left = x + length * way, rest - length * image
            rest, way = left, left + left @ left / (rest @ rest) * way
        found.append(x)
        losses.append(query_loss.detach())
        residuals.append(rest.norm() / right.norm())
    parts = torch.stack(found).mean(dim=0).split([p.numel() for p in trained(model).values()])
    weights = trained(model).values()
    by_each = [part.view_as(p) for part, p in zip(parts, weights, strict=True)]
    return [torch.stack(losses).mean(), *by_each], torch.stack(residuals)


def plain_proto_answer(model, t):
    adapted = descend(model, proto_start(model, t), t.support_x, t.support_y)
    return with_parameters(model, adapted)(t.query_x).detach()


def learned_ridge(model, episode):
    learner = LearnedRidge(model, penalty=0.5, scale=2.0)
    loss = ridge_loss(model, episode, penalty=learner.penalty, scale=learner.scale)
    learned = [learner.log_penalty, learner.log_scale]
    return [*torch.autograd.grad(loss, learned, retain_graph=True), *slopes(model, loss)]


def plain_learned_ridge(model, episode):
    learned = [torch.tensor(v, dtype=torch.float64).log().requires_grad_() for v in (0.5, 2.0)]
    losses = []
    for t in episode.unbind():
        net = with_parameters(model, trained(model)).features
        support, queries = net(t.support_x), net(t.query_x)
        weight, bias = ridge_head(support, t.support_y, penalty=learned[0].exp())
        logits = learned[1].exp() * (queries @ weight.T + bias)
        losses.append(F.cross_entropy(logits, t.query_y))
    loss = torch.stack(losses).mean()
    return [*torch.autograd.grad(loss, learned, retain_graph=True), *slopes(model, loss)]


def two_heads(model):
    shared = MultiTask(model.features, {"one": nn.Linear(D, WAYS), "two": nn.Linear(D, 1)}).double()
    for p in shared.heads.parameters():
        nn.init.constant_(p, 0.1)
    return shared


def all_values(model):
    return {n: p.detach() for n, p in model.named_parameters()}


def trained_together(model, episode):
    t = first(episode)
    targets = {"one": t.support_y, "two": t.support_y.double().unsqueeze(1)}
    options = {"steps": STEPS, "minibatch": 4, "lr": LR, "generator": seeded(0)}
    return all_values(train_together(two_heads(model), t.support_x, targets, **options))


def plain_trained_together(model, episode):
    t, generator = first(episode), seeded(0)
    shared = copy.deepcopy(two_heads(model))
    optimizer = torch.optim.Adam(shared.parameters(), lr=LR)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = LR * (1 - step / STEPS)
        rows = torch.randint(len(t.support_x), (4,), generator=generator)
        out, labels = shared(t.support_x[rows]), t.support_y[rows]
        optimizer.zero_grad()
        one = F.cross_entropy(out["one"], labels)
        (one + F.mse_loss(out["two"], labels.double().unsqueeze(1))).backward()
        optimizer.step()
    return all_values(shared)


def meta_trained(model, episode):
    trained_copy = copy.deepcopy(model)
    meta_train(
        trained_copy,
        lambda m, e: F.cross_entropy(m(e.support_x), e.support_y),
        Fixed(first(episode)),
        iterations=STEPS,
        batch=None,
        generator=seeded(0),
        optimizer=torch.optim.SGD(trained_copy.parameters(), lr=LR),
        schedule=None,
        progress=False,
    )
    return all_values(trained_copy)


def plain_meta_trained(model, episode):
    tuned, t = copy.deepcopy(model), first(episode)
    optimizer = torch.optim.SGD(tuned.parameters(), lr=LR)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(tuned(t.support_x), t.support_y).backward()
        optimizer.step()
    return all_values(tuned)


def with_head(model, weight, bias):
    other = copy.deepcopy(model)
    other.head = nn.Linear(D, WAYS).double()
    other.head.weight.data.copy_(weight)
    other.head.bias.data.copy_(bias)
    return other


def plain_probe(model, t):
    return with_head(model, *logistic_head(plain_features(model, t.support_x), t.support_y))


def plain_fine_tuned(model, t):
    start = with_head(model, torch.zeros(WAYS, D), torch.zeros(WAYS))
    return plain_tuned(start, t, STEPS).detach()


def all_drawn(model, episode):
    """Whether a seed, and nothing else, decides all weights."""
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        drawn.append(all_values(initialise(copy.deepcopy(model), seeded(0))))
    for name, old in all_values(model).items():
        same = "norm" in name or torch.equal(old, torch.ones_like(old))  # begin as they are
        same |= not old.any()
        assert torch.equal(drawn[0][name], drawn[1][name]), name
        assert same or not torch.equal(drawn[0][name], old), name
    return torch.tensor(True)


def relu_outputs(model, episode):
    return activations(model, trained(model), first(episode).support_x)


def plain_relu_outputs(model, episode):
    seen, other = [], copy.deepcopy(model)
    for layer in other.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda _, __, out: seen.append(out.detach().flatten(1)))
    out = other(first(episode).support_x)
    return [*seen, out.detach()]


def dependence(model, episode):
    task, other = episode.unbind()
    found = check_predict(partial(maml_predict, **RATE), model, task, other=other)
    return torch.tensor(found.transductive)


def checked_statistics(model, episode):
    return torch.tensor(check_running_statistics(model, first(episode).support_x) is None)


def answered(learn, model, t, **options):
    with torch.no_grad():
        return learn(model, t, **options)(t.query_x)


# name: what the package does, and the same done plainly.
COLUMNS = {
    "maml_loss": (lambda m, e: slopes(m, maml_loss(m, e, **RATE)), plain_maml),
    "maml_loss, first order": (
        lambda m, e: slopes(m, maml_loss(m, e, first_order=True, **RATE)),
        partial(plain_maml, first_order=True),
    ),
    "maml_loss, head only": (
        lambda m, e: slopes(m, maml_loss(m, e, head_only=True, **RATE)),
        partial(plain_maml, prefix="head."),
    ),
    "MetaSGD": (meta_sgd, plain_maml),
    "adapt": (
        lambda m, e: adapt(m, trained(m), e.support_x, e.support_y, is_batch=True, **RATE),
        lambda m, e: {
            n: torch.stack(list(f))
            for n, *f in zip(trained(m), *(ends(m, t).values() for t in e.unbind()), strict=True)
        },
    ),
    "implicit_maml_loss": (
        lambda m, e: slopes(m, implicit_maml_loss(m, e, cg_steps=2, **TIED)),
        lambda m, e: plain_implicit(m, e)[0],
    ),
    "implicit_maml_residuals": (
        lambda m, e: implicit_maml_residuals(m, e, cg_steps=2, **TIED).outer,
        lambda m, e: plain_implicit(m, e)[1],
    ),
    "implicit_maml_predict": (
        lambda m, e: implicit_maml_predict(m, e, **TIED),
        lambda m, e: each(e, lambda t: with_parameters(m, plain_tied(m, t))(t.query_x)),
    ),
    "implicit_maml_learn": (
        lambda m, e: answered(implicit_maml_learn, m, first(e), **TIED),
        lambda m, e: with_parameters(m, plain_tied(m, first(e)))(first(e).query_x).detach(),
    ),
    "maml_predict": (lambda m, e: maml_predict(m, e, **RATE), plain_predict),
    "maml_predict, one by one": (
        lambda m, e: maml_predict(m, e, statistics="single", **RATE),
        lambda m, e: each(
            e,
            lambda t: torch.cat(
                [with_parameters(m, ends(m, t))(x.unsqueeze(0)) for x in t.query_x]
            ),
        ),
    ),
    "maml_learn": (
        lambda m, e: answered(maml_learn, m, first(e), **RATE),
        lambda m, e: with_parameters(m, ends(m, first(e)))(first(e).query_x),
    ),
    "meta_sgd_learn": (
        lambda m, e: answered(meta_sgd_learn, MetaSGD(m, LR), first(e), inner_steps=STEPS),
        lambda m, e: with_parameters(m, ends(m, first(e)))(first(e).query_x),
    ),
    "reptile_step": (lambda m, e: reptile_step(m, e, **RATE), plain_reptile),
    "reptile_loss": (
        lambda m, e: slopes(m, reptile_loss(m, e, **RATE))[1:],
        lambda m, e: [trained(m)[n].detach() - p for n, p in plain_reptile(m, e).items()],
    ),
    "reptile_predict": (lambda m, e: reptile_predict(m, e, **RATE), plain_predict),
    "from_scratch": (lambda m, e: from_scratch(m, e, steps=STEPS, lr=LR), plain_predict),
    "scratch_learn": (
        lambda m, e: answered(scratch_learn, m, first(e), steps=STEPS, lr=LR),
        lambda m, e: with_parameters(m, ends(m, first(e)))(first(e).query_x),
    ),
    "prototype_loss": (
        lambda m, e: slopes(m, prototype_loss(m, e)),
        lambda m, e: plain_heads(m, e, by_means),
    ),
    "ridge_loss": (
        lambda m, e: slopes(m, ridge_loss(m, e)),
        lambda m, e: plain_heads(m, e, by_ridge),
    ),
    "prototype_predict": (prototype_predict, partial(on_features, prototype_predict)),
    "ridge_predict": (ridge_predict, partial(on_features, ridge_predict)),
    "svm_predict": (svm_predict, partial(on_features, svm_predict)),
    "nearest_feature": (nearest_feature, lambda m, e: nearest_of_all(m, e)),
    "proto_maml_loss": (lambda m, e: slopes(m, proto_maml_loss(m, e, **RATE)), plain_proto_maml),
    "proto_maml_predict": (
        lambda m, e: proto_maml_predict(m, e, **RATE),
        lambda m, e: each(e, partial(plain_proto_answer, m)),
    ),
    "proto_maml_learn": (
        lambda m, e: answered(proto_maml_learn, m, first(e), **RATE),
        lambda m, e: plain_proto_answer(m, first(e)),
    ),
    "LearnedRidge": (learned_ridge, plain_learned_ridge),
    "ridge_learn": (
        lambda m, e: answered(ridge_learn, LearnedRidge(m), first(e)),
        lambda m, e: on_features(ridge_predict, m, e)[0],
    ),
    "prototype_learn": (
        lambda m, e: answered(prototype_learn, m, first(e)),
        lambda m, e: on_features(prototype_predict, m, e)[0],
    ),
    "probe_learn": (
        lambda m, e: answered(probe_learn, m, first(e)),
        lambda m, e: plain_probe(m, first(e))(first(e).query_x).detach(),
    ),
    "fine_tune_learn": (
        lambda m, e: answered(fine_tune_learn, m, first(e), steps=STEPS, lr=LR),
        lambda m, e: plain_fine_tuned(m, first(e)),
    ),
    "lp_ft_learn": (
        lambda m, e: answered(lp_ft_learn, m, first(e), steps=STEPS, lr=LR),
        lambda m, e: plain_tuned(plain_probe(m, first(e)), first(e), STEPS).detach(),
    ),
    "as_predict": (
        lambda m, e: as_predict(partial(fine_tune, steps=STEPS, lr=LR))(m, e),
        lambda m, e: each(e, partial(plain_fine_tuned, m)),
    ),
    "new_head": (
        lambda m, e: new_head(m, 5).head(plain_features(m, first(e).query_x)).detach(),
        lambda m, e: torch.zeros(WAYS, 5).double(),
    ),
    "train_together": (trained_together, plain_trained_together),
    "meta_train": (meta_trained, plain_meta_trained),
    "initialise": (all_drawn, lambda m, e: torch.tensor(True)),
    "activations": (relu_outputs, plain_relu_outputs),
    "check_predict": (dependence, lambda m, e: torch.tensor(False)),
    "check_running_statistics": (checked_statistics, lambda m, e: torch.tensor(True)),
    "features": (
        lambda m, e: features(m, first(e).support_x),
        lambda m, e: plain_features(m, first(e).support_x).detach(),
    ),
    "linear_probe": (
        lambda m, e: probed(m, first(e)),
        lambda m, e: head_of(
            *logistic_head(plain_features(m, first(e).support_x), first(e).support_y)
        ),
    ),
    "fine_tune": (
        lambda m, e: fine_tune(m, first(e).support_x, first(e).support_y, steps=STEPS, lr=LR)(
            first(e).query_x
        ).detach(),
        lambda m, e: plain_tuned(m, first(e), STEPS).detach(),
    ),
    "pretrain": (
        lambda m, e: pretrain(
            m,
            first(e).support_x,
            first(e).support_y,
            steps=STEPS,
            generator=seeded(0),
            minibatch=4,
            lr=LR,
        )(first(e).query_x).detach(),
        lambda m, e: plain_pretrained(m, first(e)).detach(),
    ),
    "task_gradients": (together, plain_together),
    "check_gradient": (gradients_agree, lambda m, e: torch.tensor(True)),
    "check_batch": (batch_agrees, lambda m, e: torch.tensor(True)),
    "check_unchanged": (
        lambda m, e: torch.tensor(check_unchanged(partial(maml_loss, **RATE), m, e) is None),
        lambda m, e: torch.tensor(True),
    ),
    "evaluate": (scored, plain_scored),
}


def nearest_of_all(model, episode):
    def answer(t):
        n = len(t.support_x)
        z = plain_features(model, torch.cat([t.support_x, t.query_x])).detach()
        distance = torch.cdist(z[n:], z[:n])
        return torch.stack(
            [-distance[:, t.support_y == k].min(dim=1).values for k in range(WAYS)], dim=1
        )

    return each(episode, answer)


def head_of(weight, bias):
    return {"weight": weight.detach(), "bias": bias.detach()}


def probed(model, t):
    head = linear_probe(model, t.support_x, t.support_y).head
    return head_of(head.weight, head.bias)


def everything(model):
    """Each tensor of a model: where it stands, which it is, and a copy of its values."""
    return [
        (path, key, tensor, tensor.detach().clone(), tensor.requires_grad)
        for path, module in model.named_modules(remove_duplicate=False)
        for key, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None
    ]


def assert_untouched(model, before, modes):
    now = everything(model)
    assert [(path, key) for path, key, *_ in now] == [(path, key) for path, key, *_ in before]
    for (path, key, tensor, _, needed), (_, _, same, value, wanted) in zip(
        now, before, strict=True
    ):
        assert tensor is same, f"{path}.{key} is another tensor"
        assert torch.equal(tensor, value), f"{path}.{key} has other values"
        assert needed == wanted and tensor.grad is None, f"{path}.{key}"
    assert [m.training for m in model.modules()] == modes


def compare(mine, plain):
    if isinstance(mine, dict):
        assert list(mine) == list(plain)
        mine, plain = list(mine.values()), list(plain.values())
    torch.testing.assert_close(mine, plain, rtol=1e-7, atol=1e-9)


# What passes through the whole network, and so needs all of it to be as it should.
WHOLE = [
    *(name for name in COLUMNS if name.startswith(("maml", "proto_maml", "reptile", "implicit"))),
    *("MetaSGD", "adapt", "meta_sgd_learn", "from_scratch", "scratch_learn", "evaluate"),
    *("check_gradient", "check_batch", "check_unchanged", "check_predict"),
]
SECOND_ORDER = [
    *("maml_loss", "MetaSGD", "adapt", "proto_maml_loss", "implicit_maml_loss"),
    "implicit_maml_residuals",
    *("check_gradient", "check_batch", "check_unchanged"),
]
ON_FEATURES = [
    *("prototype_loss", "ridge_loss", "prototype_predict", "ridge_predict", "svm_predict"),
    *("nearest_feature", "prototype_learn", "ridge_learn", "LearnedRidge"),
]
TUNED = ["fine_tune", "pretrain", "fine_tune_learn", "lp_ft_learn", "as_predict"]
ON_A_LINEAR_HEAD = [
    *("linear_probe", "probe_learn", "new_head", *TUNED),
    *(name for name in COLUMNS if name.startswith("proto_maml")),
]
WITH_RELU = (
    *("convolution over time", "convolution of volumes", "images of height 1"),
    *("images of width 1", "transposed convolution", "grouped, dilated convolution"),
    *("max-pooling", "a head of two layers"),
)

# Cells that are refused, and the words that say why.
REFUSED = {
    "running statistics that move": {
        column: "the forward pass changes the buffer .*num_batches_tracked.*: call model.eval()"
        for column in (*WHOLE, *ON_FEATURES)
    },
    "two outputs": {
        column: r"returned a tuple: expected one tensor of shape \(n, outputs\)"
        for column in (*WHOLE, *TUNED)
    },
    "a head of two layers": {
        column: "the head of the Network is Sequential: expected Linear, as in Network"
        for column in ON_A_LINEAR_HEAD
    },
    "weight norm": {
        column: "weight norm .* has a wrong second derivative: .* use first_order=True"
        for column in (*SECOND_ORDER, "maml_loss, head only")
    },
    "dropout": {
        "check_gradient": "gives two values at the same parameters: .* turn dropout off",
        "check_batch": "gives two values at the same parameters: .* turn dropout off",
        "check_predict": "answers the same task in two ways: .* turn dropout off",
    },
}
for structure in STRUCTURES:
    refused = REFUSED.setdefault(structure, {})
    if structure not in WITH_RELU:
        refused["activations"] = "the network has no nn.ReLU"
    if structure.startswith("running"):
        refused["check_running_statistics"] = "the running statistics of .* were never updated"
# Cells of dropout where the plain way draws in another order.
DRAWN = [
    *("maml_predict, one by one", "prototype_predict", "ridge_predict", "svm_predict"),
    *("prototype_learn", "ridge_learn", "probe_learn", "fine_tune_learn", "lp_ft_learn"),
    *("as_predict", "task_gradients", "evaluate"),
]
# Cells whose forward pass is the caller's own, who is told by PyTorch.
OWN = [
    *(("running statistics that move", "task_gradients"), ("two outputs", "meta_train")),
    ("two outputs", "probe_learn"),
]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_each_cell_is_right_or_refused_and_leaves_the_network_alone(name, column):
    if (name, column) in OWN:
        pytest.skip("the forward pass is the caller's own")
    model, episode = build(name), draw(name)
    before, modes = everything(model), [m.training for m in model.modules()]
    mine, plain = COLUMNS[column]
    reason = REFUSED.get(name, {}).get(column)
    try:
        if reason:
            with pytest.raises(ValueError, match=reason):
                mine(model, episode)
        else:
            torch.manual_seed(7)
            got = mine(model, episode)
            torch.manual_seed(7)
            if name != "dropout" or column not in DRAWN:
                with sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative
                    compare(got, plain(model, episode))
    finally:
        assert_untouched(model, before, modes)
