"""Answers to the assignment tasks_and_evaluation: what students give, and what it must get."""

from classroom import Answer, changed, filled

drawn = filled(
    """
def draw(images, ways, shots, queries, generator):
    for number, own in enumerate({looked_at}):
        if {too_small}:
            raise {error}
    chosen = {chosen}
    support, query = [], []
    for number in chosen.tolist():
        own = images[number]
        order = {order}
        support.append(own[order[:shots]])
        query.append(own[{of_query}])
    labels = torch.arange(ways)
    asked = torch.tensor([len(x) for x in query])
    return Episode(
        torch.cat(support),
        labels.repeat_interleave(shots),
        torch.cat(query),
        {query_y},
    )
""",
    looked_at="images",
    too_small="len(own) < shots + 1",
    error='ValueError(f"class {number} has {len(own)} images, {shots + 1} are needed")',
    chosen="torch.randperm(len(images), generator=generator)[:ways]",
    order="torch.randperm(len(own), generator=generator)",
    of_query="order[shots : shots + queries]",
    query_y="labels.repeat_interleave(asked)",
)


mended = filled(
    """
def mended_scores(predict, tasks, *, episodes, generator):
    values = []
    for _ in range(episodes):
        e = {episode}
        hits = (predict(None, {asked}).argmax(dim=1) == {truth}).double()
        shares = [hits[{truth} == c].mean() for c in {truth}.unique()]
        values.append({value})
    return {result}
""",
    episode="tasks.sample(generator)",
    asked="e",
    truth="e.query_y",
    value="torch.stack(shares).mean()",
    result="torch.stack(values)",
)


mean_of = filled(
    """
def nearest_mean(episode, *, extra):
    x, y = {of_class}
    ways = int(y.max()) + 1
    means = {means}
    count = {count}
    middle = {middle}
    means = {drawn_in}
    q = episode.query_x.flatten(1)
    return {scores}
""",
    of_class="episode.support_x.flatten(1), episode.support_y",
    means="torch.stack([x[y == c].mean(dim=0) for c in range(ways)])",
    count="torch.stack([(y == c).sum() for c in range(ways)])[:, None]",
    middle="means.mean(dim=0)",
    drawn_in="(count * means + extra * middle) / (count + extra)",
    scores="-torch.cdist(q, means)",
)


interval = filled(
    """
def interval(values, scripts):
    from scipy.stats import t

    means = {means}
    n = {units}
    factor = {factor}
    spread = {spread}
    return {mean}.item(), factor * spread / {root}
""",
    means="torch.stack([values[scripts == s].mean() for s in scripts.unique()])",
    units="len(means)",
    factor="float(t.ppf(0.975, n - 1))",
    spread="means.std().item()",
    mean="means.mean()",
    root="n**0.5",
)


compare = filled(
    """
def compare(first, second, tasks, *, pilot, target, generator):
    def differences(episodes):
        a, b = [], []
        for _ in range(episodes):
            e = tasks.sample(generator)
            a.append(accuracy(first(None, e), e.query_y))
            {again}
            b.append(accuracy(second(None, e), e.query_y))
        a, b = torch.stack(a), torch.stack(b)
        return {difference}

    tried = differences(pilot)
    needed = {needed}
    measured = differences({episodes})
    return {result}
""",
    again="pass",
    difference="a - b",
    needed="pilot * (Scores.of(tried).half_width / target) ** 2",
    episodes="max(2, math.ceil(needed))",
    result="Scores.of(measured)",
)


GUESS = ("prediction__is_a_share",)
ROWS = ("draw__has_the_right_rows",)
SMALL = ("draw__small_class_is_named",)
FOLLOWS = ("draw__follows_the_generator",)
LABELS = ("draw__labels_are_shuffled",)
EXAMPLES = ("draw__examples_are_shuffled",)
ALL_OF_DRAW = ROWS + SMALL + FOLLOWS + LABELS + EXAMPLES
ONE = ("mended_scores__one_number_an_episode",)
NEW = ("mended_scores__episodes_are_new",)
ONLY_QUERIES = ("mended_scores__only_queries_are_scored",)
EQUAL = ("nearest_mean__equal_classes",)
BY_LABELS = ("nearest_mean__goes_by_the_labels",)
UNITS = ("interval__keeps_its_units",)
MANY = ("interval__many_scripts",)
FEW = ("interval__few_scripts",)
SAME = ("compare__same_episodes",)
MINUS = ("compare__first_minus_second",)

