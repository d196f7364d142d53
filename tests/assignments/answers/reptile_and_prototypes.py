"""Answers to the assignment reptile_and_prototypes: what students give, and what it must get."""

from classroom import Answer, filled

walk = filled(
    """
def reptile_gradient(model, tasks, loss_fn, *, inner_lr):
    start = {{n: p.detach().clone() for n, p in model.named_parameters()}}
    total = {{n: torch.zeros_like(p) for n, p in start.items()}}
    for task in tasks:
        net = {net}
        optimizer = {optimizer}
        for x, y in {minibatches}:
            {zero}
            {loss}.backward()
            optimizer.step()
        for n, p in net.named_parameters():
            total[n] += {way} / {share}
        {back}
    return {result}
""",
    net="copy.deepcopy(model)",
    optimizer="torch.optim.SGD(net.parameters(), lr=inner_lr)",
    minibatches="task",
    zero="optimizer.zero_grad()",
    loss="loss_fn(net(x), y)",
    way="(start[n] - p.detach())",
    share="(inner_lr * len(task) * len(tasks))",
    back="pass",
    result="total",
)

STEP_OF_THE_CHAPTER = """
def reptile_gradient(model, tasks, loss_fn, *, inner_lr, meta_lr=1.0):
    start = copy.deepcopy(model.state_dict())  # θ
    optimizer = torch.optim.SGD(model.parameters(), lr=inner_lr)
    for x, y in tasks[0]:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    end = model.state_dict()  # φ
    step = {name: p + meta_lr * (end[name] - p) for name, p in start.items()}
    model.load_state_dict(step)
    return step
"""


class_means = filled(
    """
def prototypes(features, labels, weights, ways):
    counts = labels.bincount({counted}minlength=ways)
    {guard}
    sums = torch.zeros(ways, features.shape[1], dtype=features.dtype)
    sums.index_add_(0, labels, {rows})
    return {means}


def prototype_logits(queries, means, scales):
    return {logits}
""",
    counted="weights=weights, ",
    guard="if (counts == 0).any():\n"
    "        raise ValueError(f'no example of {(counts == 0).nonzero().flatten().tolist()}')",
    rows="weights[:, None] * features",
    means="sums / counts[:, None]",
    logits="-(scales * (queries.unsqueeze(1) - means.unsqueeze(0)).pow(2)).sum(-1)",
)


def layer(result, before="pass"):
    return f"def linear_form(means, scales):\n    {before}\n    return {result}\n"


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


