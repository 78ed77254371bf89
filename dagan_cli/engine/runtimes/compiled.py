"""A network compiled by OpenVINO, once for each shape of its tiles, and kept for later runs."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dagan_cli.engine import memory
from dagan_cli.engine.cache import Cache, cache_folder
from dagan_cli.engine.runtimes import library
from dagan_cli.errors import DaganError
from dagan_cli.model.generator import Generator
from dagan_cli.version import __version__

HINTS = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}  # as OpenVINO names number formats
MOST_KEPT = 256 << 20  # bytes of compiled networks in the user's cache: about a hundred of the published ones
_TOLERANCES = {torch.float32: 1e-3, torch.float16: 0.03, torch.bfloat16: 0.1}  # of values up to 1; faults are larger
MOST_STREAMS = 4  # tiles computed at once on a CPU; each has its share of the threads
_MOST_SHAPES = 8  # compiled networks in memory: tiles of two passes, turned for the ensemble, and those of alpha


class CannotRun(Exception):
    """OpenVINO cannot run this network; the text says why."""


def kept_networks() -> Cache:
    """Return the compiled networks of earlier runs."""
    return Cache(cache_folder() / "openvino", ".blob", MOST_KEPT)


class Compiled:
    """Runs a network through OpenVINO on one of its devices, for tiles in host memory.

    `compiling` counts the seconds until the networks were ready; `notices` gets a line if they cannot be kept. Without
    `keep` they are compiled even if an earlier run has kept them.
    """

    name = "openvino"
    layout = torch.contiguous_format

    def __init__(self, network: Any, place: str, dtype: torch.dtype, notices: list[str], *, keep: bool = True) -> None:
        self.compiling = 0.0
        self._network = network
        self._place = place
        self._dtype = dtype
        self._notices = notices
        self._cache: Cache | None = kept_networks() if keep else None
        self._requests: OrderedDict[tuple[int, ...], tuple[Any, list[Any]]] = OrderedDict()  # last used, last
        self._weights: bytes | None = None

    def input_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the type of the tiles to pass: OpenVINO converts inside."""
        return torch.float32

    def run(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, scale*h, scale*w), fp32 in host memory. Raises CannotRun.

        Several tiles are computed side by side, each by threads of its own: where other programs are busy too, threads
        that share a tile would wait for each other.
        """
        n, _, h, w = x.shape
        result = torch.empty(n, 3, h * self._network.scale, w * self._network.scale)
        try:
            requests = self._ready(n, h, w)
            view = library.load().Tensor
            for request, tile, into in zip(requests, x.split(1), result.split(1), strict=True):
                request.set_input_tensor(view(tile.numpy(), shared_memory=True))
                request.set_output_tensor(view(into.numpy(), shared_memory=True))
                request.start_async()
            for request in requests:
                request.wait()
        except DaganError as error:  # OpenVINO cannot be loaded
            raise CannotRun(str(error)) from error
        except RuntimeError as error:
            if memory.ran_out(error):
                raise
            raise CannotRun(_in_a_line(error)) from error
        return result

    def _ready(self, count: int, height: int, width: int) -> list[Any]:
        """Return what runs the network for so many tiles of this size, compiled on first use."""
        streams = min(count, MOST_STREAMS, torch.get_num_threads())
        key = streams, height, width
        if key not in self._requests:
            started = perf_counter()
            while len(self._requests) >= _MOST_SHAPES:
                self._requests.popitem(last=False)
            self._requests[key] = self._compiled((1, 3, height, width), streams), []
            self.compiling += perf_counter() - started
        self._requests.move_to_end(key)
        compiled, requests = self._requests[key]
        requests += [compiled.create_infer_request() for _ in range(count - len(requests))]
        return requests[:count]

    def _compiled(self, shape: tuple[int, ...], streams: int) -> Any:
        core = library.core()
        hints: dict[str, Any] = {"NUM_STREAMS": streams, "INFERENCE_PRECISION_HINT": HINTS[self._dtype]}
        if self._place == "CPU":
            # Threads that stay where they are would wait for other programs on their core.
            hints |= {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "ENABLE_CPU_PINNING": False}
        key = self._key(shape, streams)
        if self._cache and (blob := self._cache.get(key)):
            try:
                return core.import_model(blob, self._place, hints)
            except RuntimeError:  # of another build of OpenVINO under the same version
                pass
        compiled = core.compile_model(self._model(shape), self._place, hints)
        if self._place != "CPU" or not self._is_ours:
            self._check(compiled, shape)
        if self._cache and (reason := self._cache.put(key, compiled.export_model().getvalue())):
            self._notices.append(f"compiled networks are not kept for later runs: {reason}")
            self._cache = None
        return compiled

    def _model(self, shape: tuple[int, ...]) -> Any:
        """Return the network for this shape as OpenVINO's graph. Raises CannotRun, RuntimeError."""
        if self._is_ours:
            from dagan_cli.engine.runtimes.graph import Unsupported, graph_of

            try:
                return graph_of(self._network, shape)
            except Unsupported as error:
                raise CannotRun(str(error)) from error
        from dagan_cli.engine.runtimes.traced import traced

        try:
            with torch.inference_mode(False), torch.no_grad():
                file = traced(self._network, _sample(shape))
        except Exception as error:  # networks of other programs hold anything, and the exporter has many errors
            if memory.ran_out(error):
                raise
            raise CannotRun(f"it cannot be exported ({_in_a_line(error)})") from error
        return library.core().read_model(file, library.load().Tensor(torch.empty(0, dtype=torch.uint8).numpy()))

    def _check(self, compiled: Any, shape: tuple[int, ...]) -> None:
        """Raise CannotRun if the results are not PyTorch's: a trace may omit something, a driver may err."""
        with torch.inference_mode():
            wanted = self._network(_sample(shape))
        found = torch.from_numpy(compiled(_sample(shape).numpy())[0])
        far = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1.0))
        if not far <= _TOLERANCES[self._dtype]:
            raise CannotRun(f"its results differ from PyTorch's by {far:.2g}")

    @property
    def _is_ours(self) -> bool:
        return isinstance(self._network, Generator)

    def _key(self, shape: tuple[int, ...], streams: int) -> str:
        """Return the name under which the compiled network is kept: all that it depends on."""
        network = self._network
        facts = (
            *(__version__, library.load().__version__, library.full_name(self._place), self._place, HINTS[self._dtype]),
            *(shape, streams, type(network).__qualname__, getattr(network, "config", None)),
            *(getattr(network, "architecture", None), getattr(network, "order", None)),
            getattr(network, "window", None),
        )
        if self._weights is None:
            digest = sha256(_source())
            for name, tensor in network.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
            self._weights = digest.digest()
        return sha256(self._weights + repr(facts).encode()).hexdigest()


def _sample(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _source() -> bytes:
    """Return the text that makes the graphs: another one makes others."""
    from dagan_cli.engine.runtimes import graph

    return Path(graph.__file__).read_bytes()


def _in_a_line(error: Exception) -> str:
    """Return what the error says, in one line; OpenVINO begins with places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))] or lines
    return (told[0] if told else type(error).__name__)[:200]
