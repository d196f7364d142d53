"""Answers to the assignment transfer: what students give, and what it must get."""

from classroom import Answer, changed, filled

AT_MINIMUM = ("probe__weights_are_at_the_minimum",)
FREE = ("probe__bias_is_free",)
PROBE_LEFT = ("probe__network_is_left",)
ALL_OF_PROBE = AT_MINIMUM + FREE + PROBE_LEFT


probed = filled(
    """
def probe(network, x, y, *, l2):
    probed = new_head(network, {outputs})
    z = {embedded}
    share = {share}
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
    embedded="features(network, x)",
    share="(1 / y.bincount()).to(z)[y] / len(y.unique())",
    fitted="[weight, bias]",
    loss="(share * F.cross_entropy(z @ weight.T + bias, y, reduction='none')).sum()",
    penalty="l2 * weight.square().sum()",
)


STEPS = ("tune__plain_steps",)
RESTS = ("tune__rests_between_start_and_minimum",)
HOLDS = ("tune__strong_pull_holds",)
TUNE_LEFT = ("tune__network_is_left",)
ALL_OF_TUNE = STEPS + RESTS + HOLDS + TUNE_LEFT


tuned = filled(
    """
def tune(network, x, y, *, steps, lr, head_lr, pull=0.0):
    tuned = {copied}
    body, head = {body}, list(tuned.head.parameters())
    origin = {origin}
    for _ in range({steps}):
        loss = {loss}
        gradient = torch.autograd.grad(loss, [*body, *head])
        with torch.no_grad():
            for p, g in zip(head, {of_head}, strict=True):
                {head_moves}
            for p, g, o in zip(body, {of_body}, origin, strict=True):
                {body_moves}
                {pulled}
    return tuned
""",
    copied="copy.deepcopy(network)",
    body="list(tuned.features.parameters())",
    origin="[p.detach().clone() for p in body]",
    steps="steps",
    loss="F.cross_entropy(tuned(x), y)",
    of_head="gradient[len(body) :]",
    of_body="gradient[: len(body)]",
    head_moves="p -= head_lr * g",
    body_moves="p -= lr * g",
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
        n, quick_probe, tasks, episodes={episodes}, generator={generator}
    )
    for n in {networks}
)
measured = {result}
""",
    episodes=100,
    generator='variant.generator("measured")',
    networks="(trained, untrained)",
    result="paired_difference(a, b)",
)