ONE, EACH, ALIKE, LEFT = ALL_OF_GRADIENT = (
    "reptile_gradient__of_one_inner_step",
    "reptile_gradient__one_step_on_each_minibatch",
    "reptile_gradient__all_tasks_count_alike",
    "reptile_gradient__the_model_is_left_as_it_was",
)
MEANS, LABELS, REFUSE, LOGITS = ALL_OF_MEANS = (
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
    "reptile_gradient": [
        Answer(
            "the step of the chapter, for the first task",
            STEP_OF_THE_CHAPTER,
            ALL_OF_GRADIENT,
            "uphill|times as long|numbers differ|none of the three|of what each gives|has changed",
        ),
        Answer(
            "where the tasks end, on average",
            walk(way="p.detach()", share="len(tasks)"),
            (ONE, EACH, ALIKE),
            "uphill|times as long|numbers differ|none of the three|makes the loss of a task larger",
        ),
        Answer(
            "the new parameters in place of the gradient",
            walk(
                way="(p.detach() - start[n])",
                share="len(tasks)",
                result="{n: start[n] + total[n] for n in start}",
            ),
            (ONE, EACH, ALIKE),
            "uphill|times as long|numbers differ|none of the three|makes the loss of a task larger",
        ),
        Answer(
            "the shared model is adapted, task after task",
            walk(net="model"),
            (ALIKE, LEFT),
            "start from the same|a copy",
        ),
        Answer(
            "uphill: the way to the ends",
            walk(way="(p.detach() - start[n])"),
            (ONE, EACH, ALIKE),
            "uphill|none of the three|makes the loss of a task larger",
        ),
        Answer(
            "uphill: the inner steps climb",
            walk(loss="(-loss_fn(net(x), y))"),
            (ONE, EACH, ALIKE),
            "uphill|none of the three|whole distance|makes the loss of a task larger",
        ),
        Answer(
            "sum in place of mean",
            walk(share="(inner_lr * len(task))"),
            (ALIKE,),
            "the longer the step",
        ),
        Answer(
            "not divided by the number of steps",
            walk(share="(inner_lr * len(tasks))"),
            (EACH,),
            "how many gradients g is the mean of",
        ),
        Answer(
            "not divided by the step size",
            walk(share="(len(task) * len(tasks))"),
            (ONE, EACH),
            "with inner steps of size 0.* what the way is divided by|none of the three",
        ),
        Answer(
            "divided by nothing",
            walk(share="1"),
            (ONE, EACH, ALIKE),
            "what the way is divided by|none of the three|the longer the step",
        ),
        Answer(
            "divided by the number of all minibatches",
            walk(share="(inner_lr * sum(map(len, tasks)))"),
            (ALIKE,),
            "counts five times as much",
        ),
        Answer(
            "all divided by the steps of the first task",
            walk(share="(inner_lr * len(tasks[0]) * len(tasks))"),
            (ALIKE,),
            "the mean of what each gives",
        ),
        Answer(
            "the first minibatch in all steps",
            walk(minibatches="task[:1] * len(task)"),
            (EACH,),
            "minibatch number 1.*which minibatches",
        ),
        Answer(
            "the last minibatch alone",
            walk(minibatches="task[-1:]"),
            (EACH,),
            "Is each gradient computed anew|none of the three",
        ),
        Answer(
            "gradients pile up",
            walk(zero="pass"),
            (EACH,),
            "without what came before|each step starts",
        ),
        Answer(
            "all gradients at the start",
            walk(
                optimizer="torch.optim.SGD(net.parameters(), lr=0.0)",
                way="inner_lr * p.grad",
                zero="pass",
            ),
            (EACH,),
            "the step before has reached|each step starts",
        ),
        Answer(
            "the last gradient alone, as first-order MAML takes it",
            walk(way="inner_lr * len(task) * p.grad"),
            (EACH,),
            "how many gradients g is the mean of|whole distance",
        ),
        Answer(
            "Adam in the inner steps",
            walk(optimizer="torch.optim.Adam(net.parameters(), lr=inner_lr)"),
            (ONE, EACH),
            "times as long|plain gradient descent|none of the three",
        ),
        Answer(
            "momentum in the inner steps",
            walk(optimizer="torch.optim.SGD(net.parameters(), lr=inner_lr, momentum=0.9)"),
            (EACH,),
            "none of the three|without what came before",
        ),
        Answer(
            "the loss of the chapter, whatever is handed in",
            walk(loss="F.mse_loss(net(x), y)"),
            (ONE,),
            "whose loss",
        ),
        Answer(
            "one task after the other, with a copy of the model",
            walk(net="copy.deepcopy(net if task is not tasks[0] else model)"),
            (ALIKE,),
            "start from the same",
        ),
        Answer(
            "start and end share memory, and the model is put back too late",
            walk(net="model", back="model.load_state_dict(start)").replace(
                ".detach().clone()", ".detach()"
            ),
            (ONE, EACH, ALIKE, LEFT),
            "uphill, or nowhere|none of the three|a copy|nothing would be learned",
        ),
        Answer(
            "the model is put back, but not what was collected in it",
            walk(net="model", back="model.load_state_dict(start)"),
            (LEFT,),
            r"left in \.grad",
        ),
        Answer(
            "the package's function",
            """
def reptile_gradient(model, tasks, loss_fn, *, inner_lr):
    from metalearn_lite.reptile import reptile_step as ready

    x, y = (torch.cat(part) for part in zip(*tasks[0], strict=True))
    end = ready(
        model, Episode(x, y, x[:0], y[:0]), loss_fn=loss_fn, inner_lr=inner_lr, inner_steps=1
    )
    return {n: (p.detach() - end[n]) / inner_lr for n, p in model.named_parameters()}
""",
            ALL_OF_GRADIENT,
            "write it yourself",
        ),
        Answer(
            "one step too few",
            walk(minibatches="task[:-1] or task"),
            (EACH,),
            "minibatch number 2|none of the three",
        ),
    ],
    "prototypes": [
        Answer(
            "means without weights, as in the chapter",
            class_means(counted="", rows="features"),
            (MEANS, REFUSE),
            "counts by its weight|weights of 0 only",
        ),
        Answer(
            "weighted sums, divided by the number of examples",
            class_means(means="sums / labels.bincount(minlength=ways)[:, None]"),
            (MEANS,),
            "by which number is it divided",
        ),
        Answer(
            "divided by the weights of all classes",
            class_means(means="sums / weights.sum()"),
            (MEANS,),
            "by which number is it divided",
        ),
        Answer(
            "weights that add up to one over all classes",
            class_means(
                rows="(weights / weights.mean())[:, None] * features",
                means="sums / labels.bincount(minlength=ways)[:, None]",
            ),
            (MEANS,),
            "by which number is it divided",
        ),
        Answer(
            "a softmax of the weights",
            class_means(
                rows="weights.exp()[:, None] * features",
                means="sums / labels.bincount(weights=weights.exp(), minlength=ways)[:, None]",
            ),
            (MEANS,),
            "counts by its weight",
        ),
        Answer(
            "the square of each weight",
            class_means(rows="weights.square()[:, None] * features"),
            (MEANS,),
            "counts by its weight",
        ),
        Answer(
            "the example of the largest weight alone",
            class_means(
                means="torch.stack([features[labels == k][weights[labels == k].argmax()] "
                "for k in range(ways)])"
            ),
            (MEANS,),
            "in their middle",
        ),
        Answer(
            "only a class without any example is refused",
            class_means(
                guard="counts = torch.where(labels.bincount(minlength=ways) > 0, "
                "counts.clamp(min=1e-9), counts)\n    if (counts == 0).any():\n"
                "        raise ValueError(f'no example of {counts.argmin()}')"
            ),
            (REFUSE,),
            "weights of 0 only",
        ),
        Answer(
            "a single example of weight 0 is refused, too",
            class_means(
                guard="for k in range(ways):\n"
                "        if not weights[labels == k].any():\n"
                "            raise KeyError(f'class {k}')"
            ),
            (REFUSE,),
            "a KeyError",
        ),
        Answer(
            "a missing class is nan",
            class_means(guard="pass"),
            (REFUSE,),
            "nan, without an error",
        ),
        Answer(
            "a missing class is put at the origin",
            class_means(guard="counts = counts.clamp(min=1e-9)"),
            (REFUSE,),
            "made-up prototype",
        ),
        Answer(
            "no scales, as in the chapter",
            class_means(logits="-(queries[:, None] - means).square().sum(dim=2)"),
            (LOGITS,),
            "where do the scales stand",
        ),
        Answer(
            "the scales inside the square",
            class_means(logits="-(scales * (queries[:, None] - means)).square().sum(dim=2)"),
            (LOGITS,),
            "where do the scales stand",
        ),
        Answer(
            "divided by the scales",
            class_means(logits="-((queries[:, None] - means).square() / scales).sum(dim=2)"),
            (LOGITS,),
            "where do the scales stand",
        ),
        Answer(
            "the scales on the queries alone",
            class_means(logits="-(scales * queries[:, None] - means).square().sum(dim=2)"),
            (LOGITS,),
            "a query at a prototype",
        ),
        Answer(
            "one scale for all, their mean",
            class_means(logits="-scales.mean() * (queries[:, None] - means).square().sum(dim=2)"),
            (LOGITS,),
            "where do the scales stand",
        ),
        Answer(
            "plain distance",
            class_means(logits="-torch.cdist(queries * scales.sqrt(), means * scales.sqrt())"),
            (LOGITS,),
            "it is the square that counts",
        ),
        Answer(
            "absolute differences",
            class_means(logits="-(scales * (queries[:, None] - means).abs()).sum(dim=2)"),
            (LOGITS,),
            "it is the square that counts",
        ),
        Answer(
            "cosine similarity",
            class_means(
                logits="F.cosine_similarity(queries[:, None] * scales, means[None] * scales, dim=2)"
            ),
            (LOGITS,),
            "at a prototype",
        ),
        Answer(
            "the distance is not turned round",
            class_means(logits="(scales * (queries[:, None] - means).square()).sum(dim=2)"),
            (LOGITS,),
            "near must be large",
        ),
        Answer(
            "mean over the dimensions",
            class_means(logits="-(scales * (queries[:, None] - means).square()).mean(dim=2)"),
            (LOGITS,),
            "where do the scales stand|dimensions added up",
        ),
        Answer("sum in place of mean", class_means(means="sums"), (MEANS,), "divided"),
        Answer(
            "rows taken in blocks",
            class_means(
                means="(weights[:, None] * features).unflatten(0, (ways, -1)).sum(dim=1)"
                " / weights.unflatten(0, (ways, -1)).sum(dim=1, keepdim=True)"
            ),
            (MEANS, LABELS),
            "by their labels|unflatten",
        ),
        Answer(
            "classes in the order in which they come",
            class_means(means="(sums / counts[:, None])[list(dict.fromkeys(labels.tolist()))]"),
            (MEANS, LABELS),
            "row k belongs to label k|order|in their middle",
        ),
        Answer(
            "an error that does not say which class",
            class_means(
                guard="if counts.min() == 0:\n        raise ValueError('a class is empty')"
            ),
            (REFUSE,),
            "say which class",
        ),
        Answer(
            "the package's functions",
            """
from metalearn_lite import prototypes as ready


def prototypes(features, labels, weights, ways):
    return ready.prototypes(weights[:, None] * features, labels, ways=ways)


def prototype_logits(queries, means, scales):
    return ready.prototype_logits(queries * scales.sqrt(), means * scales.sqrt())
""",
            ALL_OF_MEANS,
            "write it yourself",
        ),
    ],
    "linear_form": [
        Answer(
            "the layer of the chapter, without scales",
            layer("2 * means, -means.square().sum(dim=1)"),
            BOTH_OF_LAYER,
            "nearest|differ",
        ),
        Answer(
            "scales in the matrix alone",
            layer("2 * scales * means, -means.square().sum(dim=1)"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
        ),
        Answer(
            "scales in the bias alone",
            layer("2 * means, -means.square() @ scales"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
        ),
        Answer(
            "the squares of the scales in the bias",
            layer("2 * scales * means, -(scales * means).square().sum(dim=1)"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
        ),
        Answer(
            "the roots of the scales in the matrix",
            layer("2 * scales.sqrt() * means, -means.square() @ scales"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
        ),
        Answer(
            "the mean scale",
            layer("2 * scales.mean() * means, -scales.mean() * means.square().sum(dim=1)"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
        ),
        Answer(
            "divided by the scales",
            layer("2 * means / scales, -means.square() @ (1 / scales)"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
        ),
        Answer(
            "twice of everything: the same answers, more sure",
            layer("4 * scales * means, -2 * means.square() @ scales"),
            BOTH_OF_LAYER[1:],
            "more sure, or less",
        ),
        Answer(
            "scales of length one: the same answers, less sure",
            layer(
                "2 * scales * means, -means.square() @ scales", "scales = scales / scales.norm()"
            ),
            BOTH_OF_LAYER[1:],
            "more sure, or less",
        ),
        Answer(
            "both turned round",
            layer("-2 * scales * means, means.square() @ scales"),
            BOTH_OF_LAYER,
            "nearest|differ",
        ),
        Answer(
            "no bias",
            layer("2 * scales * means, torch.zeros(len(means), dtype=means.dtype)"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
        ),
        Answer(
            "the two of the mixed term forgotten",
            layer("scales * means, -means.square() @ scales"),
            BOTH_OF_LAYER,
            "nearest|differ",
        ),
        Answer(
            "half of everything: the same answers, less sure",
            layer("scales * means, -means.square() @ scales / 2"),
            BOTH_OF_LAYER[1:],
            "more sure, or less",
        ),
        Answer(
            "the sign of the bias",
            layer("2 * scales * means, means.square() @ scales"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
        ),
        Answer(
            "norms over the wrong dimension",
            layer("2 * scales * means, -(scales * means.square()).sum(dim=0)"),
            BOTH_OF_LAYER,
            r"expected \(ways, d\) and \(ways,\)",
        ),
        Answer(
            "the matrix lies on its side",
            layer("(2 * scales * means).T, -means.square() @ scales"),
            BOTH_OF_LAYER,
            r"expected \(ways, d\)",
        ),
        Answer(
            "the length, not its square",
            layer("2 * scales * means, -(means.square() @ scales).sqrt()"),
            BOTH_OF_LAYER,
            "what takes care of either|differ",
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
            "def linear_form(means, scales):\n"
            "    from metalearn_lite import prototypes as ready\n\n"
            "    weight, bias = ready.linear_form(means * scales.sqrt())\n"
            "    return weight * scales.sqrt(), bias\n",
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
            "a new Adam for each minibatch",
            loop(late="pass").replace(
                "        for x, y in batches:\n",
                "        for x, y in batches:\n            " + ADAM + "\n",
            ),
            ALL_OF_LOOP[2:],
            "for each task or more often",
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
    "reptile_gradient": Answer(
        "functional calls, the gradients of the way added up",
        """
from torch.func import functional_call, grad


def reptile_gradient(model, tasks, loss_fn, *, inner_lr):
    def loss(params, x, y):
        return loss_fn(functional_call(model, params, (x,)), y)

    theta = {name: p.detach() for name, p in model.named_parameters()}
    found = {name: torch.zeros_like(p) for name, p in theta.items()}
    for task in tasks:
        phi = theta
        for x, y in task:
            slopes = grad(loss)(phi, x, y)
            phi = {name: phi[name] - inner_lr * slopes[name] for name in phi}
            for name in found:
                found[name] += slopes[name] / len(task) / len(tasks)
    return found
""",
    ),
    "prototypes": Answer(
        "one-hot matrix; the square written out",
        """
def prototypes(features, labels, weights, ways):
    which = F.one_hot(labels, ways).float() * weights[:, None]  # (n, ways)
    sizes = which.sum(dim=0)
    empty = [f"class_{k}" for k, size in enumerate(sizes.tolist()) if size == 0]
    if empty:
        raise ValueError(", ".join(empty) + " is empty")
    return (which / sizes).T @ features


def prototype_logits(queries, means, scales):
    lengths = (queries**2 @ scales)[:, None] + means**2 @ scales
    return 2 * (queries * scales) @ means.T - lengths
""",
    ),
    "linear_form": Answer(
        "measured from the first prototype",
        """
def linear_form(means, scales):
    base = means[0]
    rows = [2 * scales * (c - base) for c in means]
    shifts = [base @ (scales * base) - c @ (scales * c) for c in means]
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

ALSO_RIGHT = {
    "prediction": (
        Answer(
            "fractions",
            "from fractions import Fraction\n\n"
            "prediction = dict.fromkeys(('pixels', 'untrained', 'trained'), Fraction(2, 5))",
        ),
        Answer(
            "tensors",
            "names = ('pixels', 'untrained', 'trained')\n"
            "prediction = dict(zip(names, torch.tensor([0.3, 0.4, 0.6])))",
        ),
    ),
    "reptile_gradient": (
        Answer("ways from copies, added up", walk()),
        Answer(
            "the model itself walks, and is put back",
            """
def reptile_gradient(model, tasks, loss_fn, *, inner_lr):
    params = list(model.parameters())
    theta = nn.utils.parameters_to_vector(params).detach().clone()
    ways = []
    for task in tasks:
        for x, y in task:
            slopes = torch.autograd.grad(loss_fn(model(x), y), params)
            with torch.no_grad():
                for p, slope in zip(params, slopes):
                    p.sub_(inner_lr * slope)
        end = nn.utils.parameters_to_vector(params).detach()
        ways.append((theta - end) / (inner_lr * len(task)))
        with torch.no_grad():
            for p, was in zip(params, theta.split([p.numel() for p in params])):
                p.copy_(was.view_as(p))
    parts = torch.stack(ways).mean(0).split([p.numel() for p in params])
    return {n: g.view_as(p) for (n, p), g in zip(model.named_parameters(), parts)}
""",
        ),
    ),
    "prototypes": (
        Answer("sums by label, divided", class_means()),
        Answer(
            "shares of a class, and stretched features",
            """
def prototypes(features, labels, weights, ways):
    found = features.new_zeros(ways, features.shape[1])
    for k in range(ways):
        share = torch.where(labels == k, weights, torch.zeros_like(weights))
        if not (share > 0).any():
            raise ValueError(f"give class {k} an example")
        found[k] = torch.einsum("n,nd->d", share / share.sum(), features)
    return found


def prototype_logits(queries, means, scales):
    stretch = scales**0.5
    return -(torch.cdist(queries * stretch, means * stretch) ** 2)
""",
        ),
    ),
    "linear_form": (
        Answer(
            "by the matrix of the scales",
            layer("2 * means @ torch.diag(scales), -(means @ torch.diag(scales) @ means.T).diag()"),
        ),
        Answer(
            "in stretched features, and back",
            layer(
                "2 * stretched * scales.sqrt(), -stretched.norm(dim=1) ** 2",
                "stretched = means * scales.sqrt()",
            ),
        ),
    ),
    "mended_reptile": (
        Answer("mended in three places", loop()),
        Answer(
            "the vectors of all parameters",
            """
def mended_reptile(model, tasks, *, inner_lr, meta_lr):
    to_vector = nn.utils.parameters_to_vector
    for task in tasks:
        theta = to_vector(model.parameters()).detach().clone()
        adam = torch.optim.Adam(list(model.parameters()), lr=inner_lr)
        for x, y in task:
            model.zero_grad()
            F.mse_loss(model(x), y).backward()
            adam.step()
        phi = to_vector(model.parameters()).detach()
        goes_to = (1 - meta_lr) * theta + meta_lr * phi
        nn.utils.vector_to_parameters(goes_to, model.parameters())
""",
        ),
    ),
    "leads": (
        Answer("episode by episode", leads()),
        Answer(
            "a table of all differences",
            """
def leads(networks, first, second, tasks, *, episodes, generator):
    drawn = [tasks.sample(generator) for _ in range(episodes)]
    table = torch.tensor(
        [
            [
                float(accuracy(first(n, e), e.query_y)) - float(accuracy(second(n, e), e.query_y))
                for e in drawn
            ]
            for n in networks
        ],
        dtype=torch.float64,
    )
    return [Scores.of(row) for row in table], Scores.of(table.mean(dim=1))
""",
        ),
    ),
}
