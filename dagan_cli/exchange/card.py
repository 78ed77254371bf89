"""Write the model card, README.md of a repository on the Hub, from the header of the model's file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from dagan_cli.model.checkpoint import Model, Network
from weights.reference import PREFIX

_TAGS = ("super-resolution", "image-upscaling", "video-upscaling", "runge-kutta", "attention", "safetensors")
_LICENCES = {"mit": "mit", "apache-2.0": "apache-2.0", "cc0": "cc0-1.0", "cc0-1.0": "cc0-1.0", "cc-by-4.0": "cc-by-4.0"}
_SHORT = 100_000  # iterations; with fewer, a network of this family is far from its best
_OF_DISCRIMINATOR = ("discriminator", "width", "layers", "loss", "lr_discriminator", "warmup")  # nothing without one
_MEASURES = (  # key in the provenance, type on the Hub, name, unit
    ("metrics", "psnr", "PSNR-Y", "dB, higher is better"),
    ("lpips", "lpips", "LPIPS", "lower is better"),
)

_ABLATED = (("psnr_y", "PSNR-Y, dB", 3), ("lpips", "LPIPS", 4))  # key, title, decimals


def card(
    name: str, model: Model[Network], use: str, *, licence: str | None = None, pictures: Sequence[str] = ()
) -> str:
    """Markdown with a metadata block.

    use: the value of -n for the model; licence: for a model that states none; pictures: files next to the card.
    """
    facts, config = model.provenance, model.generator.config
    licence = str(facts.get("licence") or licence or "")
    uses = _uses(facts)
    parts = [
        _metadata(name, config.scale, licence, facts, model.generator.order),
        f"# {name}",
        f"{uses[0].upper()}{uses[1:]}, x{config.scale}. Weights for dagan, a command-line upscaler for images and "
        "videos: one safetensors file, which is read without running any code.",
        "## How to use",
        f"```\ndagan upscale photo.jpg -s {config.scale} -n {use}\n```",
        "```python\n"
        "from dagan_cli import Upscaler\n\n"
        f'upscaler = Upscaler.load("{use}")\n'
        f"big = upscaler(frames)  # (N, 3, H, W) in [0, 1] -> (N, 3, {config.scale}H, {config.scale}W)\n```",
        (f"`-n {use}@COMMIT` pins one version. " if use.startswith(PREFIX) else "")
        + f"The file's sha256 is `{model.sha256}`.",
        "## The network",
        _network(model),
        "## Training",
        _table(_training(facts, licence)),
        "## Results",
        _results(facts),
        *_parts(facts),
        "## Known failures",
        "\n".join(f"- {line}" for line in _failures(facts)),
    ]
    if pictures:
        parts += ["## Images", "\n\n".join(f"![{_caption(picture)}]({picture})" for picture in pictures)]
    return "\n\n".join(parts) + "\n"


def _uses(facts: dict[str, Any]) -> str:
    """Describe the purpose of the model in a few words."""
    training = _mapping(facts.get("training"))
    if _is_perceptual(facts):
        gan = " (GAN)" if "adversarial" in _phases(facts) else ""
        kind = "perceptual: sharp, with detail that is likely rather than known" + gan
    elif training:
        kind = "fidelity: the highest PSNR, no invented detail"
    else:
        return "super-resolution"
    degraded = _is_degraded(facts)
    return kind + (", for compressed, noisy and blurred sources" if degraded else ", for clean sources")


def _metadata(name: str, scale: int, licence: str, facts: dict[str, Any], order: int | None) -> str:
    """Return the YAML block that the Hub reads. A JSON string is also a YAML string."""
    known = _LICENCES.get(licence.lower())
    lines = [f"license: {known or 'other'}"]
    lines += [] if known else [f"license_name: {json.dumps(licence or 'not stated')}"]
    lines += ["library_name: dagan", "pipeline_tag: image-to-image", "tags:", *(f"- {tag}" for tag in _TAGS)]
    results: dict[str, list[str]] = {}
    for key, kind, label, _ in _MEASURES:
        for data, row in _scores(facts, key).items():
            value = row.get(f"order {order}", row.get(kind, row.get("psnr_y")))
            if not data.startswith("val") and isinstance(value, int | float):  # the weights were selected on these
                results.setdefault(data, []).append(f"{{type: {kind}, name: {label}, value: {value}}}")
    if results:
        lines += ["model-index:", f"- name: {json.dumps(name)}", "  results:"]
        for data, metrics in results.items():
            lines += [
                f"  - task: {{type: image-to-image, name: Super-resolution x{scale}}}",
                f"    dataset: {{type: {json.dumps(data)}, name: {json.dumps(data)}}}",
                f"    metrics: [{', '.join(metrics)}]",
            ]
    return "\n".join(["---", *lines, "---"])


def _network(model: Model[Network]) -> str:
    config = model.generator.config.to_dict()
    count = sum(parameter.numel() for parameter in model.generator.parameters())
    orders = model.generator.config.orders
    idle = {"growth", "layers"} if config.get("block") == "residual" else set[str]()
    idle |= {"stages"} if config.get("solver") != "tied-euler" else set()
    shown = {name: value for name, value in config.items() if value not in (None, [], ()) and name not in idle}
    notes = ""
    if orders:
        notes = (
            f"\n\nIts solver runs at order {', '.join(map(str, orders[:-1]))} or {orders[-1]} (`--order`), with the "
            f"same weights: the lowest is the fastest. The default is {model.generator.order}."
        )
    if config.get("default_window") == "local":
        notes += (
            "\n\nBy default it pools over windows of 1.5 times its training patch, not over the whole tile (`--window "
            "global`), so that the tile size hardly changes the result."
        )
    return f"{count:,} parameters. {', '.join(f'{name} {_plain(value)}' for name, value in shown.items())}.{notes}"


def _training(facts: dict[str, Any], licence: str) -> list[tuple[str, str]]:
    training = _mapping(facts.get("training"))
    gan = _mapping(training.get("gan")) if facts.get("phase") != "pixel" else {}
    shares = training.get("target_weight") if facts.get("teacher") else None
    if not facts.get("teacher"):
        gan = {name: value for name, value in gan.items() if name != "target_weight"}
    if gan.get("adversarial_weight") == 0:
        gan = {name: value for name, value in gan.items() if name not in _OF_DISCRIMINATOR}
    rows = [
        ("licence of the weights", licence or "not stated"),
        ("data and their licences", facts.get("training_data") or "not stated"),
        ("pairs" if facts.get("pairs") else "images", facts.get("pictures")),
        ("iterations", facts.get("iterations")),
        ("earlier phases", _earlier(facts)),
        *(
            (label, ", ".join(f"{key} {_plain(value)}" for key, value in _mapping(facts.get(name)).items()))
            for label, name in (
                ("started from", "started_from"),
                ("its fidelity model", "fidelity_model"),
                ("its fidelity model", "twin"),  # its key in older files
            )
        ),
        ("mixed with its start", _mixed(facts.get("mix"))),
        ("batch", training.get("batch")),
        ("loss", training.get("loss")),
        ("factor of the borders", weight if (weight := training.get("border_weight")) != 1 else None),
        (
            f"{'perceptual' if gan.get('adversarial_weight') == 0 else 'adversarial'} phase",
            ", ".join(f"{key} {_plain(v)}" for key, v in gan.items() if v not in (None, {}, [])),
        ),
        ("weight of the teacher's targets", None if gan else _schedule(shares)),
        ("degradations", "those of given pairs" if facts.get("pairs") else training.get("degradation")),
        ("teachers", _teachers(facts)),
        ("time of the last phase", _duration(facts.get("seconds"))),
        ("hardware", facts.get("hardware")),
        ("seed", training.get("seed")),
        ("PyTorch", facts.get("torch")),
        ("converted from", facts.get("converted_from")),
    ]
    return [(name, _plain(value)) for name, value in rows if value not in (None, "", {}, [])]


def _earlier(facts: dict[str, Any]) -> str:
    """List the earlier training phases: "12,230 pixel x4; 1,153 adversarial x4 of degraded inputs"."""
    phases = facts.get("earlier")
    parts = []
    for one in map(_mapping, phases if isinstance(phases, list) else ()):
        count = one.get("iterations")
        words = [f"{count:,}" if isinstance(count, int) else "?", _plain(one.get("phase", "")), f"x{one.get('scale')}"]
        degraded = one.get("degradations", "none") != "none"
        teacher = _mapping(one.get("teacher")).get("name")
        taught = f" with {_plain(teacher)} as teacher" if teacher else ""
        parts.append(" ".join(words) + (" of degraded inputs" if degraded else "") + taught)
        parts += [str(one["note"])] if one.get("note") else []
    return "; ".join(parts)


def _teachers(facts: dict[str, Any]) -> str:
    """Name the models that made the training targets used in addition to the originals, in any phase."""
    phases = facts.get("earlier")
    told: dict[str, None] = {}
    for one in map(_mapping, [*(phases if isinstance(phases, list) else ()), facts]):
        if teacher := _mapping(one.get("teacher")):
            details = [f"{name} {_plain(teacher[name])}" for name in ("source", "licence", "sha256") if name in teacher]
            told[", ".join([_plain(teacher.get("name", "")), *details])] = None
    return "; ".join(told)


def _schedule(points: Any) -> str:
    """Describe points of a schedule, from the start of the phase (0) to its end (1): "0.75 at 0, 0 at 1"."""
    pairs = [each for each in points if isinstance(each, list) and len(each) == 2] if isinstance(points, list) else ()
    return ", ".join(f"{_plain(value)} at {_plain(at)}" for at, value in pairs)


def _is_degraded(facts: dict[str, Any]) -> bool:
    """True if it was trained on inputs that are degraded, not only downscaled."""
    return bool(facts.get("pairs")) or _mapping(facts.get("training")).get("degradation", "none") != "none"


def _mixed(mix: Any) -> str:
    if not isinstance(mix, float) or not 0 <= mix <= 1:
        return ""
    return f"{mix:.0%} of the way from the weights it started from to those that training ended with"


def _results(facts: dict[str, Any]) -> str:
    """Return a table for each metric, with a column for each order of the solver."""
    parts = []
    for key, _, label, unit in _MEASURES:
        if rows := _scores(facts, key):
            columns = list(dict.fromkeys(column for row in rows.values() for column in row))
            cells = [[_plain(data), *(_plain(row.get(column, "")) for column in columns)] for data, row in rows.items()]
            header = [f"{label}, {unit}", *(label if column == "psnr_y" else _plain(column) for column in columns)]
            parts.append(_table(cells, header))
    if not parts:
        score = facts.get("val_psnr_y")
        if isinstance(score, int | float):
            return f"PSNR-Y on the held-out images of the training run: {score:.2f} dB. Nothing else was measured."
        return "Not measured. `dagan eval FOLDER -n MODEL` measures it on your images."
    if times := _mapping(facts.get("microseconds")):
        cells = [[_plain(facts.get("measured_on", "")), *map(_plain, times.values())]]
        parts.append(_table(cells, ["µs per input pixel", *map(_plain, times)]))
    if rows := {str(at): row for at, row in _mapping(facts.get("detail")).items() if _mapping(row)}:
        keys = [
            (key, label)
            for key, label in (("psnr_y", "PSNR-Y"), ("lpips", "LPIPS"))
            if any(key in r for r in rows.values())
        ]
        cells = [[_plain(at), *(_plain(row.get(key, "")) for key, _ in keys)] for at, row in rows.items()]
        named = facts.get("fidelity_model") or facts.get("twin")
        other = "its fidelity model" if named else "the model it started from"
        parts.append(
            f"Between {other} (0) and this one (1), on the held-out images:\n\n"
            + _table(cells, ["`--detail`", *(label for _, label in keys)])
        )
    if facts.get("protocol"):
        parts.append(f"Protocol: {_plain(facts['protocol'])}.")
    return "\n\n".join(parts)


def _parts(facts: dict[str, Any]) -> list[str]:
    """Return a section on what the scores lose without a part of the network; nothing where that was not measured."""
    ablation = _mapping(facts.get("ablation"))
    given = ablation.get("rows")
    rows = [row for row in map(_mapping, given if isinstance(given, list) else ()) if row]
    if not rows:
        return []
    shown = [each for each in _ABLATED if any(isinstance(row.get(each[0]), float) for row in rows)]
    header = ["change", "order", *(title for _, label, _ in shown for title in (label, "difference"))]
    cells = []
    for row in rows:
        whole = next(_mapping(each) for each in rows if each.get("order") == row.get("order"))
        line = [_plain(row.get("change") or "none"), _plain(row.get("order") or "")]
        for key, _, digits in shown:
            here, there = row.get(key), whole.get(key)
            is_both = isinstance(here, float) and isinstance(there, float) and row is not whole
            line += [_plain(here), f"{here - there:+.{digits}f}" if is_both else ""]  # type: ignore[operator]
        cells.append(line)
    words = [
        f"Each part replaced by a constant or left out, without training again; {_plain(ablation.get('data', ''))}."
    ]
    if isinstance(entropy := ablation.get("entropy"), float):
        words.append(f"The entropy of the softmax is {entropy:.3f} of that of equal weights.")
    if isinstance(spread := ablation.get("gate_spread"), float):
        words.append(f"The standard deviation of a gate over images and positions is {spread:.4f}.")
    return ["## What its parts are worth", " ".join(words), _table(cells, header)]


def _scores(facts: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Return the scores by data set, then by order: {"Set5": {"order 1": 31.37}}."""
    rows = _mapping(facts.get(key)).items()
    return {str(data).replace("spoilt", "degraded"): row for data, row in rows if _mapping(row)}  # older files' word


