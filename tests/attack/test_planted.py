"""Links, names and files that others planted: nothing that is not dagan's is written to, replaced or removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dagan_cli.commands.app import run_command
from dagan_cli.files import tag_of
from dagan_cli.media.video.segments import folder_of
from tests.conftest import Cli
from tests.support.tiny import clip, dagan, left_over, picture, pixels


def is_two_lines(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("  try: ")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an")


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder of somebody's files, two of them named as dagan names its own."""
    folder = tmp_path / "Documents"
    folder.mkdir()
    for name in ("will.txt", "000000.packets", "journal.jsonl"):
        (folder / name).write_text("precious")
    return folder


def are_whole(documents: Path) -> bool:
    return [path.read_text() for path in documents.iterdir()] == ["precious"] * 3


def test_a_work_folder_that_is_a_link_is_refused_and_its_target_stays(cli: Cli, tmp_path, film, documents):
    target = tmp_path / "out.mkv"
    folder_of(target).symlink_to(documents)
    ran = cli(film, "-n", "nearest", "-s", 2, "-o", target)
    assert ran.code == 6
    assert is_two_lines(ran.err), ran.err
    assert "dagan did not make it" in ran.err
    assert are_whole(documents)
    assert folder_of(target).is_symlink()
    assert not target.exists()


def test_links_and_foreign_files_in_a_work_folder_stay(cli: Cli, tmp_path, film, documents):
    target = tmp_path / "out.mkv"
    work = folder_of(target)
    work.mkdir()
    (work / "000001.packets").symlink_to(documents / "will.txt")
    (work / "lock").symlink_to(documents / "will.txt")
    os.link(documents / "000000.packets", work / "000002.packets")
    (work / "notes.txt").write_text("precious")
    ran = cli(film, "-n", "nearest", "-s", 2, "-o", target)
    assert ran.code == 0, ran.err
    assert target.exists()
    assert are_whole(documents)
    assert {path.name for path in work.iterdir()} == {"000001.packets", "000002.packets", "lock", "notes.txt"}


@pytest.mark.parametrize("name", ["journal.jsonl", "000000.packets"])
def test_a_link_where_a_work_folder_needs_a_file_is_an_error(cli: Cli, tmp_path, film, documents, name):
    target = tmp_path / "out.mkv"
    folder_of(target).mkdir()
    (folder_of(target) / name).symlink_to(documents / "will.txt")
    ran = cli(film, "-n", "nearest", "-s", 2, "-o", target)
    assert ran.code in (0, 6)  # a rename may replace the link itself
    assert ran.code == 0 or is_two_lines(ran.err), ran.err
    assert are_whole(documents)


@pytest.mark.parametrize("kind", ["in.png", "in.mkv"])
def test_a_lock_that_is_a_link_is_not_followed(cli: Cli, tmp_path, documents, kind):
    source = picture(tmp_path / kind) if kind == "in.png" else clip(tmp_path / kind, "-c:v", "ffv1", "-an")
    target = tmp_path / f"out{source.suffix}"
    lock = tmp_path / f".dagan-{tag_of(target)}.lock"
    lock.symlink_to(documents / "will.txt")
    ran = cli(source, "-n", "nearest", "-s", 2, "-o", target)
    assert ran.code == 6
    assert is_two_lines(ran.err), ran.err
    assert are_whole(documents)
    assert lock.is_symlink()


def test_an_output_that_is_a_link_is_replaced_itself_and_only_with_y(cli: Cli, tmp_path, documents):
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    target.symlink_to(documents / "will.txt")
    ran = cli(source, "-n", "nearest", "-s", 2, "-o", target)
    assert ran.code == 1
    assert "exists, and does not say that dagan made it" in ran.err
    assert target.is_symlink()
    assert cli(source, "-n", "nearest", "-s", 2, "-o", target, "-y").code == 0
    assert not target.is_symlink()
    assert pixels(target).shape == (16, 24, 3)
    assert are_whole(documents)


