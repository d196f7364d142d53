"""Answers to the assignment multi_task: what students give, and what it must get."""

from classroom import Answer, changed, filled

JOINT_LOSS = "def joint_loss(outputs, targets, weights):\n"
JOINT_LOSS_RIGHT = (
    JOINT_LOSS
    + """\
    total = 0.0
    for name, output in outputs.items():
        y = targets[name]
        known = ~y.isnan() if y.is_floating_point() else y != MISSING
        if known.sum() == 0:
            continue
        loss_of = F.mse_loss if y.is_floating_point() else F.cross_entropy
        total = total + weights[name] * loss_of(output[known], y[known])
    return total
"""
)
UNCERTAINTY = "def uncertainty_loss(losses, log_variance, kinds):\n"
UNCERTAINTY_RIGHT = (
    UNCERTAINTY
    + """\
    total = 0.0
    for name, loss in losses.items():
        factor = 0.5 if kinds[name] == "regression" else 1.0
        total = total + factor * torch.exp(-log_variance[name]) * loss + log_variance[name] / 2
    return total
"""
)
SURGERY = "def surgery(gradients, generator):\n"
surgery = filled(
    """
def surgery(gradients, generator):
    step = {{}}
    {before}
    for layer in dict.fromkeys({layer} for name in gradients[0]):
        names = [name for name in gradients[0] if {layer} == layer]
        rows = torch.stack([torch.cat([g[n].flatten() for n in names]) for g in gradients])
        changed = rows.clone()
        {draws}
        for i in range(len(rows)):
            for j in {order}:
                if i == j:
                    continue
                along = {along}
                if {conflict}:
                    changed[i] = {projected}
        total = {total}
        for n in names:
            size = gradients[0][n].numel()
            step[n], total = total[:size].view_as(gradients[0][n]), total[size:]
    return {result}
""",
    before="pass",
    layer='name.rpartition(".")[0]',
    draws="pass",
    order="torch.randperm(len(rows), generator=generator).tolist()",
    along="changed[i] @ rows[j]",
    conflict="along < 0",
    projected="changed[i] - along / rows[j].norm() ** 2 * rows[j]",
    total="changed.sum(0)",
    result="step",
)

SURGERY_IN_PLACE = """
def surgery(gradients, generator):
    layers = {name.rpartition(".")[0] for name in gradients[0]}
    given = [{n: p.clone() for n, p in g.items()} for g in gradients]
    for layer in sorted(layers):
        names = [n for n in gradients[0] if n.startswith(layer + ".")]
        for i, own in enumerate(gradients):
            for j in torch.randperm(len(given), generator=generator).tolist():
                along = sum((own[n] * given[j][n]).sum() for n in names)
                if i != j and along < 0:
                    length = sum(given[j][n].square().sum() for n in names)
                    for n in names:
                        own[n] {change}
    return {n: sum(g[n] for g in gradients) for n in gradients[0]}
"""

SURGERY_OF_THE_CHAPTER = """
def pcgrad_inline(rows, generator):
    changed = rows.clone()
    for i in range(len(rows)):  # line 1
        for j in torch.randperm(len(rows), generator=generator).tolist():  # line 2
            along = changed[i] @ rows[j]
            if i != j and along < 0:
                changed[i] -= along / (rows[j] @ rows[j]) * rows[j]
    return changed.sum(0)  # line 3


def surgery(gradients, generator):
    rows = torch.stack([torch.cat([p.flatten() for p in g.values()]) for g in gradients])
    parts = pcgrad_inline(rows, generator).split([p.numel() for p in gradients[0].values()])
    return {n: part.view_as(p) for part, (n, p) in zip(parts, gradients[0].items())}
"""

SURGERY_ASKS_THE_WHOLE = """
def surgery(gradients, generator):
    layers = sorted({name.rpartition(".")[0] for name in gradients[0]})
    given = [
        [
            torch.cat([p.flatten() for n, p in g.items() if n.startswith(layer + ".")])
            for layer in layers
        ]
        for g in gradients
    ]
    total = [torch.zeros_like(part) for part in given[0]]
    for i, own in enumerate(given):
        own = [part.clone() for part in own]
        for j in torch.randperm(len(given), generator=generator).tolist():
            other = given[j]
            if i != j and sum(a @ b for a, b in zip(own, other)) < 0:
                own = [a - (a @ b) / (b @ b) * b for a, b in zip(own, other)]
        total = [a + b for a, b in zip(total, own)]
    step = {}
    for layer, part in zip(layers, total):
        for n in [n for n in gradients[0] if n.startswith(layer + ".")]:
            size = gradients[0][n].numel()
            step[n], part = part[:size].view_as(gradients[0][n]), part[size:]
    return step
"""