def _failures(facts: dict[str, Any]) -> list[str]:
    training = _mapping(facts.get("training"))
    lines = [
        "Text, faces and patterns finer than about two pixels of the source are not restored.",
        "The outermost pixels of the source are less exact, above all in the corners.",
    ]
    if not training:
        return [*lines, "Nothing is known about its training, and so about its other limits."]
    lines.append("Hard edges of drawings, and small letters, may get thin lines along them.")
    if _is_perceptual(facts):
        lines.append("Detail is invented. Do not use it where an image is evidence or a measurement.")
    else:
        lines.append("Grass, hair and other fine texture come out smooth: it predicts the mean of all likely details.")
    if not _is_degraded(facts):
        lines.append(
            "It was trained only on clean, bicubically downscaled images: noise, blocks and halos are enlarged."
        )
    else:
        lines.append("Grain that is intended may be taken for noise and removed.")
        lines.append("Very dark pictures lose most of their detail, and fine texture may get a faint mesh.")
    phases = facts.get("earlier")
    counts = [one.get("iterations") for one in map(_mapping, phases if isinstance(phases, list) else ())]
    counts = [count for count in (*counts, facts.get("iterations")) if isinstance(count, int)]
    if counts and sum(counts) < _SHORT:
        lines.append(f"The training was short, {sum(counts):,} iterations in all: longer training scores higher.")
    return lines


