"""Answers to the assignment reptile_and_prototypes: what students give, and what it must get."""

from classroom import Answer, filled

step = filled(
    """
def reptile_step(model, tasks, loss_fn, *, inner_lr, meta_lr):
    start = {{n: p.detach().clone() for n, p in model.named_parameters()}}
    total = {{n: torch.zeros_like(p) for n, p in start.items()}}
    for task in tasks:
        net = {net}
        optimizer = torch.optim.SGD(net.parameters(), lr=inner_lr)
        for x, y in {minibatches}:
            {zero}
            {loss}.backward()
            optimizer.step()
        for n, p in net.named_parameters():
            total[n] += (p.detach() - start[n]){share}
        {back}
    return {{n: {result} for n in start}}
""",
    net="copy.deepcopy(model)",
    minibatches="task",
    zero="optimizer.zero_grad()",
    loss="loss_fn(net(x), y)",
    share=" / len(tasks)",
    back="pass",
    result="start[n] + meta_lr * total[n]",
)


class_means = filled(
    """
def prototypes(features, labels, ways):
    counts = labels.bincount(minlength=ways)
    {guard}
    sums = torch.zeros(ways, features.shape[1], dtype=features.dtype)
    sums.index_add_(0, labels, features)
    return {means}


def prototype_logits(queries, means):
    return {logits}
""",
    guard="if (counts == 0).any():\n"
    "        raise ValueError(f'no example of {(counts == 0).nonzero().flatten().tolist()}')",
    means="sums / counts[:, None]",
    logits="-(queries.unsqueeze(1) - means.unsqueeze(0)).pow(2).sum(-1)",
)


def layer(result, before="pass"):
    return f"def linear_form(means):\n    {before}\n    return {result}\n"


ADAM = "optimizer = torch.optim.Adam(model.parameters(), lr=inner_lr)"


loop = filled(
    """
def mended_reptile(model, tasks, *, inner_lr, meta_lr):
    {early}
    for batches in tasks:
        {late}
        theta = {theta}
        for x, y in {batches}:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        phi = model.state_dict()
        model.load_state_dict({{n: {result} for n in theta}})
""",
    early="pass",
    late=ADAM,
    theta="{n: p.clone() for n, p in model.state_dict().items()}",
    batches="batches",
    result="theta[n] + meta_lr * (phi[n] - theta[n])",
)


leads = filled(
    """
def leads(networks, first, second, tasks, *, episodes, generator):
    drawn = {once}
    each = []
    for network in networks:
        values = []
        {anew}
        for e in drawn:
            {every}
            a = accuracy(first({asked}, e), e.query_y)
            b = accuracy(second({asked}, e), e.query_y)
            values.append({gain})
        each.append({one})
    return each, {runs}
""",
    once="[tasks.sample(generator) for _ in range(episodes)]",
    anew="pass",
    every="pass",
    asked="network",
    gain="a - b",
    one="Scores.of(values)",
    runs="Scores.of([s.mean for s in each])",
)


ALL_OF_STEP = (
    "reptile_step__one_inner_step_is_a_gradient_step",
    "reptile_step__one_step_on_each_minibatch",
    "reptile_step__all_tasks_start_alike",
    "reptile_step__the_model_is_left_as_it_was",
)
ALL_OF_MEANS = (
    "prototypes__are_means",
    "prototypes__go_by_the_labels",
    "prototypes__refuse_a_missing_class",
    "prototypes__logits_are_squared_distances",
)
BOTH_OF_LAYER = ("linear_form__the_same_answers", "linear_form__the_same_probabilities")
ALL_OF_LOOP = (
    "mended_reptile__the_part_of_the_way_counts",
    "mended_reptile__tasks_do_not_leak",
    "mended_reptile__every_minibatch_counts",
)
GUESS = ("prediction__three_shares",)

