"""How much paired differences over seeds prove: Student's t-test, its interval, and Holm's correction for several."""

from __future__ import annotations

from math import atan, cos, pi, sin, sqrt
from statistics import NormalDist, mean, stdev


def t_probability(t: float, freedom: int) -> float:
    """Return the probability of |T| >= t for Student's t with `freedom` >= 1 degrees of freedom.

    The finite series of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = atan(abs(t) / sqrt(freedom))
    term = cos(angle) if freedom % 2 else 1.0
    total = term if freedom > 1 else 0.0
    for i in range(3 if freedom % 2 else 2, freedom - 1, 2):
        term *= cos(angle) ** 2 * (i - 1) / i
        total += term
    within = sin(angle) * total
    return 1 - (2 / pi * (angle + within) if freedom % 2 else within)


def t_quantile(probability: float, freedom: int) -> float:
    """Return the t that |T| exceeds with this probability, 0 to 1."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) > probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) > probability else (low, middle)
    return high


def half_interval(differences: list[float], level: float = 0.95) -> float | None:
    """Return half the width of the confidence interval of the mean difference; None for fewer than two."""
    count = len(differences)
    if count < 2:
        return None
    return t_quantile(1 - level, count - 1) * stdev(differences) / sqrt(count)


def p_value(differences: list[float]) -> float | None:
    """Return the two-sided p of the paired t-test that the mean difference is 0; None for fewer than two."""
    if len(differences) < 2:
        return None
    deviation = stdev(differences)
    if not deviation:
        return 0.0 if mean(differences) else 1.0
    return t_probability(mean(differences) / deviation * sqrt(len(differences)), len(differences) - 1)


def holm(values: list[float]) -> list[float]:
    """Return p values corrected for testing all of them together (Holm, Scand. J. Statist. 6, 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = largest
    return corrected


def seeds_for(difference: float, deviation: float, tests: int = 1, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return the seeds with which a paired t-test most likely sees a true difference.

    deviation: of the differences over seeds. tests: comparisons that are corrected for together, by alpha / tests. The
    noncentral t is approximated by its normal limit with Student's quantiles (Guenther, Am. Stat. 35, 1981).
    """
    wanted = NormalDist().inv_cdf(power)
    for count in range(2, 10**6):
        if difference / deviation * sqrt(count) - wanted >= t_quantile(alpha / tests, count - 1):
            return count
    raise ValueError("a million seeds are not enough")
