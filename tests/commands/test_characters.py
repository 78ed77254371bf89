"""Names and texts of files that would turn or break lines are shown escaped: on stdout, on stderr and on pages."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from dagan_cli.commands.console import echo, in_json
from dagan_cli.model.checkpoint import save_model
from dagan_cli.model.generator import Generator
from tests.conftest import TINY, Ran
from tests.support.tiny import command, picture, pixels

TURNED = "a\u202egnp\u2028b\x9bc\x7f\u200d"  # right to left, a line separator, the start of a control sequence
SHOWN = r"a\u202egnp\u2028b\x9bc\x7f\u200d"


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def shown(ran: Ran) -> bool:
    """True if the name was printed, and nothing that a terminal would obey."""
    return harmless(ran.out) and harmless(ran.err) and SHOWN in ran.out + ran.err


@pytest.mark.slow
def test_a_file_whose_name_turns_lines_is_upscaled_and_its_name_is_shown(cli, tmp_path):
    source = picture(tmp_path / f"{TURNED}.png")
    broken = tmp_path / f"{TURNED} broken.png"
    broken.write_bytes(source.read_bytes()[:60])
    flags = ("-n", "nearest", "-s", 2)
    ran = cli(source, *flags, "-v")
    assert ran.code == 0
    assert shown(ran)
    assert pixels(tmp_path / f"{TURNED}_x2.png").shape == (16, 24, 3)
    assert shown(cli(source, *flags))  # exists already
    assert shown(cli(source, *flags, "-o", tmp_path / "new.png", "--dry-run"))
    assert shown(cli(broken, *flags))
    assert shown(cli("probe", source))
    assert shown(cli("probe", tmp_path / f"{TURNED}.mp4"))
    assert shown(cli("verify", source, tmp_path / f"{TURNED}.mp4"))
    assert shown(cli("upscale", source, "--size", TURNED))
    assert shown(cli(TURNED))


@pytest.mark.slow
def test_eval_shows_such_names_on_lines_of_their_own(cli, tmp_path):
    folder = tmp_path / f"{TURNED}\nhr"
    picture(folder / f"{TURNED}.png", (32, 32))
    ran = cli("eval", folder, "-n", "nearest", "-s", 2, "--inputs", folder)
    assert shown(ran)
    ran = cli("eval", folder, "--results", folder, "-s", 2)
    assert ran.code == 0
    assert shown(ran)
    assert rf"{SHOWN}\nhr x2" in ran.out


@pytest.mark.slow
def test_json_has_such_names_in_ascii(cli, tmp_path):
    source = picture(tmp_path / f"{TURNED}.png")
    out = cli(source, "-n", "nearest", "--json").out
    assert out.isascii()
    assert harmless(out)
    assert json.loads(out)["items"][0]["input"] == str(source)
    err = cli(source, "-n", "nearest", "-y", "--progress", "json").err
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["start", "item", "summary"]
    assert json.loads(in_json({"a": TURNED})) == {"a": TURNED}


@pytest.mark.slow
def test_what_a_model_says_of_itself_is_shown_line_by_line(cli, tmp_path):
    model = tmp_path / f"{TURNED}.safetensors"
    model.write_bytes(save_model(Generator(TINY), {"data": f"{TURNED} photos", "licence": TURNED}))
    for words in (["card", model], ["info", model], ["verify", model], ["push", model, "me/x", "--dry-run"]):
        ran = cli("models", *words)
        assert ran.code == 0
        assert harmless(ran.out), words
        assert harmless(ran.err), words


@pytest.mark.slow
def test_a_path_for_a_program_is_exact_and_one_for_a_terminal_is_printable(cli, tmp_path):
    model = tmp_path / f"{TURNED}.safetensors"
    model.write_bytes(b"")
    assert cli("models", "path", model).out == f"{model}\n"
    ours, theirs = pty.openpty()
    ran = subprocess.run(command("models", "path", model), stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert os.read(ours, 10_000).decode().endswith(f"{SHOWN}.safetensors\r\n")
    os.close(ours)


@pytest.mark.slow
def test_the_page_and_the_title_of_a_run_show_its_name(cli, tmp_path):
    run = tmp_path / f"{TURNED}\udc80"
    run.mkdir()
    line = {"step": 1, "phase": TURNED, "loss": 1.0, TURNED: 2.0, "psnr_y": 30.0, "constants": {TURNED: [0.5]}}
    (run / "log.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line | {"step": 2, "phase": "b"}) + "\n")
    event = {"event": TURNED, "step": 1, "at": TURNED, TURNED: TURNED, "val": TURNED, "data": [TURNED]}
    (run / "events.jsonl").write_text(json.dumps(event) + "\n")
    (run / "config.toml").write_text(f"# {TURNED}\nbatch = 8\n", encoding="utf-8")
    ran = cli("train", "plot", run, "--report")
    assert ran.code == 0
    assert shown(ran)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert harmless(text)
    assert f"<title>{SHOWN}\\x80: training run</title>" in text
    assert f"# {SHOWN}\nbatch = 8" in text  # the lines of the config stay


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import warnings; warnings.warn(name)",
        "import logging; logging.getLogger('dagan_cli').error('%s', name)",
        "raise ValueError(name)",
    ],
)
def test_what_python_itself_prints_is_printable_too(code):
    code = f"from dagan_cli.commands.console import escape_messages; escape_messages(); name = {TURNED!r}; {code}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert SHOWN in ran.stderr
    assert harmless(ran.stderr)


def test_results_are_printable_wherever_they_come_from(capsys):
    echo(f"{TURNED}\nnext line")
    assert capsys.readouterr().out == f"{SHOWN}\nnext line\n"


def test_torch_s_advice_to_load_a_file_unsafely_is_not_passed_on(cli, tmp_path):
    """Its message for a pickle that holds more than tensors offers weights_only=False."""
    import torch

    torch.save({"model": Path("x")}, tmp_path / "other.pth")
    with pytest.raises(Exception, match="weights_only") as told:
        torch.load(tmp_path / "other.pth", weights_only=True)
    assert "trust" in str(told.value)
    ran = cli("models", "convert", tmp_path / "other.pth")
    assert ran.code == 4
    assert not any(word in ran.err for word in ("weights_only", "trust", "safe_globals"))
    from dagan_cli.errors import BadModel

    with pytest.raises(BadModel) as refused:  # its traceback is shown
        cli("models", "convert", tmp_path / "other.pth", "--debug")
    assert refused.value.__suppress_context__