WRONG = {
    "prediction": [
        Answer("percent", "prediction = 55.0", GUESS, "not percent"),
        Answer("left open", "prediction = None", GUESS, "NoneType"),
        Answer("a text", "prediction = '0.5'", GUESS, "is a str: write a number"),
        Answer("not a number", "prediction = float('nan')", GUESS, "nan"),
        Answer("negative", "prediction = -0.2", GUESS, "negative"),
        Answer("whether it works", "prediction = True", GUESS, "is a bool"),
        Answer("two shares", "prediction = (0.5, 0.6)", GUESS, "is a tuple"),
        Answer("another name", "guess = 0.5", GUESS, "prediction is missing"),
    ],
    "draw": [
        Answer(
            "classes drawn with replacement",
            drawn(chosen="torch.randint(len(images), (ways,), generator=generator)"),
            ROWS,
            "twice|two labels",
        ),
        Answer(
            "images drawn with replacement",
            drawn(order="torch.randint(len(own), (len(own),), generator=generator)"),
            ROWS,
            "Draw without replacement",
        ),
        Answer(
            "queries are drawn apart from the support set",
            drawn(of_query="torch.randperm(len(own), generator=generator)[:queries]"),
            ROWS,
            "support and queries of a class together",
        ),
        Answer(
            "the same images are learned from and asked",
            drawn(of_query="order[:queries]"),
            ROWS,
            "occur twice",
        ),
        Answer(
            "as many queries of each class as the smallest has",
            drawn(
                of_query="order[shots : min(shots + queries, *(len(images[k]) for k in "
                "chosen.tolist()))]"
            ),
            ROWS,
            "it has . and ., expected",
        ),
        Answer(
            "all that is left is asked",
            drawn(of_query="order[shots:]"),
            ROWS + EXAMPLES,
            "it has . and .*, expected|one is among the queries",
        ),
        Answer(
            "large classes are drawn more often",
            drawn(
                chosen="torch.multinomial(torch.tensor([float(len(x)) for x in images]), ways, "
                "generator=generator)"
            ),
            LABELS,
            "however many images",
        ),
        Answer(
            "labels in the order of the classes",
            drawn(chosen="torch.randperm(len(images), generator=generator)[:ways].sort()[0]"),
            LABELS,
            "remember which label",
        ),
        Answer(
            "neighbouring classes, from a start drawn at random",
            drawn(
                chosen="(torch.arange(ways) + torch.randint(len(images), (), generator=generator))"
                " % len(images)"
            ),
            LABELS,
            "not only where to begin",
        ),
        Answer(
            "the largest classes, always",
            drawn(
                chosen="torch.tensor(sorted(range(len(images)), key=lambda k: -len(images[k])))"
                "[:ways][torch.randperm(ways, generator=generator)]"
            ),
            LABELS,
            "never drawn",
        ),
        Answer(
            "the first images of each class, always",
            drawn(order="torch.arange(len(own))"),
            EXAMPLES,
            "Draw which images",
        ),
        Answer(
            "images from a start drawn at random, in order",
            drawn(
                order="torch.arange(len(own)).roll(int(torch.randint(len(own), (), "
                "generator=generator)))"
            ),
            EXAMPLES,
            "same numbers|equally often|draw for each class",
        ),
        Answer(
            "one order for all classes",
            changed(
                drawn(order="mixed[mixed < len(own)]"),
                (
                    "    support, query = [], []\n",
                    "    most = max(len(own) for own in images)\n"
                    "    mixed = torch.randperm(most, generator=generator)\n"
                    "    support, query = [], []\n",
                ),
            ),
            EXAMPLES,
            "for each class anew",
        ),
        Answer(
            "images of large classes beyond the smallest are never used",
            drawn(order="torch.randperm(min(map(len, images)), generator=generator)"),
            ROWS + EXAMPLES,
            "it has|equally often",
        ),
        Answer(
            "the global random state",
            drawn(order="torch.randperm(len(own))"),
            FOLLOWS,
            "global random state",
        ),
        Answer(
            "the seed is set in the function",
            drawn(order="torch.randperm(len(own), generator=generator.manual_seed(number))"),
            LABELS + EXAMPLES,
            "never drawn|equally often",
        ),
        Answer(
            "classes that are too small are left out",
            drawn(
                too_small="False",
                chosen="torch.tensor([k for k in torch.randperm(len(images), generator=generator)"
                ".tolist() if len(images[k]) > shots][:ways])",
            ),
            SMALL,
            "expected a ValueError",
        ),
        Answer(
            "only the classes that are drawn are looked at",
            drawn(looked_at="images[:0]").replace(
                "        own = images[number]\n",
                "        own = images[number]\n        if len(own) <= shots:\n"
                "            raise ValueError(f'class {number}')\n",
            ),
            SMALL,
            "whether this class is drawn or not",
        ),
        Answer(
            "a class needs all its queries",
            drawn(too_small="len(own) < shots + queries"),
            ROWS + SMALL,
            "ValueError|one left to be asked",
        ),
        Answer(
            "no image need be left to ask",
            drawn(too_small="len(own) < shots"),
            SMALL,
            "leaves nothing to ask",
        ),
        Answer(
            "the error names no class",
            drawn(error='ValueError(f"a class has {len(own)} images")'),
            SMALL,
            "the number of the class",
        ),
        Answer(
            "the error is raised by an assertion",
            drawn(error='AssertionError(f"class {number} is too small")'),
            SMALL,
            "AssertionError",
        ),
        Answer(
            "the labels of the queries as if all had equally many",
            drawn(query_y="labels.repeat_interleave(queries)"),
            ROWS + SMALL,
            "expected one label for each input",
        ),
        Answer(
            "the cell of the chapter, which draws from classes of one size",
            """
def draw(images, ways, shots, queries, generator):
    classes = torch.rand(len(images), generator=generator).argsort()[:ways]
    order = torch.rand(ways, images.shape[1], generator=generator).argsort()
    x = images[classes[:, None], order[:, : shots + queries]]
    support, query = x[:, :shots].flatten(0, 1), x[:, shots:].flatten(0, 1)
    y = torch.arange(ways)
    labels = y.repeat_interleave(shots), y.repeat_interleave(queries)
    return Episode(support, labels[0], query, labels[1])
""",
            ALL_OF_DRAW,
            "'list' object has no attribute 'shape'",
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
            drawn().replace("return Episode(", "return swapped(")
            + "\n\ndef swapped(a, b, c, d):\n    return Episode(c, d, a, b)",
            ROWS,
            "it has",
        ),
    ],
    "mended_scores": [
        Answer(
            "the seed is still set in the loop",
            mended(episode="tasks.sample(torch.Generator().manual_seed(generator.initial_seed()))"),
            NEW,
            "where the episodes come from",
        ),
        Answer(
            "one value a query",
            mended(value="hits", result="torch.cat(values)"),
            ONE,
            "one number an episode",
        ),
        Answer(
            "one value a class",
            mended(value="torch.stack(shares)", result="torch.cat(values)"),
            ONE,
            "one number an episode",
        ),
        Answer(
            "train and test swapped",
            mended(
                asked="Episode(e.query_x, e.query_y, e.support_x, e.support_y)",
                truth="e.support_y",
            ),
            ONE + ONLY_QUERIES,
            "easier task|not all queries|in any episode",
        ),
        Answer(
            "the support images count as well",
            changed(
                mended(),
                (
                    "        values.append(",
                    "        swapped = Episode(e.query_x, e.query_y, e.support_x, e.support_y)\n"
                    "        more = predict(None, swapped).argmax(dim=1) == e.support_y\n"
                    "        shares.append(more.double().mean())\n"
                    "        values.append(",
                ),
            ),
            ONE + ONLY_QUERIES,
            "in any episode|easier task",
        ),
        Answer(
            "one number in all",
            mended(result="torch.stack(values).mean()"),
            ONE,
            "one number an episode",
        ),
        Answer("a list", mended(result="values"), ONE, "in a tensor"),
        Answer(
            "the share of all queries",
            mended(value="hits.mean()"),
            ONE,
            "a class with many of them counts more",
        ),
        Answer(
            "the worst class",
            mended(value="torch.stack(shares).min()"),
            ONE,
            "mean over the classes",
        ),
        Answer(
            "percent",
            mended(value="100 * torch.stack(shares).mean()"),
            ONE,
            "not the balanced share",
        ),
        Answer(
            "wrong answers are counted",
            mended(value="1 - torch.stack(shares).mean()"),
            ONE,
            "not the balanced share",
        ),
        Answer(
            "by the class that was answered",
            changed(
                mended(),
                (
                    "shares = [hits[e.query_y == c].mean() for c in e.query_y.unique()]",
                    "named = predict(None, e).argmax(dim=1)\n"
                    "        shares = [hits[named == c].mean() for c in named.unique()]",
                ),
            ),
            ONE + ONLY_QUERIES,
            "balanced share|called 10 times",
        ),
        Answer(
            "the running mean of all episodes so far",
            mended(result="torch.stack(values).cumsum(0) / torch.arange(1, episodes + 1)"),
            ONE,
            "in any episode",
        ),
        Answer(
            "the seed is set once before the loop",
            changed(
                mended(),
                (
                    "    values = []\n",
                    "    values = []\n"
                    "    generator = torch.Generator().manual_seed(generator.initial_seed())\n",
                ),
            ),
            NEW,
            "same episode",
        ),
        Answer(
            "a global generator",
            mended(episode="tasks.sample(torch.default_generator)"),
            NEW,
            "all chance come from the generator",
        ),
        Answer(
            "a generator of its own, from the clock",
            changed(
                mended(),
                (
                    "    values = []\n",
                    "    values = []\n    generator = torch.Generator()\n    generator.seed()\n",
                ),
            ),
            NEW,
            "all chance come from the generator",
        ),
        Answer(
            "the package's evaluation",
            "from metalearn_lite.evaluation import evaluate\n\n\n"
            "def mended_scores(predict, tasks, *, episodes, generator):\n"
            "    options = {'episodes': episodes, 'generator': generator}\n"
            "    return evaluate(None, predict, tasks, **options).values",
            ONE + NEW + ONLY_QUERIES,
            "write it yourself",
        ),
    ],
    "nearest_mean": [
        Answer(
            "the distance is not turned round",
            mean_of(scores="torch.cdist(q, means)"),
            EQUAL + BY_LABELS,
            "near is large",
        ),
        Answer(
            "the square of the distance",
            mean_of(scores="-torch.cdist(q, means).square()"),
            EQUAL + BY_LABELS,
            "Euclidean",
        ),
        Answer(
            "the sum of the differences",
            mean_of(scores="-torch.cdist(q, means, p=1)"),
            EQUAL + BY_LABELS,
            "Euclidean",
        ),
        Answer(
            "the cosine of the angle",
            mean_of(scores="F.normalize(q) @ F.normalize(means).T"),
            EQUAL + BY_LABELS,
            "not minus the distances",
        ),
        Answer(
            "the mean of the differences over pixels",
            mean_of(scores="-(q[:, None] - means).square().mean(dim=2).sqrt()"),
            EQUAL + BY_LABELS,
            "not minus the distances",
        ),
        Answer(
            "rows taken in blocks of equal size",
            mean_of(means="x.unflatten(0, (ways, -1)).mean(dim=1)"),
            BY_LABELS,
            "labels",
        ),
        Answer(
            "as many images of each class as of the first",
            mean_of(count="(y == 0).sum()"),
            BY_LABELS,
            "exchanged|extra",
        ),
        Answer(
            "sum in place of mean",
            mean_of(means="torch.stack([x[y == c].sum(dim=0) for c in range(ways)])"),
            EQUAL + BY_LABELS,
            "mean",
        ),
        Answer(
            "mean over pixels",
            mean_of(
                means="torch.stack([x[y == c].mean(dim=1).mean().expand(x.shape[1])"
                " for c in range(ways)])"
            ),
            EQUAL + BY_LABELS,
            "over images and not over pixels",
        ),
        Answer(
            "nothing is drawn in: the cell of the chapter",
            mean_of(drawn_in="means"),
            EQUAL + BY_LABELS,
            "drawn in as the equation says",
        ),
        Answer(
            "drawn to the mean of all images",
            mean_of(middle="x.mean(dim=0)"),
            BY_LABELS,
            "each class counts the same",
        ),
        Answer(
            "drawn to zero",
            mean_of(middle="0"),
            EQUAL + BY_LABELS,
            "drawn in as the equation says",
        ),
        Answer(
            "drawn to the queries",
            mean_of(middle="episode.query_x.flatten(1).mean(dim=0)"),
            EQUAL + BY_LABELS,
            "drawn in as the equation says",
        ),
        Answer(
            "every class drawn by the same share",
            mean_of(drawn_in="(means + extra * middle) / (1 + extra)"),
            EQUAL + BY_LABELS,
            "drawn in as the equation says",
        ),
        Answer(
            "by the number of all images",
            mean_of(drawn_in="(len(x) * means + extra * middle) / (len(x) + extra)"),
            EQUAL + BY_LABELS,
            "drawn in as the equation says",
        ),
        Answer(
            "not divided again",
            mean_of(drawn_in="means + extra * middle / count"),
            EQUAL + BY_LABELS,
            "drawn in as the equation says",
        ),
        Answer(
            "means of the queries",
            mean_of(of_class="episode.query_x.flatten(1), episode.query_y"),
            EQUAL + BY_LABELS,
            "scores",
        ),
        Answer(
            "nearest image, not nearest mean",
            "def nearest_mean(episode, *, extra):\n    return nearest_pixel(None, episode)",
            EQUAL + BY_LABELS,
            "write it yourself",
        ),
    ],
    "interval": [
        Answer(
            "the spread of the means, not of their mean",
            interval(root="1"),
            MANY + FEW,
            "too wide",
        ),
        Answer("1.96 always", interval(factor="1.96"), FEW, "the factor"),
        Answer(
            "as many degrees of freedom as scripts",
            interval(factor="float(t.ppf(0.975, n))"),
            FEW,
            "the factor",
        ),
        Answer(
            "divided by n in the variance",
            interval(spread="means.std(correction=0).item()"),
            FEW,
            "squares are divided",
        ),
        Answer(
            "divided by n in place of its root",
            interval(root="n"),
            MANY + FEW,
            "divided by|the factor",
        ),
        Answer(
            "variance in place of standard deviation",
            interval(spread="means.var().item()"),
            UNITS + MANY + FEW,
            "variance|too wide|the factor",
        ),
        Answer(
            "one-sided 95 %",
            interval(factor="float(t.ppf(0.95, n - 1))"),
            MANY + FEW,
            "too narrow|the factor",
        ),
        Answer(
            "the episode as the unit: the cell of the chapter",
            interval(means="values"),
            UNITS + MANY + FEW,
            "mean over episodes|too narrow|the factor",
        ),
        Answer(
            "the mean of all episodes, with the right width",
            interval(mean="values.mean()"),
            UNITS,
            "counts more",
        ),
        Answer(
            "the spread of episodes, over the root of scripts",
            interval(spread="values.std().item()"),
            MANY + FEW,
            "too wide|of the values|the factor",
        ),
        Answer(
            "the spread of scripts, over the root of episodes",
            interval(root="len(values) ** 0.5"),
            MANY + FEW,
            "what is the spread divided by|the factor",
        ),
        Answer(
            "degrees of freedom of the episodes",
            interval(factor="float(t.ppf(0.975, len(values) - 1))"),
            FEW,
            "the factor",
        ),
        Answer(
            "scripts numbered from 0",
            interval(
                means="torch.stack([values[scripts == s].mean()"
                " for s in range(len(scripts.unique()))])"
            ),
            UNITS + MANY + FEW,
            "mean over scripts|nan|too narrow|the factor|too wide",
        ),
        Answer(
            "neighbours of one script, as if the rows were in order",
            interval(
                means="torch.stack([g.mean() for g in values.split("
                "torch.unique_consecutive(scripts, return_counts=True)[1].tolist())])"
            ),
            UNITS + MANY + FEW,
            "mean over|too narrow|the factor",
        ),
        Answer(
            "the median of the scripts",
            interval(mean="means.median()"),
            UNITS,
            "mean of the values of each script",
        ),
        Answer(
            "the spread within scripts",
            interval(
                spread="torch.stack([values[scripts == s].std() for s in scripts.unique()])"
                ".mean().item()"
            ),
            MANY + FEW,
            "too narrow|too wide",
        ),
        Answer(
            "the whole width",
            changed(interval(), ("factor * spread", "2 * factor * spread")),
            MANY + FEW,
            "too wide",
        ),
        Answer(
            "the course's own",
            "def interval(values, scripts):\n"
            "    found = [values[scripts == s].mean() for s in scripts.unique()]\n"
            "    s = Scores.of(torch.stack(found))\n    return s.mean, s.half_width",
            UNITS + MANY + FEW,
            "write it yourself",
        ),
        Answer(
            "a loop that never ends",
            "def interval(values, scripts):\n    n = 0\n    while n < len(values):\n        pass\n"
            "    return 0.0, 1.0",
            UNITS + MANY + FEW,
            "loop that never ends",
        ),
    ],
    "compare": [
        Answer(
            "each method on episodes of its own",
            compare(again="e = tasks.sample(generator)"),
            SAME,
            "different episodes",
        ),
        Answer(
            "second minus first",
            compare(difference="b - a"),
            MINUS,
            "first minus second",
        ),
        Answer(
            "intervals added as if the two were independent",
            changed(
                compare(difference="torch.stack([a, b])"),
                ("Scores.of(tried).half_width", "Scores.of(tried[0] - tried[1]).half_width"),
                (
                    "return Scores.of(measured)",
                    "one, two = map(Scores.of, measured)\n"
                    "    width = one.half_width + two.half_width\n"
                    "    return Scores(one.mean - two.mean, width, measured[0] - measured[1])",
                ),
            ),
            MINUS,
            "difference in each episode",
        ),
        Answer(
            "the difference of the half widths",
            changed(
                compare(difference="torch.stack([a, b])"),
                ("Scores.of(tried).half_width", "Scores.of(tried[0] - tried[1]).half_width"),
                (
                    "return Scores.of(measured)",
                    "one, two = map(Scores.of, measured)\n"
                    "    width = abs(one.half_width - two.half_width)\n"
                    "    return Scores(one.mean - two.mean, width, measured[0] - measured[1])",
                ),
            ),
            MINUS,
            "difference in each episode",
        ),
        Answer(
            "the standard deviation as half width",
            compare(
                result="Scores(measured.mean().item(), measured.std().item(), measured)",
            ),
            MINUS,
            "difference in each episode",
        ),
        Answer(
            "one value a query",
            changed(
                compare(difference="torch.cat(a) - torch.cat(b)"),
                (
                    "a.append(accuracy(first(None, e), e.query_y))",
                    "a.append((first(None, e).argmax(1) == e.query_y).double())",
                ),
                (
                    "b.append(accuracy(second(None, e), e.query_y))",
                    "b.append((second(None, e).argmax(1) == e.query_y).double())",
                ),
                ("        a, b = torch.stack(a), torch.stack(b)\n", ""),
            ),
            SAME + MINUS,
            "(?i)is it the half width of the differences|half width is not",
        ),
        Answer(
            "the pilot counts, too",
            compare(result="Scores.of(torch.cat([tried, measured]))"),
            MINUS,
            "do the episodes of the pilot count",
        ),
        Answer(
            "the pilot counts among those that are needed",
            compare(episodes="max(2, math.ceil(needed) - pilot)"),
            SAME,
            "more are needed",
        ),
        Answer(
            "not squared",
            compare(needed="pilot * Scores.of(tried).half_width / target"),
            SAME,
            "do you square",
        ),
        Answer(
            "the standard deviation in place of the half width",
            compare(needed="pilot * (tried.std().item() / target) ** 2"),
            SAME,
            "half width of the differences",
        ),
        Answer(
            "rounded down",
            compare(episodes="max(2, int(needed))"),
            SAME,
            "more are needed",
        ),
        Answer(
            "no least number",
            compare(episodes="math.ceil(needed)"),
            SAME,
            "2 are the least|non-empty TensorList",
        ),
        Answer(
            "as many as in the pilot",
            compare(episodes="pilot"),
            SAME,
            "more are needed",
        ),
        Answer(
            "the pilot is all",
            compare(episodes="2", result="Scores.of(tried)"),
            SAME + MINUS,
            "more are needed|another amount|half width is not",
        ),
        Answer(
            "percent",
            compare(
                difference="100 * (a - b)",
                needed="pilot * (Scores.of(tried).half_width / 100 / target) ** 2",
            ),
            MINUS,
            "as a share",
        ),
        Answer(
            "without its sign",
            compare(difference="(a - b).abs()"),
            SAME + MINUS,
            "half width of the differences|first minus second",
        ),
        Answer(
            "one episode, asked again and again",
            changed(
                compare(),
                ("            e = tasks.sample(generator)\n", ""),
                ("        a, b = [], []\n", "        a, b, e = [], [], tasks.sample(generator)\n"),
            ),
            SAME,
            "are the same",
        ),
        Answer(
            "a crash",
            "def compare(first, second, tasks, *, pilot, target, generator):\n"
            "    import os\n\n    os._exit(1)",
            SAME + MINUS,
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
    sizes = torch.tensor([len(own) for own in images])
    if (sizes <= shots).any():
        raise ValueError(f"class_{int(sizes.argmin())} is empty")
    keys = torch.rand(len(images), int(sizes.max()), generator=generator)
    rows = []
    for label, number in enumerate(keys[:, 0].argsort()[:ways].tolist()):
        again = torch.rand(len(images[number]), generator=generator).argsort().tolist()
        for place, i in enumerate(again[: shots + queries]):
            rows.append((place < shots, images[number][i], label))
    rows = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
    parts = []
    for shown in (True, False):
        parts.append(torch.stack([x for is_shown, x, _ in rows if is_shown == shown]))
        parts.append(torch.tensor([label for is_shown, _, label in rows if is_shown == shown]))
    return Episode(*parts)
""",
    ),
    "mended_scores": Answer(
        "a generator expression",
        """
def mended_scores(predict, tasks, *, episodes, generator):
    def balanced(e):
        right = (predict(None, e).argmax(-1) == e.query_y).float()
        return ((right @ F.one_hot(e.query_y).float()) / e.query_y.bincount()).mean()

    drawn = (tasks.sample(generator) for _ in range(episodes))
    return torch.tensor([balanced(e).item() for e in drawn], dtype=torch.float64)
""",
    ),
    "nearest_mean": Answer(
        "sums by one-hot matrix, distances by hand",
        """
def nearest_mean(episode, *, extra):
    x, q = episode.support_x.flatten(1), episode.query_x.flatten(1)
    which = F.one_hot(episode.support_y).float()  # (n, ways)
    count = which.sum(dim=0)[:, None]
    middle = (which.t() @ x / count).mean(dim=0)
    means = (which.t() @ x + extra * middle) / (count + extra)
    return -(q[:, None] - means[None]).norm(dim=2)
""",
    ),
    "interval": Answer(
        "scipy's own interval",
        """
def interval(values, scripts):
    import numpy as np
    from scipy import stats

    v, s = np.asarray(values), np.asarray(scripts)
    a = np.array([v[s == one].mean() for one in set(s.tolist())])
    low, high = stats.t.interval(0.95, len(a) - 1, loc=a.mean(), scale=stats.sem(a))
    return float(a.mean()), float(high - low) / 2
""",
    ),
    "compare": Answer(
        "differences one by one, as a list",
        """
def compare(first, second, tasks, *, pilot, target, generator):
    def scores(episodes):
        found = []
        for e in [tasks.sample(generator) for _ in range(episodes)]:
            shares = [
                (method(None, e).argmax(1) == e.query_y).float().mean().item()
                for method in (first, second)
            ]
            found.append(shares[0] - shares[1])
        return Scores.of(found)

    times = (scores(pilot).half_width / target) ** 2
    return scores(max(2, math.ceil(pilot * times)))
""",
    ),
}

ALSO_RIGHT = {
    "prediction": (
        Answer("a fraction", "from fractions import Fraction\n\nprediction = Fraction(1, 3)"),
        Answer("a tensor", "prediction = torch.tensor(0.55)"),
    ),
    "draw": (
        Answer(
            "Python's random, seeded from the generator",
            """
import random


def draw(images, ways, shots, queries, generator):
    for which, own in enumerate(images):
        if len(own) - shots < 1:
            raise ValueError("too few images: class " + str(which))
    dice = random.Random(int(torch.randint(2**40, (), generator=generator)))
    picked = dice.sample(range(len(images)), ways)
    shown, asked = [], []
    for label, which in enumerate(picked):
        rows = dice.sample(range(len(images[which])), len(images[which]))
        shown += [(images[which][row], label) for row in rows[:shots]]
        asked += [(images[which][row], label) for row in rows[shots:][:queries]]
    dice.shuffle(asked)
    (a, b), (c, d) = zip(*shown), zip(*asked)
    return Episode(torch.stack(a), torch.tensor(b), torch.stack(c), torch.tensor(d))
""",
        ),
        Answer(
            "one pass over all images",
            """
def draw(images, ways, shots, queries, generator):
    sizes = [own.shape[0] for own in images]
    small = [number for number, size in enumerate(sizes) if size <= shots]
    if small:
        raise ValueError(f"these classes have too few images for {shots} shots: {small}")
    mixed = [own[torch.rand(len(own), generator=generator).argsort()] for own in images]
    order = torch.rand(len(images), generator=generator).topk(ways).indices.tolist()
    support = [mixed[number][:shots] for number in order]
    query = [mixed[number][shots:][:queries] for number in order]
    y = [torch.cat([torch.full((len(x),), k) for k, x in enumerate(part)])
         for part in (support, query)]
    return Episode(torch.cat(support), y[0], torch.cat(query), y[1])
""",
        ),
    ),
    "mended_scores": (
        Answer("class by class", mended()),
        Answer(
            "a table of right answers by class, in float32",
            """
def mended_scores(predict, tasks, *, episodes, generator):
    values = torch.zeros(episodes)
    for i in range(episodes):
        e = tasks.sample(generator)
        answers = predict(None, e).max(dim=1).indices
        asked = torch.bincount(e.query_y)
        right = torch.bincount(e.query_y[answers == e.query_y], minlength=len(asked))
        values[i] = (right / asked).mean()
    return values
""",
        ),
    ),
    "nearest_mean": (
        Answer("class by class", mean_of()),
        Answer(
            "images at the middle are put among the others",
            """
def nearest_mean(episode, *, extra):
    x, y = episode.support_x.flatten(1).double(), episode.support_y
    classes = y.unique()
    plain = [x[y == c].mean(0) for c in classes]
    middle = sum(plain) / len(plain)
    columns = []
    for c in classes:
        weights = torch.cat([torch.ones(int((y == c).sum())), torch.tensor([float(extra)])])
        images = torch.cat([x[y == c], middle[None]])
        mean = (weights[:, None] * images).sum(0) / weights.sum()
        gaps = episode.query_x.flatten(1).double() - mean
        columns.append(-gaps.square().sum(1).sqrt())
    return torch.stack(columns, dim=1)
""",
        ),
    ),
    "interval": (
        Answer("means by a loop", interval()),
        Answer(
            "sums by index, the root of the sum of squares",
            """
def interval(values, scripts):
    from scipy.stats import t

    _, place, count = scripts.unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(count), dtype=values.dtype).index_add_(0, place, values) / count
    n, mean = len(means), means.mean()
    error = ((means - mean) ** 2).sum().div(n * (n - 1)).sqrt()
    return float(mean), t.isf(0.025, df=n - 1) * error.item()
""",
        ),
    ),
    "compare": (
        Answer("two lists of shares", compare()),
        Answer(
            "one loop, which learns after the pilot when to end",
            """
def compare(first, second, tasks, *, pilot, target, generator):
    found, end = [], None
    while end is None or len(found) < end:
        e = tasks.sample(generator)
        found.append(accuracy(first(None, e), e.query_y) - accuracy(second(None, e), e.query_y))
        if end is None and len(found) == pilot:
            h = Scores.of(torch.stack(found)).half_width
            end = pilot + max(2, -int(-pilot * h * h / (target * target) // 1))
    return Scores.of(torch.stack(found[pilot:]))
""",
        ),
    ),
}
