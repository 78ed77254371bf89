"""What goes wrong: the exit code, two lines that help, a report in any case, and nothing under a final name."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from torch import nn

from dagan_cli.files import Folder
from dagan_cli.upscaler import Loaded
from tests.conftest import Cli, Ran
from tests.support.fakes import Blur, Limited, NotFinite
from tests.support.tiny import clip, command, left_over, picture, pixels


def two_lines(ran: Ran) -> bool:
    """Whether what was said is one error and one hint, and no traceback."""
    lines = ran.err.splitlines()
    return len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("  try: ")


def reported(cli: Cli, tmp_path: Path, *arguments: object) -> tuple[Ran, dict]:
    """Run with a report, which must be there whatever happens; it and --json say the same."""
    target = tmp_path / "report.json"
    target.unlink(missing_ok=True)
    ran = cli(*arguments, "--report", target, "--json")
    report = json.loads(target.read_text(), parse_constant=pytest.fail)
    assert json.loads(ran.out) == report
    counts = dict.fromkeys(("done", "skipped", "failed", "partial", "stopped", "untried"), 0)
    for item in report["items"]:
        counts[item["status"]] += 1
    assert {name: report["totals"][name] for name in counts} == counts
    assert "Traceback" not in ran.err
    return ran, report


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["in.png", "--nonsense"],
        ["in.png", "--tile", "7.5"],
        ["in.png", "--tile", "-4"],
        ["in.png", "--tile", "3"],
        ["in.png", "--overlap", "-1"],
        ["in.png", "--batch", "0"],
        ["in.png", "-s", "0"],
        ["in.png", "-s", "-2"],
        ["in.png", "-s", "nan"],
        ["in.png", "-s", "inf"],
        ["in.png", "-s", "two"],
        ["in.png", "-s", "2", "--size", "1080p"],
        ["in.png", "--size", "0x10"],
        ["in.png", "--size", "big"],
        ["in.png", "--start", "nan"],
        ["in.png", "--start", "3", "--end", "2"],
        ["in.png", "--frames", "0"],
        ["in.png", "--crf", "nan"],
        ["in.png", "-e", "no-value"],
        ["in.png", "-q", "0"],
        ["in.png", "-f", "nonsense"],
        ["in.png", "-f", "jpg", "--lossless"],
        ["in.png", "-o", "out.nonsense"],
        ["in.png", "-o", ""],
        ["upscale", ""],
        ["in.png", ""],
        ["in.png", "--progress", "loud"],
        ["in.png", "--window", "wide"],
        ["in.png", "--precision", "fp8"],
        ["in.png", "--device", "abacus"],
        ["in.png", "--order", "2"],
        ["in.png", "-y", "--skip-existing"],
        ["in.png", "--files-from", "missing.txt"],
        ["in.mkv", "-c", "nonsense"],
        ["in.mkv", "-c", "libx264", "--pix-fmt", "nonsense"],
        ["in.mkv", "-e", "nonsense=1"],
        ["in.mkv", "-o", "out.avi"],
        ["upscale"],
        ["nonsense"],
        ["models"],
        ["eval"],
        ["eval", ".", "-s", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_in_two_lines_and_exits_with_2(cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in.png")
    if "in.mkv" in arguments:
        clip(tmp_path / "in.mkv", seconds=0.1)
    ran = cli(*arguments, *([] if arguments[0] in ("nonsense", "models") else ["-n", "nearest"]))
    assert ran.code == 2
    assert two_lines(ran), ran.err
    assert {path.name for path in tmp_path.iterdir()} <= {"in.png", "in.mkv"}


@pytest.mark.parametrize("flags", [["--report", "out/r.json"], ["-o", "out", "--dry-run"]], ids=" ".join)
def test_a_read_only_folder_is_told_of_before_the_work(cli, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "out")  # root may write everywhere
    ran = cli(picture(tmp_path / "in.png"), "-n", "nearest", *flags)
    assert ran.code == 6
    assert two_lines(ran), ran.err
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "in.png", tmp_path / "out"]


@pytest.mark.slow
def test_a_bad_file_fails_alone(cli, tmp_path):
    folder = tmp_path / "in"
    picture(folder / "a.png")
    whole = picture(folder / "b.png", (40, 40)).read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    picture(folder / "c.png")
    ran, report = reported(cli, tmp_path, folder, "-n", "nearest", "-s", 2, "-o", tmp_path / "out")
    assert ran.code == 1
    found = {Path(item["input"]).name: item for item in report["items"]}
    statuses = {name: item["status"] for name, item in found.items()}
    assert statuses == {"a.png": "done", "b.png": "failed", "c.png": "done"}
    assert "b.png" in found["b.png"]["reason"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_x2.png", "c_x2.png"]
    errors = [line for line in ran.err.splitlines() if line.startswith(("error: ", "  try: "))]
    assert len(errors) == 2
    assert report["totals"]["frames"] == 2
    assert report["totals"]["megapixels"] == pytest.approx(2 * 24 * 16 / 1e6, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", [None, b"", b"just text\n", b"\x89PNG\r\n\x1a\n damaged", b"\0\0\0\x18ftypisom damaged"]
)
def test_nothing_usable_exits_with_3(cli, tmp_path, content):
    source = tmp_path / "in.png"
    if content is not None:
        source.write_bytes(content)
    ran, report = reported(cli, tmp_path, source, "-n", "nearest")
    assert ran.code == 3
    assert two_lines(ran), ran.err
    assert [item["status"] for item in report["items"]] == ["failed"]


@pytest.mark.slow
def test_an_empty_folder_exits_with_3(cli, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("text")
    ran, report = reported(cli, tmp_path, tmp_path / "in", "-n", "nearest")
    assert (ran.code, report["items"]) == (3, [])
    assert two_lines(ran)
    assert "1 neither an image nor a video" in ran.err


@pytest.mark.slow
def test_a_name_no_file_system_takes_is_no_usable_input(cli):
    ran = cli("upscale", f"{'x' * 300}.png", "-n", "nearest")
    assert ran.code == 3
    assert two_lines(ran)


@pytest.mark.slow
def test_a_list_with_nul_bytes_is_told_of_the_flag_it_needs(cli, tmp_path):
    (tmp_path / "list").write_bytes(b"a.png\0b.png\0")
    ran = cli("upscale", "--files-from", tmp_path / "list", "-n", "nearest")
    assert ran.code == 2
    assert "-0" in ran.err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unknown", "missing", "truncated", "damaged", "foreign", "pickle"])
def test_a_model_that_cannot_be_used_exits_with_4(cli, tmp_path, tiny_model, kind):
    data = tiny_model.read_bytes()
    name = {"unknown": "nonsense", "pickle": "model.pth"}.get(kind, "model.safetensors")
    model = tmp_path / name
    content = {
        "truncated": data[: len(data) // 2],
        "damaged": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "foreign": (20).to_bytes(8, "little") + b'{"__metadata__":{} }',
        "pickle": b"\x80\x02}q\0.",
    }
    if kind in content:
        model.write_bytes(content[kind])
    source = picture(tmp_path / "in.png")
    ran, report = reported(cli, tmp_path, source, "-n", name if kind == "unknown" else model)
    assert (ran.code, [item["status"] for item in report["items"]]) == (4, ["untried"])
    assert two_lines(ran), ran.err
    assert "dagan models" in ran.err
    assert not list(tmp_path.glob("in_*"))
    for verb in ("info", "path") if kind in ("unknown", "missing") else ("info",):
        ran = cli("models", verb, name if kind == "unknown" else model)
        assert ran.code == 4
        assert two_lines(ran)


@pytest.mark.slow
@pytest.mark.parametrize("goal", [["-s", "2"], ["--size", "64x64"]])
def test_without_any_published_model_one_must_be_named(cli, tmp_path, monkeypatch, goal):
    monkeypatch.setattr("weights.catalog.CATALOG", ())
    ran, report = reported(cli, tmp_path, picture(tmp_path / "in.png"), *goal)
    assert (ran.code, report["model"]) == (4, None)
    assert two_lines(ran), ran.err
    assert "-n" in ran.err


ON_CPU = ("--device", "cpu", "--precision", "fp32")


def use_network(monkeypatch: pytest.MonkeyPatch, network: nn.Module) -> None:
    """Have every model name stand for this network."""
    monkeypatch.setattr("dagan_cli.upscaler.load_network", lambda *_: Loaded(network, "fake", "0" * 64))  # type: ignore


@pytest.mark.slow
def test_running_out_of_memory_at_the_smallest_tile_exits_with_5(cli, tmp_path, monkeypatch):
    use_network(monkeypatch, Limited(Blur(), pixels=10))
    ran, report = reported(cli, tmp_path, picture(tmp_path / "in.png", (64, 64)), "-n", "fake", "-s", 2, *ON_CPU)
    assert (ran.code, report["items"][0]["status"]) == (5, "failed")
    assert two_lines(ran), ran.err
    assert not list(tmp_path.glob("in_*"))


@pytest.mark.slow
def test_a_result_too_large_for_memory_exits_with_5(cli, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("dagan_cli.upscaler.nearest", full)
    ran, _ = reported(cli, tmp_path, picture(tmp_path / "in.png"), "-n", "nearest")
    assert ran.code == 5
    assert two_lines(ran), ran.err


@pytest.mark.slow
def test_a_network_without_a_finite_answer_exits_with_4(cli, tmp_path, monkeypatch):
    use_network(monkeypatch, NotFinite())
    ran, _ = reported(cli, tmp_path, picture(tmp_path / "in.png"), "-n", "broken", "-s", 1)
    assert ran.code == 4
    assert two_lines(ran), ran.err
    assert not list(tmp_path.glob("in_*"))


@pytest.mark.slow
def test_a_bug_met_in_one_input_harms_no_other_and_keeps_its_traceback(cli, tmp_path, monkeypatch, caplog):
    class Picky(Blur):
        def forward(self, x):
            assert x.shape[-1] != 13, "it does not like 13"
            return super().forward(x)

    use_network(monkeypatch, Picky())
    sources = picture(tmp_path / "a.png", (13, 8)), picture(tmp_path / "b.png", (8, 8))
    ran, report = reported(cli, tmp_path, *sources, "-n", "picky", "-s", 2)
    assert ran.code == 1
    assert [item["status"] for item in report["items"]] == ["failed", "done"]
    assert "it does not like 13" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file/out.png", "file/deeper/out.png", "/proc/nowhere/out.png", "/dev/null/out.png"])
def test_a_place_that_cannot_be_written_to_exits_with_6(cli, tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    ran, report = reported(cli, tmp_path, picture(tmp_path / "in.png"), "-n", "nearest", "-o", tmp_path / place)
    assert (ran.code, report["items"][0]["status"]) == (6, "failed")
    assert two_lines(ran), ran.err


@pytest.mark.slow
def test_an_output_name_held_by_a_folder_exits_with_6(cli, tmp_path):
    (tmp_path / "in_x2.png").mkdir()
    ran, _ = reported(cli, tmp_path, picture(tmp_path / "in.png"), "-n", "nearest", "-s", 2, "-y")
    assert ran.code == 6
    assert two_lines(ran), ran.err
    assert left_over(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in.png", "in.mkv"])
def test_a_file_that_grows_over_a_limit_leaves_nothing_and_exits_with_6(cli, tmp_path, name):
    source = tmp_path / name
    _ = picture(source, (80, 80)) if name == "in.png" else clip(source, "-c:v", "ffv1", "-c:a", "pcm_s16le")
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        ran, _ = reported(cli, tmp_path, source, "-n", "nearest", "-s", 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert ran.code == 6
    assert two_lines(ran), ran.err
    kept = {path.name for path in tmp_path.iterdir() if path.suffix == ".work"}  # segments to go on from, of a video
    assert {path.name for path in tmp_path.iterdir()} == {name, "report.json"} | kept
    assert bool(kept) == (name == "in.mkv")


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_is_told_once(cli, tmp_path, monkeypatch):
    rename = Folder.rename

    def full(folder: Folder, old: str, new: str, **how: bool) -> None:
        if new.endswith(".png"):
            raise OSError(errno.ENOSPC, "No space left on device", new)
        rename(folder, old, new, **how)

    monkeypatch.setattr(Folder, "rename", full)
    sources = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    ran, report = reported(cli, tmp_path, *sources, "-n", "nearest", "-s", 2)
    assert ran.code == 6
    assert {Path(item["input"]).name: item["status"] for item in report["items"]} == {
        "a.png": "failed",
        "b.png": "untried",
    }
    *error, summary = ran.err.splitlines()
    assert two_lines(ran._replace(err="\n".join(error))), ran.err
    assert summary.endswith(": 1 failed, 1 untried")
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_a_full_stdout_exits_with_6(tmp_path):
    source = picture(tmp_path / "in.png")
    with Path("/dev/full").open("wb") as full:
        arguments = command(source, "-n", "nearest", "-o", "-")
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert done.returncode == 6
    assert two_lines(Ran(6, "", done.stderr)), done.stderr


@pytest.mark.slow
def test_a_report_that_cannot_be_written_exits_with_6_but_the_work_is_done(cli, tmp_path, monkeypatch):
    rename = Folder.rename

    def full(folder: Folder, old: str, new: str, **how: bool) -> None:
        if new == "report.json":
            raise OSError(errno.ENOSPC, "No space left on device", new)
        rename(folder, old, new, **how)

    monkeypatch.setattr(Folder, "rename", full)
    ran = cli(picture(tmp_path / "in.png"), "-n", "nearest", "-s", 2, "--report", tmp_path / "report.json")
    assert ran.code == 6
    assert pixels(tmp_path / "in_x2.png").shape == (16, 24, 3)


@pytest.mark.slow
def test_a_clip_cut_short_is_partial_and_exits_with_1(cli, tmp_path):
    source = clip(tmp_path / "in.mp4", "-c:v", "libx264", "-g", "1", "-c:a", "aac", "-movflags", "+faststart")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    ran, report = reported(cli, tmp_path, source, "-n", "nearest", "-s", 1, "--preset", "ultrafast")
    (item,) = report["items"]
    assert (ran.code, item["status"]) == (1, "partial")
    assert 0 < item["frames"] < 10
    assert report["totals"]["frames"] == item["frames"]
    assert "error: " in ran.err
    assert Path(item["output"]).exists()


@pytest.mark.slow
def test_debug_shows_the_traceback(cli, tmp_path):
    from dagan_cli.errors import BadOption

    with pytest.raises(BadOption):
        cli(picture(tmp_path / "in.png"), "-s", "0", "--debug")


@pytest.mark.parametrize(
    ("flags", "what", "hint"),
    [
        (["--audio", "loud"], "invalid --audio 'loud'", "use one of copy, none"),
        (["-q", "best"], "invalid --quality: it should be a valid integer", "dagan upscale --help"),
        (["--frames", "0"], "invalid --frames: it should be greater than or equal to 1", "dagan upscale --help"),
    ],
)
def test_a_wrong_value_is_named_by_its_option(cli, tmp_path, flags, what, hint):
    ran = cli("upscale", picture(tmp_path / "in.png"), *flags)
    assert ran.code == 2
    assert ran.err.splitlines() == [f"error: {what}", f"  try: {hint}"]


def test_a_report_without_a_name_is_refused_before_the_work(cli, tmp_path):
    ran = cli("upscale", picture(tmp_path / "in.png"), "-n", "nearest", "-s", 2, "--report", ".")
    assert ran.code == 2
    assert two_lines(ran), ran.err
    assert not (tmp_path / "in_x2.png").exists()


def test_wrong_usage_names_the_command_whose_help_to_read(cli):
    assert cli("train", "release", "--twin").err.splitlines()[1] == "  try: dagan train release --help"
    assert cli("upscale", "--scale").err.splitlines()[1] == "  try: dagan upscale --help"


def test_an_error_of_one_file_among_many_names_the_file(cli, tmp_path):
    sources = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", mode="RGBA")
    ran = cli("upscale", *sources, "-n", "nearest", "-s", 2, "-f", "jpg", "-o", tmp_path / "out")
    assert ran.code == 1
    (error,) = [line for line in ran.err.splitlines() if line.startswith("error:")]
    assert "b.png" in error


def test_a_working_directory_that_was_removed_is_an_error_of_our_own(cli, tmp_path, monkeypatch):
    """oneMKL ends the process there. Help needs no folder."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    ran = cli("upscale", tmp_path / "a.png")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)
    assert "the working directory is not there" in ran.err
    assert cli("--help").code == 0


def test_a_file_whose_name_starts_with_a_dash_is_named_so_that_it_is_no_option(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "-dash.png")
    for arguments in (["-dash.png"], ["upscale", "-dash.png", "-n", "nearest"]):
        ran = cli(*arguments)
        assert ran.code == 2
        assert "try: write ./-dash.png if you mean the file of that name" in ran.err
    assert cli("./-dash.png", "-n", "nearest", "-s", 2).code == 0
    assert (tmp_path / "-dash_x2.png").exists()
    assert "dagan upscale --help" in cli("upscale", "-zother.png").err
