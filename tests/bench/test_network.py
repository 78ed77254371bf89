"""`dagan bench` without an input: the network in each runtime, its engine, and the roof, in one run."""

from __future__ import annotations

import json

import pytest

from dagan_cli.bench import network as module
from dagan_cli.bench.busy import Busy
from dagan_cli.bench.history import Last
from dagan_cli.bench.network import bench
from dagan_cli.bench.network_result import EngineBench, NetworkBench, report
from dagan_cli.commands.shown.tables import table
from dagan_cli.engine.options import EngineOptions
from dagan_cli.engine.runtimes.compiled import CannotRun, Compiled
from dagan_cli.errors import BadOption
from dagan_cli.model.generator import Generator
from tests.conftest import TINY
from tests.support.fakes import Convolutions


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A quiet one, whatever else runs here; a test may set another use by other programs."""
    state = {"busy": Busy(2)}
    monkeypatch.setattr(module, "Watch", lambda: type("Watch", (), {"result": lambda _: state["busy"]})())
    return state


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path))


@pytest.mark.slow
def test_a_bench_gives_times_and_ratios_that_fit_together():
    network = Convolutions(depth=2, width=8, scale=2)
    result = bench(network, EngineOptions(device="cpu", precision="fp32", tile=32), width=70, height=50, rounds=1)
    (one,) = result.engines
    assert one is result.chosen
    assert one.runtime == "torch"
    assert one.flops == 70 * 50 * 2 * 9 * (3 * 8 + 8 * 8 + 8 * 12)
    assert one.tiles > 1
    assert one.halo_cost > 1
    assert one.flops_per_second == pytest.approx(one.flops / one.tiled_seconds)
    assert one.share_of_roof is not None
    assert one.tile_share_of_roof is not None
    assert one.tile_share_of_roof > one.share_of_roof > 0
    assert one.peak_bytes > 70 * 50 * 4 * 12
    assert one.compile_seconds is None
    printed = json.loads(json.dumps(result.to_dict()))
    assert printed["engine_cost"] == one.engine_cost
    assert printed["tile_width"] <= 32
    assert printed["runtimes"] == [json.loads(json.dumps(one.to_dict()))]
    assert (printed["fastest"], printed["busy_cores"], printed["last"]) == ("torch", 0, None)


@pytest.mark.slow
@pytest.mark.openvino
def test_each_runtime_is_timed_also_where_auto_would_take_one_of_them():
    """Both on a frame that is no whole number of windows, and too small for auto to compile anything."""
    pytest.importorskip("openvino")
    result = bench(Generator(TINY), width=40, height=30, rounds=1)
    assert [one.runtime for one in result.engines] == ["openvino", "torch"]
    compiled, plain = result.engines
    assert "OpenVINO" in compiled.device
    assert "OpenVINO" not in plain.device
    assert compiled.flops == plain.flops
    assert compiled.compile_seconds is not None
    assert compiled.load_seconds is not None
    assert 0 < compiled.load_seconds < compiled.compile_seconds
    assert result.to_dict()["runtime"] == "openvino"
    assert (compiled.tile_width, compiled.tile_height) == (48, 32)


@pytest.mark.slow
@pytest.mark.openvino
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_runtime_that_was_asked_for_is_timed_alone(runtime):
    pytest.importorskip("openvino")
    result = bench(Generator(TINY), EngineOptions(runtime=runtime), width=32, height=32, rounds=1)
    assert [one.runtime for one in result.engines] == [runtime]


@pytest.mark.slow
@pytest.mark.openvino
def test_a_network_that_openvino_cannot_run_is_timed_in_pytorch(monkeypatch):
    pytest.importorskip("openvino")

    def fail(self, x):
        raise CannotRun("it has holes")

    monkeypatch.setattr(Compiled, "run", fail)
    result = bench(Generator(TINY), width=32, height=32, rounds=1)
    assert [one.runtime for one in result.engines] == ["torch"]
    assert result.left_out == ("openvino is left out: it has holes",)
    assert "it has holes" in report(result, table)
    with pytest.raises(BadOption, match="it has holes"):
        bench(Generator(TINY), EngineOptions(runtime="openvino"), width=32, height=32, rounds=1)


@pytest.mark.slow
def test_the_next_run_is_compared_with_the_last_one_unless_the_machine_is_busy(machine):
    network = Convolutions(depth=1, width=4, scale=2)

    def run() -> NetworkBench:
        return bench(network, EngineOptions(device="cpu"), model="some.safetensors", width=16, height=16, rounds=1)

    machine["busy"] = Busy(2, others=1.8)
    assert run().last is None
    machine["busy"] = Busy(2)
    first = run()
    assert first.last is None
    second = run()
    assert second.last is not None
    assert second.last.rate == pytest.approx(1 / first.chosen.tiled_seconds)
    machine["busy"] = Busy(2, others=1.8)
    third = run()
    assert (third.last, third.fastest) == (None, None)
    machine["busy"] = Busy(2)
    fourth = run().last
    assert fourth is not None
    assert fourth.rate == pytest.approx(1 / second.chosen.tiled_seconds)


# --- what is said


def engine(runtime: str, **changed) -> EngineBench:
    facts = {
        "runtime": runtime,
        "device": f"CPU, {runtime}",
        "precision": "float32",
        "width": 100,
        "height": 100,
        "scale": 4,
        "roof_64": 140e9,
        "roof_32": 100e9,
        "flops": 7e9,
        "peak_bytes": 1,
        "bare_seconds": 0.06,
        "whole_seconds": 0.065,
        "tiled_seconds": 0.0625,
        "compile_seconds": None,
        "load_seconds": None,
        "tile_width": 64,
        "tile_height": 64,
        "tiles": 4,
        "halo_cost": 1.2,
    }
    return EngineBench(**(facts | changed))


def found(**changed) -> NetworkBench:
    slow = engine("torch", bare_seconds=0.1, whole_seconds=0.12, tiled_seconds=0.125)
    quick = engine("openvino", compile_seconds=2.2, load_seconds=0.8)
    facts = {"model": "dagan-x4", "order": 1, "engines": (slow, quick), "left_out": (), "busy": Busy(2), "last": None}
    return NetworkBench(**(facts | changed))


def test_the_report_says_which_runtime_is_fastest_and_which_goals_it_reaches():
    text = report(found(last=Last("2026-11-28", "0.9.0", 7.5)), table)
    assert "dagan-x4 order 1, one frame of 100x100 px, x4, 7.00 GFLOP" in text
    assert "fastest here: openvino, 2.00 times as fast as torch" in text
    assert "the engine takes 1.04 of the bare network's time (goal: at most 1.05, reached)" in text
    assert "it reaches 0.80 of the roof (goal: at least 0.7, reached)" in text
    assert "last time (2026-11-28, dagan 0.9.0): now 1.07 times as fast" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("openvino  "))
    assert row == ["openvino", "60", "ms", "65", "ms", "62.5", "ms", "6.25", "1.04", "0.80", "2.2", "s", "800", "ms"]
    text = report(found(engines=(engine("torch", tiled_seconds=0.1),)), table)
    assert "1.67 of the bare network's time (goal: at most 1.05, missed)" in text
    assert "0.50 of the roof (goal: at least 0.7, missed)" in text
    assert "times as fast" not in text


def test_on_a_busy_machine_the_numbers_are_shown_and_nothing_is_concluded():
    busy = found(busy=Busy(2, others=1.8))
    text = report(busy, table)
    assert text.endswith("the machine is busy: 1.8 of 2 cores are in use by other programs; numbers would mislead")
    assert "62.5 ms" in text
    assert not any(word in text for word in ("fastest", "goal", "times as fast"))
    values = busy.to_dict()
    assert (values["fastest"], values["busy_cores"], values["cores"]) == (None, 1.8, 2)
    assert values["runtimes"][1]["tiled_seconds"] == 0.0625


def test_a_device_that_pytorch_lacks_has_no_roof():
    one = engine("openvino", roof_64=None, roof_32=None)
    assert (one.share_of_roof, one.bare_share_of_roof, one.tile_share_of_roof) == (None, None, None)
    assert "roof:" not in report(found(engines=(one,)), table)
