"""`make gpu`: what it measures, at tiny sizes on the CPU; its time limits; and what a broken section leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dagan_cli.bench import gpu, sections
from dagan_cli.bench.busy import Busy
from dagan_cli.bench.sections import SECTIONS, counted, small

CPU = small(torch.device("cpu"))
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a CUDA device")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dagan_cli.bench.pipeline.Watch", type("Watch", (), {"result": lambda _: Busy(2)}))


# --- what is measured


@pytest.mark.slow
def test_half_precision_is_compared_with_fp32():
    found = dict(sections.correctness(CPU))
    assert list(found) == [f"dagan-x2 {precision}" for precision in ("fp32", "fp16", "bf16")]
    exact, half, brain = found.values()
    assert exact["largest error"] < 1e-5
    assert 1e-5 < half["mean error"] < half["largest error"] < 0.01
    assert brain["PSNR in dB"] < half["PSNR in dB"]
    assert half["PSNR in dB"] > 55
    assert {values["tiles not finite"] for values in found.values()} == {0}


def test_tiles_that_are_not_finite_are_counted_and_do_not_hide_the_others():
    exact = torch.zeros(4, 3, 2, 2)
    found = exact + 0.1
    found[1, 0, 0, 0], found[2, 2, 1, 1] = torch.nan, torch.inf
    values = sections._compared(found, exact)
    assert values["tiles not finite"] == 2
    assert values["largest error"] == pytest.approx(0.1)
    assert values["PSNR in dB"] == pytest.approx(20)
    assert sections._compared(found * torch.nan, exact) == {"tiles not finite": 4}
    assert "PSNR in dB" not in sections._compared(exact, exact)


@pytest.mark.slow
def test_the_ceiling_is_of_products_convolutions_and_copies():
    found = dict(sections.ceiling(CPU))
    products = [f"matrix product {precision}" for precision in ("fp16", "bf16", "fp32")]
    assert list(found) == [*products, "convolution 64", "copy"]
    assert all(value > 0 for values in found.values() for value in values.values())


@pytest.mark.slow
def test_frames_are_timed_eager_captured_and_compiled_and_what_fails_says_why(monkeypatch):
    asked = []

    def compiled(network, **options):
        asked.append(options["backend"])
        return lambda x: network(x) + 0.25

    monkeypatch.setattr(torch, "compile", compiled)
    found = dict(sections.frames(replace(CPU, sizes=((48, 32), (33, 20)))))
    eager = found["dagan-x2 48x32 eager"]
    assert eager["frames/s"] == pytest.approx(1000 / eager["ms"])
    assert eager["of the matrix product"] > 0
    assert found["dagan-x2 33x20 eager"]["frames/s"] > 0
    assert found["dagan-x2 48x32 captured"] == {"skipped": "RuntimeError: CUDA graphs need a CUDA device"}
    assert "dagan-x2 33x20 captured" not in found
    assert found["dagan-x2 48x32 compiled"]["largest difference"] == pytest.approx(0.25, abs=1e-3)
    assert asked == ["eager", "eager"]


@pytest.mark.slow
def test_a_folder_is_upscaled_from_file_to_file():
    found = dict(sections.folder(CPU))
    assert list(found) == ["dagan-x2", "nearest"]
    for values in found.values():
        assert values["of it"] == pytest.approx(values["pictures/s"] / values["network alone"])


@pytest.mark.slow
def test_decoding_network_and_encoding_are_timed_apart_and_together():
    found = dict(sections.overlap(CPU))
    assert found["h264_nvenc"] == {"skipped": "it needs a CUDA device"}
    assert list(found["libx264"])[:2] == ["decode", "planes to RGB"]
    assert found["libx264"]["together"] > 0


def test_the_tests_results_are_counted_as_they_come(tmp_path):
    (tmp_path / "test_one.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n"
        "@pytest.mark.skip\ndef test_c(): pass\n@pytest.mark.parametrize('x', ['a b', 2])\ndef test_d(x): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:xdist", "-p", "no:cacheprovider", "test_one.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = dict(counted(done.stdout.splitlines()))
    assert (found["passed"], found["failed"], found["skipped"]) == (3, 1, 1)
    assert found["failed test_one.py::test_b"] is True
    assert "1 failed, 3 passed, 1 skipped" in found["last line"]


def test_the_machine_is_described():
    found = dict(gpu.machine("cpu"))
    assert found["torch"] == torch.__version__
    assert found["missing"] == []


# --- how it is run


SCRIPT = """#!/bin/sh
case "$4" in
  correctness) echo 'measured: ["a", 1]'; sleep 60 & echo $! > "{folder}/started"; echo 'measured: ["b'; sleep 60;;
  ceiling) echo 'measured: ["c", 2]'; echo boom >&2; exit 3;;
  folder) echo 'measured: ["skipped", "av is not installed"]';;
  *) echo 'a word of a library'; echo 'measured: ["d", {{"e": 0.123456}}]';;