BUG = "def mended_angles(losses, shared):\n"
BUG_RIGHT = (
    BUG
    + """\
    rows = []
    for loss in losses.values():
        parts = torch.autograd.grad(loss, shared, retain_graph=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    directions = torch.stack([row / row.norm() for row in rows])
    return directions @ directions.T
"""
)
MEASUREMENT = "def batch_cosines(first, second, batch, repeats, generator):\n"
MEASUREMENT_RIGHT = (
    MEASUREMENT
    + """\
    values = []
    for _ in range(repeats):
        rows = torch.randperm(len(first), generator=generator)
        g, h = first[rows[:batch]].mean(0), second[rows[batch : 2 * batch]].mean(0)
        values.append(F.cosine_similarity(g, h, dim=0).item())
    return Scores.of(values)
"""
)

ALL_OF_JOINT_LOSS = (
    "joint_loss__mean_over_labels",
    "joint_loss__gradient",
    "joint_loss__no_label",
    "joint_loss__weights",
)
ALL_OF_UNCERTAINTY = ("uncertainty__rest", "uncertainty__kinds", "uncertainty__learns")
SUM, SPARED, ORDERS, STAY = ALL_OF_SURGERY = (
    "surgery__plain_sum",
    "surgery__two_tasks",
    "surgery__orders",
    "surgery__inputs_stay",
)
WHOLE = "in conflict in the other|is harmed|its length|in neither of|any order|different results"
BOTH_OF_BUG = ("bug__angles", "bug__history")
BOTH_OF_MEASUREMENT = ("measurement__batches", "measurement__interval")

