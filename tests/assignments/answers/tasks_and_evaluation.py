"""Answers to the assignment tasks_and_evaluation: what students give, and what it must get."""

from classroom import Answer, filled

drawn = filled(
    """
def draw(images, ways, shots, queries, generator):
    chosen = {chosen}
    support_x, query_x = [], []
    for number in chosen.tolist():
        order = {order}
        support_x.append(images[number, order[:shots]])
        query_x.append(images[number, {of_query}])
    labels = torch.arange(ways)
    return Episode(
        torch.cat(support_x),
        labels.repeat_interleave(shots),
        torch.cat(query_x),
        labels.repeat_interleave(queries),
    )
""",
    chosen="torch.randperm(len(images), generator=generator)[:ways]",
    order="torch.randperm(images.shape[1], generator=generator)[: shots + queries]",
    of_query="order[shots:]",
)


mended = filled(
    """
def mended_scores(predict, tasks, *, episodes, generator):
    values = []
    for _ in range(episodes):
        episode = {episode}
        hits = predict(None, {asked}).argmax(dim=1) == {truth}
        values.append(hits.double(){mean})
    return {joined}(values)
""",
    episode="tasks.sample(generator)",
    asked="episode",
    truth="episode.query_y",
    mean=".mean()",
    joined="torch.stack",
)


mean_of = filled(
    """
def nearest_mean(model, episode):
    x = episode.support_x.flatten(1)
    ways = int(episode.support_y.max()) + 1
    means = {means}
    return {scores}
""",
    means="torch.stack([x[episode.support_y == c].mean(dim=0) for c in range(ways)])",
    scores="-torch.cdist(episode.query_x.flatten(1), means)",
)


interval = filled(
    """
def interval(values):
    from scipy.stats import t

    n = len(values)
    factor = {factor}
    spread = {spread}
    return values.mean().item(), factor * spread / {root}
""",
    factor="float(t.ppf(0.975, n - 1))",
    spread="values.std().item()",
    root="n**0.5",
)


compare = filled(
    """
def compare(first, second, tasks, *, episodes, generator):
    a, b = [], []
    for _ in range(episodes):
        e = tasks.sample(generator)
        a.append(accuracy(first(None, e), e.query_y))
        {again}
        b.append(accuracy(second(None, e), e.query_y))
    a, b = torch.stack(a), torch.stack(b)
    return {result}
""",
    again="pass",
    result="Scores.of(a - b)",
)


ALL_OF_DRAW = (
    "draw__has_the_right_shape",
    "draw__no_image_or_class_twice",
    "draw__follows_the_generator",
    "draw__labels_are_shuffled",
    "draw__examples_are_shuffled",
)

