"""OpenVINO itself: whether it is installed, and the devices that it can use."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from dagan_cli.errors import BadOption

PREFIX = "openvino:"  # of --device, before the name of one of OpenVINO's devices
INSTALL = "pip install 'dagan[openvino]'"


def is_installed() -> bool:
    """True if OpenVINO can be imported; nothing is imported."""
    return find_spec("openvino") is not None


@cache
def load() -> ModuleType:
    """Return OpenVINO, which would report each import to a server if it found its telemetry.

    Raises whatever a broken installation raises.
    """
    known = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        import openvino
        import openvino.opset13
    finally:
        del sys.modules["openvino_telemetry"]
        if known is not None:
            sys.modules["openvino_telemetry"] = known
    return openvino


@cache
def core() -> Any:
    """Return the entry of OpenVINO. Raises BadOption if it is not installed or cannot be loaded."""
    try:
        return load().Core()
    except (ImportError, OSError, RuntimeError) as error:
        what = "OpenVINO is not installed" if not is_installed() else f"OpenVINO cannot be loaded: {error}"
        raise BadOption(what, hint=f"{INSTALL}, or use --runtime torch") from error


def is_named(device: str) -> bool:
    """True if --device names one of OpenVINO's devices, or should."""
    return f"{device.lower()}:".startswith(PREFIX)


def devices() -> list[str]:
    """Return the names of the devices that OpenVINO can use: CPU, GPU, GPU.1, NPU and the like."""
    return list(core().available_devices)


def find_device(name: str) -> str:
    """Return the device that was asked for, as OpenVINO names it. Raises BadOption, with those that there are."""
    wanted, found = name.upper(), devices()
    there = ", ".join(PREFIX + each for each in found) or "none"
    if not wanted:
        raise BadOption("--device openvino names no device", hint=f"OpenVINO has on this machine: {there}")
    # With one GPU it is named GPU; with several, GPU means the first.
    if wanted in found or f"{wanted}.0" in found:
        return wanted
    raise BadOption(f"OpenVINO has no device {name!r} on this machine", hint=f"it has: {there}")


def full_name(device: str) -> str:
    """Return what the maker calls the device."""
    return str(core().get_property(device, "FULL_DEVICE_NAME"))


def formats(device: str) -> set[str]:
    """Return the number formats that the device computes in, of "fp32", "fp16" and "bf16"."""
    known = set(core().get_property(device, "OPTIMIZATION_CAPABILITIES"))
    return {name for name in ("fp32", "fp16", "bf16") if name.upper() in known}