WRONG = {
    "prediction": [
        Answer(
            "percent",
            'prediction = {"two tasks": 50, "one task": 10}',
            loses=("prediction__two_shares",),
            says="share, not percent",
        ),
        Answer(
            "a single number",
            "prediction = 0.5",
            loses=("prediction__two_shares",),
            says="dictionary with a share for each",
        ),
        Answer(
            "one of the two",
            'prediction = {"two tasks": 0.5}',
            loses=("prediction__two_shares",),
            says="expected .two tasks. and .one task.",
        ),
        Answer(
            "words",
            'prediction = {"two tasks": "about half", "one task": "never"}',
            loses=("prediction__two_shares",),
            says="'about half' is not a number",
        ),
        Answer(
            "a cosine in place of a share",
            'prediction = {"two tasks": -0.2, "one task": 0.9}',
            loses=("prediction__two_shares",),
            says="-0.2 is negative",
        ),
        Answer(
            "yes and no",
            'prediction = {"two tasks": True, "one task": False}',
            loses=("prediction__two_shares",),
            says="True is not a number",
        ),
        Answer(
            "nothing, in the right form",
            'prediction = {"two tasks": float("nan"), "one task": float("nan")}',
            loses=("prediction__two_shares",),
            says="nan says nothing",
        ),
    ],
    "joint_loss": [
        Answer(
            "averaged over the whole batch, missing labels included",
            JOINT_LOSS
            + """\
    total = 0.0
    for name, output in outputs.items():
        target = targets[name]
        if target.is_floating_point():
            known = ~target.isnan()
            loss = (output[known] - target[known]).square().sum() / target.numel()
        else:
            loss = F.cross_entropy(output, target, ignore_index=MISSING, reduction="sum")
            loss = loss / len(target)
        total = total + weights[name] * loss
    return total
""",
            loses=("joint_loss__mean_over_labels",),
            says=r"your loss is 0\.\d+ times the mean.*over how many do you average",
        ),
        Answer(
            "the mean over nothing is nan",
            JOINT_LOSS
            + """\
    total = 0.0
    for name, output in outputs.items():
        target = targets[name]
        if target.is_floating_point():
            known = ~target.isnan()
            loss = F.mse_loss(output[known], target[known])
        else:
            loss = F.cross_entropy(output, target, ignore_index=MISSING)
        total = total + weights[name] * loss
    return total
""",
            loses=("joint_loss__no_label",),
            says="the whole loss is nan: a mean over nothing",
        ),
        Answer(
            "nan is masked after the arithmetic, so that its gradient is nan",
            JOINT_LOSS
            + """\
    total = 0.0
    for name, output in outputs.items():
        target = targets[name]
        if target.is_floating_point():
            known = ~target.isnan()
            errors = torch.where(known, (output - target) ** 2, 0.0)
            loss = errors.sum() / known.sum().clamp(min=1)
        else:
            known = (target != MISSING).sum().clamp(min=1)
            loss = F.cross_entropy(output, target, ignore_index=MISSING, reduction="sum") / known
        total = total + weights[name] * loss
    return total
""",
            loses=("joint_loss__gradient",),
            says=r"gradients are nan.*0 \* nan",
        ),
        Answer(
            "the weights are normalised to a mean of one",
            JOINT_LOSS
            + """\
    mean_weight = sum(weights.values()) / len(weights)
    total = 0.0
    for name, output in outputs.items():
        target = targets[name]
        if target.is_floating_point():
            known = ~target.isnan()
            loss_fn = F.mse_loss
        else:
            known = target != MISSING
            loss_fn = F.cross_entropy
        if known.any():
            loss = loss_fn(output[known], target[known])
            total = total + weights[name] / mean_weight * loss
    return total
""",
            loses=("joint_loss__no_label", "joint_loss__weights"),
            says="everything you divide by|times the sum of weights and losses",
        ),
        Answer(
            "weights belong to losses by position",
            JOINT_LOSS
            + """\
    total = 0.0
    for (name, output), weight in zip(outputs.items(), weights.values()):
        y = targets[name]
        known = ~y.isnan() if y.is_floating_point() else y != MISSING
        if known.sum() == 0:
            continue
        loss_of = F.mse_loss if y.is_floating_point() else F.cross_entropy
        total = total + weight * loss_of(output[known], y[known])
    return total
""",
            loses=("joint_loss__weights",),
            says="the dictionaries may differ in order",
        ),
        Answer(
            "missing numbers are taken for zeros",
            JOINT_LOSS
            + """\
    total = 0.0
    for name, output in outputs.items():
        target = targets[name]
        if target.is_floating_point():
            loss = F.mse_loss(output, torch.nan_to_num(target))
        elif (target != MISSING).any():
            loss = F.cross_entropy(output, target, ignore_index=MISSING)
        else:
            loss = 0.0
        total = total + weights[name] * loss
    return total
""",
            loses=(
                "joint_loss__mean_over_labels",
                "joint_loss__gradient",
                "joint_loss__no_label",
            ),
            says="over how many do you average|without a label have a gradient|leave it out",
        ),
        Answer(
            "probabilities where logits belong",
            changed(
                JOINT_LOSS_RIGHT,
                ("loss_of(output[known], y[known])", "loss_of(shares[known], y[known])"),
                (
                    "        if known.sum() == 0:",
                    "        shares = output if y.is_floating_point() else output.softmax(1)\n"
                    "        if known.sum() == 0:",
                ),
            ),
            loses=("joint_loss__mean_over_labels",),
            says="logits or probabilities|is it the cross-entropy",
        ),
        Answer(
            "calls the package",
            JOINT_LOSS
            + """\
    losses = task_losses(outputs, targets)
    return sum(weights[name] * loss for name, loss in losses.items())
""",
            loses=ALL_OF_JOINT_LOSS,
            says="write it yourself: metalearn_lite.multitask.task_losses is closed",
        ),
    ],
    "uncertainty": [
        Answer(
            "the weights are detached",
            UNCERTAINTY
            + """\
    total = 0.0
    for name, loss in losses.items():
        s = log_variance[name]
        weight = torch.exp(-s).detach()
        if kinds[name] == "regression":
            weight = weight / 2
        total = total + weight * loss + s / 2
    return total
""",
            loses=("uncertainty__learns",),
            says="autograd gives s of .* is something detached",
        ),
        Answer(
            "no half for a regression",
            UNCERTAINTY
            + """\
    total = 0.0
    for name, loss in losses.items():
        s = log_variance[name]
        total = total + torch.exp(-s) * loss + 0.5 * s
    return total
""",
            loses=("uncertainty__kinds",),
            says="regression: at the variance where s should rest",
        ),
        Answer(
            "s in place of half of s",
            UNCERTAINTY
            + """\
    total = 0.0
    for name, loss in losses.items():
        s = log_variance[name]
        factor = {"regression": 0.5, "classification": 1.0}[kinds[name]]
        total = total + factor * torch.exp(-s) * loss + s
    return total
""",
            loses=("uncertainty__rest", "uncertainty__kinds"),
            says="weight times loss is 1.000|still has a slope of 0.500",
        ),
        Answer(
            "adds all s, also of tasks without a loss",
            changed(
                UNCERTAINTY_RIGHT,
                ("0.0", "sum(log_variance.values()) / 2"),
                ("loss + log_variance[name] / 2", "loss"),
            ),
            loses=("uncertainty__learns",),
            says="has no loss in this step, and its s is moved",
        ),
        Answer(
            "the sign of s is wrong",
            changed(UNCERTAINTY_RIGHT, ("torch.exp(-log_variance", "torch.exp(log_variance")),
            loses=("uncertainty__rest", "uncertainty__kinds"),
            says="s never comes to rest, it runs to -15|still has a slope",
        ),
        Answer(
            "nothing keeps s from growing",
            UNCERTAINTY
            + """\
    weights = {n: torch.exp(-log_variance[n]) for n in losses}
    halves = {n: 0.5 if kinds[n] == "regression" else 1.0 for n in losses}
    return sum(halves[n] * weights[n] * losses[n] for n in losses)
""",
            loses=("uncertainty__rest", "uncertainty__kinds"),
            says="it runs to 15 and beyond|still has a slope",
        ),
        Answer(
            "ends the process",
            UNCERTAINTY
            + """\
    import os

    os._exit(1)
""",
            loses=ALL_OF_UNCERTAINTY,
            says="ended the process",
        ),
    ],
    "surgery": [
        Answer(
            "the mean in place of the sum",
            surgery(total="changed.mean(0)"),
            loses=(SUM,),
            says=r"is 0\.\d+ times as long as their sum",
        ),
        Answer(
            "the whole trunk at once, as in the chapter",
            SURGERY_OF_THE_CHAPTER,
            loses=(SUM, SPARED, ORDERS),
            says=WHOLE,
        ),
        Answer(
            "layers by the first dot, so that there is one",
            surgery(layer='name.partition(".")[0]'),
            loses=(SUM, SPARED, ORDERS),
            says=WHOLE,
        ),
        Answer(
            "each parameter by itself",
            surgery(layer="name"),
            loses=(SPARED, ORDERS),
            says="what do you take for one vector|is harmed|any order|different results",
        ),
        Answer(
            "the weights of all layers together, and the biases",
            surgery(layer='name.rpartition(".")[2]'),
            loses=(SUM, SPARED, ORDERS),
            says=WHOLE,
        ),
        Answer(
            "the conflict is looked for in the whole trunk",
            SURGERY_ASKS_THE_WHOLE,
            loses=(SUM, ORDERS),
            says="in conflict in the other|any order|different results",
        ),
        Answer(
            "the conflict is looked for among the given gradients",
            surgery(conflict="rows[i] @ rows[j] < 0"),
            loses=(ORDERS,),
            says="depends on those that came before",
        ),
        Answer(
            "projects off gradients that were projected already",
            surgery(
                along="changed[i] @ changed[j]",
                projected="changed[i] - along / changed[j].norm() ** 2 * changed[j]",
            ),
            loses=(SPARED, ORDERS),
            says="is harmed|for its length|as that was given",
        ),
        Answer(
            "a fixed order",
            surgery(order="range(len(rows))"),
            loses=(ORDERS,),
            says="200 times: 1 different results.*orders, drawn",
        ),
        Answer(
            "the same order in all layers",
            surgery(
                before="chances = torch.rand(len(gradients), len(gradients), generator=generator)",
                order="chances[i].argsort().tolist()",
            ),
            loses=(ORDERS,),
            says="8 pairs of results, of 64",
        ),
        Answer(
            "changes what it is given",
            SURGERY_IN_PLACE.replace("{change}", "-= along / length * given[j][n]"),
            loses=(STAY,),
            says="work on a copy",
        ),
        Answer(
            "puts the projected gradients into what it is given",
            SURGERY_IN_PLACE.replace("{change}", "= own[n] - along / length * given[j][n]"),
            loses=(STAY,),
            says="work on a copy",
        ),
        Answer(
            "chance from somewhere else",
            surgery(order="torch.randperm(len(rows)).tolist()"),
            loses=(ORDERS,),
            says="does all chance come from `generator`",
        ),
        Answer(
            "all conflicts and shares looked up beforehand, among the given gradients",
            surgery(along="rows[i] @ rows[j]"),
            loses=(ORDERS,),
            says="begin where the last has ended",
        ),
        Answer(
            "one order for all tasks",
            surgery(
                draws="order = torch.randperm(len(rows), generator=generator).tolist()",
                order="order",
            ),
            loses=(ORDERS,),
            says="6 different results.*for each task by itself",
        ),
        Answer(
            "a gradient of zero is a conflict",
            surgery(conflict="along <= 0"),
            loses=(SUM,),
            says="one gradient is zero, and your step is nan",
        ),
        Answer(
            "projects whether there is a conflict or not",
            surgery(
                conflict="True",
                projected="changed[i] - along / rows[j].norm().clamp(min=1e-9) ** 2 * rows[j]",
            ),
            loses=(SUM, ORDERS),
            says="without conflict in this layer|tested there whether",
        ),
        Answer(
            "projects where there is none",
            surgery(conflict="along > 0"),
            loses=(SUM, SPARED, ORDERS),
            says="without conflict in|is harmed|for its length|any order|different results",
        ),
        Answer(
            "uphill",
            surgery(total="-changed.sum(0)"),
            loses=(SUM, SPARED, ORDERS),
            says="points elsewhere|is harmed",
        ),
        Answer(
            "the part is added, not taken away",
            surgery(projected="changed[i] + along / rows[j].norm() ** 2 * rows[j]"),
            loses=(SPARED, ORDERS),
            says="is harmed|any order",
        ),
        Answer(
            "half of the part is taken away",
            surgery(projected="changed[i] - along / rows[j].norm() ** 2 * rows[j] / 2"),
            loses=(SPARED, ORDERS),
            says="and all of it|for its length|any order",
        ),
        Answer(
            "the length in place of its square",
            surgery(projected="changed[i] - along / rows[j].norm() * rows[j]"),
            loses=(SPARED, ORDERS),
            says="is harmed|for its length|any order",
        ),
        Answer(
            "the length of the wrong gradient",
            surgery(projected="changed[i] - along / rows[i].norm() ** 2 * rows[j]"),
            loses=(SPARED, ORDERS),
            says="is harmed|for its length|any order",
        ),
        Answer(
            "the first task alone gives way",
            surgery(conflict="i == 0 and along < 0"),
            loses=(SPARED, ORDERS),
            says="is harmed|for its length|any order|different results",
        ),
        Answer(
            "one long vector",
            surgery(
                result="torch.cat([step[n].flatten() for n in gradients[0]])",
            ),
            loses=(SUM, SPARED, ORDERS),
            says="expected a dictionary with the names",
        ),
        Answer(
            "the shapes are lost",
            surgery(result="{n: part.flatten() for n, part in step.items()}"),
            loses=(SUM, SPARED, ORDERS),
            says="expected those of the parameters",
        ),
        Answer(
            "calls the package",
            "from metalearn_lite.multitask import pcgrad\n\n\n"
            + SURGERY
            + """\
    rows = torch.stack([torch.cat([p.flatten() for p in g.values()]) for g in gradients])
    return pcgrad(rows, generator)
""",
            loses=ALL_OF_SURGERY,
            says="write it yourself: metalearn_lite.multitask.pcgrad is closed",
        ),
    ],
    "bug": [
        Answer(
            "cleared once, before the first task",
            BUG
            + """\
    rows = []
    for p in shared:
        p.grad = None
    for loss in losses.values():
        loss.backward(retain_graph=True)
        rows.append(torch.cat([p.grad.flatten() for p in shared]))
    directions = torch.stack([row / row.norm() for row in rows])
    return directions @ directions.T
""",
            loses=("bug__angles",),
            says="It may depend on these two tasks alone",
        ),
        Answer(
            "cleared after each task, but not before the first",
            BUG
            + """\
    rows = []
    for loss in losses.values():
        loss.backward(retain_graph=True)
        rows.append(torch.cat([p.grad.flatten() for p in shared]))
        for p in shared:
            p.grad.zero_()
    directions = torch.stack([row / row.norm() for row in rows])
    return directions @ directions.T
""",
            loses=("bug__history",),
            says="what does a training step leave behind",
        ),
        Answer(
            "nothing is mended",
            BUG
            + """\
    rows = []
    for loss in list(losses.values()):
        loss.backward(retain_graph=True)
        rows.append(torch.cat([p.grad.reshape(-1) for p in shared]))
    directions = torch.stack([row / row.norm() for row in rows])
    return directions @ directions.T
""",
            loses=BOTH_OF_BUG,
            says="these two tasks alone|leave behind",
        ),
        Answer(
            "the graph is not kept",
            changed(BUG_RIGHT, ("shared, retain_graph=True)", "shared)")),
            loses=BOTH_OF_BUG,
            says="(?s)backward through the graph a second time.*in your line: parts = ",
        ),
        Answer(
            "inner products in place of cosines",
            changed(
                BUG_RIGHT, ("torch.stack([row / row.norm() for row in rows])", "torch.stack(rows)")
            ),
            loses=("bug__angles",),
            says="cosine of a task with itself should be 1",
        ),
        Answer(
            "rows are views of a gradient that changes",
            BUG
            + """\
    rows = []
    for loss in losses.values():
        for p in shared:
            if p.grad is not None:
                p.grad.zero_()
        loss.backward(retain_graph=True)
        rows.append([p.grad.flatten() for p in shared])
    directions = torch.stack([torch.cat(row) / torch.cat(row).norm() for row in rows])
    return directions @ directions.T
""",
            loses=("bug__angles",),
            says="your angle is 0 degrees",
        ),
        Answer(
            "a loop without end",
            BUG
            + """\
    rows, left = [], list(losses.values())
    while left:
        parts = torch.autograd.grad(left[0], shared, retain_graph=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    directions = torch.stack([row / row.norm() for row in rows])
    return directions @ directions.T
""",
            loses=BOTH_OF_BUG,
            says="loop that never ends",
        ),
        Answer(
            "calls the package",
            "from metalearn_lite.multitask import gradient_cosine, task_gradients\n\n\n"
            + BUG
            + """\
    return gradient_cosine(task_gradients(losses, shared))
""",
            loses=BOTH_OF_BUG,
            says="write it yourself: metalearn_lite.multitask.task_gradients is closed",
        ),
    ],
    "measurement": [
        Answer(
            "both gradients from the same batch",
            MEASUREMENT
            + """\
    values = []
    for _ in range(repeats):
        rows = torch.randperm(len(first), generator=generator)[:batch]
        g, h = first[rows].mean(0), second[rows].mean(0)
        values.append((g @ h / g.norm() / h.norm()).item())
    return Scores.of(values)
""",
            loses=("measurement__batches",),
            says="do the batches share images",
        ),
        Answer(
            "cosines are averaged, not gradients",
            MEASUREMENT
            + """\
    values = []
    for _ in range(repeats):
        rows = torch.randperm(len(first), generator=generator)
        one, other = first[rows[:batch]], second[rows[batch : 2 * batch]]
        values.append(F.cosine_similarity(one, other, dim=1).mean().item())
    return Scores.of(values)
""",
            loses=BOTH_OF_MEASUREMENT,
            says=r"batches of 1 images.*averaged before the cosine|spread 0\.\d+ times as much",
        ),
        Answer(
            "the interval of a single value",
            changed(
                MEASUREMENT_RIGHT,
                (
                    """        values.append(F.cosine_similarity(g, h, dim=0).item())
    return Scores.of(values)""",
                    """        values.append(g @ h / g.norm() / h.norm())
    values = torch.stack(values).double()
    return Scores(values.mean().item(), 1.96 * values.std().item(), values)""",
                ),
            ),
            loses=("measurement__interval",),
            says="is it that of the mean, or of a single value",
        ),
        Answer(
            "the generator is set back in each repetition",
            changed(
                MEASUREMENT_RIGHT,
                (
                    "    for _ in range(repeats):",
                    """    for _ in range(repeats):
        generator.manual_seed(0)""",
                ),
            ),
            loses=("measurement__interval",),
            says="only 1 different cosines: draw new images each time",
        ),
        Answer(
            "a batch is shared out to the two tasks",
            MEASUREMENT
            + """\
    values = []
    for _ in range(repeats):
        rows = torch.randperm(len(first), generator=generator)[:batch]
        one, other = rows[: batch // 2], rows[batch // 2 :]
        g, h = first[one].mean(0), second[other].mean(0)
        values.append(F.cosine_similarity(g, h, dim=0).item())
    return Scores.of(values)
""",
            loses=("measurement__batches",),
            says=r"with batch=\d+ your cosines are those of batches of [\d.]+ images. Too few",
        ),
        Answer(
            "two batches that may share images",
            MEASUREMENT
            + """\
    values = []
    for _ in range(repeats):
        one = torch.randperm(len(first), generator=generator)[:batch]
        other = torch.randperm(len(first), generator=generator)[:batch]
        g, h = first[one].mean(0), second[other].mean(0)
        values.append(F.cosine_similarity(g, h, dim=0).item())
    return Scores.of(values)
""",
            loses=("measurement__batches",),
            says="Too many: do the batches share images",
        ),
        Answer(
            "a number made up",
            MEASUREMENT
            + """\
    return Scores.of(torch.full((repeats,), -0.1))
""",
            loses=BOTH_OF_MEASUREMENT,
            says="images",
        ),
    ],
}

