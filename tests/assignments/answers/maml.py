"""Answers to the assignment maml: what students give, and what it must get."""

from classroom import Answer, filled

adapted = filled(
    """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps, momentum):
    adapted = {start}
    velocity = {rest}
    for _ in range({steps}):
        outputs = functional_call(model, {at}, (support_x,))
        loss = {loss}
        gradients = torch.autograd.grad(loss, list({at}.values()){remember})
        moved = {{}}
        for (name, p), g in zip({moved}.items(), gradients, strict=True):
            velocity[name] = {velocity}
            moved[name] = {step}
        adapted = moved
    return {result}
""",
    start="dict(params)",
    rest="{n: torch.zeros_like(p) for n, p in params.items()}",
    steps="inner_steps",
    at="adapted",
    loss="F.mse_loss(outputs, support_y)",
    remember=", create_graph=True",
    velocity="momentum * velocity[name] + g",
    step="p - inner_lr * velocity[name]",
    moved="adapted",
    result="adapted",
)

ADAPT_IN_PLACE = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps, momentum):
    model.load_state_dict(params)
    optimizer = torch.optim.SGD(model.parameters(), lr=inner_lr, momentum=momentum)
    for _ in range(inner_steps):
        optimizer.zero_grad()
        F.mse_loss(model(support_x), support_y).backward()
        optimizer.step()
    return dict(model.named_parameters())
"""

ADAPT_A_COPY = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps, momentum):
    network = copy.deepcopy(model)
    network.load_state_dict(params)
    optimizer = torch.optim.SGD(network.parameters(), lr=inner_lr, momentum=momentum)
    for _ in range(inner_steps):
        optimizer.zero_grad()
        F.mse_loss(network(support_x), support_y).backward()
        optimizer.step()
    return dict(network.named_parameters())
"""

ADAPT_IN_THE_DICTIONARY = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps, momentum):
    velocity = dict.fromkeys(params, 0.0)
    for _ in range(inner_steps):
        loss = F.mse_loss(functional_call(model, params, (support_x,)), support_y)
        gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        for name, g in zip(list(params), gradients):
            velocity[name] = momentum * velocity[name] + g
            params[name] = params[name] - inner_lr * velocity[name]
    return params
"""

ADAPT_BACKWARD = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps, momentum):
    adapted, velocity = dict(params), dict.fromkeys(params, 0.0)
    for _ in range(inner_steps):
        for p in adapted.values():
            p.retain_grad()
            p.grad = None
        loss = F.mse_loss(functional_call(model, adapted, (support_x,)), support_y)
        loss.backward(create_graph=True, inputs=list(adapted.values()))
        velocity = {n: momentum * velocity[n] + p.grad.clone() for n, p in adapted.items()}
        adapted = {n: p - inner_lr * velocity[n] for n, p in adapted.items()}
    return adapted
"""

ADAPT_FIXED_GRADIENT = """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps, momentum):
    loss = F.mse_loss(functional_call(model, params, (support_x,)), support_y)
    gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    adapted, velocity = dict(params), dict.fromkeys(params, 0.0)
    for _ in range(inner_steps):
        velocity = {n: momentum * velocity[n] + g for n, g in zip(params, gradients)}
        adapted = {n: p - inner_lr * velocity[n] for n, p in adapted.items()}
    return adapted
"""

ADAPT_NEVER_AT_REST = "KEPT = {}\n" + adapted(
    rest="KEPT", velocity="momentum * velocity.get(name, torch.zeros_like(g)).detach() + g"
)

ADAPT_LAST_STEP_ALONE = adapted(remember=", create_graph=_ == inner_steps - 1")


lost = filled(
    """
def meta_loss(model, episode, *, inner_lr, weights):
    losses = []
    for task in episode.unbind():
        total, theta = 0.0, {start}
        for k, weight in {weighted}:
            adapted = maml.adapt(
                model,
                theta,
                {learned},
                inner_lr={rate},
                inner_steps={steps},{more}
            )
            outputs = functional_call(model, {judged}, ({asked}_x,))
            total = {total}
        losses.append(total)
    return {mean}
""",
    start="dict(model.named_parameters())",
    weighted="enumerate(weights)",
    learned="task.support_x, task.support_y",
    rate="inner_lr",
    steps="k",
    more="",
    judged="adapted",
    asked="task.query",
    total="total + weight * F.mse_loss(outputs, task.query_y)",
    mean="torch.stack(losses).mean()",
)