def test_a_link_in_the_output_folder_leads_no_result_out_of_it(cli: Cli, tmp_path, documents):
    picture(tmp_path / "in" / "sub" / "will.png")
    (documents / "will_x2.png").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(documents)
    ran = cli(tmp_path / "in", "-r", "-n", "nearest", "-s", 2, "-o", tmp_path / "out", "-y")
    assert ran.code != 0
    assert is_two_lines(ran.err), ran.err
    assert "is a link" in ran.err
    assert (documents / "will_x2.png").read_text() == "precious"


def test_a_dangling_link_as_output_is_not_replaced_without_y(cli: Cli, tmp_path):
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    target.symlink_to(tmp_path / "disk that is not there" / "out.png")
    ran = cli(source, "-n", "nearest", "-s", 2, "-o", target)
    assert ran.code == 1
    assert "exists, and does not say that dagan made it" in ran.err
    assert target.is_symlink()


def test_a_record_that_is_a_link_is_replaced_itself(cli: Cli, tmp_path, documents):
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.bmp"
    record = tmp_path / f".dagan-{tag_of(target)}.made"
    record.symlink_to(documents / "will.txt")
    assert cli(source, "-n", "nearest", "-s", 2, "-o", target).code == 0
    assert not record.is_symlink()
    assert are_whole(documents)
    record.unlink()
    record.symlink_to("/dev/zero")
    assert cli(source, "-n", "nearest", "-s", 2, "-o", target).code == 1  # a device has no record, and no end
    record.unlink()
    record.hardlink_to(documents / "will.txt")
    assert cli(source, "-n", "nearest", "-s", 2, "-o", target, "-y").code == 0
    assert are_whole(documents)


@pytest.mark.parametrize("kind", ["FIFO", "folder"])
def test_only_files_are_replaced_even_with_y(cli: Cli, tmp_path, kind):
    source, target = picture(tmp_path / "in.png"), tmp_path / "out" / "in_x2.png"
    target.parent.mkdir()
    (os.mkfifo if kind == "FIFO" else os.mkdir)(target)
    ran = cli(source, "-n", "nearest", "-s", 2, "-o", target.parent, "-y")
    assert ran.code == 6
    assert is_two_lines(ran.err), ran.err
    assert "only files are replaced" in ran.err
    assert left_over(tmp_path) == []


# --- outputs that are inputs


@pytest.mark.parametrize("spelling", ["in.png", "folder/../in.png", "link.png", "second.png", "through/in.png"])
def test_a_report_never_replaces_an_input(cli: Cli, tmp_path, spelling):
    source = picture(tmp_path / "in.png")
    before = source.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.png").symlink_to(source)
    os.link(source, tmp_path / "second.png")
    (tmp_path / "through").symlink_to(tmp_path)
    ran = cli(source, "-n", "nearest", "-s", 2, "--report", tmp_path / spelling)
    assert ran.code == 2
    assert is_two_lines(ran.err), ran.err
    assert source.read_bytes() == before
    assert not (tmp_path / "in_x2.png").exists()


def test_a_report_is_not_the_result_it_reports_on(cli: Cli, tmp_path):
    source = picture(tmp_path / "in.png")
    (tmp_path / "through").symlink_to(tmp_path)
    ran = cli(source, "-n", "nearest", "-s", 2, "--report", tmp_path / "through" / "in_x2.png")
    assert ran.code == 2
    assert "the name of a result" in ran.err
    assert not (tmp_path / "in_x2.png").exists()


def test_a_report_is_not_the_folder_of_the_results(cli: Cli, tmp_path):
    source, folder = picture(tmp_path / "in.png"), tmp_path / "new"
    ran = cli(source, "-n", "nearest", "-s", 2, "-o", folder, "--report", folder)
    assert ran.code == 2
    assert "is the output folder" in ran.err
    assert not folder.exists()