WRONG = {
    "prediction": [
        Answer("percent", "prediction = 55.0", ("prediction__is_a_share",), "not percent"),
        Answer("left open", "prediction = None", ("prediction__is_a_share",), "NoneType"),
        Answer("a text", "prediction = '0.5'", ("prediction__is_a_share",), "plain number"),
        Answer("not a number", "prediction = float('nan')", ("prediction__is_a_share",), "nan"),
        Answer("negative", "prediction = -0.2", ("prediction__is_a_share",), "negative"),
    ],
    "draw": [
        Answer(
            "classes drawn with replacement",
            drawn(chosen="torch.randint(len(images), (ways,), generator=generator)"),
            ("draw__no_image_or_class_twice",),
            "twice|two labels",
        ),
        Answer(
            "images drawn with replacement",
            drawn(order="torch.randint(images.shape[1], (shots + queries,), generator=generator)"),
            ("draw__no_image_or_class_twice",),
            "Draw without replacement",
        ),
        Answer(
            "queries are drawn apart from the support set",
            drawn(of_query="torch.randperm(images.shape[1], generator=generator)[:queries]"),
            ("draw__no_image_or_class_twice",),
            "support and queries of a class together",
        ),
        Answer(
            "labels in the order of the classes",
            drawn(chosen="torch.randperm(len(images), generator=generator)[:ways].sort()[0]"),
            ("draw__labels_are_shuffled",),
            "remember which label",
        ),
        Answer(
            "the first images of each class, always",
            drawn(order="torch.arange(shots + queries)"),
            ("draw__examples_are_shuffled",),
            "Draw which examples",
        ),
        Answer(
            "the global random state",
            drawn(order="torch.randperm(images.shape[1])[: shots + queries]"),
            ("draw__follows_the_generator",),
            "global random state",
        ),
        Answer(
            "the sampler of the package",
            "def draw(images, ways, shots, queries, generator):\n"
            "    return ImageTasks(images, ways, shots, queries).sample(generator)",
            ALL_OF_DRAW,
            "write it yourself",
        ),
        Answer(
            "support and query exchanged",
            drawn(of_query="order[shots:]").replace("return Episode(", "return swapped(")
            + "\n\ndef swapped(a, b, c, d):\n    return Episode(c, d, a, b)",
            ("draw__has_the_right_shape",),
            "one row for each image",
        ),
    ],
    "mended_scores": [
        Answer(
            "the seed is still set in the loop",
            mended(episode="tasks.sample(torch.Generator().manual_seed(generator.initial_seed()))"),
            ("mended_scores__episodes_are_new",),
            "where the episodes come from",
        ),
        Answer(
            "one value a query",
            mended(mean="", joined="torch.cat"),
            ("mended_scores__one_number_an_episode",),
            "one number an episode",
        ),
        Answer(
            "train and test swapped",
            mended(
                asked="Episode(episode.query_x, episode.query_y, "
                "episode.support_x, episode.support_y)",
                truth="episode.support_y",
            ),
            ("mended_scores__only_queries_are_scored",),
            "easier task",
        ),
        Answer(
            "one number in all",
            mended().replace("torch.stack(values)", "torch.stack(values).mean()"),
            ("mended_scores__one_number_an_episode",),
            "one number an episode",
        ),
        Answer(
            "the seed is set once before the loop",
            mended().replace(
                "    values = []",
                "    values = []\n"
                "    generator = torch.Generator().manual_seed(generator.initial_seed())",
            ),
            ("mended_scores__episodes_are_new",),
            "same episode",
        ),
    ],
    "nearest_mean": [
        Answer(
            "the distance is not turned round",
            mean_of(scores="torch.cdist(episode.query_x.flatten(1), means)"),
            ("nearest_mean__compares_with_means",),
            "near is large",
        ),
        Answer(
            "rows taken in blocks of equal size",
            mean_of(means="x.unflatten(0, (ways, -1)).mean(dim=1)"),
            ("nearest_mean__goes_by_the_labels",),
            "labels|unflatten",
        ),
        Answer(
            "sum in place of mean",
            mean_of(
                means="torch.stack([x[episode.support_y == c].sum(dim=0) for c in range(ways)])"
            ),
            ("nearest_mean__compares_with_means", "nearest_mean__goes_by_the_labels"),
            "mean of a class|number of images",
        ),
        Answer(
            "mean over pixels",
            mean_of(
                means="torch.stack([x[episode.support_y == c].mean(dim=1).mean().expand(x.shape[1])"
                " for c in range(ways)])"
            ),
            ("nearest_mean__compares_with_means",),
            "over images and not over pixels",
        ),
        Answer(
            "means of the queries",
            mean_of(
                means="torch.stack([episode.query_x.flatten(1)[episode.query_y == c].mean(dim=0)"
                " for c in range(ways)])"
            ),
            ("nearest_mean__goes_by_the_labels",),
            "scores",
        ),
        Answer(
            "nearest image, not nearest mean",
            """
def nearest_mean(model, episode):
    return nearest_pixel(model, episode)
""",
            ("nearest_mean__compares_with_means", "nearest_mean__goes_by_the_labels"),
            "write it yourself",
        ),
    ],
    "interval": [
        Answer(
            "the spread of the values, not of their mean",
            interval(root="1"),
            ("interval__many_episodes", "interval__few_episodes"),
            "too wide",
        ),
        Answer("1.96 always", interval(factor="1.96"), ("interval__few_episodes",), "the factor"),
        Answer(
            "divided by n in the variance",
            interval(spread="values.std(correction=0).item()"),
            ("interval__few_episodes",),
            "squares are divided",
        ),
        Answer(
            "divided by n in place of its root",
            interval(root="n"),
            ("interval__many_episodes", "interval__few_episodes"),
            "divided by|the factor",
        ),
        Answer(
            "variance in place of standard deviation",
            interval(spread="values.var().item()"),
            ("interval__keeps_its_units", "interval__many_episodes", "interval__few_episodes"),
            "variance|too narrow|the factor",
        ),
        Answer(
            "one-sided 95 %",
            interval(factor="float(t.ppf(0.95, n - 1))"),
            ("interval__many_episodes", "interval__few_episodes"),
            "too narrow|the factor",
        ),
        Answer(
            "the course's own",
            "def interval(values):\n    s = Scores.of(values)\n    return s.mean, s.half_width",
            ("interval__keeps_its_units", "interval__many_episodes", "interval__few_episodes"),
            "write it yourself",
        ),
        Answer(
            "a loop that never ends",
            "def interval(values):\n    n = 0\n    while n < len(values):\n        pass\n"
            "    return 0.0, 1.0",
            ("interval__keeps_its_units", "interval__many_episodes", "interval__few_episodes"),
            "loop that never ends",
        ),
    ],
    "compare": [
        Answer(
            "each method on episodes of its own",
            compare(again="e = tasks.sample(generator)"),
            ("compare__same_episodes",),
            "different episodes",
        ),
        Answer(
            "second minus first",
            compare(result="Scores.of(b - a)"),
            ("compare__first_minus_second",),
            "first minus second",
        ),
        Answer(
            "intervals added as if the two were independent",
            compare(
                result="Scores(Scores.of(a).mean - Scores.of(b).mean, "
                "Scores.of(a).half_width + Scores.of(b).half_width, a - b)"
            ),
            ("compare__first_minus_second",),
            "difference in each episode",
        ),
        Answer(
            "one episode, asked again and again",
            compare()
            .replace("    a, b = [], []\n", "    a, b = [], []\n    e = tasks.sample(generator)\n")
            .replace("        e = tasks.sample(generator)\n", ""),
            ("compare__same_episodes",),
            "are the same",
        ),
        Answer(
            "a crash",
            "def compare(first, second, tasks, *, episodes, generator):\n"
            "    import os\n\n    os._exit(1)",
            ("compare__same_episodes", "compare__first_minus_second"),
            "ended the process|left out",
        ),
    ],
}

