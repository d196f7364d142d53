"""Answers to the assignment multi_task: what students give, and what it must get."""

from classroom import Answer, changed

JOINT_LOSS = "def joint_loss(outputs, targets, weights):\n"
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
SURGERY_RIGHT = (
    SURGERY
    + """\
    changed = gradients.clone()
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients), generator=generator):
            along = changed[i] @ gradients[j]
            if i != j and along < 0:
                changed[i] -= along / gradients[j].norm() ** 2 * gradients[j]
    return changed.sum(0)
"""
)
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
ALL_OF_SURGERY = (
    "surgery__plain_sum",
    "surgery__two_tasks",
    "surgery__orders",
    "surgery__inputs_stay",
)
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
            changed(SURGERY_RIGHT, ("changed.sum(0)", "changed.mean(0)")),
            loses=("surgery__plain_sum",),
            says=r"your step is 0\.\d+ times as long as their sum",
        ),
        Answer(
            "projects off gradients that were projected already",
            changed(
                SURGERY_RIGHT,
                ("along = changed[i] @ gradients[j]", "along = changed[i] @ changed[j]"),
                ("gradients[j].norm() ** 2 * gradients", "changed[j].norm() ** 2 * changed"),
            ),
            loses=("surgery__two_tasks", "surgery__orders"),
            says="as that was given",
        ),
        Answer(
            "a fixed order",
            SURGERY
            + """\
    total = torch.zeros_like(gradients[0])
    for i in range(len(gradients)):
        g = gradients[i].clone()
        for j in range(len(gradients)):
            if i != j and g @ gradients[j] < 0:
                g -= (g @ gradients[j]) / gradients[j].norm() ** 2 * gradients[j]
        total += g
    return total
""",
            loses=("surgery__orders",),
            says="200 times: 1 different results.*orders, drawn",
        ),
        Answer(
            "changes what it is given",
            SURGERY
            + """\
    original = gradients.clone()
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients), generator=generator):
            along = gradients[i] @ original[j]
            if i != j and along < 0:
                gradients[i] -= along / original[j].norm() ** 2 * original[j]
    return gradients.sum(0)
""",
            loses=("surgery__inputs_stay",),
            says="work on a copy",
        ),
        Answer(
            "chance from somewhere else",
            changed(SURGERY_RIGHT, (", generator=generator)", ")")),
            loses=("surgery__orders",),
            says="does all chance come from `generator`",
        ),
        Answer(
            "all conflicts looked up beforehand, among the given gradients",
            SURGERY
            + """\
    inner = gradients @ gradients.T
    changed = gradients.clone()
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients), generator=generator):
            if i != j and inner[i, j] < 0:
                changed[i] -= inner[i, j] / inner[j, j] * gradients[j]
    return changed.sum(0)
""",
            loses=("surgery__orders",),
            says="begin where the last has ended",
        ),
        Answer(
            "one order for all tasks",
            SURGERY
            + """\
    order = torch.randperm(len(gradients), generator=generator).tolist()
    changed = gradients.clone()
    for i in order:
        for j in order:
            along = changed[i] @ gradients[j]
            if i != j and along < 0:
                changed[i] -= along / gradients[j].norm() ** 2 * gradients[j]
    return changed.sum(0)
""",
            loses=("surgery__orders",),
            says="6 different results.*for each task by itself",
        ),
        Answer(
            "a gradient of zero is a conflict",
            changed(SURGERY_RIGHT, ("if i != j and along < 0:", "if i != j and along <= 0:")),
            loses=("surgery__plain_sum",),
            says="one gradient is zero, and your step is nan",
        ),
        Answer(
            "calls the package",
            "from metalearn_lite.multitask import pcgrad\n\n\n"
            + SURGERY
            + """\
    return pcgrad(gradients, generator)
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
            says=r"with batch=9 your cosines are those of batches of 4\.\d+ images",
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
        "by weights, from the matrix of inner products",
        SURGERY
        + """\
    inner = gradients @ gradients.T
    weights = torch.eye(len(inner), dtype=inner.dtype)
    orders = torch.rand(len(inner), len(inner), generator=generator).argsort(dim=1)
    for row, order in zip(weights, orders.tolist()):
        own = int(row.argmax())
        for other in order:
            if other == own:
                continue
            overlap = torch.dot(row, inner[:, other])
            if overlap < 0:
                row[other] -= overlap / inner[other, other]
    return weights.sum(0) @ gradients
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
