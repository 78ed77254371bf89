"""OpenVINO runs the networks that PyTorch runs, with its results; what it cannot run, PyTorch does, and it is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dagan_cli.engine.cache import cache_folder
from dagan_cli.engine.engine import Engine
from dagan_cli.engine.options import EngineOptions
from dagan_cli.engine.reuse import History
from dagan_cli.engine.runtimes import compiled, library
from dagan_cli.errors import BadOption
from dagan_cli.upscaler import Upscaler
from tests.support.community_networks import SMALL, small
from tests.support.fakes import Convolutions
from weights.catalog import CATALOG

pytestmark = pytest.mark.openvino


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path / "cache"))


def both(name: str | Path, **choices) -> tuple[Upscaler, Upscaler]:
    wanted, found = (Upscaler.load(str(name), device="cpu", runtime=each, **choices) for each in ("torch", "openvino"))
    return wanted, found


def kept() -> list[Path]:
    return sorted((cache_folder() / "openvino").glob("*.blob"))


def agree(wanted: Upscaler, found: Upscaler, size=(40, 50), tolerance: float = 1e-4) -> None:
    frames = torch.rand(2, 3, *size)
    difference = (wanted.engine(frames) - found.engine(frames)).abs().max()
    assert found.engine.choice.runtime == "openvino", found.engine.notices
    assert difference < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", [model.name for model in CATALOG])
def test_every_released_model_gives_the_results_of_pytorch(name):
    agree(*both(name))


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("window", ["global", "local"])
def test_the_order_and_the_window(tiny_model, order, window):
    agree(*both(tiny_model, order=order, window=window))


def test_tiles_and_the_ensemble(tiny_model):
    agree(*both(tiny_model, tile=32, ensemble=True), size=(50, 90))


@pytest.mark.slow
@pytest.mark.parametrize("blend", [{"detail": 0.4}, {"denoise": 0.6}])
def test_blends(blend):
    agree(*both("dagan-x2", **blend))


def test_frames_that_are_kept_for_the_next_are_not_written_over(tiny_model):
    wanted, found = both(tiny_model, tile=32)
    first = torch.rand(1, 3, 64, 64)
    second = first.clone()
    second[..., 40:, 40:] = 0.5
    history = History()
    for frame in (first, second, first):
        steps = found.engine.steps(frame, None, history)
        result = None
        while result is None:
            try:
                next(steps)
            except StopIteration as end:
                result = end.value
        assert (result - wanted.engine(frame)).abs().max() < 1e-4
    assert history.reused > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_networks_of_other_programs_run_where_they_export(name, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({key: value.contiguous() for key, value in small(name).items()}, path)
    wanted, found = both(path)
    frames = torch.rand(1, 3, 32, 40)
    result = found.engine(frames)
    if found.engine.choice.runtime == "torch":
        assert any("continuing with PyTorch" in notice for notice in found.engine.notices)
    assert (wanted.engine(frames) - result).abs().max() <= 1e-3 * max(1.0, float(result.abs().max()))


class Branches(nn.Module):
    """What is traced is not what is computed."""

    scale, receptive_field, compiles = 1, 0, True

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0.5 if torch._C._get_tracing_state() else x


def test_a_network_whose_trace_differs_runs_in_pytorch_and_it_is_said():
    engine = Engine(Branches(), EngineOptions(runtime="openvino"))
    frames = torch.rand(1, 3, 20, 30)
    assert torch.equal(engine(frames), frames)
    assert engine.choice.runtime == "torch"
    (notice,) = engine.notices
    assert notice.startswith("OpenVINO does not run the model: its results differ from PyTorch's by 0.5")


def test_a_network_that_is_not_made_for_it_runs_in_pytorch_and_it_is_said():
    engine = Engine(Convolutions(), EngineOptions(runtime="openvino"))
    assert torch.equal(
        engine(frames := torch.rand(1, 3, 20, 30)), Engine(Convolutions(), EngineOptions(device="cpu"))(frames)
    )
    assert len(engine.notices) == 1


def test_a_runtime_that_fails_in_the_middle_is_replaced(tiny_model, monkeypatch):
    wanted, found = both(tiny_model, tile=32)
    runs = []

    def failing(self, x):
        runs.append(x)
        if len(runs) > 2:
            raise compiled.CannotRun("the device was lost")
        return run(self, x)

    run = compiled.Compiled.run
    monkeypatch.setattr(compiled.Compiled, "run", failing)
    frames = torch.rand(1, 3, 64, 80)
    assert (found.engine(frames) - wanted.engine(frames)).abs().max() < 1e-4
    assert len(runs) == 3
    assert "the device was lost" in found.engine.notices[0]


def test_what_was_compiled_is_used_again(tiny_model, monkeypatch):
    found = both(tiny_model)[1]
    frames = torch.rand(1, 3, 40, 50)
    first = found.engine(frames)
    assert len(kept()) == 1
    monkeypatch.setattr(compiled.Compiled, "_model", lambda *_: pytest.fail("compiled anew"))
    again = Upscaler.load(str(tiny_model), device="cpu", runtime="openvino")
    assert torch.equal(again.engine(frames), first)


def test_other_weights_orders_windows_shapes_and_sizes_are_compiled_by_themselves(tiny_model, tmp_path):
    for choices in ({}, {"order": 2}, {"window": "local"}, {"tile": 16}):
        both(tiny_model, **choices)[1].engine(torch.rand(1, 3, 40, 50))
    assert len(kept()) == 4


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"\0" * len(data), lambda _: b""])
def test_a_damaged_file_is_compiled_anew(tiny_model, spoil):
    frames = torch.rand(1, 3, 40, 50)
    first = both(tiny_model)[1].engine(frames)
    (path,) = kept()
    path.write_bytes(spoil(path.read_bytes()))
    again = both(tiny_model)[1]
    assert torch.equal(again.engine(frames), first)
    assert again.engine.notices == []
    assert kept() == [path]
    assert path.stat().st_size > 1000


def test_a_cache_that_cannot_be_written_costs_a_notice(tiny_model, monkeypatch, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file")
    wanted, found = both(tiny_model)
    agree(wanted, found)
    agree(wanted, found, size=(20, 90))
    (notice,) = found.engine.notices
    assert notice.startswith("compiled networks are not kept for later runs: cannot write")


def test_auto_takes_it_for_large_images_and_for_frames_and_not_for_a_small_image(tiny_model, monkeypatch):
    monkeypatch.setattr("dagan_cli.engine.precision.cpu_has_fast_bf16", lambda: False)
    upscaler = Upscaler.load(str(tiny_model), device="cpu")
    assert upscaler.engine.choice.why.endswith("; OpenVINO, but for small images")
    upscaler.engine(torch.rand(1, 3, 40, 50))
    assert kept() == []  # it would be done before it was compiled
    upscaler.engine(torch.rand(2, 3, 40, 50))
    assert len(kept()) == 1
    upscaler.engine(torch.rand(1, 3, 300, 300))
    assert len(kept()) == 2


@pytest.mark.slow
def test_auto_takes_it_for_a_network_of_another_program_only_for_frames(tmp_path, monkeypatch):
    monkeypatch.setattr("dagan_cli.engine.precision.cpu_has_fast_bf16", lambda: False)
    path = tmp_path / "model.safetensors"
    save_file({key: value.contiguous() for key, value in small("Compact").items()}, path)
    upscaler = Upscaler.load(str(path), device="cpu")
    upscaler.engine(torch.rand(1, 3, 300, 300))
    assert kept() == []
    upscaler.engine(torch.rand(2, 3, 40, 50))
    assert len(kept()) == 1


def test_auto_does_not_take_it_where_bf16_is_fast_or_it_is_not_installed(tiny_model, monkeypatch):
    monkeypatch.setattr("dagan_cli.engine.precision.cpu_has_fast_bf16", lambda: True)
    assert Upscaler.load(str(tiny_model), device="cpu").engine.choice.runtime == "torch"
    monkeypatch.setattr("dagan_cli.engine.precision.cpu_has_fast_bf16", lambda: False)
    monkeypatch.setattr(library, "is_installed", lambda: False)
    assert Upscaler.load(str(tiny_model), device="cpu").engine.choice.runtime == "torch"
    assert Upscaler.load("bicubic", device="cpu", runtime="openvino").engine.choice.runtime == "torch"


@pytest.mark.parametrize(
    ("choices", "what", "hint"),
    [
        ({"device": "openvino:GPU.7"}, "OpenVINO has no device 'GPU.7' on this machine", "it has: openvino:CPU"),
        ({"device": "openvino:"}, "--device openvino names no device", "on this machine: openvino:CPU"),
        ({"device": "openvino"}, "--device openvino names no device", "on this machine: openvino:CPU"),
        ({"device": "cuda", "runtime": "openvino"}, "--runtime openvino does not run on --device cuda", "openvino:CPU"),
        ({"device": "openvino:CPU", "runtime": "torch"}, "--runtime torch does not go with --device openvino:CPU", ""),
        ({"device": "openvino:CPU", "precision": "fp16"}, "--precision fp16 is not available on openvino:CPU", "fp32"),
        ({"runtime": "onnx"}, "invalid --runtime 'onnx'", "auto, torch or openvino"),
    ],
)
def test_what_there_is_not_is_an_error_that_says_what_there_is(tiny_model, choices, what, hint, monkeypatch):
    monkeypatch.setattr(library, "formats", lambda _: {"fp32"})
    with pytest.raises(BadOption, match=what) as raised:
        Upscaler.load(str(tiny_model), **choices)
    assert hint in (raised.value.hint or "")


def test_openvino_s_name_of_the_cpu_is_a_device(tiny_model):
    upscaler = Upscaler.load(str(tiny_model), device="OpenVINO:cpu")
    assert upscaler.engine.choice.openvino == "CPU"
    agree(both(tiny_model)[0], upscaler)
    alone = Upscaler.load(str(tiny_model), device="openvino:CPU")
    alone.engine(torch.rand(1, 3, 16, 16))  # whoever names the device gets it, also for one small image
    assert alone.engine.runtimes == {"openvino"}


@pytest.mark.slow
def test_where_it_is_not_installed_the_command_says_how_to_get_it(tmp_path, tiny_model):
    """In a process that cannot find it, and in one whose copy is broken."""
    shutil.copy(tiny_model, tmp_path / "model.safetensors")
    from PIL import Image

    Image.new("RGB", (300, 300)).save(tmp_path / "in.png")
    (tmp_path / "broken/openvino").mkdir(parents=True)
    (tmp_path / "broken/openvino/__init__.py").write_text("raise ImportError('a library is missing')")
    hidden = "import sys; sys.modules['openvino'] = None; import importlib.util as u; f = u.find_spec; "
    hidden += "u.find_spec = lambda name, *rest: None if name == 'openvino' else f(name, *rest); "
    command = "from dagan_cli.__main__ import main; main()"

    def run(*arguments: str, code: str = "", path: str = "") -> subprocess.CompletedProcess:
        words = ["upscale", "in.png", "-n", "model.safetensors", "-o", "out.png", "-y", "--device", "cpu", *arguments]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([path, str(Path(__file__).parents[3])])}
        started = [sys.executable, "-c", code + command, *words]
        return subprocess.run(started, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    ran = run("--runtime", "openvino", code=hidden)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-2:] == [
        "error: OpenVINO is not installed",
        "  try: pip install 'dagan[openvino]', or use --runtime torch",
    ]
    assert run(code=hidden).returncode == 0
    ran = run("--runtime", "openvino", path=str(tmp_path / "broken"))
    assert ran.returncode == 2
    assert "error: OpenVINO cannot be loaded: a library is missing" in ran.stderr
    ran = run("--precision", "fp32", path=str(tmp_path / "broken"))
    assert ran.returncode == 0
    assert "OpenVINO does not run the model: OpenVINO cannot be loaded: a library is missing" in ran.stderr


@pytest.mark.slow
def test_it_needs_no_more_memory_than_the_engine_plans_with():
    """In a process of its own. Anonymous memory is watched, as a busy system takes pages of files away meanwhile."""
    code = """
