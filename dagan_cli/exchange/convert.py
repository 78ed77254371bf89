"""`dagan models convert`: convert PyTorch pickles to model files, and either of these to ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dagan_cli.errors import BadOption
from dagan_cli.exchange.foreign import read_pickle
from dagan_cli.exchange.onnx_export import export_onnx, require_onnx
from dagan_cli.files import whole_or_absent
from dagan_cli.model.checkpoint import load_model, save_model
from weights.catalog import CATALOG, find_model


@dataclass(frozen=True, slots=True)
class Converted:
    """Result of a conversion; `difference`: largest difference of ONNX from PyTorch results, in values of [0, 1]."""

    target: Path
    difference: float | None = None


def convert(source: str, target: Path | None = None, *, order: int | None = None) -> Converted:
    """Convert `source` (a published name, a .safetensors file, else a pickle) to `target` (.safetensors or .onnx).

    The default target is a .safetensors file next to the source. An ONNX file is fixed to `order`.
    Raises BadModel, BadOption, CannotWrite, and DaganError if a library is missing.
    """
    path, expected = find_model(source)
    ours = path.suffix.lower() == ".safetensors"
    target = target or path.with_suffix(".safetensors")
    kind = target.suffix.lower()
    if kind not in (".safetensors", ".onnx"):
        raise BadOption(f"-o {target} has an unsupported suffix", hint="use .safetensors or .onnx")
    if ours and kind == ".safetensors":
        raise BadOption(f"{source} is already a dagan model", hint="use it directly, or name an .onnx file with -o")
    if order is not None and kind == ".safetensors":
        raise BadOption(
            "--order applies only to ONNX files; a model keeps all its orders", hint="choose one when upscaling"
        )
    if target.exists():
        raise BadOption(f"{target} already exists", hint="name another file with -o")
    if kind == ".onnx":
        require_onnx()

    if ours:
        model = load_model(path, expected)
        network, provenance, digest = model.generator, model.provenance, model.sha256
    else:
        (network, provenance), digest = read_pickle(path), ""
    if order is not None:
        network.order = order
    with whole_or_absent(target) as file:
        if kind == ".safetensors":
            file.write(save_model(network, provenance))
            return Converted(target)
        published = next((model for model in CATALOG if model.name == source), None)
        licence = published.licence if published else str(provenance.get("licence", "not stated in the model"))
        facts = {"name": path.stem, "licence": licence, "model_sha256": digest}
        data, difference = export_onnx(network, {name: value for name, value in facts.items() if value})
        file.write(data)
        return Converted(target, difference)
