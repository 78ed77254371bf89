"""Tables of an experiment's results: means and deviations over seeds, and paired differences."""

from __future__ import annotations

from statistics import mean, stdev

from trainer.experiments.evidence import half_interval, holm, p_value
from trainer.experiments.runs import Arm

Shown = tuple[str, str, int, float]  # a column: key in the log, title, decimals, factor
SCORES: tuple[Shown, ...] = (("psnr_y", "PSNR-Y, dB", 3, 1.0), ("psnr_rgb", "PSNR-RGB pooled, dB", 3, 1.0))
LPIPS: Shown = ("lpips", "LPIPS", 4, 1.0)
TERMS: tuple[Shown, ...] = (
    ("loss", "G loss, 1e-3", 3, 1e3),
    ("pixel", "image, 1e-3", 3, 1e3),
    ("perceptual", "perceptual, 1e-3", 3, 1e3),
    ("adversarial", "adversarial, 1e-3", 3, 1e3),
    ("d_real", "D(real)", 3, 1.0),
    ("d_fake", "D(fake)", 3, 1.0),
    ("attention_entropy", "entropy", 3, 1.0),
)


def spread(values: list[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation, None for a single value."""
    return mean(values), stdev(values) if len(values) > 1 else None


def differences(arm: dict[int, float], other: dict[int, float]) -> list[float]:
    """Return arm - other for each common seed: shared effects, such as those of the data, cancel out."""
    return [arm[seed] - other[seed] for seed in sorted(arm.keys() & other.keys())]


def mean_text(values: list[float], decimals: int, *, signed: bool = False) -> str:
    """Format mean and deviation: `31.204 ± 0.012`."""
    if not values:
        return "–"
    middle, deviation = spread(values)
    text = f"{middle:{'+' if signed else ''}.{decimals}f}"
    return text if deviation is None else f"{text} ± {deviation:.{decimals}f}"


def arms_table(arms: list[Arm]) -> str:
    """Return Markdown with a row per arm: size, cost, final scores, and means of the terms over the last interval."""
    columns = [c for c in (*SCORES, LPIPS, *TERMS) if any(arm.last(c[0]) for arm in arms)]
    header = ["arm", "parameters", "M multiply-adds", "s/step", "relative time", *(title for _, title, _, _ in columns)]
    if any(_constants(arm) for arm in arms):
        header.append("solver constants")
    rows = []
    for arm in arms:
        row = [arm.name, f"{arm.parameters:,}", f"{arm.multiply_adds / 1e6:.1f}"]
        row += [mean_text(list(arm.seconds_per_step.values()), 3), _relative_time(arm, arms[0])]
        row += [mean_text([f * value for value in arm.last(key).values()], digits) for key, _, digits, f in columns]
        rows.append([*row, _constants(arm)][: len(header)])
    return markdown(header, rows)


def pairs_table(arms: list[Arm], comparisons: tuple[tuple[str, str], ...]) -> str:
    """Return Markdown with a row per comparison: differences of the scores and of the generator's loss.

    Each as mean and deviation over the seeds, and per seed. The paper compares the loss in figures 7, 8 and 10 to 12.
    Of PSNR-Y also the interval that holds the mean of many seeds with 95 %, and p, corrected for all comparisons.
    """
    named = {arm.name: arm for arm in arms}
    columns = [SCORES[0], *(c for c in (LPIPS, *TERMS[:2]) if any(arm.last(c[0]) for arm in arms))]
    header = ["comparison"]
    for _, title, _, _ in columns:
        header += [f"Δ {title}", "per seed"]
    header[3:3] = ["95 %", "p"]
    header.append("relative time")
    found = [_differences(named[name], named[other], columns) for name, other in comparisons]
    chances = iter(holm([p for each in found if (p := p_value(each[0])) is not None]))
    rows = []
    for (name, other), each in zip(comparisons, found, strict=True):
        cells: list[str] = []
        for (_, _, digits, _), values in zip(columns, each, strict=True):
            cells += [mean_text(values, digits, signed=True), ", ".join(f"{value:+.{digits}f}" for value in values)]
        half = half_interval(each[0])
        cells[2:2] = ["–", "–"] if half is None else [f"± {half:.{columns[0][2]}f}", f"{next(chances):.2g}"]
        rows.append([f"{name} − {other}", *cells, _relative_time(named[name], named[other])])
    return markdown(header, rows)


def _differences(arm: Arm, other: Arm, columns: list[Shown]) -> list[list[float]]:
    """Return the difference per seed of each column."""
    return [[f * value for value in differences(arm.last(key), other.last(key))] for key, _, _, f in columns]


def _relative_time(arm: Arm, other: Arm) -> str:
    """Format the mean over the common seeds of the ratio of seconds per step."""
    seconds, base = arm.seconds_per_step, other.seconds_per_step
    ratios = [seconds[seed] / base[seed] for seed in sorted(seconds.keys() & base.keys()) if base[seed]]
    return f"{mean(ratios):.2f}" if ratios else "–"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _constants(arm: Arm) -> str:
    """Format the final constants, averaged over blocks and seeds."""
    last = [next((row.constants for row in reversed(rows) if row.constants), {}) for rows in arm.runs.values()]
    return "; ".join(
        f"{solver} " + ", ".join(f"{mean(values):.3f}" for values in zip(*(c[solver] for c in last), strict=True))
        for solver in (last[0] if last else {})
        if all(solver in constants for constants in last)
    )
