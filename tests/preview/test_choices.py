"""Which models a preview compares, and the command that it offers for each."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.preview.choices import Asked, choices_for, command_of, quoted
from weights.choice import ModelChoice


def names(asked: Asked, factor: float = 4.0, auto: str = "dagan-x4") -> list[tuple[str | None, float | None]]:
    return [(choice.name, choice.denoise) for choice in choices_for(asked, factor, lambda: auto)]


def test_without_options_it_is_what_auto_takes_the_fidelity_model_the_real_one_and_the_yardstick():
    assert names(Asked()) == [("dagan-x4", None), ("dagan-x4-psnr", None), ("dagan-x4-real", None), ("bicubic", None)]
    assert [name for name, _ in names(Asked(), 2, "dagan-x2")][:2] == ["dagan-x2", "dagan-x2-psnr"]


def test_no_model_is_shown_twice():
    assert [name for name, _ in names(Asked(), auto="dagan-x4-real")] == ["dagan-x4-real", "dagan-x4-psnr", "bicubic"]
    assert names(Asked(models=("real", "dagan-x4-real"))) == [("dagan-x4-real", None)]


def test_named_models_are_shown_in_their_order_and_nothing_else():
    asked = Asked(models=("lanczos", None, "some/file.safetensors"))
    assert [name for name, _ in names(asked)] == ["lanczos", "dagan-x4", "some/file.safetensors"]
    assert names(Asked(models=("fast",))) == [("dagan-x4-fast", None)]


def test_strengths_multiply_the_named_models_and_else_the_perceptual_one():
    assert names(Asked(models=("dagan-x4",), strengths=(0.0, 0.5))) == [("dagan-x4", 0.0), ("dagan-x4", 0.5)]
    shown = names(Asked(strengths=(0.3, 1.0)), auto="dagan-x4-real")
    assert shown == [("dagan-x4-real", None), ("dagan-x4", 0.3), ("dagan-x4", 1.0), ("bicubic", None)]


@pytest.mark.parametrize("model", ["dagan-x4-psnr", "dagan-x4-real", "some/file.safetensors"])
def test_a_strength_is_refused_for_a_model_without_a_counterpart(model):
    with pytest.raises(BadOption, match="does not apply"):
        names(Asked(models=(model,), strengths=(0.5,)))


def test_bad_options_are_refused_before_anything_is_opened():
    with pytest.raises(BadOption, match="out of range"):
        Asked(strengths=(1.5,))
    with pytest.raises(BadOption, match="does not apply to bicubic"):
        Asked(models=("bicubic",), strengths=(0.5,))


def test_the_command_names_all_that_decides_the_result():
    asked = Asked(size=("--size", "1080p"), engine=("--device", "cpu"))
    words = shlex.split(command_of("my film.mp4", ModelChoice("dagan-x2", denoise=0.25), asked))
    model = ["-n", "dagan-x2", "--denoise", "0.25"]
    assert words == ["dagan", "upscale", "my film.mp4", "--size", "1080p", *model, "--device", "cpu"]


@pytest.mark.parametrize("name", ["-x.png", "-n"])
def test_a_name_that_looks_like_an_option_is_written_as_a_path(name):
    words = shlex.split(command_of(name, ModelChoice("bicubic"), Asked()))
    assert words[2] == f"./{name}"


HOSTILE = [
    "a b.png",
    "it's.png",
    "$(touch x).png",
    "`x`;&|.png",
    "a\nb.png",
    "a\x1b[2J\\'1.png",
    "é\u202eg.png",
    "\x077",
]


@pytest.mark.parametrize("name", [*HOSTILE, os.fsdecode(b"\xff\xfe.png")])
def test_bash_reads_the_name_that_was_meant(name):
    shown = quoted(name)
    assert shown.isprintable()
    ran = subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, check=True)
    assert ran.stdout == os.fsencode(name)
