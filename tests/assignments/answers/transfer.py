"""Answers to the assignment transfer: what students give, and what it must get."""

from classroom import Answer, filled

ALL_OF_PROBE = (
    "probe__weights_are_at_the_minimum",
    "probe__bias_is_free",
    "probe__network_is_left",
)


probed = filled(
    """
def probe(network, x, y, *, l2):
    probed = new_head(network, {outputs})
    z = features(network, x)
    weight, bias = probed.head.weight, probed.head.bias
    optimizer = torch.optim.LBFGS(
        {fitted}, max_iter=500, tolerance_grad=1e-8, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = {loss} + {penalty}
        value.backward()
        return value

    optimizer.step(closure)
    return probed
""",
    outputs="int(y.max()) + 1",
    fitted="[weight, bias]",
    loss="F.cross_entropy(z @ weight.T + bias, y)",
    penalty="l2 * weight.square().sum()",
)


ALL_OF_TUNE = (
    "tune__plain_steps",
    "tune__rests_between_start_and_minimum",
    "tune__strong_pull_holds",
    "tune__network_is_left",
)


tuned = filled(
    """
def tune(network, x, y, *, steps, lr, pull=0.0):
    tuned = {copied}
    origin = {origin}
    parameters = {trained}
    for _ in range({steps}):
        loss = {loss}
        gradient = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for p, g, o in zip(parameters, gradient, origin, strict=True):
                p -= lr * g
                {pulled}
    return tuned
""",
    copied="copy.deepcopy(network)",
    origin="[p.detach().clone() for p in tuned.parameters()]",
    trained="list(tuned.parameters())",
    steps="steps",
    loss="F.cross_entropy(tuned(x), y)",
    pulled="p.copy_((p + 2 * lr * pull * o) / (1 + 2 * lr * pull))",
)


ALL_OF_MENDED = (
    "mended_scores__easy_is_learned",
    "mended_scores__episodes_leave_no_trace",
    "mended_scores__noise_is_guessing",
    "mended_scores__one_by_one",
)


mended = filled(
    """
def mended_scores(network, step, tasks, *, episodes, steps, generator):
    values = []
    for _ in range(episodes):
        e = tasks.sample(generator)
        support_x = {support_x}
        query_x = {query_x}
        tuned = {copied}
        tuned.head = new_head(network, int(e.support_y.max()) + 1).head
        shares = []
        for _ in range(steps):
            step(tuned, support_x, e.support_y)
            with torch.no_grad():
                shares.append(accuracy({answered}))
            {stopped}
        values.append({value})
    return {result}
""",
    support_x="standardise(e.support_x, like=e.support_x)",
    query_x="standardise(e.query_x, like=e.support_x)",
    copied="copy.deepcopy(network)",
    answered="tuned(query_x), e.query_y",
    stopped="pass",
    value="shares[-1]",
    result="torch.stack(values)",
)


curve = filled(
    """
def gain_curve(first, second, tasks, shots, *, episodes, generator):
    a, b = {{n: [] for n in shots}}, {{n: [] for n in shots}}
    for _ in range(episodes):
        e = tasks.sample(generator)
        for n in shots:
            {again}
            labels = e.support_y.unique().tolist()
            rows = {rows}
            small = Episode(e.support_x[rows], e.support_y[rows], e.query_x, e.query_y)
            a[n].append(accuracy(first(small), e.query_y))
            b[n].append(accuracy(second({asked}), e.query_y))
    a, b = ({{n: torch.stack(v) for n, v in c.items()}} for c in (a, b))
    return {result}
""",
    again="pass",
    rows="torch.cat([(e.support_y == c).nonzero()[:n, 0] for c in labels])",
    asked="small",
    result="{n: Scores.of(a[n] - b[n]) for n in shots}",
)


measured = filled(
    """
tasks = ImageTasks(held_out, WAYS, SHOTS, QUERIES)
a, b = (
    evaluate(
        n, quick_probe, tasks, episodes={episodes}, generator=variant.generator("mine")
    )
    for n in {networks}
)
measured = {result}
""",
    episodes=160,
    networks="(trained, untrained)",
    result="paired_difference(a, b)",
)


