"""What is worked on and where it goes: names, folders, lists, what exists already, and the standard streams."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from tests.support.tiny import clip, command, dagan, frames_of, left_over, noise, picture, pixels

pytestmark = pytest.mark.slow

NEAREST = ("-n", "nearest", "-s", "2")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("scale", "mark"), [("2", "x2"), ("1.5", "x1.5"), ("4.0", "x4")])
def test_the_result_lies_beside_the_input_with_the_factor_in_its_name(cli, tmp_path, scale, mark):
    assert cli(picture(tmp_path / "a b.png"), "-n", "nearest", "-s", scale).code == 0
    assert files(tmp_path) == {"a b.png", f"a b_{mark}.png"}


def test_a_size_in_place_of_a_factor_is_in_the_name_too(cli, tmp_path):
    assert cli(picture(tmp_path / "in.png"), "-n", "nearest", "--size", "24X24").code == 0
    assert files(tmp_path) == {"in.png", "in_24x24.png"}


def test_one_input_goes_to_the_file_that_was_named_in_folders_that_are_made(cli, tmp_path):
    assert cli(picture(tmp_path / "in.png"), *NEAREST, "-o", tmp_path / "new/deep/out.webp", "--lossless").code == 0
    assert files(tmp_path) == {"in.png", "new/deep/out.webp"}


def test_several_inputs_go_to_a_folder_that_is_made(cli, tmp_path):
    sources = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    assert cli(*sources, *NEAREST, "-o", tmp_path / "out").code == 0
    assert files(tmp_path / "out") == {"a_x2.png", "b_x2.png"}


def test_several_inputs_do_not_fit_one_file(cli, tmp_path):
    sources = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    target = picture(tmp_path / "out.png")
    before = target.read_bytes()
    ran = cli(*sources, *NEAREST, "-y", "-o", target)
    assert (ran.code, target.read_bytes()) == (2, before)


def test_a_tree_is_mirrored_with_r_and_only_its_top_without(cli, tmp_path):
    for name in ("a.png", "b/c.png", "b/d/e.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in/b/notes.txt").write_text("not a picture")
    assert cli(tmp_path / "in", *NEAREST, "-o", tmp_path / "top").code == 0
    assert cli(tmp_path / "in", *NEAREST, "-o", tmp_path / "all", "-r").code == 0
    assert files(tmp_path / "top") == {"a_x2.png"}
    assert files(tmp_path / "all") == {"a_x2.png", "b/c_x2.png", "b/d/e_x2.png"}


def test_include_and_exclude_choose_by_name(cli, tmp_path):
    for name in ("a.png", "b.png", "c.bmp"):
        picture(tmp_path / "in" / name)
    assert cli(tmp_path / "in", *NEAREST, "-o", tmp_path / "one", "--include", "*.PNG", "--exclude", "b*").code == 0
    assert files(tmp_path / "one") == {"a_x2.png"}


def test_a_pattern_that_no_shell_expanded_is_expanded(cli, tmp_path):
    picture(tmp_path / "a1.png")
    picture(tmp_path / "b1.png")
    assert cli(tmp_path / "a*.png", *NEAREST).code == 0
    assert files(tmp_path) == {"a1.png", "b1.png", "a1_x2.png"}


def test_lists_of_files_are_read_by_line_or_by_nul(cli, tmp_path, monkeypatch):
    odd = picture(tmp_path / "new\nline.png")
    plain = picture(tmp_path / "plain.png")
    (tmp_path / "lines").write_text(f"{plain}\r\n\n")
    (tmp_path / "nuls").write_bytes(b"%s\0%s\0" % (bytes(odd), bytes(plain)))
    assert cli("upscale", "--files-from", tmp_path / "lines", *NEAREST, "-o", f"{tmp_path}/1/").code == 0
    assert files(tmp_path / "1") == {"plain_x2.png"}
    assert cli("upscale", "--files-from", tmp_path / "nuls", "-0", *NEAREST, "-o", tmp_path / "2").code == 0
    assert files(tmp_path / "2") == {"plain_x2.png", "new\nline_x2.png"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bytes(plain))))
    assert cli("upscale", "--files-from", "-", *NEAREST, "-o", f"{tmp_path}/3/").code == 0
    assert files(tmp_path / "3") == {"plain_x2.png"}


def test_a_dash_in_a_list_is_a_file_of_that_name(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in.png").rename("-")
    Path("list").write_text("-\n")
    assert cli("upscale", "--files-from", "list", *NEAREST, "-o", "out.png").code == 0
    assert pixels(tmp_path / "out.png").shape == (16, 24, 3)


def test_what_exists_and_is_no_result_is_left_alone_unless_a_flag_says_otherwise(cli, tmp_path):
    source = picture(tmp_path / "in.png")
    target = tmp_path / "in_x2.png"
    target.write_text("precious")
    ran = cli(source, *NEAREST, "--report", tmp_path / "report.json")
    assert (ran.code, target.read_text()) == (1, "precious")
    assert "does not say that dagan made it" in ran.err
    assert "replace it with -y" in ran.err
    assert json.loads((tmp_path / "report.json").read_text())["items"][0]["status"] == "failed"
    ran = cli(source, *NEAREST, "--skip-existing", "--json")
    assert (ran.code, target.read_text()) == (0, "precious")
    assert json.loads(ran.out)["items"][0]["status"] == "skipped"
    assert cli(source, *NEAREST, "-y").code == 0
    assert pixels(target).shape == (16, 24, 3)


@pytest.mark.parametrize("flags", [[], ["-y"], ["--dry-run"]], ids=" ".join)
def test_a_folder_in_the_way_is_told_of_at_once_as_no_flag_replaces_it(cli, tmp_path, flags):
    (tmp_path / "in_x2.png").mkdir()
    ran = cli(picture(tmp_path / "in.png"), *NEAREST, *flags)
    assert (ran.code, "it is a folder, and only files are replaced" in ran.err) == (6, True)


@pytest.mark.parametrize("flags", [[], ["-y"], ["--dry-run"]], ids=" ".join)
@pytest.mark.parametrize("names", [("in.png", "in.mkv"), ("in.mkv", "in.png")])
def test_a_result_that_cannot_have_the_name_of_an_existing_file_is_told_of_at_once(cli, tmp_path, names, flags):
    picture(tmp_path / "in.png")
    clip(tmp_path / "in.mkv", seconds=0.1)
    source, target = (tmp_path / name for name in names)
    target.rename(target := tmp_path / f"out{target.suffix}")
    ran = cli(source, *NEAREST, "-o", target, *flags)
    assert (ran.code, "support" in ran.err, "exists" in ran.err) == (2, True, False)
    assert target.exists()


def test_the_same_command_does_only_what_is_left(cli, tmp_path):
    picture(tmp_path / "in/a.png")
    assert cli(tmp_path / "in", *NEAREST, "--json").code == 0
    picture(tmp_path / "in/b.png")
    items = json.loads(cli(tmp_path / "in", *NEAREST, "--json").out)["items"]
    assert {Path(item["input"]).name: item["status"] for item in items} == {"a.png": "skipped", "b.png": "done"}


@pytest.mark.parametrize("out", [(), ("-o", "out")], ids=["beside", "in a folder"])
def test_a_list_that_holds_the_results_of_the_first_run_is_done_the_second_time(cli, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.bmp", "deep/a b.jpg"):
        picture(Path(name))
    clip(Path("c.mp4"), "-c:v", "libx264", "-preset", "ultrafast", "-an", seconds=0.2)

    def run() -> tuple[int, set[str], dict[str, int]]:
        listed = b"".join(f"./{name}\0".encode() for name in sorted(files(tmp_path)) if "/." not in f"/{name}")
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
        ran = cli("upscale", "--files-from", "-", "-0", *NEAREST, *out, "--json")
        times = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
        return ran.code, {item["status"] for item in json.loads(ran.out)["items"]}, times

    code, statuses, made = run()
    assert (code, statuses, sum("_x2" in name for name in made)) == (0, {"done"}, 4)
    assert run() == (0, {"skipped"}, made)


def test_results_in_a_list_are_told_of_once(cli, tmp_path):
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    assert cli(tmp_path, *NEAREST).code == 0
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(tmp_path.glob("*.png"))))
    first, *rest = cli("upscale", "--files-from", listed, *NEAREST).err.splitlines()
    assert first.endswith(": 4 skipped")
    assert rest[:2] == [
        "skipped: 2, dagan made it from another input",
        "skipped: 2, it exists; -y overwrites it",
    ]
    lines = cli("upscale", "--files-from", listed, *NEAREST, "-v").err.splitlines()
    assert sum("a_x2.png (skipped: dagan made it" in line for line in lines) == 1


def test_an_own_file_whose_name_looks_like_a_result_is_an_input(cli, tmp_path):
    picture(tmp_path / "brick.png")
    picture(tmp_path / "brick_x2.png", seed=1)
    assert cli(tmp_path, "-n", "nearest", "-s", 3).code == 0
    assert files(tmp_path) == {"brick.png", "brick_x2.png", "brick_x3.png", "brick_x2_x3.png"}
    items = json.loads(cli(tmp_path, "-n", "nearest", "-s", 3, "--json").out)["items"]
    assert {Path(item["input"]).name: item["status"] for item in items} == {
        "brick.png": "skipped",
        "brick_x2.png": "skipped",
    }


def test_inputs_that_would_share_an_output_are_told_apart(cli, tmp_path):
    sources = picture(tmp_path / "a.png", seed=1), picture(tmp_path / "a.bmp", seed=2)
    assert cli(*sources, *NEAREST, "-f", "png", "-o", tmp_path / "out").code == 0
    assert (pixels(tmp_path / "out/a_png_x2.png")[::2, ::2] == pixels(sources[0])).all()
    assert (pixels(tmp_path / "out/a_bmp_x2.png")[::2, ::2] == pixels(sources[1])).all()


def test_in_a_folder_what_cannot_be_read_is_failed_and_other_files_are_counted(cli, tmp_path, monkeypatch):
    picture(tmp_path / "in/a.png")
    (tmp_path / "in/empty.jpg").touch()
    (tmp_path / "in/text.png").write_text("no image")
    whole = picture(tmp_path / "in/cut.png").read_bytes()
    (tmp_path / "in/cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("notes.txt", "letter.pdf"):
        (tmp_path / "in" / name).write_text("%PDF")
    monkeypatch.chdir(tmp_path / "in")
    ran = cli(".", *NEAREST, "-o", tmp_path / "out", "--json")
    items = {item["input"]: item for item in json.loads(ran.out)["items"]}
    assert {name: item["status"] for name, item in items.items()} == {
        "a.png": "done",
        "empty.jpg": "failed",
        "text.png": "failed",
        "cut.png": "failed",
    }
    assert all(item["reason"] for item in items.values() if item["status"] == "failed")
    assert ran.code == 1
    assert ran.err.startswith("left out: 2 neither an image nor a video\n")
    assert "notes.txt" not in ran.err
    listed = cli(".", *NEAREST, "-o", tmp_path / "out", "-v").err
    assert "  letter.pdf: neither an image nor a video\n  notes.txt: neither" in listed
    assert "left out" not in cli(".", *NEAREST, "-o", tmp_path / "out", "--quiet").err
    lines = cli(".", *NEAREST, "-o", tmp_path / "out", "--progress", "json").err.splitlines()
    assert json.loads(lines[0])["details"][0].startswith("letter.pdf")


@pytest.mark.parametrize("as_list", [False, True])
def test_inputs_of_one_name_in_several_folders_are_all_done(cli, tmp_path, as_list):
    sources = [picture(tmp_path / name, seed=seed) for seed, name in enumerate(("p/x/a.png", "p/y/a.png", "q/y/a.png"))]
    (tmp_path / "list").write_text("".join(f"{source}\n" for source in sources))
    inputs = ("upscale", "--files-from", tmp_path / "list") if as_list else sources
    ran = cli(*inputs, *NEAREST, "-o", tmp_path / "out")
    assert ran.code == 0
    for source in sources:
        result = tmp_path / "out" / source.relative_to(tmp_path).with_name("a_x2.png")
        assert (pixels(result)[::2, ::2] == pixels(source)).all()
    assert ran.err.startswith("3 inputs share their names, so their results keep their folders, such as ")


def test_a_file_name_for_several_results_is_refused(cli, tmp_path):
    picture(tmp_path / "in/a.png")
    ran = cli(tmp_path / "in", *NEAREST, "-o", tmp_path / "one.png")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)
    assert not (tmp_path / "one.png").exists()


@pytest.mark.parametrize(
    ("url", "code", "why"),
    [
        ("ftp://example.com/a.png", 3, "has a protocol that dagan does not know"),
        ("https://example.com/a.png", 2, "needs -o"),
    ],
)
def test_a_url_that_cannot_be_used_stops_no_other_input(url, code, why, cli, tmp_path):
    ran = cli(url, *NEAREST)
    assert (ran.code, len(ran.err.splitlines())) == (code, 2)
    assert f"{url} {why}" in ran.err
    assert cli(picture(tmp_path / "in.png"), url, *NEAREST).code == 1
    assert (tmp_path / "in_x2.png").exists()


def test_options_of_videos_without_any_video_are_said(cli, tmp_path):
    ran = cli(picture(tmp_path / "in.png"), *NEAREST, "-c", "libx265", "--crf", "20")
    assert ran.code == 0
    assert ran.err.startswith("--codec, --crf: without effect, as no input is a video\n")


def test_an_input_is_never_overwritten(cli, tmp_path):
    source = picture(tmp_path / "in.png")
    video = clip(tmp_path / "in.mkv")
    (tmp_path / "link.png").symlink_to(source)
    for file, output in ((source, source), (source, tmp_path / "link.png"), (video, video)):
        before = file.read_bytes()
        ran = cli(file, *NEAREST, "-y", "-o", output)
        assert (ran.code, file.read_bytes()) == (2, before)
        assert "would overwrite an input" in ran.err


@pytest.mark.parametrize(
    "name", ["a b", "100%", "[bold]x[red]", ":smile:", "new\nline", "\x1b[31mred", "é", "*", "'\""]
)
def test_odd_names_survive_and_stay_on_one_line(cli, tmp_path, name):
    source = picture(tmp_path / f"{name}.png")
    ran = cli(source, *NEAREST, "--report", tmp_path / "report.json")
    assert ran.code == 0
    assert files(tmp_path) == {source.name, f"{name}_x2.png", "report.json"}
    assert json.loads((tmp_path / "report.json").read_text())["items"][0]["input"] == str(source)
    assert ran.err.count("\n") == 1
    assert "\x1b" not in ran.err


def test_names_that_are_no_text_or_look_like_flags_survive_in_a_real_process(tmp_path):
    for name in (b"\xff\xfe.png", b"-n.png"):
        picture(tmp_path / "in.png").rename(os.fsdecode(bytes(tmp_path) + b"/" + name))
    done = dagan(*NEAREST, "--progress", "bar", "--", os.fsdecode(b"\xff\xfe.png"), "-n.png", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert {os.fsencode(name) for name in files(tmp_path)} >= {b"\xff\xfe_x2.png", b"-n_x2.png"}


def test_the_bar_prints_names_as_they_are(tmp_path):
    from dagan_cli.commands.shown.progress import Reporter
    from dagan_cli.upscale.events import Advance, Item, Start

    source = tmp_path / f"[bold]:smile:{'x' * 100}.png"
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with Reporter("bar", quiet=False, verbose=False) as reporter:
            reporter.show(Start(0, 1, source))
            reporter.show(Advance(1, 2, "tiles"))
            reporter.show(Item(input=source, output=source, status="done"))
    assert str(source) in stream.getvalue()


def test_a_picture_passes_from_stdin_to_stdout(tmp_path):
    data = io.BytesIO()
    Image.fromarray(noise(5, 7, 3)).save(data, "BMP")
    done = dagan("-", *NEAREST, "-o", "-", "--report", tmp_path / "report.json", stdin=data.getvalue())
    assert done.returncode == 0
    result = Image.open(io.BytesIO(done.stdout))
    assert result.format == "PNG"
    assert (np.asarray(result) == noise(5, 7, 3).repeat(2, 0).repeat(2, 1)).all()
    (item,) = json.loads((tmp_path / "report.json").read_text())["items"]
    assert (item["output"], item["status"], item["out_size"]) == ("-", "done", [14, 10])


def test_stdin_may_go_to_a_file(cli, tmp_path, monkeypatch):
    source = picture(tmp_path / "in.png")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    assert cli("-", *NEAREST, "-o", tmp_path / "out.png").code == 0
    assert (pixels(tmp_path / "out.png")[::2, ::2] == pixels(source)).all()


def test_a_video_goes_through_pipes(tmp_path, tiny_model):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv422p", "-an")
    sent = subprocess.run([get_ffmpeg_exe(), "-i", source, "-f", "yuv4mpegpipe", "-"], capture_output=True, check=True)
    came = dagan("-", "-n", tiny_model, "-s", 2, "-o", "-", stdin=sent.stdout)
    assert came.returncode == 0, came.stderr
    (tmp_path / "out.y4m").write_bytes(came.stdout)
    assert dagan(source, "-n", tiny_model, "-s", 2, "-c", "ffv1", "-o", tmp_path / "out.mkv").returncode == 0
    assert frames_of(tmp_path / "out.y4m") == frames_of(tmp_path / "out.mkv")
    assert (
        dagan("-", "-n", "nearest", "-s", 1, "-c", "ffv1", "-o", tmp_path / "same.mkv", stdin=sent.stdout).returncode
        == 0
    )
    assert frames_of(tmp_path / "same.mkv") == frames_of(source)
    assert left_over(tmp_path) == []


def test_a_pipe_that_is_cut_gives_what_came_and_says_so(tmp_path):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an")
    sent = subprocess.run([get_ffmpeg_exe(), "-i", source, "-f", "yuv4mpegpipe", "-"], capture_output=True, check=True)
    ran = dagan("-", "-n", "nearest", "-s", 1, "-o", tmp_path / "out.mkv", stdin=sent.stdout[:-100])
    assert ran.returncode == 1
    assert b"in the middle of frame 10" in ran.stderr
    assert len(frames_of(tmp_path / "out.mkv")) == 9


def test_a_reader_that_goes_away_ends_the_work(tmp_path):
    source = clip(tmp_path / "in.mkv", seconds=20)
    process = subprocess.Popen(
        command(source, "-n", "nearest", "-s", 4, "-o", "-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(9) == b"YUV4MPEG2"
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 6
    assert "cannot write stdout" in said


def test_a_video_file_from_stdin_is_refused_with_the_way_to_pipe_it(cli, tmp_path, monkeypatch):
    data = clip(tmp_path / "in.mp4").read_bytes()
    stdin = io.BytesIO(data + bytes(1 << 20))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stdin))
    ran = cli("-", *NEAREST, "-o", tmp_path / "out.mkv")
    assert ran.code == 3
    assert "a video from stdin must be y4m" in ran.err
    assert "-f yuv4mpegpipe" in ran.err
    assert stdin.tell() < 1 << 16  # a film is not read into memory


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-"], 2, "has no name"),
        (["-", "in.png", "-o", "out"], 2, "with other inputs"),
        (["-", "-o", "out.png"], 3, "the input is not an image"),
        (["in.png", "in.bmp", "-o", "-"], 2, "takes one image"),
        (["in.png", "-o", "-", "--json"], 2, "--json"),
    ],
)
def test_streams_that_do_not_go_together_are_refused(cli, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in.png")
    picture(tmp_path / "in.bmp")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"no picture at all")))
    ran = cli(*arguments, *NEAREST)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert left_over(tmp_path) == []
