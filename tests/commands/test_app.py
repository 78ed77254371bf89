"""The command line as a whole: help without waiting, the verb that may be left out, and what goes to which stream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from dagan_cli.__main__ import COMMANDS, with_verb
from dagan_cli.commands.app import app
from dagan_cli.metrics.fidelity import bicubic, crop_to_multiple, psnr_y
from dagan_cli.upscaler import BASELINES
from dagan_cli.version import __version__
from tests.support.tiny import picture, pixels


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["upscale", "--help"], []])
def test_help_and_version_answer_without_torch(arguments):
    code = (
        f"import sys; sys.argv = ['dagan', *{arguments}]\n"
        "from dagan_cli.__main__ import main\n"
        "try: main()\n"
        "finally: print('loaded:', *sorted({'torch', 'av', 'PIL', 'numpy', 'rich'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("loaded:")
    assert (__version__ if arguments == ["--version"] else "Usage: dagan") in done.stdout


@pytest.mark.parametrize("flag", ["--install-completion", "--show-completion"])
def test_completion_with_other_words_is_refused_and_installs_nothing(cli, tmp_path, monkeypatch, flag):
    monkeypatch.setenv("HOME", str(tmp_path))
    ran = cli(flag, "fish")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 2)
    assert f"{flag} takes nothing else, such as fish" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_options_that_make_no_sense_are_refused_before_torch_is_loaded():
    refused = [
        ["upscale", "in.png", "-s", "0"],
        ["upscale", "in.png", "-s", "-1"],
        ["upscale", "in.png", "-s", "nan"],
        ["upscale", "in.png", "--size", "huge"],
        ["upscale", "in.mp4", "--start", "never"],
        ["upscale", "in.mp4", "--preset", "foo"],
        ["upscale", "in.mp4", "-c", "libsvtav1", "--preset", "slow"],
        ["upscale", "in.mp4", "-c", "nonsense"],
        ["probe", "in.png", "-s", "0"],
    ]
    code = (
        "import sys; from dagan_cli.commands.app import run_command\n"
        f"print([run_command(arguments) for arguments in {refused}], 'torch' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{[2] * len(refused)} False\n"
    assert len(ran.stderr.splitlines()) == 2 * len(refused)


@pytest.mark.slow
def test_every_command_is_known_where_the_verb_may_be_left_out(cli):
    listed = cli("--help").out.split("Commands:")[1]
    assert set(re.findall(r"^  (\w+)", listed, re.MULTILINE)) == set(COMMANDS)
    assert len(app.registered_commands) + len(app.registered_groups) == len(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "gets_a_verb"),
    [
        (["missing.png"], True),
        (["folder/clip"], True),
        (["*.png"], True),
        (["-"], True),
        (["-s", "2", "in.png"], True),
        (["--", "-in.png"], True),
        (["upscale", "in.png"], False),
        (["models", "list"], False),
        (["upscal", "in.png"], False),  # a misspelt verb is told, not taken for a file
        (["--help"], False),
        (["--nonsense"], False),
    ],
)
def test_a_file_in_place_of_a_verb_means_upscale(tmp_path, monkeypatch, arguments, gets_a_verb):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "-in.png")
    assert with_verb(arguments) == (["upscale"] if gets_a_verb else []) + arguments


@pytest.mark.slow
def test_a_picture_named_without_a_verb_is_upscaled(cli, tmp_path):
    source = picture(tmp_path / "in.png", (7, 5))
    assert cli(source, "-s", 2, "-n", "nearest").code == 0
    assert (pixels(tmp_path / "in_x2.png") == pixels(source).repeat(2, 0).repeat(2, 1)).all()


@pytest.mark.slow
def test_underscores_and_dashes_in_flags_are_the_same(cli, tmp_path):
    source = picture(tmp_path / "in.png")
    for flags in (["--skip_existing"], ["--skip-existing"], ["--pix_fmt", "yuv444p"], ["--files_from", os.devnull]):
        assert cli(source, "-n", "nearest", "-s", 2, *flags).code == 0
    assert cli("eval", tmp_path, "-n", "nearest", "--as_json").code == 2  # what does not exist stays unknown
    assert cli(source, "-n", "nearest", "-s", 2, "-o", tmp_path / "an_output.png").code == 0
    assert (tmp_path / "an_output.png").exists()


@pytest.mark.slow
def test_json_is_all_that_goes_to_stdout(cli, tmp_path):
    source = picture(tmp_path / "in.png", (6, 4))
    ran = cli(source, tmp_path / "missing.png", "-n", "nearest", "-s", 2, "--json")
    document = json.loads(ran.out)
    assert ran.out.count("\n") == 1
    assert [item["status"] for item in document["items"]] == ["failed", "done"]
    assert "in_x2.png (12x8" in ran.err


@pytest.mark.slow
def test_without_json_nothing_goes_to_stdout(cli, tmp_path):
    ran = cli(picture(tmp_path / "in.png"), "-n", "nearest", "-v")
    assert ran.out == ""
    assert "nearest: " in ran.err  # -v says where it ran


@pytest.mark.slow
def test_progress_as_json_is_one_object_a_line(cli, tmp_path, tiny_model):
    source = picture(tmp_path / "in.png", (40, 40))
    ran = cli(source, tmp_path / "missing.png", "-n", tiny_model, "-s", 2, "--tile", 32, "-v", "--progress", "json")
    events = [json.loads(line) for line in ran.err.splitlines()]
    assert [event["event"] for event in events] == ["item", "start", *["progress"] * 4, "item", "summary"]
    assert events[1] == {"event": "start", "index": 0, "inputs": 1, "input": "in.png"}
    assert [event["done"] for event in events[2:6]] == [1, 2, 3, 4]
    assert {event["total"] for event in events[2:6]} == {4}
    assert events[-2]["out_size"] == [80, 80]
    assert [event["job"]["done"] for event in events[2:6]] == [1] * 4  # the one that failed
    assert events[5]["job"]["inputs"] == 2
    assert events[2]["job"]["remaining"] > events[5]["job"]["remaining"]
    assert events[-1].items() >= {"event": "summary", "inputs": 2, "done": 1, "failed": 1}.items()


@pytest.mark.slow
def test_quiet_and_no_progress_leave_only_what_went_wrong(cli, tmp_path):
    for flags in (["--quiet"], ["--progress", "none"]):
        ran = cli(picture(tmp_path / "in.png"), tmp_path / "missing.png", "-n", "nearest", "-y", *flags)
        assert ran.code == 1
        assert re.fullmatch(r"error: cannot read .*missing.png: .*\n  try: .*\n", ran.err)


@pytest.mark.slow
def test_the_models_are_listed_with_the_baselines(cli):
    ran = cli("models", "list")
    assert ran.code == 0
    assert set(BASELINES) <= set(ran.out.split())
    assert isinstance(json.loads(cli("models", "list", "--json").out), list)


@pytest.mark.slow
def test_a_models_file_is_described(cli, tiny_model):
    facts = json.loads(cli("models", "info", tiny_model).out)
    assert (facts["scale"], facts["orders"], facts["provenance"]["licence"]) == (2, [1, 2, 4], "MIT")
    assert json.loads(cli("models", "info", tiny_model, "--json").out) == facts
    assert cli("models", "path", tiny_model).out == f"{tiny_model}\n"


@pytest.mark.slow
def test_the_doctor_tells_of_the_machine_as_text_and_as_json(cli):
    facts = json.loads(cli("doctor", "--json").out)
    assert facts["dagan"] == __version__
    assert "libx264" in facts["encoders"]
    assert "no_such_encoder" not in facts["encoders"]
    assert all(state == "ok" for state in facts["models"].values())
    assert all(f"{name}:" in cli("doctor").out for name in facts)


@pytest.mark.slow
def test_the_doctor_says_which_models_are_damaged_and_which_are_not_here(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("weights.catalog.HERE", tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    (tmp_path / "dagan-x2-psnr.safetensors").write_bytes(b"half of it")
    states = json.loads(cli("doctor", "--json").out)["models"]
    assert states.pop("dagan-x2-psnr").startswith("damaged")
    assert states
    assert all(state == f"not here: `dagan models pull {name}`" for name, state in states.items())


@pytest.mark.slow
def test_eval_measures_by_the_protocol_beside_bicubic(cli, tmp_path):
    import torch

    for seed in (1, 2):
        picture(tmp_path / f"{seed}.png", (37, 41), seed=seed)
    document = json.loads(cli("eval", tmp_path, "-n", "bicubic", "-s", 2, "--json").out)
    *scores, mean = document["scores"]
    assert [score["name"] for score in scores] == ["1.png", "2.png"]
    for score in scores:
        hr = torch.from_numpy(pixels(tmp_path / score["name"])).permute(2, 0, 1)[None].double()
        hr = crop_to_multiple(hr, 2)
        expected = psnr_y(bicubic(bicubic(hr, 20, 18), 40, 36), hr, 2)
        assert score["bicubic_psnr"] == pytest.approx(expected)
        assert score["psnr"] == pytest.approx(expected, abs=0.1)  # ours rounds once, MATLAB's twice
    assert mean["psnr"] == pytest.approx((scores[0]["psnr"] + scores[1]["psnr"]) / 2)
    table = cli("eval", tmp_path, "-n", "bicubic", "-s", 2).out
    assert f"{mean['psnr']:.2f}" in table
    assert "bicubic x2, 2 images. Y of BT.601" in table


@pytest.mark.slow
def test_eval_tells_how_alike_pictures_look_where_it_is_given_a_judge(cli, tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    from dagan_cli.metrics.lpips import Lpips

    (tmp_path / "hr").mkdir()
    picture(tmp_path / "hr" / "1.png", (64, 64), seed=1)
    torch.manual_seed(0)
    judge = Lpips("squeeze")
    for lin in judge.lin.parameters():
        lin.data.abs_()
    named = {f"features.{name}": tensor for name, tensor in judge.features.state_dict().items()}
    named |= {f"lin{i}.model.1.weight": lin.data for i, lin in enumerate(judge.lin.parameters())}
    save_file(named, tmp_path / "judge.safetensors")
    flags = (tmp_path / "hr", "-n", "bicubic", "-s", 2, "--lpips", tmp_path / "judge.safetensors")
    document = json.loads(cli("eval", *flags, "--json").out)
    score, mean = document["scores"]
    assert document["lpips_net"] == "squeeze"
    hr = torch.from_numpy(pixels(tmp_path / "hr" / "1.png")).permute(2, 0, 1)[None].double()
    plain = bicubic(bicubic(hr, 32, 32), 64, 64).round().clamp(0, 255)
    expected = judge((plain / 255).float(), (hr / 255).float()).item()
    assert score["bicubic_lpips"] == pytest.approx(expected, rel=1e-4)
    assert mean["lpips"] == score["lpips"] > 0
    table = cli("eval", *flags).out
    assert f"{score['lpips']:.4f}" in table
    assert "LPIPS v0.1 (squeeze)" in table
    monkeypatch.setenv("COLUMNS", "60")
    narrow = " ".join(cli("eval", *flags).out.split())
    assert f"bicubic SSIM: {score['bicubic_ssim']:.4f}" in narrow
    assert f"bicubic LPIPS: {score['bicubic_lpips']:.4f}" in narrow
    assert json.loads(cli("eval", *flags[:5], "--json").out)["scores"][0]["lpips"] is None


@pytest.mark.slow
def test_eval_of_a_model_takes_its_scale_and_order(cli, tmp_path, tiny_model):
    picture(tmp_path / "hr.png", (32, 32))
    document = json.loads(cli("eval", tmp_path, "-n", tiny_model, "--order", 1, "--json").out)
    assert (document["scale"], document["order"]) == (2, 1)
    assert document["sha256"] == json.loads(cli("models", "info", tiny_model).out)["sha256"]


@pytest.mark.slow
def test_eval_of_equal_pictures_is_still_json(cli, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32), "teal").save(tmp_path / "flat.png")
    document = json.loads(cli("eval", tmp_path, "-n", "nearest", "-s", 2, "--json").out, parse_constant=pytest.fail)
    assert document["scores"][0]["psnr"] is None  # infinite


@pytest.mark.slow
def test_eval_judges_what_any_program_made_of_any_inputs(cli, tmp_path):
    """The two halves of `eval`: ours from given small pictures, and what was upscaled elsewhere, agree."""
    from PIL import Image

    hr, small, large = tmp_path / "hr", tmp_path / "small", tmp_path / "large"
    for folder in (hr, small, large):
        folder.mkdir()
    picture(hr / "a.png", (36, 44), seed=3)
    Image.fromarray(255 - pixels(hr / "a.png")[::2, ::2]).save(small / "a.bmp")  # the suffix may differ
    assert cli(small / "a.bmp", "-n", "nearest", "-s", 2, "-o", large / "a.png").code == 0
    ours = json.loads(cli("eval", hr, "-n", "nearest", "-s", 2, "--inputs", small, "--json").out)
    theirs = json.loads(cli("eval", hr, "--results", large, "-s", 2, "--json").out)
    (score, _), (other, _) = ours["scores"], theirs["scores"]
    assert (score["psnr"], score["ssim"], score["rgb_offset"]) == (other["psnr"], other["ssim"], other["rgb_offset"])
    assert score["microseconds"] > 0
    assert (theirs["model"], other["microseconds"]) == (None, None)
    assert score["bicubic_psnr"] != other["bicubic_psnr"]  # of the inputs that were given; of the original shrunk
    difference = pixels(large / "a.png").astype(float) - pixels(hr / "a.png")
    assert score["rgb_offset"] == pytest.approx(abs(difference.mean((0, 1))).max())

    for flags in (["--results", large, "-n", "nearest"], []):
        ran = cli("eval", hr, *flags)
        assert ran.code == 2
        assert "either" in ran.err
    ran = cli("eval", hr, "--results", small, "-s", 2)
    assert ran.code == 1
    assert "is 18x22, not 36x44" in ran.err
    (large / "a.png").rename(large / "b.png")
    assert "no image is named a" in cli("eval", hr, "--results", large, "-s", 2).err


@pytest.mark.slow
def test_eval_leaves_out_what_it_cannot_measure_and_says_so(cli, tmp_path):
    """A mean over part of a folder is no score of the folder: the exit code says so too."""
    picture(tmp_path / "good.png", (32, 32))
    picture(tmp_path / "small.png", (8, 8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:-40])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("some words")
    (tmp_path / "notes.txt").write_text("no image, and named so")
    ran = cli("eval", tmp_path, "-n", "nearest", "-s", 2)
    assert ran.code == 1
    assert "1 image, 4 left out" in ran.out
    told = [line for line in ran.err.splitlines() if line.startswith("left out: ")]
    assert {name for line in told for name in ("cut", "empty", "small", "text") if f"{name}.png" in line} == {
        *("cut", "empty", "small", "text")
    }
    assert len(json.loads(cli("eval", tmp_path, "-n", "nearest", "-s", 2, "--json").out)["left_out"]) == len(told) == 4
    (tmp_path / "good.png").unlink()
    assert cli("eval", tmp_path, "-n", "nearest", "-s", 2).code == 3


def test_eval_of_a_folder_that_is_not_there_says_so(cli, tmp_path):
    ran = cli("eval", tmp_path / "nope", "-n", "nearest", "-s", 2)
    assert ran.code == 3
    assert f"there is no folder {tmp_path / 'nope'}" in ran.err