DIFFERENT = {
    "prediction": Answer("a whole number", "prediction = 1"),
    "draw": Answer(
        "one table of random keys for all classes, rows in mixed order",
        """
def draw(images, ways, shots, queries, generator):
    keys = torch.rand(images.shape[:2], generator=generator)
    numbers = torch.rand(images.shape[0], generator=generator).argsort()[:ways]
    examples = keys[numbers].argsort(dim=1)
    x = images[numbers[:, None], examples[:, : shots + queries]]
    y = torch.arange(ways)[:, None].expand(ways, shots + queries)
    mix = torch.randperm(ways * shots, generator=generator)
    return Episode(
        x[:, :shots].flatten(0, 1)[mix],
        y[:, :shots].flatten()[mix],
        x[:, shots:].transpose(0, 1).flatten(0, 1),
        y[:, shots:].t().flatten(),
    )
""",
    ),
    "mended_scores": Answer(
        "a generator expression",
        """
def mended_scores(predict, tasks, *, episodes, generator):
    def share(e):
        right = (predict(None, e).argmax(-1) == e.query_y).tolist()
        return sum(right) / len(right)

    drawn = (tasks.sample(generator) for _ in range(episodes))
    return torch.tensor([share(e) for e in drawn], dtype=torch.float64)
""",
    ),
    "nearest_mean": Answer(
        "sums by one-hot matrix, distances by hand",
        """
def nearest_mean(model, episode):
    x, q = episode.support_x.flatten(1), episode.query_x.flatten(1)
    which = F.one_hot(episode.support_y).to(x.dtype)  # (n, ways)
    means = which.t() @ x / which.sum(dim=0)[:, None]
    return -(q[:, None] - means[None]).norm(dim=2)
""",
    ),
    "interval": Answer(
        "scipy's own interval",
        """
def interval(values):
    import numpy as np
    from scipy import stats

    a = np.asarray(values)
    low, high = stats.t.interval(0.95, len(a) - 1, loc=a.mean(), scale=stats.sem(a))
    return float(a.mean()), float(high - low) / 2
""",
    ),
    "compare": Answer(
        "differences one by one, as a list",
        """
def compare(first, second, tasks, *, episodes, generator):
    found = []
    for e in [tasks.sample(generator) for _ in range(episodes)]:
        shares = [
            (method(None, e).argmax(1) == e.query_y).float().mean().item()
            for method in (first, second)
        ]
        found.append(shares[0] - shares[1])
    return Scores.of(found)
""",
    ),
}
