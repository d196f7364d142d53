"""How many episodes an interval of a given width needs."""

import math
from bisect import bisect_left

from scipy.stats import t as student

from metalearn_lite.evaluation import Scores


def episodes_needed(scores: Scores, *, half_width: float) -> int:
    r"""Return the least number of episodes for which the 95 % interval is narrow enough.

    With the spread s from episode to episode, the least n with

    .. math::

        t_{n-1} \, \frac{s}{\sqrt n} \le h .

    Give it a ``paired_difference`` to plan a comparison: its spread is smaller, and to see a
    difference its interval must be narrower than the difference.

    Args:
        scores: a first measurement, of two episodes or more; 50 give a fair idea of s.
        half_width: h, in the unit of the scores: 0.01 for one point of accuracy.

    Returns:
        n, two or more.

    Raises:
        ValueError: if there is a single value, or the width is not above 0.
    """
    if len(scores.values) < 2:
        raise ValueError("got a single episode: expected two or more, for the spread between them")
    if not half_width > 0:
        raise ValueError(f"half_width is {half_width}: expected a number above 0")
    spread = scores.values.std().item()

    def enough(n: int) -> bool:
        t = float(student.ppf(0.975, n - 1))
        return t * spread <= half_width * math.sqrt(n)

    return 2 + bisect_left(range(2, 2**62), True, key=enough)