WRONG = {
    "prediction": [
        Answer(
            "percent",
            "prediction = {'pixels': 40, 'untrained': 40, 'trained': 60}",
            GUESS,
            "not percent",
        ),
        Answer("one number", "prediction = 0.5", GUESS, "dictionary of three"),
        Answer(
            "one is missing",
            "prediction = {'pixels': 0.4, 'trained': 0.6}",
            GUESS,
            "expected .*untrained",
        ),
        Answer(
            "a range in place of a number",
            "prediction = {'pixels': 0.4, 'untrained': (0.2, 0.4), 'trained': 0.6}",
            GUESS,
            "plain number",
        ),
        Answer(
            "a lead in place of a share",
            "prediction = {'pixels': 0.4, 'untrained': -0.1, 'trained': 0.2}",
            GUESS,
            "negative",
        ),
        Answer(
            "not a number",
            "prediction = {'pixels': float('nan'), 'untrained': 0.2, 'trained': 0.6}",
            GUESS,
            "nan",
        ),
    ],
    "reptile_step": [
        Answer(
            "the shared model is adapted, task after task",
            step(net="model"),
            ALL_OF_STEP[2:],
            "start from the same|a copy",
        ),
        Answer(
            "away from the tasks",
            step(result="start[n] - meta_lr * total[n]"),
            ALL_OF_STEP[:2],
            "Which way is it|none of the three",
        ),
        Answer("sum in place of mean", step(share=""), ALL_OF_STEP[2:3], "the longer the step"),
        Answer(
            "the first minibatch in all steps",
            step(minibatches="task[:1] * len(task)"),
            ALL_OF_STEP[1:2],
            "minibatch number 1.*which minibatches",
        ),
        Answer(
            "gradients pile up",
            step(zero="pass"),
            ALL_OF_STEP[1:2],
            "without what came before|where each step starts",
        ),
        Answer(
            "the loss of the chapter, whatever is handed in",
            step(loss="F.mse_loss(net(x), y)"),
            ALL_OF_STEP[:1],
            "whose loss",
        ),
        Answer(
            "one task after the other, with a copy of the model",
            step(net="copy.deepcopy(net if task is not tasks[0] else model)"),
            ALL_OF_STEP[2:3],
            "start from the same",
        ),
        Answer(
            "start and end share memory, and the model is put back too late",
            step(net="model", back="model.load_state_dict(start)").replace(
                ".detach().clone()", ".detach()"
            ),
            (ALL_OF_STEP[0], *ALL_OF_STEP[2:]),
            "multiplied by meta_lr|start from the same|a copy",
        ),
        Answer(
            "the package's function",
            """
def reptile_step(model, tasks, loss_fn, *, inner_lr, meta_lr):
    from metalearn_lite.reptile import reptile_step as ready

    x, y = (torch.cat(part) for part in zip(*tasks[0], strict=True))
    options = {"inner_lr": inner_lr, "inner_steps": 1, "meta_lr": meta_lr}
    return ready(model, Episode(x, y, x[:0], y[:0]), loss_fn=loss_fn, **options)
""",
            ALL_OF_STEP,
            "write it yourself",
        ),
        Answer(
            "one step too few",
            step(minibatches="task[:-1] or task"),
            ALL_OF_STEP[1:2],
            "minibatch number 2",
        ),
    ],
    "prototypes": [
        Answer(
            "a missing class is nan",
            class_means(guard="pass"),
            ALL_OF_MEANS[2:3],
            "nan, without an error",
        ),
        Answer(
            "a missing class is put at the origin",
            class_means(guard="counts = counts.clamp(min=1)"),
            ALL_OF_MEANS[2:3],
            "made-up prototype",
        ),
        Answer(
            "plain distance",
            class_means(logits="-torch.cdist(queries, means)"),
            ALL_OF_MEANS[3:],
            "it is the square that counts",
        ),
        Answer(
            "the distance is not turned round",
            class_means(logits="torch.cdist(queries, means) ** 2"),
            ALL_OF_MEANS[3:],
            "near must be large",
        ),
        Answer(
            "mean over the dimensions",
            class_means(logits="-(queries[:, None] - means).square().mean(dim=2)"),
            ALL_OF_MEANS[3:],
            "dimensions added up",
        ),
        Answer("sum in place of mean", class_means(means="sums"), ALL_OF_MEANS[:1], "divided"),
        Answer(
            "rows taken in blocks",
            class_means(means="features.unflatten(0, (ways, -1)).mean(dim=1)"),
            ALL_OF_MEANS[:2],
            "by their labels|unflatten",
        ),
        Answer(
            "classes in the order in which they come",
            class_means(means="(sums / counts[:, None])[list(dict.fromkeys(labels.tolist()))]"),
            ALL_OF_MEANS[:2],
            "row k belongs to label k|order|in their middle",
        ),
        Answer(
            "an error that does not say which class",
            class_means(
                guard="if counts.min() == 0:\n        raise ValueError('a class is empty')"
            ),
            ALL_OF_MEANS[2:3],
            "say which class",
        ),
        Answer(
            "the package's functions",
            """
from metalearn_lite import prototypes as ready


def prototypes(features, labels, ways):
    return ready.prototypes(features, labels, ways=ways)


def prototype_logits(queries, means):
    return ready.prototype_logits(queries, means)
""",
            ALL_OF_MEANS,
            "write it yourself",
        ),
    ],
    "linear_form": [
        Answer(
            "no bias",
            layer("2 * means, torch.zeros(len(means), dtype=means.dtype)"),
            BOTH_OF_LAYER,
            "their length|differ",
        ),
        Answer(
            "the two of the mixed term forgotten",
            layer("means, -means.square().sum(dim=1)"),
            BOTH_OF_LAYER,
            "nearest|differ",
        ),
        Answer(
            "half of everything: the same answers, less sure",
            layer("means, -means.square().sum(dim=1) / 2"),
            BOTH_OF_LAYER[1:],
            "more sure, or less",
        ),
        Answer(
            "the sign of the bias",
            layer("2 * means, means.square().sum(dim=1)"),
            BOTH_OF_LAYER,
            "their length|differ",
        ),
        Answer(
            "norms over the wrong dimension",
            layer("2 * means, -means.square().sum(dim=0)"),
            BOTH_OF_LAYER,
            r"expected \(ways, d\) and \(ways,\)",
        ),
        Answer(
            "the matrix lies on its side",
            layer("2 * means.T, -means.square().sum(dim=1)"),
            BOTH_OF_LAYER,
            r"expected \(ways, d\)",
        ),
        Answer(
            "the length, not its square",
            layer("2 * means, -means.norm(dim=1)"),
            BOTH_OF_LAYER,
            "their length|differ",
        ),
        Answer(
            "a descent that never ends",
            layer("2 * means, -means.norm(dim=1)", "while True:\n        means = means + 0"),
            BOTH_OF_LAYER,
            "loop that never ends",
        ),
        Answer(
            "a crash",
            layer("means, means", "import os\n    os._exit(1)"),
            BOTH_OF_LAYER,
            "ended the process",
        ),
        Answer(
            "the package's function",
            "def linear_form(means):\n"
            "    from metalearn_lite import prototypes as ready\n\n"
            "    return ready.linear_form(means)\n",
            BOTH_OF_LAYER,
            "write it yourself",
        ),
    ],
    "mended_reptile": [
        Answer(
            "nothing mended",
            "def mended_reptile(model, tasks, *, inner_lr, meta_lr):\n"
            "    faulty_reptile(model, tasks, inner_lr=inner_lr, meta_lr=meta_lr)\n",
            ALL_OF_LOOP,
            "`start` holds|leave to the next|which minibatches",
        ),
        Answer(
            "the start is still an alias",
            loop(theta="model.state_dict()"),
            ALL_OF_LOOP[:1],
            "Look at what `start` holds",
        ),
        Answer(
            "Adam is still carried on",
            loop(early=ADAM, late="pass"),
            ALL_OF_LOOP[1:2],
            "leave to the next",
        ),
        Answer(
            "still the first minibatch in all steps",
            loop(batches="[batches[0] for _ in batches]"),
            ALL_OF_LOOP[2:],
            "number 2 of 3.*which minibatches",
        ),
        Answer(
            "a shallow copy",
            loop(theta="copy.copy(model.state_dict())"),
            ALL_OF_LOOP[:1],
            "Look at what `start` holds",
        ),
        Answer(
            "the wrong way",
            loop(result="theta[n] - meta_lr * (phi[n] - theta[n])"),
            ALL_OF_LOOP[:1],
            "gone away",
        ),
        Answer(
            "start and end exchanged",
            loop(result="phi[n] + meta_lr * (theta[n] - phi[n])"),
            ALL_OF_LOOP[:1],
            "not moved|must stay",
        ),
        Answer(
            "plain gradient descent, which has no state",
            loop(late="optimizer = torch.optim.SGD(model.parameters(), lr=inner_lr)"),
            ALL_OF_LOOP[:1],
            "still Adam",
        ),
        Answer(
            "all minibatches in one",
            loop(
                batches="[tuple(torch.cat(part) for part in zip(*batches, strict=True))]"
                " * len(batches)"
            ),
            ALL_OF_LOOP[2:],
            "one step on each",
        ),
        Answer(
            "the parameters are returned, the model stays",
            loop().replace("    pass\n", "    model = copy.deepcopy(model)\n", 1),
            ALL_OF_LOOP,
            "trained in place|which minibatches",
        ),
    ],
    "leads": [
        Answer(
            "episodes of all networks counted as runs",
            leads(runs="Scores.of(torch.cat([s.values for s in each]))"),
            ("leads__the_right_unit",),
            "one a network.*far too narrow",
        ),
        Answer(
            "other episodes for each network",
            leads(anew="drawn = [tasks.sample(generator) for _ in range(episodes)]"),
            ("leads__the_same_episodes", "leads__the_right_unit"),
            "different sets of episodes|not ± 0",
        ),
        Answer(
            "other episodes for each method",
            """
def leads(networks, first, second, tasks, *, episodes, generator):
    each = []
    for network in networks:
        a, b = (
            evaluate(network, method, tasks, episodes=episodes, generator=generator)
            for method in (first, second)
        )
        each.append(Scores.of(a.values - b.values))
    return each, Scores.of([s.mean for s in each])
""",
            ("leads__the_same_episodes", "leads__the_right_unit"),
            "different sets of episodes|not ± 0",
        ),
        Answer(
            "second minus first",
            leads(gain="b - a"),
            ("leads__the_right_unit",),
            "not above 0",
        ),
        Answer(
            "the first network in place of all",
            leads(asked="networks[0]"),
            ("leads__the_same_episodes", "leads__the_right_unit"),
            "never asked|not their mean",
        ),
        Answer(
            "one episode, again and again",
            leads(once="[tasks.sample(generator)] * episodes"),
            ("leads__the_same_episodes", "leads__the_right_unit"),
            "1 different ones|does not fit the spread",
        ),
        Answer(
            "a seed of its own",
            leads(
                once="[tasks.sample(seeded(0))] + [tasks.sample(seeded(i)) for i in range(1,"
                " episodes)]"
            ),
            ("leads__the_same_episodes", "leads__the_right_unit"),
            "another seed gives the same|does not fit the spread",
        ),
        Answer(
            "the interval over runs is the mean of those over episodes",
            leads(
                runs="Scores(sum(s.mean for s in each) / len(each), "
                "sum(s.half_width for s in each) / len(each), "
                "torch.tensor([s.mean for s in each]))"
            ),
            ("leads__the_right_unit",),
            "half width over runs",
        ),
        Answer(
            "intervals of the two scores, not of the difference",
            leads(
                gain="(a, b)",
                one="Scores(Scores.of([a - b for a, b in values]).mean, "
                "Scores.of([a for a, b in values]).half_width"
                " + Scores.of([b for a, b in values]).half_width + 0.01, "
                "torch.stack([a - b for a, b in values]))",
            ),
            ("leads__the_right_unit",),
            "not ± 0",
        ),
    ],
}

