"""Answers to the assignment maml: what students give, and what it must get."""

from classroom import Answer, filled

adapted = filled(
    """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps):
    adapted = {start}
    for _ in range({steps}):
        outputs = functional_call(model, {at}, (support_x,))
        loss = {loss}
        gradients = torch.autograd.grad(loss, list({at}.values()), create_graph=True)
        adapted = {{
            name: {step}
            for (name, p), g in zip({moved}.items(), gradients, strict=True)
        }}
    return {result}
""",
    start="dict(params)",
    steps="inner_steps",
    at="adapted",
    loss="F.mse_loss(outputs, support_y)",
    step="p - inner_lr * g",
    moved="adapted",
    result="adapted",
)


ADAPT_FIRST_ORDER = adapted().replace(", create_graph=True", "")

ADAPT_IN_PLACE = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps):
    model.load_state_dict(params)
    optimizer = torch.optim.SGD(model.parameters(), lr=inner_lr)
    for _ in range(inner_steps):
        optimizer.zero_grad()
        F.mse_loss(model(support_x), support_y).backward()
        optimizer.step()
    return dict(model.named_parameters())
"""

ADAPT_IN_THE_DICTIONARY = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps):
    for _ in range(inner_steps):
        loss = F.mse_loss(functional_call(model, params, (support_x,)), support_y)
        gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        for name, g in zip(list(params), gradients):
            params[name] = params[name] - inner_lr * g
    return params
"""

ADAPT_BACKWARD = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps):
    adapted = dict(params)
    for _ in range(inner_steps):
        for p in adapted.values():
            p.retain_grad()
        loss = F.mse_loss(functional_call(model, adapted, (support_x,)), support_y)
        loss.backward(create_graph=True, inputs=list(adapted.values()))
        adapted = {name: p - inner_lr * p.grad.clone() for name, p in adapted.items()}
    return adapted
"""

ADAPT_FIXED_GRADIENT = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps):
    loss = F.mse_loss(functional_call(model, params, (support_x,)), support_y)
    gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    adapted = dict(params)
    for _ in range(inner_steps):
        adapted = {n: p - inner_lr * g for (n, p), g in zip(adapted.items(), gradients)}
    return adapted
"""


lost = filled(
    """
def meta_loss(model, episode, *, inner_lr, inner_steps):
    losses = []
    for task in episode.unbind():
        adapted = maml.adapt(
            model,
            {start},
            {learned},
            inner_lr=inner_lr,
            inner_steps=inner_steps,{more}
        )
        outputs = functional_call(model, {judged}, ({asked}_x,))
        losses.append({loss}(outputs, {asked}_y))
    return {mean}
""",
    start="dict(model.named_parameters())",
    learned="task.support_x, task.support_y",
    more="",
    judged="adapted",
    asked="task.query",
    loss="F.mse_loss",
    mean="torch.stack(losses).mean()",
)


LOSS_FORGETFUL = """
def meta_loss(model, episode, *, inner_lr, inner_steps):
    losses = []
    for task in episode.unbind():
        adapted = dict(model.named_parameters())
        for _ in range(inner_steps):
            loss = F.mse_loss(functional_call(model, adapted, (task.support_x,)), task.support_y)
            gradients = torch.autograd.grad(loss, adapted.values())
            adapted = {n: p - inner_lr * g for (n, p), g in zip(adapted.items(), gradients)}
        losses.append(F.mse_loss(functional_call(model, adapted, (task.query_x,)), task.query_y))
    return sum(losses) / len(losses)
"""

LOSS_IN_PLACE = """
def meta_loss(model, episode, *, inner_lr, inner_steps):
    losses = []
    for task in episode.unbind():
        optimizer = torch.optim.SGD(model.parameters(), lr=inner_lr)
        for _ in range(inner_steps):
            optimizer.zero_grad()
            F.mse_loss(model(task.support_x), task.support_y).backward()
            optimizer.step()
        losses.append(F.mse_loss(model(task.query_x), task.query_y))
    return torch.stack(losses).mean()
"""

