"""`-n auto`, the default: the model is chosen by what each source is, and a line says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dagan_cli.analysis.measure import Analysis
from dagan_cli.upscale.auto import is_degraded, model_for
from tests.support.drawn import drawn
from tests.support.tiny import clip

ROOT = Path(__file__).parents[2]
CLEAN = Analysis(codec="PNG", noise=0.3, resolution=1.0)


def photo() -> Image.Image:
    """A clean picture with edges and smooth areas."""
    pixels = drawn(3, 192).permute(1, 2, 0).mul(255).round().byte().numpy()
    return Image.fromarray(pixels)


def degraded(kind: str) -> Image.Image:
    image = photo()
    if kind == "noise":
        noise = np.random.default_rng(0).normal(0, 12, (*image.size[::-1], 3))
        return Image.fromarray((np.asarray(image) + noise).round().clip(0, 255).astype(np.uint8))
    if kind == "blur":
        return image.filter(ImageFilter.GaussianBlur(2))
    if kind == "jpeg":
        file = BytesIO()
        image.save(file, "JPEG", quality=40)
        return Image.open(file)
    return image


def chosen(ran) -> list[str | None]:
    return [item["model"] for item in json.loads(ran.out)["items"]]


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        (CLEAN, False),
        (Analysis(), False),  # nothing is known
        (Analysis(codec="PNG", noise=9.0, resolution=1.0), True),
        (Analysis(codec="PNG", noise=0.0, resolution=0.5), True),
        (Analysis(codec="JPEG", quality=60, noise=0.0, resolution=1.0), True),
        (Analysis(codec="JPEG", quality=95, noise=0.0, resolution=1.0), False),
        (Analysis(codec="PNG", quality=60, quality_from="pixels", noise=0.0, resolution=1.0), True),
        (Analysis(codec="h264", quality=85, noise=0.0, resolution=1.0), False),  # its blocks are smoothed
        (Analysis(codec="mjpeg", quality=85, noise=0.0, resolution=1.0), True),
        (Analysis(codec="h264", quality=20, noise=0.0, resolution=1.0), True),
    ],
)
def test_noise_blur_and_compression_make_a_source_degraded(analysis, expected):
    assert is_degraded(analysis) is expected


@pytest.mark.parametrize("resolution", [0.5, 0.7, 0.8, 0.9, 0.94, 0.95, 1.0])
def test_only_a_source_that_is_not_called_sharp_is_degraded_by_its_resolution(resolution):
    analysis = Analysis(codec="PNG", noise=0.0, resolution=resolution)
    assert ("sharp" in analysis.describe()) is not is_degraded(analysis)


def test_the_model_has_the_scale_that_is_needed():
    assert [model_for(CLEAN, factor) for factor in (1.5, 2, 3, 4, 9)] == [
        *("dagan-x2", "dagan-x2", "dagan-x4", "dagan-x4", "dagan-x4")
    ]
    assert model_for(Analysis(noise=20.0), 2) == "dagan-x2-real"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clean", "noise", "blur", "jpeg"])
def test_each_file_is_judged_by_itself_and_a_line_says_why(cli, tmp_path, kind):
    source = tmp_path / "in.png"
    degraded(kind).save(source)
    ran = cli(source, "-s", 2, "-o", tmp_path / "out.png", "--json")
    model = "dagan-x2" if kind == "clean" else "dagan-x2-real"
    assert chosen(ran) == [model]
    (line,) = [line for line in ran.err.splitlines() if line.startswith("in.png: ")]
    assert line.endswith(f": {model}; -n MODEL overrules it")
    assert {"clean": "sharp", "noise": "noise (", "blur": "blurred", "jpeg": "quality about 40"}[kind] in line


@pytest.mark.slow
def test_a_plan_and_a_run_choose_the_same_on_any_number_of_threads(tmp_path):
    for kind in ("clean", "noise"):
        degraded(kind).save(tmp_path / f"{kind}.png")
    found = set()
    for threads in ("1", "2"):
        options = ["-s", "2", "-o", str(tmp_path / f"out{threads}"), "--json"]
        for more in (["--dry-run"], []):
            command = [sys.executable, "-m", "dagan_cli", "upscale", "clean.png", "noise.png", *options, *more]
            env = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
            ran = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
            found.add(tuple(item["model"] for item in json.loads(ran.stdout)["items"]))
    assert found == {("dagan-x2", "dagan-x2-real")}


@pytest.mark.slow
def test_a_second_run_believes_the_choice_that_its_result_records(cli, tmp_path):
    source, ask = tmp_path / "in.png", (tmp_path / "in.png", "-s", 2, "-o", tmp_path / "out.png", "--json")
    degraded("noise").save(source)
    assert chosen(cli(*ask)) == ["dagan-x2-real"]
    again = cli(*ask)
    assert (again.code, chosen(again)) == (0, ["dagan-x2-real"])
    assert "-n MODEL" not in again.err  # it was not analysed again
    assert cli(*ask, "-n", "dagan-x2-real").code == 0  # the same pixels
    other = cli(*ask, "-n", "dagan-x2")
    assert other.code == 1
    assert "made with --model dagan-x2-real, now dagan-x2" in other.err
    assert cli(*ask, "-n", "dagan-x2", "-y").code == 0
    judged = cli(*ask)
    assert judged.code == 1
    assert "made with --model dagan-x2, now dagan-x2-real" in judged.err


@pytest.mark.slow
def test_names_can_state_the_model_that_was_chosen(cli, tmp_path):
    for kind in ("clean", "noise"):
        degraded(kind).save(tmp_path / f"{kind}.png")
    inputs = (tmp_path / "clean.png", tmp_path / "noise.png")
    assert cli(*inputs, "-s", 2, "-o", tmp_path / "out", "--name", "{stem}_{model}").code == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        *("clean_dagan-x2.png", "noise_dagan-x2-real.png")
    ]


@pytest.mark.slow
def test_a_video_is_judged_once(cli, tmp_path):
    for crf, model in ((2, "dagan-x2"), (45, "dagan-x2-real")):
        source = clip(tmp_path / f"in{crf}.mp4", "-c:v", "libx264", "-crf", str(crf))
        ran = cli(source, "-s", 2, "-o", tmp_path / f"out{crf}.mp4", "--frames", 3, "--json")
        assert chosen(ran) == [model]
        assert len([line for line in ran.err.splitlines() if "-n MODEL overrules it" in line]) == 1


def test_what_a_picture_is_named_does_not_matter(tmp_path):
    """The choice is by the content: a copy under another name, or with other times, gets the same."""
    from dagan_cli.analysis.measure import analyse_image
    from dagan_cli.media import images

    def found(path: Path) -> Analysis:
        with images.open_picture(path) as picture:
            return analyse_image(path, picture.peek(), picture.info)

    degraded("jpeg").save(tmp_path / "a.png")
    (tmp_path / "b.dat").write_bytes((tmp_path / "a.png").read_bytes())
    assert found(tmp_path / "a.png") == found(tmp_path / "b.dat")
