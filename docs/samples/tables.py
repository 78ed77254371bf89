"""Measure the released models, and write the tables of README.md, docs/choosing.md and docs/models.md.

usage: python docs/samples/tables.py [BENCHMARKS VAL LPIPS_ALEX]

With folders it measures every model whose file has changed: BENCHMARKS holds Set5, Set14 and B100, VAL the held-out
images. The scores go to docs/samples/scores.json; from it and from the headers of the weights, the tables are written,
each between `<!-- table: NAME -->` and `<!-- end of table -->`. Without arguments it only writes the tables.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from dagan_cli.evaluate import Score, evaluate, mean
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.model.checkpoint import load_model
from dagan_cli.upscaler import ModelChoice, Upscaler
from trainer.data.degrade_folder import degrade_folder
from trainer.data.samples import pictures_under
from trainer.degradations import FIXED
from weights.catalog import CATALOG, Published

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCORES = HERE / "scores.json"
PAGES = ("README.md", "docs/choosing.md", "docs/models.md")
SETS = ("Set5", "Set14", "B100")
SIDE = 512  # pixels of an original that degraded inputs are made of
CHOSEN_ON = 10  # of the held-out images, in the order of their names; the tables use the others

Table = list[list[str]]  # its header, then its rows


def measure(benchmarks: Path, val: Path, lpips: Path) -> dict[str, Any]:
    """Return the scores by scale, network and images; those of unchanged files are taken over."""
    judge = Lpips.load(lpips)
    before = json.loads(SCORES.read_text()) if SCORES.is_file() else {}
    found: dict[str, Any] = {"others": before.get("others", {}), "models": {}}
    with TemporaryDirectory() as folder:
        centres = Path(folder, "centres")
        _write_centres(val, centres)
        jobs = [("bicubic", scale, "bicubic") for scale in (2, 4)]
        jobs += [(model.name, model.scale, model.sha256) for model in CATALOG]
        for name, scale, identity in jobs:
            old = before.get("models", {}).get(f"{name} x{scale}")
            if old is not None and old["sha256"] == identity:
                found["models"][f"{name} x{scale}"] = old
                continue
            upscaler = Upscaler.of(ModelChoice(name), device="cpu", runtime="torch", precision="fp32")
            scores: dict[str, Any] = {"sha256": identity}
            for kind, images, inputs in _tests(benchmarks, centres, Path(folder), scale):
                scores[kind] = _numbers(mean(list(evaluate(images, upscaler, scale, judge, inputs))), name == "bicubic")
                print(name, scale, kind, scores[kind], flush=True)
            found["models"][f"{name} x{scale}"] = scores
    SCORES.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _write_centres(val: Path, target: Path) -> None:
    """Write the centres of the held-out images that no model was chosen on."""
    target.mkdir()
    for path in pictures_under(val)[CHOSEN_ON:]:
        with Image.open(path) as image:
            left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
            image.convert("RGB").crop((left, top, left + SIDE, top + SIDE)).save(target / f"{path.stem}.png")


def _tests(benchmarks: Path, centres: Path, folder: Path, scale: int) -> Iterator[tuple[str, Path, Path | None]]:
    for name in SETS:
        yield name, benchmarks / name, None
    for kind in FIXED:
        inputs = folder / f"{kind}-x{scale}"
        if not inputs.exists():
            list(degrade_folder(centres, inputs, kind, scale))
        yield kind, centres, inputs


def _numbers(score: Score, is_bicubic: bool) -> dict[str, float]:
    """Return what the tables show; MATLAB's bicubic, as in papers, is in columns of its own."""
    shown = (score.bicubic_psnr, score.bicubic_ssim, score.bicubic_lpips) if is_bicubic else None
    psnr, ssim, lpips = shown or (score.psnr, score.ssim, score.lpips)
    assert lpips is not None
    numbers = {"psnr": round(psnr, 3), "ssim": round(ssim, 4), "lpips": round(lpips, 4)}
    return numbers if is_bicubic else numbers | {"offset": round(score.rgb_offset, 2)}