GUESS = ("prediction__two_shares",)
BOTH_OF_CURVE = ("gain_curve__smaller_support_sets", "gain_curve__first_minus_second")
PRECISE, REPEATED = ("measured__is_precise_enough",), ("measured__can_be_repeated",)
BOTH_OF_MEASURED = PRECISE + REPEATED

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
            "other names",
            "trained_share, untrained_share = 0.8, 0.25",
            GUESS,
            "predicted_trained is missing",
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
            "every example counts the same: the probe of the chapter",
            probed(share="1 / len(y)"),
            AT_MINIMUM + FREE,
            "a frequent class count",
        ),
        Answer(
            "the losses of a class are added up, not averaged",
            probed(share="torch.ones(len(y)) / len(y.unique())"),
            AT_MINIMUM + FREE,
            "does each class count the same|a frequent class count|times as strong",
        ),
        Answer(
            "the sum over classes in place of their mean",
            probed(share="(1 / y.bincount()).to(z)[y]"),
            AT_MINIMUM,
            "0.25 times as strong.*mean over classes",
        ),
        Answer(
            "the more frequent, the more it counts",
            probed(share="y.bincount().to(z)[y] / y.bincount().to(z)[y].sum()"),
            AT_MINIMUM + FREE,
            "does each class count the same|a frequent class count",
        ),
        Answer(
            "the root of the number of examples",
            probed(share="y.bincount().to(z)[y].rsqrt() / y.bincount().to(z)[y].rsqrt().sum()"),
            AT_MINIMUM + FREE,
            "does each class count the same|a frequent class count",
        ),
        Answer(
            "weights of classes, divided by the number of examples",
            probed(
                loss="F.cross_entropy(z @ weight.T + bias, y, (1 / y.bincount()).to(z), "
                "reduction='sum') / len(y)",
            ),
            AT_MINIMUM,
            "10 times as strong",
        ),
        Answer(
            "the softmax is taken twice",
            probed(
                loss="(share * F.cross_entropy((z @ weight.T + bias).softmax(1), y, "
                "reduction='none')).sum()"
            ),
            AT_MINIMUM + FREE,
            "does each class count the same|a frequent class count",
        ),
        Answer(
            "squared errors in place of the cross-entropy",
            probed(
                loss="(share * (z @ weight.T + bias - F.one_hot(y)).square().sum(1)).sum()",
            ),
            AT_MINIMUM + FREE,
            "does each class count the same|Is the bias",
        ),
        Answer(
            "the examples of the rarest class are all that is taken of each",
            changed(
                probed(embedded="features(network, x)"),
                (
                    "    probed = new_head",
                    "    few = int(y.bincount().min())\n"
                    "    rows = torch.cat([(y == c).nonzero()[:few, 0] for c in y.unique()])\n"
                    "    x, y = x[rows], y[rows]\n    probed = new_head",
                ),
            ),
            AT_MINIMUM + FREE,
            "does each class count the same|Is the bias",
        ),
        Answer(
            "features of length one",
            probed(embedded="F.normalize(features(network, x))"),
            AT_MINIMUM + FREE,
            "features of x|Is the bias",
        ),
        Answer(
            "the bias is penalised, too",
            probed(penalty="l2 * (weight.square().sum() + bias.square().sum())"),
            FREE,
            "Is the bias penalised",
        ),
        Answer(
            "half the penalty, as in the books that write it so",
            probed(penalty="l2 / 2 * weight.square().sum()"),
            AT_MINIMUM,
            "0.5 times as strong",
        ),
        Answer(
            "the mean of the squares in place of their sum",
            probed(penalty="l2 * weight.square().mean()"),
            AT_MINIMUM,
            "times as strong.*all squares",
        ),
        Answer(
            "the length in place of its square",
            probed(penalty="l2 * (weight.square().sum() + 1e-12).sqrt()"),
            AT_MINIMUM,
            "times as strong.*all squares",
        ),
        Answer(
            "the penalty times itself",
            probed(penalty="l2**2 * weight.square().sum()"),
            AT_MINIMUM,
            "0.0.* times as strong",
        ),
        Answer("no bias", probed(fitted="[weight]"), FREE, "left out"),
        Answer(
            "fifty steps of gradient descent",
            """
def probe(network, x, y, *, l2):
    probed = new_head(network, int(y.max()) + 1)
    z, weights = features(network, x), 1 / y.bincount()
    optimizer = torch.optim.SGD(probed.head.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        loss = F.cross_entropy(probed.head(z), y, weights)
        (loss + l2 * probed.head.weight.square().sum()).backward()
        optimizer.step()
    return probed
""",
            AT_MINIMUM + FREE,
            "go on until|not yet at rest",
        ),
        Answer(
            "the new head is put on the given network",
            probed().replace(
                "    return probed", "    network.head = probed.head\n    return network"
            ),
            PROBE_LEFT,
            "work on a copy",
        ),
        Answer(
            "the head keeps the outputs of the source classes",
            probed(outputs="network.head.out_features"),
            AT_MINIMUM + FREE,
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
        loss = F.cross_entropy(probed(x), y, 1 / y.bincount())
        (loss + l2 * probed.head.weight.square().sum()).backward()
        optimizer.step()
    return probed
""",
            ALL_OF_PROBE,
            "features of x|not yet at rest|fit the head alone",
        ),
        Answer(
            "nothing is returned",
            probed().replace("    return probed", ""),
            ALL_OF_PROBE,
            "None",
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
                "(p - o).square().sum() for p, o in zip(body, origin, strict=True))",
                pulled="pass",
            ),
            HOLDS,
            "overshoot",
        ),
        Answer(
            "the head is pulled as well: the update of the chapter",
            changed(
                tuned(
                    head_moves="p.copy_((p - head_lr * g + 2 * head_lr * pull * o)"
                    " / (1 + 2 * head_lr * pull))"
                ),
                (
                    "    for _ in range(steps):",
                    "    begins = [p.detach().clone() for p in head]\n    for _ in range(steps):",
                ),
                (
                    "for p, g in zip(head, gradient[len(body) :], strict=True):",
                    "for p, g, o in zip(head, gradient[len(body) :], begins, strict=True):",
                ),
            ),
            HOLDS,
            "Is it pulled as well",
        ),
        Answer(
            "one step size for all",
            tuned(head_moves="p -= lr * g"),
            STEPS + RESTS + HOLDS,
            "which step size is whose|head_lr 0|rate of the body",
        ),
        Answer(
            "the step sizes are exchanged",
            tuned(head_moves="p -= lr * g", body_moves="p -= head_lr * g"),
            STEPS + RESTS + HOLDS,
            "which step size is whose|head_lr 0|rate of the body",
        ),
        Answer(
            "the head first, and the body by a gradient at the new place",
            changed(
                tuned(of_body="torch.autograd.grad(F.cross_entropy(tuned(x), y), body)"),
                (
                    "        with torch.no_grad():\n",
                    "        for _ in (1,):\n",
                ),
                ("                p -= head_lr * g\n", "                p.data -= head_lr * g\n"),
                ("                p -= lr * g\n", "                p.data -= lr * g\n"),
                ("p.copy_(", "p.data.copy_("),
            ),
            STEPS,
            "taken at the same place",
        ),
        Answer(
            "the pull with the step size of the head",
            tuned(pulled="p.copy_((p + 2 * head_lr * pull * o) / (1 + 2 * head_lr * pull))"),
            RESTS,
            "do not cancel",
        ),
        Answer(
            "weight decay: drawn to zero",
            tuned(pulled="p /= 1 + 2 * lr * pull"),
            RESTS + HOLDS,
            "not to 0|towards the start",
        ),
        Answer(
            "the start is not copied, and moves along",
            tuned(origin="body"),
            RESTS + HOLDS,
            "where the last step was|less than a millionth",
        ),
        Answer(
            "the factor 2 is forgotten",
            tuned(pulled="p.copy_((p + lr * pull * o) / (1 + lr * pull))"),
            RESTS,
            r"2·lr·pull",
        ),
        Answer(
            "not divided",
            tuned(pulled="p += 2 * lr * pull * (o - p)"),
            RESTS + HOLDS,
            "overshoot|as if the pull were",
        ),
        Answer(
            "only the weights are pulled, not the biases",
            tuned(
                pulled="p.copy_((p + 2 * lr * pull * o) / (1 + 2 * lr * pull) if p.ndim > 1 else p)"
            ),
            RESTS + HOLDS,
            "all its weights|less than a millionth",
        ),
        Answer(
            "gradient ascent",
            tuned(head_moves="p += head_lr * g", body_moves="p += lr * g"),
            STEPS + RESTS + HOLDS,
            "Look at sign|do not cancel|where they lead",
        ),
        Answer(
            "one step too many",
            tuned(steps="steps + 1"),
            STEPS + HOLDS,
            "number of steps|6 steps of its own",
        ),
        Answer(
            "the gradient of the start, in every step",
            changed(
                tuned(),
                (
                    "        loss = F.cross_entropy(tuned(x), y)\n"
                    "        gradient = torch.autograd.grad(loss, [*body, *head])\n",
                    "",
                ),
                (
                    "    for _ in range(steps):\n",
                    "    loss = F.cross_entropy(tuned(x), y)\n"
                    "    gradient = torch.autograd.grad(loss, [*body, *head])\n"
                    "    for _ in range(steps):\n",
                ),
            ),
            STEPS + RESTS + HOLDS,
            "where the weights are now|do not cancel|where they lead",
        ),
        Answer(
            "momentum",
            """
def tune(network, x, y, *, steps, lr, head_lr, pull=0.0):
    tuned = copy.deepcopy(network)
    body = list(tuned.features.parameters())
    origin = [p.detach().clone() for p in body]
    rates = [{"params": body, "lr": lr}, {"params": tuned.head.parameters(), "lr": head_lr}]
    optimizer = torch.optim.SGD(rates, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(tuned(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for p, o in zip(body, origin):
                p.copy_((p + 2 * lr * pull * o) / (1 + 2 * lr * pull))
    return tuned
""",
            STEPS + RESTS + HOLDS,
            "nothing remembered|do not cancel|where they lead",
        ),
        Answer(
            "the softmax is taken twice",
            tuned(loss="F.cross_entropy(tuned(x).softmax(1), y)"),
            STEPS + RESTS + HOLDS,
            "must be equal|do not cancel|where they lead",
        ),
        Answer("the given network is trained", tuned(copied="network"), TUNE_LEFT, "Train a copy"),
        Answer(
            "the sum of the losses in place of their mean",
            tuned(loss="F.cross_entropy(tuned(x), y, reduction='sum')"),
            STEPS + RESTS + HOLDS,
            "mean or sum|as if the pull were|where they lead|less than a millionth",
        ),
        Answer(
            "the head alone is trained",
            tuned(body="[]"),
            STEPS + RESTS + TUNE_LEFT,
            "must be equal|trains all weights|do not cancel",
        ),
        Answer(
            "the pull first, then the gradient step",
            changed(
                tuned(),
                (
                    "                p -= lr * g\n"
                    "                p.copy_((p + 2 * lr * pull * o) / (1 + 2 * lr * pull))",
                    "                p.copy_((p + 2 * lr * pull * o) / (1 + 2 * lr * pull))\n"
                    "                p -= lr * g",
                ),
            ),
            RESTS + HOLDS,
            "do not cancel|second half of each step",
        ),
        Answer(
            "the cell of the chapter",
            """
def tune(network, x, y, *, steps, lr, head_lr, pull=0.0):
    model = linear_probe(network, x, y)
    origin = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for (name, p), g in zip(model.named_parameters(), gradient, strict=True):
                rate = head_lr if "head" in name else lr
                p -= rate * g
                p.add_(2 * rate * pull * origin[name]).div_(1 + 2 * rate * pull)
    return model


from metalearn_lite.transfer import linear_probe
""",
            STEPS + RESTS + HOLDS,
            "must be equal|with 0 steps|must stay as it is|where they lead",
        ),
        Answer(
            "fine-tuning by the package",
            """
from metalearn_lite.transfer import fine_tune


def tune(network, x, y, *, steps, lr, head_lr, pull=0.0):
    rates = {"head": head_lr}
    return fine_tune(network, x, y, steps=steps, lr=lr, layer_lrs=rates, l2_sp=pull)
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
            "averaged over the steps",
            mended(value="torch.stack(shares).mean()"),
            ("mended_scores__easy_is_learned",),
            "once, after the last|easy to learn",
        ),
        Answer(
            "the answers after the first step",
            mended(value="shares[0]"),
            ("mended_scores__easy_is_learned",),
            "once, after the last|easy to learn",
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
            ("mended_scores__easy_is_learned", "mended_scores__noise_is_guessing"),
            "named right too often|names 5 of 12 queries",
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
            "exactly 0 ± 0|difference in each episode",
        ),
        Answer(
            "the difference of the two half widths",
            curve(
                result="{n: Scores(Scores.of(a[n]).mean - Scores.of(b[n]).mean, "
                "abs(Scores.of(a[n]).half_width - Scores.of(b[n]).half_width), a[n] - b[n])"
                " for n in shots}"
            ),
            ("gain_curve__first_minus_second",),
            "half width is .* difference in each episode",
        ),
        Answer(
            "the standard deviation as half width",
            curve(
                result="{n: Scores((a[n] - b[n]).mean().item(), (a[n] - b[n]).std().item(), "
                "a[n] - b[n]) for n in shots}"
            ),
            ("gain_curve__first_minus_second",),
            "half width is .* difference in each episode",
        ),
        Answer(
            "one value a query",
            changed(
                curve(result="{n: Scores.of(a[n].flatten() - b[n].flatten()) for n in shots}"),
                (
                    "accuracy(first(small), e.query_y)",
                    "(first(small).argmax(1) == e.query_y).double()",
                ),
                (
                    "accuracy(second(small), e.query_y)",
                    "(second(small).argmax(1) == e.query_y).double()",
                ),
            ),
            ("gain_curve__first_minus_second",),
            "one value an episode",
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
            REPEATED,
            "trained minus untrained",
        ),
        Answer(
            "too few episodes",
            measured(episodes=12),
            PRECISE,
            "four times as many",
        ),
        Answer(
            "the score of the trained network alone",
            measured(result="a"),
            REPEATED,
            "trained minus untrained",
        ),
        Answer(
            "invented values near those that were measured",
            measured(
                episodes=10,
                result="Scores.of(paired_difference(a, b).mean + "
                "0.08 * torch.randn(100, generator=torch.Generator().manual_seed(1)))",
            ),
            REPEATED,
            "measured again it is another",
        ),
        Answer(
            "ten episodes, written down ten times",
            measured(episodes=10, result="Scores.of(paired_difference(a, b).values.repeat(20))"),
            REPEATED,
            "measured again it is another",
        ),
        Answer(
            "episodes of another generator",
            measured(generator="variant.generator('mine')"),
            REPEATED,
            "drawn with the generator of the text",
        ),
        Answer(
            "the two networks on episodes of their own",
            measured(
                generator="variant.generator('measured' if n is trained else 'other')",
                result="Scores.of(a.values - b.values)",
            ),
            REPEATED,
            "measured again it is another",
        ),
        Answer(
            "the values are sorted",
            measured(result="Scores.of(paired_difference(a, b).values.sort()[0])"),
            REPEATED,
            "in the order in which",
        ),
        Answer(
            "episodes of the source characters",
            measured().replace("ImageTasks(held_out", "ImageTasks(source"),
            REPEATED,
            "of the held-out script",
        ),
        Answer(
            "the difference of the half widths",
            measured(
                result="Scores(a.mean - b.mean, abs(a.half_width - b.half_width) + 1e-9,"
                " a.values - b.values)"
            ),
            PRECISE,
            "not those of the values",
        ),
        Answer(
            "the half widths are added",
            measured(
                result="Scores(a.mean - b.mean, a.half_width + b.half_width, a.values - b.values)"
            ),
            PRECISE,
            "not those of the values",
        ),
        Answer(
            "the same network twice",
            measured(networks="(trained, trained)"),
            BOTH_OF_MEASURED,
            "Two different networks|measured again it is another",
        ),
        Answer("a number by heart", "measured = 0.25", BOTH_OF_MEASURED, "expected a Scores"),
    ],
}

DIFFERENT = {
    "prediction": Answer(
        "a whole number and a fraction", "predicted_trained, predicted_untrained = 1, 1 / WAYS"
    ),
    "probe": Answer(
        "gradient descent with momentum on a layer of its own, weights of classes",
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
    counts = y.bincount().float()
    for _ in range(1500):
        descent.zero_grad()
        F.cross_entropy(head(z), y, weight=1 / counts).backward()
        descent.step()
    return Network(copy.deepcopy(network.features), head)
""",
    ),
    "tune": Answer(
        "written with functional_call and torch.func.grad",
        """
def tune(network, x, y, *, steps, lr, head_lr, pull=0.0):
    start = {n: p.detach().clone() for n, p in network.named_parameters()}
    slope = torch.func.grad(
        lambda now: F.cross_entropy(torch.func.functional_call(network, now, (x,)), y)
    )
    share = 2 * lr * pull / (1 + 2 * lr * pull)
    now = start
    for _ in range(steps):
        down = slope(now)
        now = {
            n: now[n] - head_lr * down[n]
            if n.startswith("head.")
            else torch.lerp(now[n] - lr * down[n], start[n], share)
            for n in now
        }
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
generator, found = variant.generator("measured"), []
for _ in range(90):
    e = ImageTasks(held_out, WAYS, SHOTS, QUERIES).sample(generator)
    hits = [(quick_probe(n, e).argmax(1) == e.query_y).sum() for n in (trained, untrained)]
    found.append((hits[0] - hits[1]).item() / len(e.query_y))
measured = Scores.of(found)
""",
    ),
}

ALSO_RIGHT = {
    "prediction": (
        Answer("tensors", "predicted_trained, predicted_untrained = torch.tensor([0.8, 0.25])"),
        Answer(
            "fractions",
            "from fractions import Fraction\n\n"
            "predicted_trained = Fraction(4, 5)\npredicted_untrained = Fraction(1, 4)",
        ),
    ),
    "probe": (
        Answer("weights by example", probed()),
        Answer(
            "class by class, one-hot in float32",
            """
def probe(network, x, y, *, l2):
    z, which = features(network, x), F.one_hot(y).float()
    probed = new_head(network, which.shape[1])
    head = probed.head
    descent = torch.optim.LBFGS(head.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def objective():
        descent.zero_grad()
        losses = -(head(z).log_softmax(dim=1) * which).sum(dim=1)
        value = (losses @ which / which.sum(dim=0)).mean() + l2 * (head.weight**2).sum()
        value.backward()
        return value

    descent.step(objective)
    return probed
""",
        ),
    ),
    "tune": (
        Answer("two lists of parameters", tuned()),
        Answer(
            "an optimizer with two groups, and the pull after its step",
            """
def tune(network, x, y, *, steps, lr, head_lr, pull=0.0):
    model = copy.deepcopy(network)
    groups = [
        {"params": model.features.parameters(), "lr": lr},
        {"params": model.head.parameters(), "lr": head_lr},
    ]
    sgd = torch.optim.SGD(groups)
    for _ in range(steps):
        sgd.zero_grad()
        F.cross_entropy(model(x), y).backward()
        sgd.step()
        for p, o in zip(model.features.parameters(), network.features.parameters()):
            p.data += 2 * lr * pull / (1 + 2 * lr * pull) * (o.data - p.data)
    return model
""",
        ),
    ),
    "mended_scores": (
        Answer("the last of all shares", mended()),
        Answer(
            "a list of shares, counted by hand",
            """
def mended_scores(network, step, tasks, *, episodes, steps, generator):
    found = []
    for e in (tasks.sample(generator) for _ in range(episodes)):
        mean, std = e.support_x.mean(), e.support_x.std()
        body = copy.deepcopy(network)
        mine = Network(body.features, new_head(network, len(set(e.support_y.tolist()))).head)
        for _ in range(steps):
            step(mine, (e.support_x - mean) / std, e.support_y)
        answers = mine((e.query_x - mean) / std).argmax(dim=1)
        found.append(sum(a == b for a, b in zip(answers.tolist(), e.query_y.tolist())))
        found[-1] /= len(answers)
    return torch.tensor(found)
""",
        ),
    ),
    "gain_curve": (
        Answer("rows by label", curve()),
        Answer(
            "the largest support set first, then a part of it",
            """
def gain_curve(first, second, tasks, shots, *, episodes, generator):
    values = {n: [] for n in shots}
    for _ in range(episodes):
        e = tasks.sample(generator)
        seen = {int(c): [] for c in e.support_y.unique()}
        for row, label in enumerate(e.support_y.tolist()):
            seen[label].append(row)
        for n in sorted(shots, reverse=True):
            rows = sorted(row for own in seen.values() for row in own[:n])
            part = Episode(e.support_x[rows], e.support_y[rows], e.query_x, e.query_y)
            one, two = ((m(part).argmax(-1) == e.query_y).sum() for m in (first, second))
            values[n].append((one - two).item() / len(e.query_y))
    return {n: Scores.of(torch.tensor(values[n])) for n in shots}
""",
        ),
    ),
    "measured": (
        Answer("more episodes than it takes", measured(episodes=130)),
        Answer(
            "all episodes drawn first, two columns of shares",
            """
tasks, generator = ImageTasks(held_out, WAYS, SHOTS, QUERIES), variant.generator("measured")
drawn = [tasks.sample(generator) for _ in range(110)]
columns = torch.tensor(
    [
        [(quick_probe(network, e).argmax(1) == e.query_y).float().mean() for e in drawn]
        for network in (trained, untrained)
    ]
)
measured = Scores.of(columns[0] - columns[1])
""",
        ),
    ),
}