GUESS = ("prediction__two_shares",)
BOTH_OF_CURVE = ("gain_curve__smaller_support_sets", "gain_curve__first_minus_second")
BOTH_OF_MEASURED = ("measured__is_precise_enough", "measured__agrees_with_other_episodes")

WRONG = {
    "prediction": [
        Answer(
            "percent",
            "predicted_trained = 80.0\npredicted_untrained = 25.0",
            GUESS,
            "predicted_trained is 80.0.*not percent",
        ),
        Answer(
            "one of the two is missing",
            "predicted_trained = 0.8",
            GUESS,
            "predicted_untrained is missing",
        ),
        Answer(
            "a text",
            "predicted_trained = 0.8\npredicted_untrained = 'about a quarter'",
            GUESS,
            "predicted_untrained is a str",
        ),
        Answer(
            "not a number",
            "predicted_trained = predicted_untrained = float('nan')",
            GUESS,
            "nan",
        ),
        Answer(
            "the loss in place of a share",
            "predicted_trained = 0.8\npredicted_untrained = -0.3",
            GUESS,
            "at least 0",
        ),
    ],
    "probe": [
        Answer(
            "the sum of the losses in place of their mean",
            probed(loss="F.cross_entropy(z @ weight.T + bias, y, reduction='sum')"),
            ("probe__weights_are_at_the_minimum",),
            "0.025 times as strong.*mean of the cross-entropy",
        ),
        Answer(
            "the bias is penalised, too",
            probed(penalty="l2 * (weight.square().sum() + bias.square().sum())"),
            ("probe__bias_is_free",),
            "Is the bias penalised",
        ),
        Answer(
            "half the penalty, as in the books that write it so",
            probed(penalty="l2 / 2 * weight.square().sum()"),
            ("probe__weights_are_at_the_minimum",),
            "0.5 times as strong",
        ),
        Answer(
            "the mean of the squares in place of their sum",
            probed(penalty="l2 * weight.square().mean()"),
            ("probe__weights_are_at_the_minimum",),
            "times as strong.*all squares",
        ),
        Answer(
            "no bias",
            probed(fitted="[weight]"),
            ("probe__bias_is_free",),
            "left out",
        ),
        Answer(
            "fifty steps of gradient descent",
            """
def probe(network, x, y, *, l2):
    probed = new_head(network, int(y.max()) + 1)
    z = features(network, x)
    optimizer = torch.optim.SGD(probed.head.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        loss = F.cross_entropy(probed.head(z), y) + l2 * probed.head.weight.square().sum()
        loss.backward()
        optimizer.step()
    return probed
""",
            ("probe__weights_are_at_the_minimum", "probe__bias_is_free"),
            "go on until|not yet at rest",
        ),
        Answer(
            "the new head is put on the given network",
            probed().replace(
                "    return probed", "    network.head = probed.head\n    return network"
            ),
            ("probe__network_is_left",),
            "work on a copy",
        ),
        Answer(
            "the head keeps the outputs of the source classes",
            probed(outputs="network.head.out_features"),
            ("probe__weights_are_at_the_minimum", "probe__bias_is_free"),
            "a row for each class|expected 4",
        ),
        Answer(
            "all layers are trained",
            """
def probe(network, x, y, *, l2):
    probed = new_head(network, int(y.max()) + 1, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(probed.parameters(), lr=0.2)
    for _ in range(300):
        optimizer.zero_grad()
        loss = F.cross_entropy(probed(x), y) + l2 * probed.head.weight.square().sum()
        loss.backward()
        optimizer.step()
    return probed
""",
            ALL_OF_PROBE,
            "features of x|not yet at rest|fit the head alone",
        ),
        Answer(
            "the probe of the package",
            """
from metalearn_lite.transfer import linear_probe


def probe(network, x, y, *, l2):
    return linear_probe(network, x, y, l2=l2)
""",
            ALL_OF_PROBE,
            "write it yourself",
        ),
    ],
    "tune": [
        Answer(
            "the price is added to the loss, and overshoots",
            tuned(
                loss="F.cross_entropy(tuned(x), y) + pull * sum("
                "(p - o).square().sum() for p, o in zip(parameters, origin, strict=True))",
                pulled="pass",
            ),
            ("tune__strong_pull_holds",),
            "overshoot",
        ),
        Answer(
            "weight decay: drawn to zero",
            tuned(pulled="p /= 1 + 2 * lr * pull"),
            ("tune__rests_between_start_and_minimum", "tune__strong_pull_holds"),
            "not to 0|towards the start",
        ),
        Answer(
            "the start is not copied, and moves along",
            tuned(origin="list(tuned.parameters())"),
            ("tune__rests_between_start_and_minimum", "tune__strong_pull_holds"),
            "where the last step was|less than a millionth",
        ),
        Answer(
            "the factor 2 is forgotten",
            tuned(pulled="p.copy_((p + lr * pull * o) / (1 + lr * pull))"),
            ("tune__rests_between_start_and_minimum",),
            r"2·lr·pull",
        ),
        Answer(
            "one step too many",
            tuned(steps="steps + 1"),
            ("tune__plain_steps",),
            "number of steps",
        ),
        Answer(
            "the given network is trained",
            tuned(copied="network"),
            ("tune__network_is_left",),
            "Train a copy",
        ),
        Answer(
            "the sum of the losses in place of their mean",
            tuned(loss="F.cross_entropy(tuned(x), y, reduction='sum')"),
            ("tune__plain_steps", "tune__rests_between_start_and_minimum"),
            "mean or sum|as if the pull were",
        ),
        Answer(
            "the head alone is trained",
            tuned(
                trained="list(tuned.head.parameters())",
                origin="[p.detach().clone() for p in tuned.head.parameters()]",
            ),
            ("tune__plain_steps", "tune__network_is_left"),
            "must be equal|trains all weights",
        ),
        Answer(
            "the pull first, then the gradient step",
            tuned().replace(
                "                p -= lr * g\n"
                "                p.copy_((p + 2 * lr * pull * o) / (1 + 2 * lr * pull))",
                "                p.copy_((p + 2 * lr * pull * o) / (1 + 2 * lr * pull))\n"
                "                p -= lr * g",
            ),
            ("tune__rests_between_start_and_minimum", "tune__strong_pull_holds"),
            "do not cancel|second half of each step",
        ),
        Answer(
            "fine-tuning by the package",
            """
from metalearn_lite.transfer import fine_tune


def tune(network, x, y, *, steps, lr, pull=0.0):
    return fine_tune(network, x, y, steps=steps, lr=lr, l2_sp=pull)
""",
            ALL_OF_TUNE,
            "write it yourself",
        ),
    ],
    "mended_scores": [
        Answer(
            "the best of all steps still counts",
            mended(value="max(shares)"),
            ("mended_scores__noise_is_guessing",),
            "named right too often",
        ),
        Answer(
            "the copy is still shallow",
            mended(copied="copy.copy(network)"),
            ("mended_scores__episodes_leave_no_trace",),
            "changed .* of the network",
        ),
        Answer(
            "the queries are still standardised by themselves",
            mended(query_x="standardise(e.query_x, like=e.query_x)"),
            ("mended_scores__one_by_one",),
            "asked one by one",
        ),
        Answer(
            "standardised by support images and queries together",
            mended(
                support_x="standardise(e.support_x, like=torch.cat([e.support_x, e.query_x]))",
                query_x="standardise(e.query_x, like=torch.cat([e.support_x, e.query_x]))",
            ),
            ("mended_scores__one_by_one",),
            "looks different to the network",
        ),
        Answer(
            "nothing is standardised",
            mended(support_x="e.support_x", query_x="e.query_x"),
            ("mended_scores__easy_is_learned",),
            "not standardised",
        ),
        Answer(
            "training stops when the support images are right",
            mended(
                stopped="if accuracy(tuned(support_x), e.support_y) == 1:\n                break"
            ),
            ("mended_scores__easy_is_learned",),
            "60 steps in each",
        ),
        Answer(
            "scored on the support images",
            mended(answered="tuned(support_x), e.support_y"),
            ("mended_scores__noise_is_guessing",),
            "named right too often",
        ),
        Answer(
            "one number in all",
            mended(result="torch.stack(values).mean()"),
            ("mended_scores__easy_is_learned",),
            "a tensor of 3 numbers",
        ),
        Answer(
            "a loop that never ends",
            """
def mended_scores(network, step, tasks, *, episodes, steps, generator):
    values = []
    while len(values) < episodes:
        tuned = new_head(network, WAYS)
    return torch.stack(values)
""",
            ALL_OF_MENDED,
            "loop that never ends",
        ),
    ],
    "gain_curve": [
        Answer(
            "new episodes for each number of shots",
            curve(again="e = tasks.sample(generator)"),
            ("gain_curve__smaller_support_sets",),
            "different sets of queries",
        ),
        Answer(
            "the first rows, whatever their labels",
            curve(rows="torch.arange(n * len(labels))"),
            ("gain_curve__smaller_support_sets",),
            "by their labels",
        ),
        Answer(
            "other drawings for each number of shots",
            curve(
                rows="torch.cat([(e.support_y == c).nonzero()[:, 0]"
                "[torch.randperm(5, generator=generator)[:n]] for c in labels])"
            ).replace("e.support_y.unique().tolist()", "range(4)"),
            ("gain_curve__smaller_support_sets",),
            "first ones of each class",
        ),
        Answer(
            "second minus first",
            curve(result="{n: Scores.of(b[n] - a[n]) for n in shots}"),
            ("gain_curve__first_minus_second",),
            "first minus second",
        ),
        Answer(
            "the intervals of the two are added",
            curve(
                result="{n: Scores(Scores.of(a[n]).mean - Scores.of(b[n]).mean, "
                "Scores.of(a[n]).half_width + Scores.of(b[n]).half_width, a[n] - b[n])"
                " for n in shots}"
            ),
            ("gain_curve__first_minus_second",),
            "exactly 0 ± 0",
        ),
        Answer(
            "a list",
            curve(result="[Scores.of(a[n] - b[n]) for n in shots]"),
            ("gain_curve__first_minus_second",),
            "numbers of shots as keys",
        ),
        Answer(
            "the second method sees the whole support set",
            curve(asked="e"),
            BOTH_OF_CURVE,
            "expected 4, 8 and 16|for this number of shots|KeyError",
        ),
        Answer(
            "percent",
            curve(result="{n: Scores.of(100 * (a[n] - b[n])) for n in shots}"),
            ("gain_curve__first_minus_second",),
            "as shares",
        ),
        Answer(
            "the package's evaluation",
            """
def gain_curve(first, second, tasks, shots, *, episodes, generator):
    found = {}
    for n in shots:
        state = generator.get_state()
        a = evaluate(None, lambda _, e: first(e), tasks, episodes=episodes, generator=generator)
        generator.set_state(state)
        b = evaluate(None, lambda _, e: second(e), tasks, episodes=episodes, generator=generator)
        found[n] = paired_difference(a, b)
    return found
""",
            BOTH_OF_CURVE,
            "write it yourself",
        ),
    ],
    "measured": [
        Answer(
            "percent",
            measured(result="Scores.of(100 * (a.values - b.values))"),
            BOTH_OF_MEASURED,
            "as a share|not percent",
        ),
        Answer(
            "untrained minus trained",
            measured(result="paired_difference(b, a)"),
            ("measured__agrees_with_other_episodes",),
            "trained minus untrained",
        ),
        Answer(
            "too few episodes",
            measured(episodes=10),
            ("measured__is_precise_enough",),
            "four times as many",
        ),
        Answer(
            "the score of the trained network alone",
            measured(result="a"),
            ("measured__agrees_with_other_episodes",),
            "trained minus untrained",
        ),
        Answer(
            "the half widths are added",
            measured(
                result="Scores(a.mean - b.mean, a.half_width + b.half_width, a.values - b.values)"
            ),
            ("measured__is_precise_enough",),
            "not those of the values",
        ),
        Answer(
            "the same network twice",
            measured(networks="(trained, trained)"),
            BOTH_OF_MEASURED,
            "Two different networks|another amount",
        ),
        Answer("a number by heart", "measured = 0.25", BOTH_OF_MEASURED, "expected a Scores"),
    ],
}