LOSS_FROM_TASK_TO_TASK = """
def meta_loss(model, episode, *, inner_lr, inner_steps):
    losses, params = [], dict(model.named_parameters())
    for task in episode.unbind():
        params = maml.adapt(
            model,
            params,
            task.support_x,
            task.support_y,
            inner_lr=inner_lr,
            inner_steps=inner_steps,
        )
        losses.append(F.mse_loss(functional_call(model, params, (task.query_x,)), task.query_y))
    return torch.stack(losses).mean()
"""


first = filled(
    """
def first_order_loss(model, episode, *, inner_lr, inner_steps):
    total = 0.0
    for task in episode.unbind():
        theta = dict(model.named_parameters())
        params = {start}
        for _ in range(inner_steps):
            outputs = functional_call(model, params, (task.{learned}_x,))
            loss = F.mse_loss(outputs, task.{learned}_y)
            gradients = torch.autograd.grad(loss, list(params.values()){remember})
            params = {{n: {step} for (n, p), g in zip(params.items(), gradients)}}
        {at_the_end}
        total = total + F.mse_loss(functional_call(model, params, (task.query_x,)), task.query_y)
    return {result}
""",
    start="theta",
    learned="support",
    remember="",
    step="p - inner_lr * g",
    at_the_end="",
    result="total / len(list(episode.unbind()))",
)


FIRST_WITHOUT_END = """
def first_order_loss(model, episode, *, inner_lr, inner_steps):
    losses = []
    for task in episode.unbind():
        params, step = dict(model.named_parameters()), 0
        while step < inner_steps:
            loss = F.mse_loss(functional_call(model, params, (task.support_x,)), task.support_y)
            gradients = torch.autograd.grad(loss, list(params.values()))
            new = {n: p - inner_lr * g for (n, p), g in zip(params.items(), gradients)}
        losses.append(F.mse_loss(functional_call(model, params, (task.query_x,)), task.query_y))
    return torch.stack(losses).mean()
"""

stepped = filled(
    """import copy


def mended_step(model, episode, *, inner_lr, inner_steps, meta_lr):
    start = {copy}
    total = {{name: torch.zeros_like(p) for name, p in model.named_parameters()}}
    tasks = list(episode.unbind())
    {before}
    for task in tasks:
        model.load_state_dict(start)
        optimizer = torch.optim.SGD(model.parameters(), lr=inner_lr)
        for _ in range({steps}):
            optimizer.zero_grad()
            F.mse_loss(model(task.support_x), task.support_y).backward()
            optimizer.step()
        {forget}
        F.mse_loss(model(task.query_x), task.query_y).backward()
        for name, p in model.named_parameters():
            total[name] += p.grad{share}
    {back}
    with torch.no_grad():
        for name, p in model.named_parameters():
            p -= meta_lr * total[name]
""",
    copy="copy.deepcopy(model.state_dict())",
    before="",
    steps="inner_steps",
    forget="model.zero_grad()",
    share=" / len(tasks)",
    back="model.load_state_dict(start)",
)


compared = filled(
    """
def compare_starts(first, second, tasks, *, inner_lrs, inner_steps, episodes, seed):
    scores = []
    {generator}
    for network, rate in zip((first, second), {rates}):
        predict = partial(maml.maml_predict, inner_lr=rate, inner_steps={steps})
        scores.append(
            evaluate(network, predict, tasks, episodes=episodes, generator={given})
        )
    a, b = scores
    return a, b, {difference}
""",
    generator="",
    rates="inner_lrs",
    steps="inner_steps",
    given="torch.Generator().manual_seed(seed)",
    difference="paired_difference(a, b)",
)


FORMULA, STEPS = "adapt__goes_by_the_formula", "adapt__step_by_step"
UNCHANGED, CONNECTED = "adapt__changes_nothing", "adapt__stays_connected"
QUERIES, MEAN = "meta_loss__judges_by_the_queries", "meta_loss__is_a_mean_over_tasks"
GRADIENT = "meta_loss__has_the_right_gradient"
VALUE = "first_order_loss__has_the_value_of_maml"
AT_THE_END = "first_order_loss__has_the_gradient_at_the_end"
ORDER, TEACH = "mended_step__order_does_not_matter", "mended_step__only_queries_teach"
TAKES = "mended_step__takes_the_step"
COUNTS, AGREES = "compare_starts__counts_what_it_should", "compare_starts__agrees_with_new_waves"

