"""Defaults of the user's own: which value applies, what is refused, and what `dagan config` shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from dagan_cli.commands.app import app
from dagan_cli.errors import BadOption
from tests.commands.test_errors import two_lines
from tests.support.tiny import clip, picture, pixels

UPSCALE = typer.main.get_command(app).commands["upscale"]  # type: ignore[attr-defined]
OPTIONS = [option for option in UPSCALE.params if option.param_type_name == "option" and option.name != "reset"]


def shown(cli) -> dict[str, tuple[object, str]]:
    """The settings that `dagan config show` lists, by flag: value and source."""
    ran = cli("config", "show", "--json")
    assert ran.code == 0, ran.err
    return {row["option"]: (row["value"], row["source"]) for row in json.loads(ran.out)}


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(cli, folder, tmp_path, monkeypatch):
    source = picture(tmp_path / "in.png", (6, 4))
    folder.set("scale = 2", 'model = "nearest"')
    assert cli(source).code == 0
    assert pixels(tmp_path / "in_x2.png").shape == (8, 12, 3)
    monkeypatch.setenv("DAGAN_UPSCALE_SCALE", "3")
    assert cli("upscale", source).code == 0
    assert pixels(tmp_path / "in_x3.png").shape == (12, 18, 3)
    assert cli(source, "-s", 5).code == 0
    assert pixels(tmp_path / "in_x5.png").shape == (20, 30, 3)
    monkeypatch.setenv("DAGAN_UPSCALE_SCALE", "")  # the same as unset
    assert shown(cli)["--scale"] == (2.0, str(folder.config))


def test_every_option_has_a_variable_and_a_key_of_its_long_name(cli, folder, monkeypatch):
    for option in OPTIONS:
        key = option.name.replace("_", "-")
        assert f"--{key}" in option.opts
        choice = {"tile": "64", "device": "cpu", "recipe": "none"}.get(option.name, "7")
        if option.is_flag:
            choice = str(not option.default).lower()
        elif option.type_descriptor.is_choice:
            choice = next(choice for choice in option.type_descriptor.choices if choice != option.default)
        elif option.name in ("detail", "denoise", "grain"):
            choice = "0.25"
        variable = f"DAGAN_UPSCALE_{option.name.upper()}"
        monkeypatch.setenv(variable, choice)
        value, source = shown(cli)[f"--{key}"]
        assert source == variable
        monkeypatch.delenv(variable)
        for name in (key, option.name):
            folder.set(f"{name} = {json.dumps(value)}")
            assert shown(cli) == {f"--{key}": (value, str(folder.config))}
        folder.set()


def test_what_has_another_name_of_an_option_is_the_same_option(cli, folder):
    folder.set("outscale = 2", 'ext = "webp"', "tile = 96", "start = 1.5", 'encoder-option = ["tune=film"]')
    values = {flag: value for flag, (value, _) in shown(cli).items()}
    assert values == {
        "--scale": 2.0,
        "--format": "webp",
        "--tile": "96",
        "--start": "1.5",
        "--encoder-option": ["tune=film"],
    }


def test_what_equals_the_built_in_default_is_not_shown(cli, folder):
    folder.set("quality = 95", 'tile = "auto"', "lossless = false")
    assert shown(cli) == {}
    assert "built-in defaults" in cli("config", "show").out


def test_of_options_that_exclude_each_other_the_one_that_comes_first_applies(cli, folder, tmp_path, monkeypatch):
    source = picture(tmp_path / "in.png", (6, 4))
    folder.set("scale = 2", 'model = "nearest"', "skip-existing = true", 'precision = "bf16"', 'device = "cuda:7"')
    flags = ("-y", "--fp32", "-o", tmp_path / "out.png", "--device", "cpu")
    assert cli(source, *flags, "--size", "30x30").code == 0
    assert pixels(tmp_path / "out.png").shape == (20, 30, 3)
    monkeypatch.setenv("DAGAN_UPSCALE_SIZE", "36x36")
    assert cli(source, *flags).code == 0
    assert pixels(tmp_path / "out.png").shape == (24, 36, 3)
    folder.set('model = "nearest"', "scale = 2", 'size = "9x9"')  # but of one place neither comes first
    monkeypatch.delenv("DAGAN_UPSCALE_SIZE")
    assert cli(source, *flags).code == 2


def test_gpus_of_the_settings_do_not_apply_with_a_cluster_and_the_other_way_round(cli, folder, monkeypatch):
    folder.set("gpu = 1", 'cluster = "local:2"')
    monkeypatch.setenv("DAGAN_UPSCALE_CLUSTER", "auto")
    assert shown(cli) == {"--cluster": ("auto", "DAGAN_UPSCALE_CLUSTER")}
    monkeypatch.delenv("DAGAN_UPSCALE_CLUSTER")
    monkeypatch.setenv("DAGAN_UPSCALE_GPU", "0,1")
    assert shown(cli) == {"--gpu": ("0,1", "DAGAN_UPSCALE_GPU")}
    monkeypatch.delenv("DAGAN_UPSCALE_GPU")
    folder.set("gpu = 1")  # one GPU is a number
    assert shown(cli) == {"--gpu": ("1", str(folder.config))}


def test_settings_of_a_model_or_an_encoder_do_not_apply_to_another_one(cli, folder, monkeypatch):
    folder.set('model = "dagan-x4"', "detail = 0.5", 'codec = "libx264"', 'preset = "slow"', "crf = 20")
    assert set(shown(cli)) == {"--model", "--detail", "--codec", "--preset", "--crf"}
    monkeypatch.setenv("DAGAN_UPSCALE_MODEL", "dagan-x4-psnr")
    monkeypatch.setenv("DAGAN_UPSCALE_CODEC", "libsvtav1")
    assert set(shown(cli)) == {"--model", "--codec"}
    folder.set("order = 4", "crf = 20", 'preset = "slow"')  # of any model, and of any encoder but for its words
    assert set(shown(cli)) == {"--model", "--codec", "--order", "--crf"}


def test_a_flag_is_turned_off_again(cli, folder, tmp_path):
    source = picture(tmp_path / "in.png", (6, 4))
    folder.set('model = "nearest"', "scale = 2", "overwrite = true", "json = true", "quiet = true")
    assert json.loads(cli(source).out)["items"][0]["status"] == "done"
    assert json.loads(cli(source).out)["items"][0]["status"] == "done"
    ran = cli(source, "--no-overwrite", "--no-json", "--no-quiet")
    assert (ran.code, ran.out) == (0, "")
    assert "it exists" in ran.err


def test_every_flag_has_a_form_that_turns_it_off():
    flags = [option for option in OPTIONS if option.is_flag and option.name != "help"]
    assert len(flags) > 12
    assert all(option.secondary_opts == [f"--no-{option.name.replace('_', '-')}"] for option in flags)


def test_reset_restores_built_in_defaults(cli, folder, tmp_path, monkeypatch):
    source = picture(tmp_path / "in.png", (6, 4))
    folder.set("scale = 2", 'format = "webp"', "lossless = true")
    monkeypatch.setenv("DAGAN_UPSCALE_MODEL", "nearest")
    assert cli(source, "--reset", "scale", "--reset", "format").code == 0
    assert (tmp_path / "in_x4.png").exists()
    folder.set("scale = [broken")
    assert cli(source, "--reset", "all", "-n", "bicubic", "-s", 3).code == 0
    assert (tmp_path / "in_x3.png").exists()
    folder.set()
    ran = cli(source, "--reset", "scael")
    assert (ran.code, two_lines(ran)) == (2, True)
    assert "did you mean scale?" in ran.err


@pytest.mark.parametrize(
    ("line", "words", "hint"),
    [
        ("scael = 2", "unknown option scael", "did you mean scale?"),
        ("pix_fnt = 'x'", "unknown option pix_fnt", "did you mean pix-fmt?"),
        ("PIXFMT = 'x'", "unknown option PIXFMT", "did you mean pix-fmt?"),
        ("inputs = ['a.png']", "unknown option inputs", ""),  # an argument
        ("reset = ['crf']", "unknown option reset", ""),  # only for one run
        ("zzz = 1", "unknown option zzz", "`dagan upscale --help` lists the options"),
        ("scale = true", "scale = true", "a number"),
        ("overwrite = 1", "overwrite = 1", "true"),
        ("overwrite = 'yes'", "overwrite = 'yes'", "true"),
        ("include = '*.png'", "include = '*.png'", "a list"),
        ("include = [1]", "include = [1]", "quotes"),
        ("crf = [18]", "crf = [18]", "one value"),
        ("model = 4", "model = 4", "quotes"),
        ("output = 12:30:00", "output", "quotes"),
        ("model = { a = 1 }", "model", "quotes"),
        ('model = "a\\u0000b"', "model", "NUL"),
        ("order = 1.5", "--order: it should be a valid integer", "--help"),
        ("frames = 0", "--frames: it should be greater than or equal to 1", "--help"),
        ("audio = 'cpy'", "--audio 'cpy'", "copy, none"),
        ("scale = 0", "--scale 0 is out of range", "--reset scale"),
        ("crf = nan", "--crf nan is out of range", "--reset crf"),
        ("codec = 'libx266'", "unknown --codec libx266", "--reset codec"),
        ("encoder_option = ['tune']", "-e 'tune'", "--reset encoder-option"),
        ("pix_fmt = 'a'\npix-fmt = 'b'", "pix-fmt", "leave one"),
        ("scale = ", "is not TOML", "one setting per line"),
        ("\n[upscale]", "is not TOML", "one setting per line"),
        ("\n[upscael]", "unknown table upscael", "did you mean upscale?"),
        ("\n[zzz]", "unknown table zzz", "below [upscale]"),
    ],
)
def test_what_is_wrong_in_the_file_is_two_lines_that_name_it_and_the_key(cli, folder, tmp_path, line, words, hint):
    folder.set(line)
    ran = cli(picture(tmp_path / "in.png"), "-n", "nearest") if "model" not in line else cli(tmp_path / "in.png")
    assert (ran.code, ran.out, two_lines(ran)) == (2, "", True), ran.err
    error, advice = ran.err.splitlines()
    assert words in error
    assert str(folder.config) in error
    assert hint in advice


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"scale = 2", "unknown key scale"),
        (b"upscale = 3", "upscale in"),
        (b"\xff\xfe", "is not TOML"),
        (b"a = " + b"[" * 100_000, "is not TOML"),
        (b"[upscale]\nscale = " + b"9" * 9000, "is not TOML"),
        (b"#" * (1 << 20) + b"#", "larger than"),
    ],
)
def test_a_file_of_another_form_is_refused(cli, folder, content, words):
    folder.config.write_bytes(content)
    ran = cli("config", "show")
    assert (ran.code, two_lines(ran)) == (2, True)
    assert words in ran.err
    assert str(folder.config) in ran.err


def test_what_is_wrong_in_the_environment_names_the_variable(cli, folder, tmp_path, monkeypatch):
    for variable, value, words in (
        ("DAGAN_UPSCALE_SCLAE", "2", "did you mean DAGAN_UPSCALE_SCALE?"),
        ("DAGAN_UPSCALE_SCALE", "two", "invalid --scale: it should be a valid number (from DAGAN_UPSCALE_SCALE)"),
        ("DAGAN_UPSCALE_LOSSLESS", "perhaps", "(from DAGAN_UPSCALE_LOSSLESS)"),
        ("DAGAN_UPSCALE_SIZE", "huge", "invalid --size 'huge' (--size is from DAGAN_UPSCALE_SIZE)"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            ran = cli(picture(tmp_path / "in.png"), "-n", "nearest")
            assert (ran.code, two_lines(ran)) == (2, True), ran.err
            assert words in ran.err


def test_debug_shows_the_traceback_of_an_error_in_a_default(cli, folder):
    folder.set("scael = 2")
    with pytest.raises(BadOption):
        cli("upscale", "in.png", "--debug")


@pytest.mark.slow
def test_an_error_of_one_input_names_where_the_option_is_from(cli, folder, tmp_path):
    source = clip(tmp_path / "in.mp4")
    folder.set('pix-fmt = "yuv999"', 'model = "nearest"', "json = true")
    (item,) = json.loads(cli(source, "-s", 1).out)["items"]
    assert f"(--pix-fmt is from {folder.config})" in item["reason"]
    (item,) = json.loads(cli(source, "-s", 1, "--pix-fmt", "yuv998").out)["items"]
    assert (item["status"], "config" in item["reason"]) == ("failed", False)


def test_a_default_that_does_not_fit_the_inputs_is_no_option_without_effect(cli, folder, tmp_path):
    source = picture(tmp_path / "in.png", (6, 4))
    folder.set("crf = 20", 'model = "nearest"', "scale = 2")
    assert "without effect" not in cli(source).err
    assert "--preset: without effect" in cli(source, "--preset", "slow", "-y").err


def test_the_path_of_the_file_is_that_of_the_configuration_folder(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGAN_CONFIG", "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert cli("config", "path").out == f"{tmp_path / 'dagan' / 'config.toml'}\n"
    assert shown(cli) == {}  # it does not exist
    (tmp_path / "dagan").mkdir()
    (tmp_path / "dagan" / "config.toml").write_text("[upscale]\norder = 2\n")
    assert shown(cli) == {"--order": (2, str(tmp_path / "dagan" / "config.toml"))}
    monkeypatch.setenv("DAGAN_CONFIG", str(tmp_path / "missing.toml"))
    assert cli("config", "path").out == f"{tmp_path / 'missing.toml'}\n"
    ran = cli("config", "show")
    assert (ran.code, two_lines(ran)) == (2, True)
    assert "does not exist" in ran.err


def test_help_and_completion_do_not_read_the_file(cli, folder):
    folder.set("broken")
    assert cli("upscale", "--help").code == 0
    assert cli("upscale", "--help", "in.png").code == 0
    assert cli("models", "--help").code == 0
    assert cli("models", "list").code == 2  # it lists the folders that the file names
    environment = os.environ | {
        "_DAGAN_COMPLETE": "complete_bash",
        "COMP_WORDS": "dagan upscale --audio ",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-m", "dagan_cli"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert sorted(done.stdout.split()) == ["copy", "none"], done.stderr


def test_models_of_ones_own_are_found_in_the_folders_that_the_file_names(tmp_path, tiny_model):
    """In a process of its own, as the folders become part of its environment."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.safetensors").write_bytes(tiny_model.read_bytes())
    config = tmp_path / "config.toml"

    def listed(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
        config.write_text(text)
        env = {name: value for name, value in os.environ.items() if name != "DAGAN_MODELS"}
        command = [sys.executable, "-m", "dagan_cli", "models", "path", "mine"]
        env |= {"DAGAN_CONFIG": str(config), **environment}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    named = f'[models]\nfolders = ["{tmp_path}/models"]\n'
    assert listed(named).stdout.strip() == str(tmp_path / "models" / "mine.safetensors")
    assert listed(named, DAGAN_MODELS=str(tmp_path)).returncode == 4  # the variable outranks the file
    assert listed("").returncode == 4
    for wrong in ('[models]\nfolders = "models"', "models = 3", '[models]\nfolder = ["a"]'):
        ran = listed(wrong)
        assert ran.returncode == 2
        assert str(config) in ran.stderr.splitlines()[0]
        assert ran.stderr.splitlines()[1].startswith("  try: ")
