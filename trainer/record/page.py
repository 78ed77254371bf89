"""report.html: a report of a run on one page, without network access, scripts or matplotlib.

This gathers what the page says; `templates/report.html` lays it out. A run folder may be untrusted: the templates of
`dagan_cli.pages` escape all text and make it printable.
"""

from __future__ import annotations

import json
import shlex
import time
from base64 import b64encode
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from dagan_cli.errors import BadOption
from dagan_cli.files import require_older, whole_or_absent
from dagan_cli.pages.axes import number
from dagan_cli.pages.rendering import environment
from dagan_cli.words import printable
from trainer.config import TrainConfig
from trainer.config_toml import to_toml
from trainer.record.curves import boundaries, panels
from trainer.record.folder import CONFIG, SCORES, Row, Run
from trainer.record.svg import sketch

NAME = "report.html"
LARGEST = 2_000_000  # bytes of the page; samples are left out if it would be larger
_PIXELS = 4_000_000  # limit for a strip: a damaged file may declare any size
_NAMED = {"psnr_y": "PSNR-Y, dB", "psnr_rgb": "PSNR RGB, dB", "lpips": "LPIPS"}
_CELL = 196  # width of a column of a strip in pixels
_STEPS = 3  # strips whose results are shown side by side
_MOST_ROWS = 200  # limit for tables
_HARDWARE = ("hardware", "torch", "perceptual_sha256")  # keys of the provenance
_SHOWN = ("event", "step", "at", "phase")  # keys of an event that are not repeated as details


def write_report(run: Run) -> Path:
    """Write the page to the run folder and return its path. Raises CannotWrite."""
    target = run.folder / NAME
    require_older(target, "report", b": training run</title>")
    with whole_or_absent(target) as file:
        file.write(page(run).encode())
    return target


def page(run: Run) -> str:
    """Return the page as text."""
    template = environment("trainer.record").get_template("report.html")
    use, resume = _commands(run)
    facts = {
        "name": run.name,
        "lead": _lead(run),
        "tiles": _tiles(run),
        "is_logged": bool(run.rows),
        "marks": boundaries(run),
        "figures": _figures(run) if run.rows else [],
        "validations": _validations(run),
        "events": _events(run),
        "use": use,
        "resume": resume,
        "hardware": [(key, _brief(_provenance(run)[key])) for key in _HARDWARE if key in _provenance(run)],
        "config": _config(run),
    }
    strips, paths = _samples(run)
    text = template.render(facts, strips=strips, sheet=None)
    sheet = _sheet(paths) if paths else None
    if sheet is None or len(text.encode()) + len(sheet) > LARGEST - 1000:
        return text
    return template.render(facts, strips=strips, sheet=sheet)


def _lead(run: Run) -> str:
    states = {"done": "finished", "stopped": "stopped; can be resumed", "diverged": "failed: it diverged"}
    last = next((e["event"] for e in reversed(run.events) if e["event"] in (*states, "started", "resumed")), "")
    state = states.get(last, "running, or interrupted")
    scale = _scale(run)
    what = f"{'×' + str(scale) + ' ' if scale else ''}{' then '.join(name for name, _ in run.phases)}".strip()
    when = time.strftime("%Y-%m-%d %H:%M")
    return f"{what} training, {state}. Written {when}."


def _tiles(run: Run) -> list[tuple[str, str, str]]:
    """Return the largest facts of the run: name, value and detail."""
    tiles = []
    provenance = _provenance(run)
    for name, unit, digits, pick in (("psnr_y", "dB", 2, max), ("lpips", "", 4, min)):
        scored = [row for row in run.rows if name in row.values]
        if scored:
            best = pick(scored, key=lambda row: row.values[name])
            label = {"psnr_y": "best PSNR-Y", "lpips": "lowest LPIPS"}[name]
            tiles.append((label, f"{best.values[name]:.{digits}f} {unit}", f"step {best.step:,}, {best.phase} phase"))
    if run.rows:
        seconds = _seconds(run)
        first, last = run.rows[0].step, run.rows[-1].step
        steps = [(rows[-1].step - rows[0].step, _span(rows)) for _, rows in run.phases]
        taken, spent = (sum(part) for part in zip(*steps, strict=True))
        tiles.append(("steps", f"{last:,}", f"from {first:,}" if first > 1000 else ""))
        tiles.append(("training time", _time(seconds), f"{taken / spent:.2f} steps/s" if spent else ""))
    if type(count := provenance.get("parameters")) is int:
        tiles.append(("parameters", f"{count:,}", "of the generator"))
    if type(count := provenance.get("pictures")) is int:
        tiles.append(("images", f"{count:,}", f"fingerprint {provenance.get('data')}"))
    return tiles