import threading, torch
from pathlib import Path
from dagan_cli.upscaler import Upscaler
def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024
engine = Upscaler.load("dagan-x4", device="cpu", runtime="openvino", tile="off", batch=1).engine
engine(torch.rand(1, 3, 32, 32))
frame = torch.rand(1, 3, 480, 640)
before, planned, seen, ended = held(), engine.tile_bytes(480, 640), [], threading.Event()
def watch():
    while not ended.wait(0.002):
        seen.append(held())
watcher = threading.Thread(target=watch)
watcher.start()
result = engine(frame)
ended.set()
watcher.join()
print(max(seen) - before - result.nbytes, planned)
"""
    two_maps = 2 * 480 * 640 * 32 * 4  # bytes: the input and the output of a convolution are there at once
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    used, planned = map(int, ran.stdout.split())
    assert two_maps < used < 1.1 * planned  # with the compiler


@pytest.mark.slow
def test_openvino_reports_nothing_to_its_makers(tmp_path):
    """Imported as usual, it writes an identity into the home folder and sends an event."""
    code = "import sys; from dagan_cli.engine.runtimes import library; library.core(); "
    code += "print(any('openvino_telemetry' in name for name in sys.modules))"
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "HOME")}
    environment |= {"HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
    assert list(tmp_path.iterdir()) == []