def lost_by(loss="F.mse_loss(outputs, task.query_y)", **changes):
    """Write a loss whose sum over the steps is written with this loss of a step."""
    return lost(**{"total": f"total + weight * {loss}"} | changes)


LOSS_FORGETFUL = """
def meta_loss(model, episode, *, inner_lr, weights):
    losses = []
    for task in episode.unbind():
        adapted, total = dict(model.named_parameters()), 0.0
        for k, weight in enumerate(weights):
            if k:
                loss = F.mse_loss(
                    functional_call(model, adapted, (task.support_x,)), task.support_y
                )
                gradients = torch.autograd.grad(loss, adapted.values(){remember})
                pairs = zip(adapted.items(), gradients)
                adapted = {n: p {sign} inner_lr * g for (n, p), g in pairs}
            outputs = functional_call(model, adapted, (task.query_x,))
            total = total + weight * F.mse_loss(outputs, task.query_y)
        losses.append(total)
    return sum(losses) / len(losses)
"""

LOSS_IN_PLACE = """
def meta_loss(model, episode, *, inner_lr, weights):
    losses = []
    for task in episode.unbind():
        optimizer = torch.optim.SGD(model.parameters(), lr=inner_lr)
        total = 0.0
        for k, weight in enumerate(weights):
            if k:
                optimizer.zero_grad()
                F.mse_loss(model(task.support_x), task.support_y).backward()
                optimizer.step()
            total = total + weight * F.mse_loss(model(task.query_x), task.query_y)
        losses.append(total)
    return torch.stack(losses).mean()
"""

LOSS_FROM_TASK_TO_TASK = """
def meta_loss(model, episode, *, inner_lr, weights):
    losses, params = [], dict(model.named_parameters())
    for task in episode.unbind():
        total = 0.0
        for k, weight in enumerate(weights):
            if k:
                params = maml.adapt(
                    model, params, task.support_x, task.support_y, inner_lr=inner_lr, inner_steps=1
                )
            outputs = functional_call(model, params, (task.query_x,))
            total = total + weight * F.mse_loss(outputs, task.query_y)
        losses.append(total)
    return torch.stack(losses).mean()
"""

LOSS_OF_THE_CHAPTER = """
def meta_loss(model, episode, *, inner_lr, weights):
    losses = []
    for task in episode.unbind():
        adapted = dict(model.named_parameters())
        for _ in range({steps}):
            outputs = functional_call(model, adapted, (task.support_x,))
            loss = F.mse_loss(outputs, task.support_y)
            slopes = torch.autograd.grad(loss, list(adapted.values()), create_graph=True)
            pairs = zip(adapted.items(), slopes, strict=True)
            adapted = {{name: p - inner_lr * slope for (name, p), slope in pairs}}
        outputs = functional_call(model, adapted, (task.query_x,))
        losses.append({judged})
    return torch.stack(losses).mean()
"""


first = filled(
    """
def first_order_loss(model, episode, *, inner_lr, weights):
    total = 0.0
    for task in episode.unbind():
        theta = dict(model.named_parameters())
        params = {start}
        for k, weight in enumerate(weights):
            if {moves}:
                outputs = functional_call(model, params, (task.{learned}_x,))
                loss = F.mse_loss(outputs, task.{learned}_y)
                gradients = torch.autograd.grad(loss, list(params.values()){remember})
                params = {{n: {step} for (n, p), g in zip(params.items(), gradients)}}
            {on_the_way}
            outputs = functional_call(model, params, (task.{judged}_x,))
            total = {total}
    return {result}
""",
    start="theta",
    moves="k",
    learned="support",
    remember="",
    step="p - inner_lr * g",
    on_the_way="",
    judged="query",
    total="total + weight * F.mse_loss(outputs, task.query_y)",
    result="total / len(list(episode.unbind()))",
)