@pytest.mark.parametrize("place", ["notes.txt", "folder", "fifo", "/dev/null", "/dev/zero"])
def test_a_report_is_written_only_where_it_is_new_or_was_one(cli: Cli, tmp_path, place):
    source = picture(tmp_path / "in.png")
    (tmp_path / "notes.txt").write_text("precious")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    ran = cli(source, "-n", "nearest", "-s", 2, "--report", tmp_path / place)
    assert ran.code == 2
    assert is_two_lines(ran.err), ran.err
    assert (tmp_path / "notes.txt").read_text() == "precious"
    assert not (tmp_path / "in_x2.png").exists()


def test_a_report_replaces_an_older_one_and_an_empty_file(cli: Cli, tmp_path):
    source, report = picture(tmp_path / "in.png"), tmp_path / "report.json"
    report.touch()
    for status in ("done", "skipped"):
        assert cli(source, "-n", "nearest", "-s", 2, "--report", report).code == 0
        assert json.loads(report.read_text())["items"][0]["status"] == status


def test_an_output_is_never_the_model_or_the_list_of_inputs(cli: Cli, tmp_path, tiny_model):
    source = picture(tmp_path / "in.png")
    model = tmp_path / "model.png"
    os.link(tiny_model, model)
    listed = tmp_path / "list.png"
    listed.write_text(f"{source}\n")
    for target, extra in ((model, (source, "-n", model)), (listed, ("--files-from", listed, "-n", "nearest"))):
        before = target.read_bytes()
        ran = cli(*extra, "-s", 2, "-o", target, "-y")
        assert ran.code == 2
        assert "a file that this run uses" in ran.err
        assert target.read_bytes() == before


# --- inputs that are no files


@pytest.mark.parametrize("name", ["fifo.png", "fifo.mkv", "zero.png", "zero.mkv", "folder.png/fifo.png"])
def test_inputs_that_are_no_files_are_refused_at_once(tmp_path, name):
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    if "fifo" in name:
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    done = dagan(place, "-n", "nearest", "-s", 2)
    assert done.returncode == 3
    assert is_two_lines(done.stderr.decode()), done.stderr
    kind = "a named pipe" if "fifo" in name else "a device"
    assert f"it is {kind}, not a file" in done.stderr.decode()


@pytest.mark.parametrize("command", ["info", "convert"])
def test_models_that_are_no_files_are_refused_at_once(tmp_path, command):
    os.mkfifo(tmp_path / "fifo.safetensors")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    for name in ("fifo.safetensors", "zero.pth"):
        done = dagan("models", command, tmp_path / name)
        assert done.returncode in (2, 4), done.stderr
        assert is_two_lines(done.stderr.decode()), done.stderr


@pytest.mark.parametrize("command", ["card", "plot", "report", "degrade"])
def test_commands_without_y_replace_only_what_they_made(tmp_path, command, capsys):
    run = tmp_path / "run"
    picture(tmp_path / "in" / "a.png", size=(96, 96))
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5}\n')
    words, there = {
        "card": (["models", "card", "dagan-x4-psnr", "-o", tmp_path / "notes.md"], tmp_path / "notes.md"),
        "plot": (["train", "plot", run, "-o", tmp_path / "photo.png"], tmp_path / "photo.png"),
        "report": (["train", "plot", run, "--report"], run / "report.html"),
        "degrade": (
            ["train", "degrade", tmp_path / "in", "-o", tmp_path / "out", "--kind", "web"],
            tmp_path / "out/a.png",
        ),
    }[command]
    there.parent.mkdir(exist_ok=True)
    there.write_text("precious")
    assert run_command([str(word) for word in words]) == 6
    assert is_two_lines(capsys.readouterr().err)
    assert there.read_text() == "precious"
    there.unlink()
    for _ in range(2):
        assert run_command([str(word) for word in words]) == 0
    assert len(there.read_bytes()) > 100