def tables(scores: dict[str, Any], headers: dict[str, dict[str, Any]]) -> dict[str, Table]:
    """Return all tables by name; headers: the provenance of each model."""
    models, others = scores["models"], scores["others"]
    found = {"models": _short(models)}
    for scale in (2, 4):
        found[f"clean-x{scale}"] = _clean(models, headers, others["published"], scale)
        found[f"degraded-x{scale}"] = _degraded(models, others["degraded"], scale)
    found["orders"] = _orders(headers)
    found["parts"] = _parts(headers)
    found |= {f"detail-{name}": _detail(facts["detail"]) for name, facts in headers.items() if "detail" in facts}
    steps = [[f"`{name}`", _steps(facts, _scale(name))] for name, facts in headers.items()]
    found["training"] = [["model", "steps"], *steps]
    return found


PURPOSE = {
    "perceptual": "perceptual (GAN)",
    "fidelity": "fidelity",
    "real": "degraded sources",
    "fast": "degraded sources, fast",
}


def _rows(scale: int) -> list[Published]:
    order = ("fidelity", "perceptual", "real", "fast")
    return sorted((m for m in CATALOG if m.scale == scale), key=lambda m: order.index(m.kind or "fast"))


def _short(models: dict[str, Any]) -> Table:
    table = [["name", "for", *SETS, "LPIPS, Set14"]]
    for scale in (2, 4):
        named = [(f"`{m.name}`", f"{PURPOSE[m.kind or 'fast']}, x{scale}", m.name) for m in _rows(scale)]
        for shown, purpose, name in [*named, (f"bicubic x{scale}", "", "bicubic")]:
            own = models[f"{name} x{scale}"]
            table.append([shown, purpose, *(_pair(own[s]) for s in SETS), f"{own['Set14']['lpips']:.3f}"])
    return table


def _clean(models: dict[str, Any], headers: dict[str, Any], published: dict[str, Any], scale: int) -> Table:
    table = [["PSNR-Y, dB / SSIM", "parameters", *SETS, "LPIPS Set14", "LPIPS B100", "RGB offset"]]
    for name in ("bicubic", *(m.name for m in _rows(scale))):
        own = models[f"{name} x{scale}"]
        known = name in headers
        offset = f"{max(own[s]['offset'] for s in SETS):.2f}" if known else ""
        cells = [f"**`{name}`**" if known else name, f"{headers[name]['parameters']:,}" if known else "0"]
        cells += [*(_pair(own[s]) for s in SETS), *(f"{own[s]['lpips']:.3f}" for s in SETS[1:]), offset]
        table.append(cells)
    table += [[f"{name}, published", "", *cells, "", "", ""] for name, cells in published[f"x{scale}"].items()]
    return table


def _degraded(models: dict[str, Any], others: dict[str, Any], scale: int) -> Table:
    table = [[f"x{scale}", *(f"{kind}: {of}" for kind in FIXED for of in ("PSNR-Y, SSIM", "LPIPS"))]]
    for name in ("bicubic", *(m.name for m in _rows(scale))):
        own = models[f"{name} x{scale}"]
        cells = [
            x
            for kind in FIXED
            for x in (f"{own[kind]['psnr']:.2f}, {own[kind]['ssim']:.3f}", f"{own[kind]['lpips']:.3f}")
        ]
        table.append([name if name == "bicubic" else f"`{name}`", *cells])
    return table + [[name, *cells] for name, cells in others[f"x{scale}"].items()]


def _pair(own: dict[str, float]) -> str:
    return f"{own['psnr']:.2f} / {own['ssim']:.4f}".replace("/ 0.", "/ .")


def _orders(headers: dict[str, dict[str, Any]]) -> Table:
    val = f"val (centre {SIDE})"
    table = [["model", "order", "Set5, dB", "Set14, dB", "val, dB", "LPIPS Set14", "LPIPS val", "µs per input pixel"]]
    for name, facts in headers.items():
        psnr, lpips = facts["metrics"], facts["lpips"]
        for order, time in facts["microseconds"].items():
            cells = [f"{psnr[s][order]:.2f}" for s in SETS[:2]] + [f"{psnr[val][order]:.3f}"]
            cells += [f"{lpips['Set14'][order]:.4f}", f"{lpips[val][order]:.4f}", f"{time:.1f}"]
            table.append([f"`{name}`", order.removeprefix("order "), *cells])
    return table