DIFFERENT = {
    "prediction": Answer(
        "a whole number and a fraction", "predicted_trained, predicted_untrained = 1, 1 / WAYS"
    ),
    "probe": Answer(
        "gradient descent with momentum on a layer of its own",
        """
def probe(network, x, y, *, l2):
    with torch.no_grad():
        z = copy.deepcopy(network).features(x)
    head = nn.Linear(z.shape[1], len(set(y.tolist())), dtype=z.dtype)
    descent = torch.optim.SGD(
        [{"params": [head.weight], "weight_decay": 2 * l2}, {"params": [head.bias]}],
        lr=0.5,
        momentum=0.9,
    )
    for _ in range(1500):
        descent.zero_grad()
        (-head(z).log_softmax(dim=1)[torch.arange(len(y)), y]).mean().backward()
        descent.step()
    return Network(copy.deepcopy(network.features), head)
""",
    ),
    "tune": Answer(
        "written with functional_call and torch.func.grad",
        """
def tune(network, x, y, *, steps, lr, pull=0.0):
    start = {n: p.detach().clone() for n, p in network.named_parameters()}
    slope = torch.func.grad(
        lambda now: F.cross_entropy(torch.func.functional_call(network, now, (x,)), y)
    )
    share = 2 * lr * pull / (1 + 2 * lr * pull)
    now = start
    for _ in range(steps):
        down = slope(now)
        now = {n: torch.lerp(now[n] - lr * down[n], start[n], share) for n in now}
    result = copy.deepcopy(network)
    result.load_state_dict(network.state_dict() | now)
    return result
""",
    ),
    "mended_scores": Answer(
        "a predict function for the package's evaluate",
        """
def mended_scores(network, step, tasks, *, episodes, steps, generator):
    def predict(model, e):
        centre, scale = e.support_x.mean(), e.support_x.std()
        mine = new_head(model, len(e.support_y.unique()))
        for _ in range(steps):
            step(mine, (e.support_x - centre) / scale, e.support_y)
        return torch.cat([mine((q[None] - centre) / scale) for q in e.query_x])

    return evaluate(network, predict, tasks, episodes=episodes, generator=generator).values
""",
    ),
    "gain_curve": Answer(
        "the place of each row within its class, by running counts",
        """
def gain_curve(first, second, tasks, shots, *, episodes, generator):
    drawn = [tasks.sample(generator) for _ in range(episodes)]

    def right(method, e, n):
        which = F.one_hot(e.support_y)
        keep = (which.cumsum(0) * which).sum(1) <= n
        outputs = method(Episode(e.support_x[keep], e.support_y[keep], e.query_x, e.query_y))
        return (outputs.argmax(1) == e.query_y).float().mean().item()

    return {n: Scores.of([right(first, e, n) - right(second, e, n) for e in drawn]) for n in shots}
""",
    ),
    "measured": Answer(
        "a loop of its own",
        """
generator, found = torch.Generator().manual_seed(5), []
for _ in range(150):
    e = ImageTasks(held_out, WAYS, SHOTS, QUERIES).sample(generator)
    hits = [(quick_probe(n, e).argmax(1) == e.query_y).sum() for n in (trained, untrained)]
    found.append((hits[0] - hits[1]).item() / len(e.query_y))
measured = Scores.of(found)
""",
    ),
}
