"""Join a Ray cluster, or start one on this machine for the time of a run."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from dagan_cli.errors import BadOption
from dagan_cli.prefetch import processors

INSTALL = "pip install 'dagan[cluster]'"
_LOCAL = "local:"
_PATIENCE = 3.0  # seconds to wait for an answer at an address: Ray itself tries for many minutes
_STORE = 256 << 20  # bytes of the object store of a cluster of our own; what does not fit goes to disk
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Provide Ray's module, connected to a cluster: auto, HOST:PORT, or local:N for one of our own with N workers.

    Raises BadOption.
    """
    workers = local_workers(address)
    if workers is None:
        _require_address(address)
    else:
        os.environ["RAY_AUTH_MODE"] = "token"  # its ports are open to the network: nobody else may use them
        os.environ.setdefault("RAY_AUTH_TOKEN", token_hex(32))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = _imported()
    _quieten()
    with _signals_kept():
        if workers is None:
            _join(ray, address)
            folder = None
        else:
            folder = TemporaryDirectory(prefix="dagan-ray-")
            _start(ray, workers, folder.name)
    head = ray.get_runtime_context().gcs_address
    try:
        yield ray
    finally:
        if answers(head):
            with _signals_kept():
                ray.shutdown()
        else:  # it would wait for the head node
            atexit.unregister(ray.shutdown)
        if folder is not None:
            folder.cleanup()


def answers(address: str, seconds: float = 1.0) -> bool:
    """True if something listens at HOST:PORT. Ray waits there for a minute, and then ends the whole process."""
    with suppress(OSError), _opened(address, seconds):
        return True
    return False


def _opened(address: str, seconds: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), seconds)


def local_workers(address: str) -> int | None:
    """Return the N of local:N, or None for an address. Raises BadOption."""
    if not address.startswith(_LOCAL):
        return None
    number = address.removeprefix(_LOCAL)
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= 64):
        raise BadOption(f"invalid --cluster {address!r}", hint="use local:N with 1 to 64 workers, such as local:2")
    return int(number)


def _require_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and "/" not in address and port.isascii() and port.isdigit()):
        is_client = address.startswith("ray://")
        what = "use the address of the head node itself: HOST:6379" if is_client else "use auto, HOST:PORT or local:N"
        raise BadOption(f"invalid --cluster {address!r}", hint=what)


def _imported() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        raise BadOption(
            "--cluster needs Ray, which is not installed", hint=f"{INSTALL}, here and on each node"
        ) from error


def _join(ray: Any, address: str) -> None:
    if address == "auto":
        address = _found(ray)
    try:
        _opened(address, _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise BadOption(
            f"--cluster {address}: nothing answers there ({_reason(error)})",
            hint="start the cluster (ray start --head), and name the address that it prints",
        ) from error
    try:
        ray.init(address=address, namespace="dagan", **_settings())
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        found = ", ".join(line.strip() for line in str(error).splitlines() if line.strip().startswith(("Ray:", "Pyth")))
        raise BadOption(
            f"--cluster {address} runs another version of Ray or Python than this machine ({found})",
            hint="install the same versions here and on all nodes",
        ) from error
    except (ConnectionError, ValueError) as error:
        raise BadOption(
            f"--cluster {address}: no Ray cluster can be joined there ({_reason(error)})",
            hint="name the port of the head node, 6379 by default; is RAY_AUTH_TOKEN needed?",
        ) from error


def _found(ray: Any) -> str:
    """Return the address of the cluster that this machine is part of. Raises BadOption."""
    try:
        services = import_module(f"{ray.__name__}._private.services")
        return services.canonicalize_bootstrap_address_or_die("auto")
    except (ConnectionError, ValueError) as error:
        raise BadOption(
            "--cluster auto found no Ray cluster on this machine",
            hint="start one (ray start --head), name its address, or use --cluster local:2",
        ) from error


def _start(ray: Any, workers: int, folder: str) -> None:
    cpus = max(workers, processors())
    ray.init(address="local", num_cpus=cpus, object_store_memory=_STORE, _temp_dir=folder, **_settings())


def _settings() -> dict[str, Any]:
    return {
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "configure_logging": False,
    }


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep our handlers of signals: Ray installs one for SIGTERM, and another that dumps the stack."""
    before = {number: signal.getsignal(number) for name in _SIGNALS if (number := getattr(signal, name, None))}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quieten() -> None:
    """Let Ray print nothing: it reports deaths of nodes on stdout, where results belong."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    worker: Any = import_module("ray._private.worker")
    worker._worker_logs_enabled = False  # there is no other switch for these; Ray's debugger uses it


def _reason(error: Exception) -> str:
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
    return text[:1].lower() + text[1:160]