CHANGES = {
    "mean instead of softmax": "softmax replaced by the mean of its window",
    "no spatial attention": "spatial attention left out",
    "constant gates": "gates replaced by their means",
    "textbook's constants": "textbook constants of rk4",
}


def _parts(headers: dict[str, dict[str, Any]]) -> Table:
    table = [["model", "whole, dB / LPIPS", *CHANGES, "entropy", "gates vary by"]]
    for name, facts in headers.items():
        found = facts["ablation"]
        whole = {row["order"]: row for row in found["rows"] if not row["change"]}
        changed = {row["change"]: row for row in found["rows"]}
        first = found["rows"][0]
        cells = [f"`{name}`", f"{first['psnr_y']:.3f} / {first['lpips']:.4f}"]
        for change in CHANGES.values():
            row = changed[change]
            lost = (row[key] - whole[row["order"]][key] for key in ("psnr_y", "lpips"))
            cells.append("{:+.3f} / {:+.4f}".format(*lost))
        table.append([*cells, f"{found['entropy']:.3f}", f"{found['gate_spread']:.4f}"])
    return table


def _detail(facts: dict[str, dict[str, float]]) -> Table:
    return [
        ["`--detail`", *facts],
        ["PSNR-Y, dB", *(f"{row['psnr_y']:.2f}" for row in facts.values())],
        ["LPIPS", *(f"{row['lpips']:.4f}" for row in facts.values())],
    ]


def _scale(name: str) -> int:
    return next(model.scale for model in CATALOG if model.name == name)


def _steps(facts: dict[str, Any], scale: int) -> str:
    """Return the phases of a model's training, equal ones that follow each other taken together."""
    phases = [
        *facts.get("earlier", []),
        {**facts, "degradations": facts.get("training", {}).get("degradation", "none"), "scale": scale},
    ]
    training = facts.get("training", {})
    told: list[list[Any]] = []
    for phase in phases:
        degraded = phase.get("degradations", "none") not in ("none", None) or phase.get("pairs")
        what = phase["phase"]
        if phase is phases[-1] and what != "pixel":
            what = "perceptual" if training["gan"]["adversarial_weight"] == 0 else what
            first = training["iterations"]
            what += f" (the first {first:,} of them pixel)" if first else ""
        what += f" at x{phase['scale']}" if phase.get("scale", scale) != scale else ""
        what += " on degraded inputs" if degraded else ""
        teacher = (phase.get("teacher") or {}).get("name", "").split(",")[0]  # the cards have it in full
        what += f", teacher {teacher}" if teacher else ""
        what += f", {phase['note']}" if phase.get("note") else ""
        if told and told[-1][0] == what:
            told[-1][1] += phase["iterations"]
            told[-1][2] += phase.get("seconds", 0)
        else:
            told.append([what, phase["iterations"], phase.get("seconds", 0)])
    return "; ".join(f"{steps:,} {what} ({seconds / 60:.0f} min)" for what, steps, seconds in told)  # by the clock


def in_markdown(table: Table) -> str:
    head, *rows = table
    lines = [head, ["---", *("---:" if len(head) > 2 else "---" for _ in head[1:])], *rows]  # words, not numbers
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def written(page: str, found: dict[str, Table]) -> str:
    """Return the page with all its tables replaced."""

    def replaced(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{in_markdown(found[match[2]])}\n\n<!-- end of table -->"

    return re.sub(r"(<!-- table: ([\w-]+) -->).*?<!-- end of table -->", replaced, page, flags=re.DOTALL)


def current() -> dict[str, Table]:
    """Return the tables of what is committed: scores.json and the headers of the weights."""
    scores = json.loads(SCORES.read_text())
    ordered = [model for scale in (2, 4) for model in _rows(scale)]
    return tables(scores, {model.name: load_model(model.path, model.sha256).provenance for model in ordered})


def main() -> None:
    if len(sys.argv) == 4:
        measure(*(Path(each) for each in sys.argv[1:]))
    elif len(sys.argv) != 1:
        sys.exit(__doc__)
    found = current()
    for name in PAGES:
        path = ROOT / name
        path.write_text(written(path.read_text(), found))


if __name__ == "__main__":
    main()