esac
"""


@pytest.fixture
def _stand_in(tmp_path, monkeypatch) -> None:
    """A program in the place of Python: one section hangs, one fails, one lacks a package, the others work."""
    script = tmp_path / "python"
    script.write_text(SCRIPT.format(folder=tmp_path))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def is_running(number: int) -> bool:
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().split()[2] not in "ZX"


@pytest.mark.slow
@pytest.mark.usefixtures("_stand_in")
@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_section_that_hangs_or_fails_leaves_the_others_and_what_it_has_measured(tmp_path):
    limits = {"correctness": 1, "ceiling": 9, "folder": 9, "frames": 9}
    said: list[str] = []
    assert gpu.run(tmp_path / "out", limits, "cpu", say=said.append) == 1
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    got = {name: (part["status"], part["reason"], part["values"]) for name, part in found["sections"].items()}
    assert got == {
        "correctness": ("stopped", "it took longer than 1 s", {"a": 1}),
        "ceiling": ("failed", "boom", {"c": 2}),
        "folder": ("skipped", "av is not installed", {}),
        "frames": ("done", "", {"d": {"e": 0.123456}}),
    }
    text = (tmp_path / "out" / "gpu.txt").read_text()
    assert "correctness: stopped: it took longer than 1 s (1 s)\n  a: 1\n" in text
    assert "  d: e 0.1235\n" in text
    assert said[1].startswith("ceiling: failed: boom")
    time.sleep(0.1)
    assert not is_running(int((tmp_path / "started").read_text()))


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_run_that_is_killed_keeps_what_it_has_measured(tmp_path):
    kept = []

    def killed(_: str) -> None:
        kept.append((tmp_path / "gpu.json").exists())
        if len(kept) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gpu.run(tmp_path, {"frames": 9, "folder": 9, "tests": 9}, "cpu", say=killed)
    assert list(json.loads((tmp_path / "gpu.json").read_text())["sections"]) == ["frames", "folder"]


def test_what_was_measured_is_kept_also_if_a_compiler_of_another_session_lives_on(monkeypatch):
    """It holds the pipe open, which would be waited for."""
    code = "import subprocess, time; print('measured: [1, 2]', flush=True); "
    code += "subprocess.Popen(['sleep', '3'], start_new_session=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    with pytest.raises(subprocess.TimeoutExpired):
        child.communicate(timeout=0.7)
    monkeypatch.setattr(child, "communicate", lambda timeout: subprocess.Popen.communicate(child, timeout=0.3))
    gpu._kill(child)
    assert "measured: [1, 2]" in gpu._rest(child)[0]
    gpu._kill(child)  # it has ended: no error
    child.wait()


@pytest.mark.usefixtures("_stand_in")
def test_no_section_starts_after_the_time_for_all(tmp_path):
    gpu.run(tmp_path, {"frames": 9}, "cpu", total=0.5, say=lambda _: None)
    (part,) = json.loads((tmp_path / "gpu.json").read_text())["sections"].values()
    assert (part["status"], part["reason"]) == ("skipped", "no time is left")


def test_all_sections_together_take_at_most_eight_minutes():
    assert sum(gpu.SECTIONS.values()) <= gpu.LIMIT < 480


@without_cuda
def test_without_a_cuda_device_all_is_skipped_and_earlier_results_stay(tmp_path):
    limits = dict.fromkeys(SECTIONS, 9)
    said: list[str] = []
    assert gpu.run(tmp_path, limits, say=said.append) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    reasons = {part["reason"] for part in found["sections"].values()}
    assert reasons == {"there is no CUDA device"}
    assert found["seconds"] < 1
    (tmp_path / "gpu.json").write_text("measured on a GPU")
    assert gpu.run(tmp_path, limits, say=said.append) == 0
    assert (tmp_path / "gpu.json").read_text() == "measured on a GPU"
    assert "left as it is" in said[-1]


@pytest.mark.slow
def test_the_script_measures_in_a_process_of_its_own(tmp_path, capsys):
    assert gpu.main([str(tmp_path), "--device", "cpu", "--small", "--only", "ceiling"]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["sections"]["ceiling"]["values"]["copy"]["GB/s"] > 0
    assert "ceiling: done" in capsys.readouterr().out


@pytest.mark.slow
def test_what_a_user_can_cause_is_a_line_and_no_traceback(tmp_path, monkeypatch, capsys):
    def lacking(scope):
        yield "a", 1
        import nothing_of_this_name  # type: ignore[reportMissingImports] # noqa: F401

    monkeypatch.setitem(SECTIONS, "ceiling", lacking)
    assert gpu.main(["--child", "ceiling", "--device", "cpu"]) == 0
    assert '["skipped", "nothing_of_this_name is not installed"]' in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "dagan_cli.bench.sections", None)
    assert gpu.main(["--child", "ceiling", "--device", "cpu"]) == 0
    assert "is not installed" in capsys.readouterr().out
    assert gpu.main(["--child", "machine"]) == 0


def test_each_section_has_a_limit():
    assert list(gpu.SECTIONS) == ["machine", *SECTIONS]