FIRST_WITHOUT_END = """
def first_order_loss(model, episode, *, inner_lr, weights):
    losses = []
    for task in episode.unbind():
        params, k, total = dict(model.named_parameters()), 0, 0.0
        while k < len(weights):
            total = total + weights[k] * F.mse_loss(
                functional_call(model, params, (task.query_x,)), task.query_y
            )
            loss = F.mse_loss(functional_call(model, params, (task.support_x,)), task.support_y)
            gradients = torch.autograd.grad(loss, list(params.values()))
            params = {n: p - inner_lr * g for (n, p), g in zip(params.items(), gradients)}
        losses.append(total)
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
VALUE = "first_order_loss__has_the_value"
ON_THE_WAY = "first_order_loss__has_the_gradients_on_the_way"
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
        Answer("no second-order term", adapted(remember=""), (CONNECTED,), "second derivatives"),
        Answer(
            "an optimiser on the shared model",
            ADAPT_IN_PLACE,
            (UNCHANGED, CONNECTED),
            "the next task would start|not connected",
        ),
        Answer("an optimiser on a copy of the model", ADAPT_A_COPY, (CONNECTED,), "not connected"),
        Answer(
            "the package's function, which knows no momentum",
            "def adapt(model, params, x, y, *, momentum, **settings):\n"
            "    return maml.adapt(model, params, x, y, **settings)",
            (FORMULA, STEPS, UNCHANGED, CONNECTED),
            "maml.adapt is closed here",
        ),
        Answer(
            "plain gradient descent, as in the chapter",
            adapted(velocity="g"),
            (FORMULA, STEPS, CONNECTED),
            "what has become of the velocity|holds -?0.000 times|on which ways",
        ),
        Answer(
            "the velocity is cut off",
            adapted(velocity="momentum * velocity[name].detach() + g"),
            (CONNECTED,),
            "on which ways",
        ),
        Answer(
            "the velocity keeps its values only",
            adapted(velocity="momentum * velocity[name] + g").replace(
                "        adapted = moved",
                "        adapted = moved\n"
                "        velocity = {n: v.data for n, v in velocity.items()}",
            ),
            (CONNECTED,),
            "on which ways",
        ),
        Answer(
            "a running mean of the gradients",
            adapted(velocity="momentum * velocity[name] + (1 - momentum) * g"),
            (FORMULA, CONNECTED),
            r"right direction, but is 0\.\d+ times as long|no less with momentum",
        ),
        Answer(
            "first the step, then the velocity",
            adapted(velocity="velocity[name]", step="p - inner_lr * velocity[name]").replace(
                "        adapted = moved",
                "        adapted = moved\n"
                "        pairs = zip(velocity.items(), gradients)\n"
                "        velocity = {n: momentum * v + g for (n, v), g in pairs}",
            ),
            (FORMULA, STEPS),
            "what the first one goes along|has a part|times the step before",
        ),
        Answer(
            "Nesterov's momentum",
            adapted(step="p - inner_lr * (g + momentum * velocity[name])"),
            (FORMULA, STEPS),
            "times as long|has a part|which share",
        ),
        Answer(
            "the step size twice",
            adapted(velocity="momentum * velocity[name] + inner_lr * g"),
            (FORMULA,),
            "0.3 times as long",
        ),
        Answer(
            "a momentum of 0.9, whatever is asked for",
            adapted(velocity="0.9 * velocity[name] + g"),
            (FORMULA, STEPS, CONNECTED),
            "What of the first step goes on|which share of the velocity|no less with momentum",
        ),
        Answer(
            "the velocity never comes to rest between two calls",
            ADAPT_NEVER_AT_REST,
            (FORMULA, STEPS, CONNECTED),
            "begin at rest|has a part|on which ways",
        ),
        Answer(
            "momentum against the last step",
            adapted(velocity="g - momentum * velocity[name]"),
            (FORMULA, STEPS, CONNECTED),
            "What of the first step goes on|holds -0.*which share|should depend on it less",
        ),
        Answer(
            "the gradients of all steps add up, without a share",
            adapted(velocity="velocity[name] + g"),
            (FORMULA, STEPS, CONNECTED),
            "What of the first step goes on|holds 1.000 times|no less with momentum",
        ),
        Answer(
            "the graph of the last step alone",
            ADAPT_LAST_STEP_ALONE,
            (CONNECTED,),
            "cut off|on which ways",
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
            (FORMULA, STEPS),
            "where is the gradient taken|gradient taken there|which share",
        ),
        Answer(
            "each step begins at the start again",
            adapted(moved="params"),
            (FORMULA, STEPS),
            "What of the first step goes on|begin where the one before has ended|which share",
        ),
        Answer(
            "one step too few",
            adapted(steps="inner_steps - 1"),
            (FORMULA,),
            "count the steps",
        ),
        Answer(
            "one step too many",
            adapted(steps="inner_steps + 1"),
            (FORMULA,),
            "after no step",
        ),
        Answer(
            "uphill",
            adapted(step="p + inner_lr * velocity[name]"),
            (FORMULA, STEPS, CONNECTED),
            "uphill|goes up the gradient|which way do yours go",
        ),
        Answer(
            "uphill, by the velocity",
            adapted(velocity="momentum * velocity[name] - g"),
            (FORMULA, STEPS, CONNECTED),
            "uphill|goes up the gradient|which way do yours go",
        ),
        Answer(
            "the sum of the squared errors",
            adapted(loss='F.mse_loss(outputs, support_y, reduction="sum")'),
            (FORMULA,),
            "10 times as long",
        ),
        Answer(
            "starts from the model's own parameters",
            adapted(start="dict(model.named_parameters())"),
            (FORMULA, CONNECTED),
            "not from the model's own|not connected",
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
            "cut off|second derivatives|not connected",
        ),
    ],
    "meta_loss": [
        Answer(
            "no second-order term",
            LOSS_FORGETFUL.replace("{remember}", "").replace("{sign}", "-"),
            (GRADIENT,),
            "create_graph",
        ),
        Answer(
            "uphill",
            LOSS_FORGETFUL.replace("{remember}", ", create_graph=True").replace("{sign}", "+"),
            (QUERIES, GRADIENT),
            "times what it should be|Which way do the inner steps go",
        ),
        Answer(
            "first order on purpose",
            lost_by(more="\n                first_order=True,"),
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
        Answer(
            "the loss of MAML, as in the chapter",
            LOSS_OF_THE_CHAPTER.format(
                steps="len(weights) - 1", judged="F.mse_loss(outputs, task.query_y)"
            ),
            (QUERIES, GRADIENT),
            "times what it should be|losses after all of them count",
        ),
        Answer(
            "the loss of MAML with the last weight",
            LOSS_OF_THE_CHAPTER.format(
                steps="len(weights) - 1",
                judged="weights[-1] * F.mse_loss(outputs, task.query_y)",
            ),
            (QUERIES, GRADIENT),
            "after the last step counts|losses after all of them count",
        ),
        Answer(
            "the loss of MAML with a step too many and all weights",
            LOSS_OF_THE_CHAPTER.format(
                steps="len(weights)",
                judged="sum(weights) * F.mse_loss(outputs, task.query_y)",
            ),
            (QUERIES, GRADIENT),
            "weights.0. belongs to the start|times what it should be|of them count",
        ),
        Answer(
            "all steps count alike",
            lost_by().replace("weight * F", "F"),
            (QUERIES, GRADIENT),
            "with the weight of its step|each with its weight",
        ),
        Answer(
            "the weights from the last step to the first",
            lost_by(weighted="enumerate(reversed(weights))"),
            (QUERIES, GRADIENT),
            "with the weight of its step|each with its weight",
        ),
        Answer(
            "divided by the number of steps",
            lost_by("F.mse_loss(outputs, task.query_y) / len(weights)"),
            (QUERIES, GRADIENT),
            r"is 0\.5 times|each with its weight",
        ),
        Answer(
            "divided by the sum of the weights",
            lost_by("F.mse_loss(outputs, task.query_y) / sum(weights)"),
            (QUERIES,),
            r"is 0\.\d+ times",
        ),
        Answer(
            "the start does not count",
            lost_by(weighted="list(enumerate(weights))[1:] or [(0, 1.0)]"),
            (QUERIES, GRADIENT),
            "after the last step counts|times what it should be|losses after all of them count",
        ),
        Answer(
            "one step more than the weights say",
            lost_by(steps="k + 1"),
            (QUERIES,),
            "belongs to the start|of the gradient that the start has",
        ),
        Answer(
            "each weight times one step from the start",
            lost_by(steps="min(k, 1)"),
            (QUERIES, GRADIENT),
            "times what it should be|losses after all of them count",
        ),
        Answer(
            "the way to each step is cut off",
            lost_by(start="{n: p.detach() for n, p in model.named_parameters()}", steps="k"),
            (GRADIENT,),
            "no gradient on the model",
        ),
        Answer("a sum over tasks", lost_by(mean="sum(losses)"), (MEAN,), "the sum of their losses"),
        Answer("the last task alone", lost_by(mean="losses[-1]"), (MEAN,), "do all count"),
        Answer(
            "one loss for each task",
            lost_by(mean="torch.stack(losses)"),
            (MEAN, GRADIENT),
            "scalar|shape",
        ),
        Answer(
            "judged on the support set",
            lost_by("F.mse_loss(outputs, task.support_y)", asked="task.support"),
            (QUERIES,),
            "judge by the queries",
        ),
        Answer(
            "adapted to the queries",
            lost_by(learned="task.query_x, task.query_y"),
            (QUERIES,),
            "whose answers it is to find",
        ),
        Answer(
            "judged before adaptation",
            lost_by(judged="{}"),
            (QUERIES, GRADIENT),
            "before adaptation|losses after all of them count",
        ),
        Answer(
            "the sum of squared errors",
            lost_by("nn.MSELoss(reduction='sum')(outputs, task.query_y)"),
            (QUERIES,),
            "2 times",
        ),
        Answer(
            "the package's function, once a step",
            "def meta_loss(model, episode, *, inner_lr, weights):\n"
            "    return sum(\n"
            "        w * maml.maml_loss(model, episode, inner_lr=inner_lr, inner_steps=k)\n"
            "        for k, w in enumerate(weights)\n"
            "    )",
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
        Answer("a loop without end", FIRST_WITHOUT_END, (VALUE, ON_THE_WAY), "never ends"),
        Answer(
            "second order",
            first(remember=", create_graph=True"),
            (ON_THE_WAY,),
            "second derivatives included",
        ),
        Answer(
            "the adapted parameters are cut off",
            first(
                on_the_way="params = {n: p.detach().requires_grad_() for n, p in params.items()}"
            ),
            (ON_THE_WAY,),
            "no gradient on the model",
        ),
        Answer(
            "the loss at the start",
            first(on_the_way="params = theta"),
            (VALUE, ON_THE_WAY),
            "before and after each step|at the start",
        ),
        Answer(
            "the package's function",
            "def first_order_loss(model, episode, *, inner_lr, weights):\n"
            "    steps = len(weights) - 1\n"
            "    return maml.maml_loss(\n"
            "        model, episode, inner_lr=inner_lr, inner_steps=steps, first_order=True\n"
            "    )",
            (VALUE, ON_THE_WAY),
            "is closed here",
        ),
        Answer("a sum over tasks", first(result="total"), (VALUE, ON_THE_WAY), "3 times"),
        Answer(
            "adapted to the queries",
            first(learned="query"),
            (VALUE, ON_THE_WAY),
            "each step on the support sets|query gradients on the way",
        ),
        Answer(
            "the right gradient, but a wrong value",
            first(result="(total - total.detach()) / len(list(episode.unbind()))"),
            (VALUE,),
            "not the value",
        ),
        Answer(
            "uphill",
            first(step="p + inner_lr * g"),
            (VALUE, ON_THE_WAY),
            "each step on the support sets|query gradients on the way",
        ),
        Answer(
            "first-order MAML: the last loss alone, with weight 1",
            first(total="total * 0 + F.mse_loss(outputs, task.query_y)"),
            (VALUE, ON_THE_WAY),
            "times the mean of the weighted|query gradients on the way",
        ),
        Answer(
            "the last loss alone, with its weight",
            first(
                total="total + (k == len(weights) - 1) * weight * F.mse_loss(outputs, task.query_y)"
            ),
            (VALUE, ON_THE_WAY),
            "times the mean of the weighted|after the last step alone",
        ),
        Answer(
            "all steps count alike",
            first(total="total + F.mse_loss(outputs, task.query_y)"),
            (VALUE, ON_THE_WAY),
            "times the mean of the weighted|weighted sum of the query gradients",
        ),
        Answer(
            "a step before the first loss",
            first(moves="True"),
            (VALUE, ON_THE_WAY),
            "before and after each step|query gradients on the way",
        ),
        Answer(
            "judged on the support set",
            first(judged="support", total="total + weight * F.mse_loss(outputs, task.support_y)"),
            (VALUE, ON_THE_WAY),
            "query losses|query gradients",
        ),
        Answer(
            "the gradient from the last step alone, with the value of all",
            first(
                on_the_way="",
                total="total + weight * F.mse_loss(outputs, task.query_y)\n"
                "            last = weight * F.mse_loss(outputs, task.query_y)\n"
                "            total = total.detach() + last - last.detach()",
            ),
            (ON_THE_WAY,),
            "after the last step alone|query gradients on the way",
        ),
        Answer(
            "a new start from the network each step",
            first(step="theta[n] - inner_lr * g"),
            (VALUE, ON_THE_WAY),
            "before and after each step|query gradients on the way",
        ),
        Answer(
            "the mean over the steps",
            first(result="total / len(list(episode.unbind())) / len(weights)"),
            (VALUE, ON_THE_WAY),
            "0.5 times",
        ),
        Answer(
            "the step cut off from the start in every step but the first",
            first(step="(p if k == 1 else p.detach().requires_grad_()) - inner_lr * g"),
            (ON_THE_WAY,),
            "query gradients on the way",
        ),
        Answer(
            "a plain number",
            first(result="total.item() / len(list(episode.unbind()))"),
            (VALUE, ON_THE_WAY),
            "float",
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
def adapt(
    model, params, support_x, support_y, *, inner_lr, inner_steps, momentum, velocity=None
):
    if inner_steps == 0:
        return params

    def squared_error(weights):
        return (functional_call(model, weights, (support_x,)) - support_y).square().mean()

    slope = torch.func.grad(squared_error)(params)
    velocity = {n: g + momentum * velocity[n] if velocity else g for n, g in slope.items()}
    moved = {name: params[name] - inner_lr * velocity[name] for name in params}
    task = model, moved, support_x, support_y
    settings = {"inner_lr": inner_lr, "momentum": momentum, "velocity": velocity}
    return adapt(*task, inner_steps=inner_steps - 1, **settings)
""",
    ),
    "meta_loss": Answer(
        "all tasks at once by vmap, with a loop of its own",
        """
def meta_loss(model, episode, *, inner_lr, weights):
    theta = dict(model.named_parameters())

    def error(params, x, y):
        return (functional_call(model, params, (x,)) - y).square().mean()

    def of_task(support_x, support_y, query_x, query_y):
        params, total = theta, weights[0] * error(theta, query_x, query_y)
        for weight in weights[1:]:
            slope = torch.func.grad(error)(params, support_x, support_y)
            params = {name: p - inner_lr * slope[name] for name, p in params.items()}
            total = total + weight * error(params, query_x, query_y)
        return total

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


def first_order_loss(model, episode, *, inner_lr, weights):
    losses = []
    for task in episode.unbind():
        network = copy.deepcopy(model)
        for k, weight in enumerate(weights):
            if k > 0:
                network.zero_grad()
                F.mse_loss(network(task.support_x), task.support_y).backward()
                with torch.no_grad():
                    for p in network.parameters():
                        p -= inner_lr * p.grad
            ends = {n: p.detach().clone() for n, p in network.named_parameters()}
            params = {n: p + (ends[n] - p).detach() for n, p in model.named_parameters()}
            outputs = functional_call(model, params, (task.query_x,))
            losses.append(weight * (outputs - task.query_y).square().mean())
    return sum(losses) * len(weights) / len(losses)
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

ALSO_RIGHT = {
    "prediction": (
        Answer("a fraction", "from fractions import Fraction\n\nshare_left = Fraction(1, 3)"),
        Answer("a tensor", "share_left = torch.tensor(0.25)"),
    ),
    "adapt": (
        Answer(
            "by the two points before, without a velocity",
            """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps, momentum):
    last, here = None, dict(params)
    for _ in range(inner_steps):
        error = functional_call(model, here, (support_x,)) - support_y
        slopes = torch.autograd.grad((error**2).mean(), tuple(here.values()), create_graph=True)
        there = {n: p - inner_lr * g for (n, p), g in zip(here.items(), slopes)}
        if last is not None:
            there = {n: p + momentum * (here[n] - last[n]) for n, p in there.items()}
        last, here = here, there
    return here
