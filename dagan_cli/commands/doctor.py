"""`dagan doctor`: devices, codecs, versions and models of this machine, and what they mean for speed."""

from __future__ import annotations

import platform
import sys
from hashlib import file_digest
from typing import TYPE_CHECKING, Any

from dagan_cli.commands.console import echo, in_json
from dagan_cli.commands.options import AsJson, Debug, friendly_errors
from dagan_cli.commands.shown.tables import table

if TYPE_CHECKING:
    from dagan_cli.engine.cache import Cache

PACKAGES = ("torch", "av", "pillow", "pi-heif", "pillow-jxl-plugin", "imageio", "imageio-ffmpeg", "tifffile")
PACKAGES += ("numpy", "typer", "rich", "safetensors", "openvino", "spandrel")
ENCODERS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores_ks")
ENCODERS += ("h264_nvenc", "hevc_nvenc", "av1_nvenc")


def doctor(as_json: AsJson = False, debug: Debug = False) -> None:
    """Show the devices, codecs, versions and models of this machine."""
    with friendly_errors(debug):
        facts = examine()
    if as_json:
        echo(in_json(facts))
        return
    echo(table(None, [[f"{name}:", _in_words(value)] for name, value in facts.items()], left=2))


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def examine() -> dict[str, Any]:
    """Return the facts as plain values, for a table or JSON."""
    import torch

    from dagan_cli.device import free_host_memory
    from dagan_cli.engine.cache import cache_folder
    from dagan_cli.engine.precision import choose
    from dagan_cli.engine.runtimes import library
    from dagan_cli.engine.runtimes.compiled import kept_networks
    from dagan_cli.media.video.preflight import can_encode
    from dagan_cli.version import __version__
    from dagan_cli.waiting import described
    from weights.catalog import CATALOG

    choice = choose(compiles=True)
    devices = ["cpu"]
    devices += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    if library.is_installed():
        devices += [f"{library.PREFIX}{name} {library.full_name(name)}" for name in library.devices()]
    return {
        "dagan": __version__,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": devices,
        "chosen": {
            "device": choice.name,
            "runtime": choice.runtime,
            "precision": str(choice.dtype).removeprefix("torch."),
            "why": choice.why,
        },
        "threads": torch.get_num_threads(),
        "waiting": described(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cache": f"{cache_folder()}, {_kept(kept_networks())}",
        "free_memory_gib": round(free_host_memory() / 2**30, 1),
        "encoders": [name for name in ENCODERS if can_encode(name)],
        "models": {model.name: _state(model.name, model.sha256) for model in CATALOG},
    }


def _kept(cache: Cache) -> str:
    """Return how full the cache of compiled networks is, or that nothing can be kept."""
    from dagan_cli.errors import CannotWrite
    from dagan_cli.files import require_writable

    try:
        require_writable(cache.folder / "network")
    except (CannotWrite, OSError):
        return "which cannot be written: networks are compiled in each run"
    return f"compiled networks: {cache.size() / 2**20:.0f} of {cache.most >> 20} MiB"


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _state(name: str, expected: str) -> str:
    """Return the state of a published model's file in the package or cache, without a network request."""
    from dagan_cli.files import open_regular
    from weights.catalog import local_model

    path = local_model(name)
    if path is None:
        return f"not here: `dagan models pull {name}`"
    try:
        with open_regular(path) as file:
            whole = file_digest(file, "sha256").hexdigest() == expected
    except OSError:
        whole = False
    return "ok" if whole else "damaged: reinstall dagan"