DIFFERENT = {
    "prediction": Answer(
        "whole numbers and fractions, in another order",
        "prediction = dict(trained=1, untrained=1 / WAYS, pixels=0)",
    ),
    "reptile_step": Answer(
        "functional calls, gradients without an optimiser",
        """
from torch.func import functional_call, grad


def reptile_step(model, tasks, loss_fn, *, inner_lr, meta_lr):
    def loss(params, x, y):
        return loss_fn(functional_call(model, params, (x,)), y)

    theta = {name: p.detach() for name, p in model.named_parameters()}
    new = {name: (1 - meta_lr) * p for name, p in theta.items()}
    for task in tasks:
        phi = theta
        for x, y in task:
            slopes = grad(loss)(phi, x, y)
            phi = {name: phi[name] - inner_lr * slopes[name] for name in phi}
        for name in new:
            new[name] = new[name] + meta_lr / len(tasks) * phi[name]
    return new
""",
    ),
    "prototypes": Answer(
        "one-hot matrix; the square written out",
        """
def prototypes(features, labels, ways):
    which = F.one_hot(labels, ways).to(features)  # (n, ways)
    sizes = which.sum(dim=0)
    empty = [k for k, size in enumerate(sizes.tolist()) if size == 0]
    if empty:
        raise ValueError("no example of class " + ", ".join(map(str, empty)))
    return (which / sizes).T @ features


def prototype_logits(queries, means):
    lengths = (queries**2).sum(1, keepdim=True) + (means**2).sum(1)
    return 2 * queries @ means.T - lengths
""",
    ),
    "linear_form": Answer(
        "measured from the first prototype",
        """
def linear_form(means):
    base = means[0]
    rows = [2 * (c - base) for c in means]
    shifts = [base @ base - c @ c for c in means]
    return torch.stack(rows), torch.stack(shifts)
""",
    ),
    "mended_reptile": Answer(
        "a copy does the walking",
        """
def mended_reptile(model, tasks, *, inner_lr, meta_lr):
    for task in tasks:
        walker = copy.deepcopy(model)
        adam = torch.optim.Adam(walker.parameters(), inner_lr)
        for x, y in task:
            loss = (walker(x) - y).square().mean()
            for p, g in zip(
                walker.parameters(), torch.autograd.grad(loss, list(walker.parameters()))
            ):
                p.grad = g
            adam.step()
        with torch.no_grad():
            for p, q in zip(model.parameters(), walker.parameters()):
                p.lerp_(q, meta_lr)
""",
    ),
    "leads": Answer(
        "the course's plumbing, with the generator wound back",
        """
def leads(networks, first, second, tasks, *, episodes, generator):
    begin = generator.get_state()

    def judge(network, method):
        generator.set_state(begin)
        return evaluate(network, method, tasks, episodes=episodes, generator=generator)

    each = [paired_difference(judge(n, first), judge(n, second)) for n in networks]
    return each, Scores.of(torch.tensor([one.mean for one in each]))
""",
    ),
}