""",
        ),
        Answer(
            "one long vector",
            """
def adapt(model, params, support_x, support_y, *, inner_lr, inner_steps, momentum):
    names, shapes = list(params), [p.shape for p in params.values()]
    sizes = [shape.numel() for shape in shapes]

    def apart(vector):
        return {n: v.view(s) for n, v, s in zip(names, vector.split(sizes), shapes)}

    theta = torch.cat([p.reshape(-1) for p in params.values()])
    speed = torch.zeros_like(theta)
    for _ in range(inner_steps):
        loss = F.mse_loss(functional_call(model, apart(theta), (support_x,)), support_y)
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
        speed = slope + momentum * speed
        theta = theta - inner_lr * speed
    return apart(theta) if inner_steps else dict(params)
""",
        ),
    ),
    "meta_loss": (
        Answer("from the start again for each step", lost_by()),
        Answer(
            "the last step first, each way written as a call",
            """
def meta_loss(model, episode, *, inner_lr, weights):
    def error(params, x, y):
        return F.mse_loss(functional_call(model, params, (x,)), y)

    def judged(params, task, weights):
        here = weights[0] * error(params, task.query_x, task.query_y)
        if len(weights) == 1:
            return here
        loss = error(params, task.support_x, task.support_y)
        slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        params = {n: p - inner_lr * g for (n, p), g in zip(params.items(), slopes)}
        return here + judged(params, task, weights[1:])

    tasks = list(episode.unbind())
    return sum(judged(dict(model.named_parameters()), t, weights) for t in tasks) / len(tasks)
