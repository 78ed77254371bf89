"""`--name`: results get the names of the template, exist or not as any others, and replace no other part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.test_errors import two_lines
from tests.support.tiny import clip, picture, pixels

FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-an")


def outcome(ran) -> tuple[int, str, str]:
    (item,) = json.loads(ran.out)["items"]
    return ran.code, item["status"], Path(item["output"]).name


def test_width_and_height_are_those_of_the_result_and_the_model_is_the_one_that_ran(cli, tmp_path, tiny_model):
    source = picture(tmp_path / "in.png", (9, 6))
    ask = (source, "--name", "{stem}-{width}x{height}-{model}-x{scale}", "--json")
    assert outcome(cli(*ask, "-n", "nearest", "--size", "20x20"))[2] == "in-20x13-nearest-x2.22222.png"
    assert pixels(tmp_path / "in-20x13-nearest-x2.22222.png").shape == (13, 20, 3)
    assert outcome(cli(*ask, "-n", tiny_model, "-s", 2))[2] == "in-18x12-tiny-x2-x2.png"


@pytest.mark.slow
def test_the_model_in_a_name_is_the_default_for_the_input(cli, tmp_path):
    source = picture(tmp_path / "in.png", (9, 6))
    for flags, model in (([], "dagan-x2"), (["-n", "real"], "dagan-x2-real")):
        ran = cli(source, "-s", 2, "--name", "{model}", "--json", *flags)
        assert outcome(ran) == (0, "done", f"{model}.png")
        assert json.loads(ran.out)["model"]["name"] == model


def test_a_result_that_exists_is_skipped_and_one_made_otherwise_left_alone(cli, tmp_path):
    source = picture(tmp_path / "in.png", (9, 6))
    ask = (source, "-n", "nearest", "--name", "big {stem}", "--json")
    assert outcome(cli(*ask, "-s", 2)) == (0, "done", "big in.png")
    assert outcome(cli(*ask, "-s", 2)) == (0, "skipped", "big in.png")
    assert outcome(cli(*ask, "-s", 3)) == (1, "failed", "big in.png")
    assert pixels(tmp_path / "big in.png").shape == (12, 18, 3)
    ran = cli(tmp_path, "-n", "nearest", "--name", "big {stem}", "-s", 2, "--json")
    assert outcome(ran) == (0, "skipped", "big in.png")  # and it is no input
    assert "1 an earlier result" in ran.err


@pytest.mark.slow
def test_a_part_does_not_replace_the_whole_where_the_template_leaves_it_out(cli, tmp_path):
    source = clip(tmp_path / "in.mp4", *FAST)
    ask = (source, "-n", "nearest", "-s", 1, "--json")
    assert outcome(cli(*ask, "--name", "{stem}_copy")) == (0, "done", "in_copy.mp4")
    whole = (tmp_path / "in_copy.mp4").read_bytes()
    ran = cli(*ask, "--name", "{stem}_copy", "--start", "0.2")
    assert outcome(ran) == (1, "failed", "in_copy.mp4")
    assert "but was made without --start 0.2" in ran.err
    assert (tmp_path / "in_copy.mp4").read_bytes() == whole
    assert outcome(cli(*ask, "--name", "{stem}_copy{part}", "--start", "0.2"))[2] == "in_copy_from-0.2.mp4"


def test_a_template_that_makes_no_names_is_two_lines(cli, tmp_path):
    for template in ("{stme}", "a/b", ".a", "", "{"):
        ran = cli(picture(tmp_path / "in.png"), "-n", "nearest", "--name", template)
        assert (ran.code, two_lines(ran)) == (2, True)


def test_a_file_that_o_names_keeps_its_name(cli, tmp_path, monkeypatch):
    ask = (picture(tmp_path / "in.png"), "-n", "nearest", "-s", 1, "-o", tmp_path / "out.png", "-y")
    assert "--name: without effect, as -o names the file" in cli(*ask, "--name", "{stem}!").err
    monkeypatch.setenv("DAGAN_UPSCALE_NAME", "{stem}!")
    assert "--name" not in cli(*ask).err
    assert not (tmp_path / "in!.png").exists()
    assert cli(*ask[:-3], "-o", f"{tmp_path / 'new'}/").code == 0
    assert (tmp_path / "new" / "in!.png").exists()
