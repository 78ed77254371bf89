"""`dagan preview`: what it prints and writes, commands that can be copied, and how it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.tiny import clip, command, dagan, left_over, noise, picture

pytestmark = pytest.mark.slow
FAST = ("-n", "nearest", "-n", "bicubic", "-s", "2")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_prints_a_line_for_each_model_and_writes_a_page_next_to_where_it_runs(tmp_path, cli):
    (tmp_path / "folder").mkdir()
    source = picture(tmp_path / "folder" / "in.png", (90, 60))
    ran = cli("preview", source, *FAST)
    assert ran.code == 0
    head, *lines = ran.out.splitlines()
    assert head.split() == ["model", "whole", "job", "command"]
    assert lines[1].split("  ")[-1].strip() == f"dagan upscale {source} -s 2 -n bicubic"
    assert lines[-1] == "in_preview.html"
    page = (tmp_path / "in_preview.html").read_text()
    assert "dagan upscale" in page
    assert "most detail" in page or "the whole image" in page
    assert os.listdir(tmp_path / "folder") == ["in.png"]


def test_a_command_that_is_copied_makes_the_result_that_was_announced(tmp_path, cli, tiny_model):
    """Run by a shell, with a name that needs quotes."""
    source = picture(tmp_path / "it's $HOME; a file.png", (50, 40))
    ran = cli("preview", source.name, "-s", "1.5", "-n", tiny_model, "--device", "cpu", "--json")
    assert ran.code == 0
    (model,) = json.loads(ran.out)["models"]
    program = " ".join(map(shlex.quote, map(str, command())))
    line = model["command"].replace("dagan upscale", f"{program} upscale", 1)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stderr
    with Image.open(model["output"]) as made:
        assert made.size == (75, 60)
        assert tiny_model.name in made.info["Software"]
    shown = json.loads(ran.out)
    assert shown["out_size"] == [75, 60]


def test_json_is_one_document_and_the_page_is_named_in_it(tmp_path, cli):
    source = picture(tmp_path / "in.png", (400, 300))
    ran = cli("preview", source, *FAST, "--json", "-o", "other.html")
    document = json.loads(ran.out)
    assert document["page"] == "other.html"
    assert Path("other.html").is_file()
    assert [model["model"] for model in document["models"]] == ["nearest", "bicubic"]
    assert all(model["seconds"] > 0 for model in document["models"])
    assert {place["width"] for place in document["places"]} == {160}


def test_the_usual_models_and_why_one_of_them_was_chosen(tmp_path, cli):
    source = picture(tmp_path / "in.png", (24, 20))
    document = json.loads(cli("preview", source, "-s", "2", "--json", "--device", "cpu").out)
    names = [model["model"] for model in document["models"]]
    assert names[0] in ("dagan-x2", "dagan-x2-real")
    assert {"dagan-x2-psnr", "dagan-x2-real", "bicubic"} <= set(names)
    assert document["models"][0]["why"]
    assert not any(model["why"] for model in document["models"][1:])


def test_strengths_are_columns_of_their_own(tmp_path, cli):
    source = picture(tmp_path / "in.png", (24, 20))
    strengths = ("--denoise", "0,0.5", "--denoise", "1")
    document = json.loads(cli("preview", source, "-s", 2, "-n", "dagan-x2", *strengths, "--json").out)
    commands = [model["command"] for model in document["models"]]
    assert [words.split()[-2:] for words in commands] == [["--denoise", end] for end in ("0", "0.5", "1")]


def test_a_film_is_previewed_too(tmp_path, cli):
    source = clip(tmp_path / "film.mp4", seconds=3)
    ran = cli("preview", source, *FAST, "--json")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert document["kind"] == "video"
    assert all(place["frames"] > 1 and place["time"] is not None for place in document["places"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.png"], 3, "missing.png"),
        (["."], 2, "is a folder"),
        (["-"], 2, "- is not possible"),
        (["text.png"], 3, "text.png"),
        (["cut.png", "-n", "nearest"], 3, "cut.png"),
        (["https://example.org/in.png"], 3, "is a URL, and a preview is of a file"),
        (["in.png", "-o", "-"], 2, "the page is a file"),
        (["in.png", "-o", "s3://bucket/page.html"], 2, "the page is a file"),
        (["in.png", "-s", "0"], 2, "--scale 0"),
        (["in.png", "-s", "2", "--size", "720p"], 2, "both --scale and --size"),
        (["in.png", "-n", "dagan-x9"], 4, "dagan-x9"),
        (["in.png", "-n", "bicubic", "--denoise", "0.5"], 2, "does not apply to bicubic"),
        (["in.png", "-n", "dagan-x4-psnr", "--denoise", "0.5"], 2, "does not apply to dagan-x4-psnr"),
        (["in.png", "--denoise", "2"], 2, "--denoise 2"),
        (["in.png", "--denoise", "much"], 2, "'much'"),
        (["in.png", "--json", "--inline"], 2, "--json and --inline"),
        (["in.png", "-o", "in.png", "-y"], 2, "is the input"),
        (["in.png", "-o", "mine.html"], 6, "mine.html"),
        (["in.png", "-o", "in.png/page.html", "-n", "nearest"], 6, "page.html"),
    ],
)
def test_what_cannot_be_is_two_lines_and_a_code(arguments, code, words, tmp_path, cli):
    picture(tmp_path / "in.png", (24, 20))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes((tmp_path / "in.png").read_bytes()[:-400])
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ran = cli("preview", *arguments)
    lines = [line for line in ran.err.splitlines() if line.startswith(("error: ", "  try: "))]
    assert (ran.code, ran.out) == (code, "")
    assert [line[:7] for line in lines] == ["error: ", "  try: "]
    assert words in lines[0]
    assert not any(part in lines[1] for part in ("exclude", "or leave it out"))  # there is one input only
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_older_page_of_dagan_is_replaced_and_a_file_of_others_only_with_y(tmp_path, cli):
    source = picture(tmp_path / "in.png", (24, 20))
    assert cli("preview", source, *FAST).code == 0
    old = (tmp_path / "in_preview.html").read_bytes()
    assert cli("preview", source, "-n", "lanczos").code == 0
    assert (tmp_path / "in_preview.html").read_bytes() != old
    (tmp_path / "in_preview.html").write_text("<p>mine</p>")
    assert cli("preview", source, *FAST).code == 6
    assert cli("preview", source, *FAST, "-y").code == 0
    assert b"<p>mine" not in (tmp_path / "in_preview.html").read_bytes()


def test_the_path_of_the_page_is_one_line(tmp_path, cli):
    source = picture(tmp_path / "a\nb.png", (24, 20))
    assert cli("preview", source, *FAST).out.splitlines()[-1] == "a\\nb_preview.html"


def test_a_time_is_said_in_the_words_of_the_page(tmp_path, cli):
    ran = cli("preview", picture(tmp_path / "in.png", (24, 20)), "-n", "bicubic")
    assert "  less than 1 s  " in ran.out
    page = Path("in_preview.html").read_text()
    assert "less than 1 s" in page
    assert "through 1 model." in page


def test_a_name_of_control_characters_changes_no_terminal_and_no_page(tmp_path, cli):
    source = picture(tmp_path / "a\x1b[2J<script>alert(1)<\nb.png", (24, 20))
    ran = cli("preview", source, *FAST, "-o", "page.html")
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err
    page = Path("page.html").read_text()
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page


def test_where_no_image_can_be_shown_one_line_says_so_and_names_the_page(tmp_path):
    source = picture(tmp_path / "in.png", (24, 20))
    ran = dagan("preview", source, *FAST, "--inline", "-o", "page.html", cwd=tmp_path, env=_environment())
    assert ran.returncode == 0
    (line,) = [line for line in ran.stderr.decode().splitlines() if "--inline" in line]
    assert "stdout is not a terminal" in line
    assert "page.html" in line
    assert b"\x1b" not in ran.stdout


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path):
    samples = noise(500, 700, 3)
    Image.fromarray(np.asarray(samples)).save(tmp_path / "in.png")
    arguments = command("preview", "in.png", "-n", "dagan-x4", "-n", "dagan-x4-psnr", "--progress", "json")
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if '"start"' in line:
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert '"stopped"' in err
    assert os.listdir(tmp_path) == ["in.png"]
    assert not left_over(tmp_path)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parent.parent.parent)
    return os.environ | {"PYTHONPATH": root}


def test_help_lists_it_and_loads_nothing_heavy(cli):
    assert "preview" in cli("--help").out
    ran = subprocess.run(
        [sys.executable, "-c", "import sys; from dagan_cli.commands.app import run_command as r; r(['preview', '-h']); "
         "print(sorted({'torch', 'numpy', 'PIL', 'av', 'jinja2', 'rich'} & set(sys.modules)))"],
        capture_output=True, text=True, check=True, env=_environment(),
    )  # fmt: skip
    assert "--inline" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"