def _samples(run: Run) -> tuple[list[tuple[str, str]], list[Path]]:
    """Return the heads and scores of the columns of samples, and the strips that they are from.

    It is the newest strip, with earlier results from the first validation and from the end of each phase.
    """
    strips = run.samples
    if not strips:
        return [], []
    ends = [max((s for s in strips if s[0] <= end), default=strips[0]) for end, _ in boundaries(run)]
    shown = list(dict.fromkeys([strips[0], *ends, strips[-1]]))[-_STEPS:]
    scores = {row.step: row for row in run.rows if "psnr_y" in row.values}
    results = [(f"step {step:,}", _score(scores.get(step))) for step, _ in shown]
    return [("input", ""), ("bicubic", ""), *results, ("original", "")], [path for _, path in shown]


def _sheet(paths: list[Path]) -> str | None:
    """Join the newest strip, the last path, and the generator's columns of the others, as WebP: a fifth of a PNG.

    Returns a data: URI, or None if a file is not an image or differs in size from the newest.
    """
    from PIL import Image

    try:
        columns = []
        for path in paths:
            with Image.open(path, formats=("PNG",)) as image:
                if image.width * image.height > _PIXELS:
                    return None
                w, h = image.width // 4, image.height  # input, bicubic, generator, original
                columns.append([image.convert("RGB").crop((i * w, 0, (i + 1) * w, h)) for i in range(4)])
        low, bicubic, _, original = columns[-1]
        chosen = [low, bicubic, *(made for _, _, made, _ in columns), original]
        if len({column.size for column in chosen}) > 1:
            return None
        sheet = Image.new("RGB", (len(chosen) * low.width, low.height))
        for i, column in enumerate(chosen):
            sheet.paste(column, (i * low.width, 0))
        data = BytesIO()
        sheet.save(data, "WEBP", quality=90, method=2)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/webp;base64,{b64encode(data.getvalue()).decode()}"


def _figures(run: Run) -> list[dict[str, Any]]:
    """Return for each panel its title, unit, legend (colour, label and last value) and drawing."""
    from markupsafe import Markup

    reach = (float(run.rows[0].step), float(run.rows[-1].step))
    marks = [(step, printable(f"start of the {name} phase")) for step, name in boundaries(run)]
    figures = []
    for panel in panels([run]):
        panel = replace(panel, title=printable(panel.title))  # it may hold a name from the log
        legend = [(line.kind % 4, line.label, number(line.smooth[-1][1][-1])) for line in panel.lines]
        unit = ", ".join(filter(None, (panel.unit, "log scale" if panel.log else "")))
        svg = Markup(sketch(panel, reach, marks))
        figures.append({"title": panel.title, "unit": unit, "legend": legend, "svg": svg})
    return figures


def _validations(run: Run) -> dict[str, Any] | None:
    """Return the table of all validations, and which of its rows are the best of their phase."""
    rows = [row for row in run.rows if "psnr_y" in row.values]
    if not rows:
        return None
    metric = _provenance(run).get("training", {}).get("metric")
    by_lpips = metric == "lpips" and all("lpips" in row.values for row in rows)
    best = {
        phase: min(group, key=lambda row: row.values["lpips"] if by_lpips else -row.values["psnr_y"]).step
        for phase in dict.fromkeys(row.phase for row in rows)
        if (group := [row for row in rows if row.phase == phase])
    }
    names = [name for name in SCORES if any(name in row.values for row in rows)]
    shown, best_rows = [], []
    for i, row in enumerate(rows[-_MOST_ROWS:]):
        is_best = best[row.phase] == row.step
        scores = [f"{row.values[name]:.{4 if name == 'lpips' else 3}f}" if name in row.values else "" for name in names]
        shown.append([f"{row.step:,}", row.phase, *scores, "best" if is_best else ""])
        best_rows += [i] if is_best else []
    heads = ["step", "phase", *(_NAMED[name] for name in names), ""]
    return {"metric": "LPIPS" if by_lpips else "PSNR-Y", "heads": heads, "rows": shown, "best": best_rows}