WRONG = {
    "prediction": [
        Answer("in percent", "share_left = 40", ("prediction__is_a_share",), "not percent"),
        Answer("a gain", "share_left = -0.6", ("prediction__is_a_share",), "negative"),
        Answer("text", 'share_left = "a third"', ("prediction__is_a_share",), "is a str"),
        Answer("a range", "share_left = (0.3, 0.5)", ("prediction__is_a_share",), "is a tuple"),
        Answer(
            "not a number",
            'share_left = float("nan")',
            ("prediction__is_a_share",),
            "not a number",
        ),
    ],
    "adapt": [
        Answer("no second-order term", ADAPT_FIRST_ORDER, (CONNECTED,), "second derivatives"),
        Answer(
            "an optimiser on the shared model",
            ADAPT_IN_PLACE,
            (UNCHANGED, CONNECTED),
            "the next task would start|not connected",
        ),
        Answer(
            "the package's function",
            "def adapt(model, params, x, y, **settings):\n"
            "    return maml.adapt(model, params, x, y, **settings)",
            (FORMULA, STEPS, UNCHANGED, CONNECTED),
            "maml.adapt is closed here",
        ),
        Answer(
            "the dictionary that was given is filled anew",
            ADAPT_IN_THE_DICTIONARY,
            (UNCHANGED,),
            "fill a new one",
        ),
        Answer(
            "backward() leaves gradients behind",
            ADAPT_BACKWARD,
            (UNCHANGED,),
            r"left in \.grad",
        ),
        Answer(
            "all steps with the gradient of the first",
            ADAPT_FIXED_GRADIENT,
            (STEPS,),
            "gradient taken there",
        ),
        Answer(
            "each step begins at the start again",
            adapted(moved="params"),
            (STEPS,),
            "begin where the one before has ended",
        ),
        Answer(
            "one step too few",
            adapted(steps="inner_steps - 1"),
            (FORMULA, STEPS),
            "count the steps|inner_steps of them",
        ),
        Answer("uphill", adapted(step="p + inner_lr * g"), (FORMULA,), "uphill"),
        Answer(
            "the sum of the squared errors",
            adapted(loss='F.mse_loss(outputs, support_y, reduction="sum")'),
            (FORMULA,),
            "10 times as long",
        ),
        Answer(
            "starts from the model's own parameters",
            adapted(start="dict(model.named_parameters())"),
            (FORMULA, STEPS, CONNECTED),
            "not from the model's own|gradient taken there|not connected",
        ),
        Answer(
            "the result is cut off",
            adapted(result="{n: p.detach() for n, p in adapted.items()}"),
            (CONNECTED,),
            "not connected",
        ),
        Answer(
            "the first steps are cut off",
            adapted(moved="{n: p.detach().requires_grad_() for n, p in adapted.items()}"),
            (CONNECTED,),
            "cut off|second derivatives",
        ),
    ],
    "meta_loss": [
        Answer("no second-order term", LOSS_FORGETFUL, (GRADIENT,), "create_graph"),
        Answer(
            "first order on purpose",
            lost(more="\n            first_order=True,"),
            (GRADIENT,),
            "not the derivative",
        ),
        Answer(
            "an optimiser on the shared model",
            LOSS_IN_PLACE,
            (MEAN, GRADIENT),
            "start from the same θ|inplace operation",
        ),
        Answer(
            "each task starts where the last has ended",
            LOSS_FROM_TASK_TO_TASK,
            (MEAN,),
            "start from the same θ",
        ),
        Answer("a sum over tasks", lost(mean="sum(losses)"), (MEAN,), "the sum of their losses"),
        Answer("the last task alone", lost(mean="losses[-1]"), (MEAN,), "do all count"),
        Answer(
            "judged on the support set",
            lost(asked="task.support"),
            (QUERIES,),
            "judge by the queries",
        ),
        Answer(
            "adapted to the queries",
            lost(learned="task.query_x, task.query_y"),
            (QUERIES,),
            "whose answers it is to find",
        ),
        Answer(
            "judged before adaptation",
            lost(judged="{}"),
            (QUERIES,),
            "before adaptation",
        ),
        Answer(
            "the sum of squared errors",
            lost(loss="nn.MSELoss(reduction='sum')"),
            (QUERIES,),
            "2 times",
        ),
        Answer(
            "the start is cut off",
            lost(start="{n: p.detach() for n, p in model.named_parameters()}"),
            (GRADIENT,),
            "no gradient on the model",
        ),
        Answer(
            "the package's function",
            "meta_loss = maml.maml_loss",
            (QUERIES, MEAN, GRADIENT),
            "maml.maml_loss is closed here",
        ),
        Answer(
            "ends the process",
            "import os\n\n\ndef meta_loss(*arguments, **settings):\n    os._exit(1)",
            (QUERIES, MEAN, GRADIENT),
            "ended the process",
        ),
    ],
    "first_order_loss": [
        Answer("a loop without end", FIRST_WITHOUT_END, (VALUE, AT_THE_END), "never ends"),
        Answer(
            "second order",
            first(remember=", create_graph=True"),
            (AT_THE_END,),
            "second derivatives included",
        ),
        Answer(
            "the adapted parameters are cut off",
            first(at_the_end="params = {n: p.detach() for n, p in params.items()}"),
            (AT_THE_END,),
            "no gradient on the model",
        ),
        Answer(
            "the loss at the start",
            first(at_the_end="params = theta"),
            (VALUE, AT_THE_END),
            "after adapting|at the start",
        ),
        Answer(
            "the package's function",
            "first_order_loss = partial(maml.maml_loss, first_order=True)",
            (VALUE, AT_THE_END),
            "is closed here",
        ),
        Answer("a sum over tasks", first(result="total"), (VALUE, AT_THE_END), "3 times"),
        Answer(
            "adapted to the queries",
            first(learned="query"),
            (VALUE, AT_THE_END),
            "adapting to the support sets|query gradients at the adapted",
        ),
        Answer(
            "the right gradient, but a wrong value",
            first(result="(total - total.detach()) / len(list(episode.unbind()))"),
            (VALUE,),
            "not the value",
        ),
    ],
    "mended_step": [
        Answer(
            "as it was",
            "mended_step = faulty_step",
            (ORDER, TEACH, TAKES),
            "opposite order|size 0|asks for",
        ),
        Answer(
            "only the start is mended",
            stepped(forget=""),
            (TEACH, TAKES),
            "Which gradients|query gradients",
        ),
        Answer(
            "only the gradient is mended",
            stepped(copy="model.state_dict()"),
            (ORDER, TAKES),
            "something of one task|from the start",
        ),
        Answer(
            "a new dictionary of the same tensors",
            stepped(copy="dict(model.state_dict())"),
            (ORDER, TAKES),
            "something of one task|from the start",
        ),
        Answer(
            "gradients set to zero once an outer step",
            stepped(before="model.zero_grad()", forget=""),
            (TEACH, TAKES),
            "Which gradients|query gradients",
        ),
        Answer("a sum over tasks", stepped(share=""), (TAKES,), "moves by 4 times"),
        Answer(
            "the step is taken from the last task",
            stepped(back=""),
            (ORDER, TAKES),
            "something of one task|from the start",
        ),
        Answer("one inner step, always", stepped(steps="1"), (TAKES,), "at the adapted"),
        Answer(
            "the package's loss",
            "def mended_step(model, episode, *, meta_lr, **settings):\n"
            "    maml.maml_loss(model, episode, first_order=True, **settings).backward()\n"
            "    torch.optim.SGD(model.parameters(), lr=meta_lr).step()",
            (ORDER, TEACH, TAKES),
            "is closed here",
        ),
    ],
    "compare_starts": [
        Answer(
            "one generator for both, so other waves",
            compared(
                generator="generator = torch.Generator().manual_seed(seed)",
                given="generator",
                difference="Scores.of(a.values - b.values)",
            ),
            (COUNTS,),
            "60 different ones",
        ),
        Answer(
            "a seed of its own",
            compared(given="torch.Generator().manual_seed(0)"),
            (AGREES,),
            "very same values",
        ),
        Answer(
            "second minus first",
            compared(difference="paired_difference(b, a)"),
            (COUNTS, AGREES),
            "difference first minus second|farther apart",
        ),
        Answer(
            "one step size for both",
            compared(rates="(inner_lrs[0], inner_lrs[0])"),
            (COUNTS,),
            "its own step size",
        ),
        Answer(
            "no adaptation",
            compared(steps="0"),
            (COUNTS, AGREES),
            "Are the steps taken|farther apart",
        ),
        Answer(
            "the intervals added",
            compared(
                difference="Scores(\n"
                "        a.mean - b.mean, a.half_width + b.half_width, a.values - b.values\n    )"
            ),
            (COUNTS,),
            "times as wide",
        ),
        Answer(
            "the spread of the waves for an interval",
            compared(
                difference="Scores(\n"
                "        a.mean - b.mean, (a.values - b.values).std().item(), a.values - b.values\n"
                "    )"
            ),
            (COUNTS,),
            "times as wide",
        ),
        Answer(
            "a result that was written down",
            "def compare_starts(first, second, tasks, **settings):\n"
            "    first, second = Scores.of([1.1, 1.3]), Scores.of([0.6, 0.7])\n"
            "    return first, second, paired_difference(first, second)",
            (COUNTS, AGREES),
            "0 different ones|very same values",
        ),
    ],
}