""",
        ),
    ),
    "first_order_loss": (
        Answer("the loop of MAML without a graph", first()),
        Answer(
            "gradients by hand, in a loss that is straight in the parameters",
            """
def first_order_loss(model, episode, *, inner_lr, weights):
    tasks = list(episode.unbind())
    theta = dict(model.named_parameters())
    value, pull = 0.0, {n: torch.zeros_like(p) for n, p in theta.items()}
    for task in tasks:
        params = {n: p.detach().clone().requires_grad_() for n, p in theta.items()}
        for k, weight in enumerate(weights):
            judged = F.mse_loss(functional_call(model, params, (task.query_x,)), task.query_y)
            value = value + weight * judged.detach() / len(tasks)
            for n, g in zip(pull, torch.autograd.grad(judged, list(params.values()))):
                pull[n] += weight * g / len(tasks)
            loss = F.mse_loss(functional_call(model, params, (task.support_x,)), task.support_y)
            slopes = torch.autograd.grad(loss, list(params.values()))
            params = {
                n: (p - inner_lr * g).detach().requires_grad_()
                for (n, p), g in zip(params.items(), slopes)
            }
    straight = sum((pull[n] * p).sum() for n, p in theta.items())
    return value + straight - straight.detach()
""",
        ),
    ),
    "mended_step": (
        Answer(
            "the gradients are taken, not collected",
            stepped(forget="model.zero_grad(set_to_none=True)"),
        ),
        Answer(
            "adapted parameters beside the model",
            """
def mended_step(model, episode, *, inner_lr, inner_steps, meta_lr):
    tasks, names = list(episode.unbind()), [n for n, _ in model.named_parameters()]
    steps = []
    for task in tasks:
        weights = [p.detach().clone().requires_grad_() for p in model.parameters()]
        for _ in range(inner_steps):
            outputs = functional_call(model, dict(zip(names, weights)), (task.support_x,))
            slopes = torch.autograd.grad(F.mse_loss(outputs, task.support_y), weights)
            moved = [w.detach() - inner_lr * s for w, s in zip(weights, slopes)]
            weights = [w.requires_grad_() for w in moved]
        outputs = functional_call(model, dict(zip(names, weights)), (task.query_x,))
        steps.append(torch.autograd.grad(F.mse_loss(outputs, task.query_y), weights))
    for p, *slopes in zip(model.parameters(), *steps):
        p.data.sub_(meta_lr * sum(slopes) / len(tasks))
""",
        ),
    ),
    "compare_starts": (
        Answer("a generator for each, of the same seed", compared()),
        Answer(
            "the difference by its values",
            compared(difference="Scores.of(a.values - b.values)"),
        ),
    ),
}