def _events(run: Run) -> list[list[str]]:
    """List the events in order: start, resumptions, roll-backs, skipped steps, end."""
    found: list[tuple[int, str, str]] = []
    for event in run.events:
        facts = {key: value for key, value in event.items() if key not in _SHOWN}
        details = "; ".join(f"{key} {_brief(value)}" for key, value in facts.items())
        found.append((event["step"], str(event.get("at", "")), f"{event['event']}{': ' if details else ''}{details}"))
    skipped = 0.0
    for row in run.rows:
        more, skipped = row.values.get("skipped", skipped) - skipped, row.values.get("skipped", skipped)
        if more > 0:
            found.append((row.step, "", f"{more:.0f} steps were not finite and were skipped"))
    found.sort(key=lambda item: item[0])
    return [[f"{step:,}", when[:19].replace("T", " "), what[:400]] for step, when, what in found[-_MOST_ROWS:]]


def _commands(run: Run) -> tuple[str, str]:
    """Return the command lines that use the weights and that resume the run."""
    folder, scale = str(run.folder), _scale(run)
    best = "best" if (run.folder / "best.safetensors").exists() else "model"
    start = next((event for event in reversed(run.events) if event["event"] in ("started", "resumed")), {})
    config = f"{folder}/{CONFIG}" if (run.folder / CONFIG).exists() else CONFIG  # sets what the flags below do not
    words = ["dagan", "train", "--config", config, "--run", folder]
    flags = {"--targets": "targets", "--pairs": "pairs", "--pack": "pack", "--val": "val"}
    flags |= {"--vgg-weights": "perceptual", "--lpips": "lpips"}
    for flag, key in {"--data": "data", **flags}.items():
        given = start.get(key, ["DATA"] if key == "data" and "pairs" not in start else [])
        words += [word for value in (given if isinstance(given, list) else [given]) for word in (flag, str(value))]
    to = f" -s {scale}" if scale else ""
    use = f"dagan upscale{to} -n {shlex.quote(f'{folder}/{best}.safetensors')} image.png"
    return use, shlex.join(words)


def _config(run: Run) -> str:
    """Return the config as TOML, from the run folder or the model's header, or as JSON if another version wrote it."""
    own = run.folder / CONFIG
    if own.is_file() and own.stat().st_size < 100_000:
        return own.read_text(errors="replace")
    training, generator = _provenance(run).get("training"), run.model.get("config")
    try:
        return to_toml(TrainConfig.from_dict({**training, "generator": generator}))  # type: ignore[dict-item]
    except (BadOption, TypeError, ValueError, AttributeError, KeyError):
        return json.dumps({"training": training, "generator": generator}, indent=2)[:100_000]


def _provenance(run: Run) -> dict[str, Any]:
    found = run.model.get("provenance")
    return found if isinstance(found, dict) else {}


def _scale(run: Run) -> int | None:
    config = run.model.get("config")
    scale = config.get("scale") if isinstance(config, dict) else None
    return scale if type(scale) is int else None


def _score(row: Row | None) -> str:
    if row is None:
        return ""
    lpips = f", LPIPS {row.values['lpips']:.3f}" if "lpips" in row.values else ""
    return f"{row.values['psnr_y']:.2f} dB{lpips}"


def _seconds(run: Run) -> float:
    return sum(max((row.values.get("seconds", 0.0) for row in rows), default=0.0) for _, rows in run.phases)


def _span(rows: list[Row]) -> float:
    timed = [row.values["seconds"] for row in rows if "seconds" in row.values]
    return timed[-1] - timed[0] if timed else 0.0


def _time(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return ", ".join(map(str, value))[:300] if isinstance(value, list) else str(value)[:300]