DIFFERENT = {
    "prediction": Answer(
        "whole numbers, in the other order",
        'prediction = dict(zip(("one task", "two tasks"), (0, 1 / 3), strict=True))',
    ),
    "joint_loss": Answer(
        "sums divided by counts, gaps filled before the arithmetic",
        """\
def one_loss(output, target):
    if target.is_floating_point():
        there = torch.logical_not(torch.isnan(target))
        error = (output - torch.nan_to_num(target)) * there
        return (error**2).sum() / max(1, int(there.sum()))
    there = (target != MISSING).to(output.dtype)
    chosen = output.log_softmax(1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    return -(chosen * there).sum() / there.sum().clamp(min=1)


def joint_loss(outputs, targets, weights):
    return sum(weights[task] * one_loss(outputs[task], targets[task]) for task in weights)
""",
    ),
    "uncertainty": Answer(
        "stacked, by the standard deviations",
        UNCERTAINTY
        + """\
    names = list(losses)
    sigma = torch.stack([log_variance[n] for n in names]).mul(0.5).exp()
    divisor = torch.tensor([2.0 if kinds[n] == "regression" else 1.0 for n in names])
    return (torch.stack([losses[n] for n in names]) / (divisor * sigma**2) + sigma.log()).sum()
""",
    ),
    "surgery": Answer(
        "by weights, from the matrix of inner products of a layer",
        """
from itertools import groupby


def surgery(gradients, generator):
    def layer(name):
        return name.rsplit(".", 1)[0]

    step = {}
    for _, names in groupby(sorted(gradients[0], key=layer), key=layer):
        names = list(names)
        inner = sum(
            torch.stack([g[n].reshape(-1) for g in gradients])
            @ torch.stack([g[n].reshape(-1) for g in gradients]).T
            for n in names
        )
        weights = torch.eye(len(inner), dtype=inner.dtype)
        orders = torch.rand(len(inner), len(inner), generator=generator).argsort(dim=1)
        for own, (row, order) in enumerate(zip(weights, orders.tolist())):
            for other in order:
                overlap = torch.dot(row, inner[:, other])
                if other != own and overlap < 0:
                    row[other] -= overlap / inner[other, other]
        for n in names:
            step[n] = sum(weight * g[n] for weight, g in zip(weights.sum(0), gradients))
    return step
""",
    ),
    "bug": Answer(
        "clears what was collected before each task",
        BUG
        + """\
    vectors = []
    for loss in losses.values():
        for p in shared:
            p.grad = None
        loss.backward(retain_graph=True)
        vectors.append(nn.utils.parameters_to_vector([p.grad for p in shared]))
    return torch.stack(
        [torch.stack([F.cosine_similarity(v, w, dim=0) for w in vectors]) for v in vectors]
    )
""",
    ),
    "measurement": Answer(
        "sums, and an interval by hand",
        MEASUREMENT
        + """\
    values = torch.empty(repeats, dtype=torch.float64)
    for k in range(repeats):
        order = torch.rand(len(first), generator=generator).argsort()
        one = torch.zeros(len(first), dtype=first.dtype)
        other = torch.zeros(len(first), dtype=first.dtype)
        one[order[-batch:]] = 1
        other[order[:batch]] = 1
        one, other = one @ first, other @ second
        values[k] = torch.dot(one, other) / (one.norm() * other.norm())
    half_width = 1.96 * values.std() / repeats**0.5
    return Scores(values.mean().item(), half_width.item(), values)
""",
    ),
}