DIFFERENT = {
    "prediction": Answer("a whole number", "share_left = 1"),
    "adapt": Answer(
        "a loss as a function, torch.func.grad, one step calling the next",
        """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps):
    if inner_steps == 0:
        return params

    def squared_error(weights):
        return (functional_call(model, weights, (support_x,)) - support_y).square().mean()

    slope = torch.func.grad(squared_error)(params)
    moved = {name: params[name] - inner_lr * slope[name] for name in params}
    return adapt(
        model, moved, support_x, support_y, inner_lr=inner_lr, inner_steps=inner_steps - 1
    )
""",
    ),
    "meta_loss": Answer(
        "all tasks at once by vmap, with a loop of its own",
        """
def meta_loss(model, episode, *, inner_lr, inner_steps):
    theta = dict(model.named_parameters())

    def error(params, x, y):
        return (functional_call(model, params, (x,)) - y).square().mean()

    def of_task(support_x, support_y, query_x, query_y):
        params = theta
        for _ in range(inner_steps):
            slope = torch.func.grad(error)(params, support_x, support_y)
            params = {name: p - inner_lr * slope[name] for name, p in params.items()}
        return error(params, query_x, query_y)

    parts = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    if episode.batch is None:
        return of_task(*parts)
    return torch.vmap(of_task)(*parts).mean()
""",
    ),
    "first_order_loss": Answer(
        "a copy is trained; where it ends is added as a constant",
        """
import copy


def first_order_loss(model, episode, *, inner_lr, inner_steps):
    losses = []
    for task in episode.unbind():
        network = copy.deepcopy(model)
        for _ in range(inner_steps):
            network.zero_grad()
            F.mse_loss(network(task.support_x), task.support_y).backward()
            with torch.no_grad():
                for p in network.parameters():
                    p -= inner_lr * p.grad
        ends = dict(network.named_parameters())
        params = {n: p + (ends[n] - p).detach() for n, p in model.named_parameters()}
        outputs = functional_call(model, params, (task.query_x,))
        losses.append((outputs - task.query_y).square().mean())
    return sum(losses) / len(losses)
""",
    ),
    "mended_step": Answer("the two lines that were missing", stepped()),
    "compare_starts": Answer(
        "each wave is drawn once, and both starts answer it",
        """
def compare_starts(first, second, tasks, *, inner_lrs, inner_steps, episodes, seed):
    generator = torch.Generator().manual_seed(seed)
    errors = []
    for _ in range(episodes):
        task = tasks.sample(generator)
        row = []
        for network, rate in zip((first, second), inner_lrs):
            answers = maml.maml_predict(network, task, inner_lr=rate, inner_steps=inner_steps)
            row.append((answers - task.query_y).square().mean().item())
        errors.append([*row, row[0] - row[1]])
    return tuple(Scores.of(column) for column in zip(*errors))
""",
    ),
}