def _is_perceptual(facts: dict[str, Any]) -> bool:
    """True if it has been through a phase with a perceptual loss, not only planned for one; later phases keep that."""
    return not _phases(facts).isdisjoint(("perceptual", "adversarial"))


def _phases(facts: dict[str, Any]) -> set[str]:
    """Return the kinds of the training phases: pixel, perceptual (without a discriminator) or adversarial."""
    phases = facts.get("earlier")
    kinds = {str(one.get("phase")) for one in map(_mapping, phases if isinstance(phases, list) else ())}
    gan = _mapping(_mapping(facts.get("training")).get("gan"))
    last = "pixel" if not gan or facts.get("phase") == "pixel" else "adversarial"
    return kinds | {"perceptual" if last == "adversarial" and gan.get("adversarial_weight") == 0 else last}


def _duration(seconds: Any) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"


def _table(rows: Sequence[Sequence[str]], header: Sequence[str] = ("", "")) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows]]
    return "\n".join(lines)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> str:
    """Format a value from any file for one table cell, without characters special to Markdown or HTML."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{_plain(key)} {_plain(item)}" for key, item in value.items())
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(re.sub(r"[\x00-\x1f\x7f|<>\[\]`]+", " ", text).split())


def _caption(picture: str) -> str:
    if picture.startswith("curves"):
        return "training curves"
    return "before, after and the original, during training" if picture.startswith("samples") else "before and after"