ALSO_RIGHT = {
    "prediction": (
        Answer(
            "fractions",
            "from fractions import Fraction\n\n"
            'prediction = {"two tasks": Fraction(1, 2), "one task": Fraction(1, 4)}',
        ),
        Answer(
            "tensors", 'prediction = {"two tasks": torch.tensor(0.5), "one task": torch.rand(())}'
        ),
    ),
    "joint_loss": (
        Answer("the labels that are there are chosen first", JOINT_LOSS_RIGHT),
        Answer(
            "the options of the losses",
            JOINT_LOSS
            + """\
    terms = [torch.zeros((), dtype=torch.float64)]
    for name, target in targets.items():
        if target.dtype == torch.int64:
            count = int((target != MISSING).sum())
            loss = F.cross_entropy(
                outputs[name], target, ignore_index=MISSING, reduction="sum"
            )
        else:
            count = int((target == target).sum())
            guess = torch.where(target.isnan(), outputs[name].detach(), target)
            output = torch.where(target.isnan(), guess, outputs[name])
            loss = F.mse_loss(output, guess, reduction="sum")
        if count:
            terms.append(weights[name] * loss / count)
    return torch.stack(terms).sum()
""",
        ),
    ),
    "uncertainty": (
        Answer("as it is written", UNCERTAINTY_RIGHT),
        Answer(
            "kind by kind",
            UNCERTAINTY
            + """\
    half = torch.tensor(0.5)
    of_kind = {
        "regression": lambda loss, s: half * (loss * (-s).exp() + s),
        "classification": lambda loss, s: loss / s.exp() + half * s,
    }
    return sum(of_kind[kinds[n]](losses[n], log_variance[n]) for n in kinds if n in losses)
""",
        ),
    ),
    "surgery": (
        Answer("stacked by layer", surgery()),
        Answer(
            "parameter by parameter, with sums over a layer",
            """
def surgery(gradients, generator):
    layers = {}
    for name in gradients[0]:
        layers.setdefault(".".join(name.split(".")[:-1]), set()).add(name)

    def inner(one, other, names):
        return sum(float((one[n] * other[n]).sum()) for n in names)

    changed = [dict(g) for g in gradients]
    for own, mine in zip(gradients, changed):
        others = [g for g in gradients if g is not own]
        for names in layers.values():
            for k in torch.randperm(len(others), generator=generator):
                other = others[k]
                overlap = inner(mine, other, names)
                if overlap < 0:
                    share = overlap / inner(other, other, names)
                    mine.update({n: mine[n] - share * other[n] for n in names})
    return {n: torch.stack([mine[n] for mine in changed]).sum(0) for n in gradients[0]}
""",
        ),
    ),
    "bug": (
        Answer("gradients that are not collected", BUG_RIGHT),
        Answer(
            "one after the other, with what was collected put aside",
            BUG
            + """\
    rows = []
    for loss in losses.values():
        before = [p.grad for p in shared]
        for p in shared:
            p.grad = None
        loss.backward(retain_graph=True)
        rows.append(torch.cat([p.grad.flatten() for p in shared]))
        for p, old in zip(shared, before):
            p.grad = old
    inner = torch.stack(rows) @ torch.stack(rows).T
    lengths = inner.diagonal().sqrt()
    return inner / lengths / lengths[:, None]
""",
        ),
    ),
    "measurement": (
        Answer("two parts of one shuffle", MEASUREMENT_RIGHT),
        Answer(
            "the second batch from what the first has left",
            MEASUREMENT
            + """\
    cosines = []
    for _ in range(repeats):
        one = torch.randperm(len(first), generator=generator)[:batch]
        left = torch.ones(len(first), dtype=torch.bool)
        left[one] = False
        left = left.nonzero().flatten()
        other = left[torch.randperm(len(left), generator=generator)[:batch]]
        g, h = first[one].sum(0), second[other].sum(0)
        cosines.append(float(g @ h / (g.norm() * h.norm())))
    return Scores.of(cosines)
""",
        ),
    ),
}
