"""`dagan compare` as a user runs it: the table, the document, the page, exit codes, and hostile names."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.metrics.test_lpips import random_weights
from tests.support.tiny import clip, command, dagan, ffmpeg, noise, picture


def image(path: Path, wrong: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
    """The same image each time, or wrong by so many code values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(size[1], size[0], 3) // 2 + np.uint8(wrong)).save(path)
    return path


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    for name, wrong in (("a", 2), ("b", 8)):
        image(tmp_path / f"hr/{name}.png")
        image(tmp_path / f"sr/{name}_x4.png", wrong)
    return tmp_path / "hr", tmp_path / "sr"


def test_two_images_are_scored_in_a_table(cli, tmp_path):
    ran = cli("compare", image(tmp_path / "a.png"), image(tmp_path / "b.png", 3))
    assert ran.code == 0, ran.err
    head, row = ran.out.splitlines()[:2]
    assert head.split() == ["result", "PSNR-Y", "SSIM-Y", "PSNR", "RGB"]
    assert row.split()[0] == "b.png"
    assert row.split()[3] == f"{10 * np.log10(255**2 / 9):.2f}"


def test_folders_end_with_the_mean_of_each_result(cli, folders):
    ran = cli("compare", *folders)
    assert ran.code == 0, ran.err
    rows = [line.split() for line in ran.out.splitlines()[1:4]]
    assert [row[0] for row in rows] == ["a.png", "b.png", "mean"]
    assert float(rows[2][3]) == pytest.approx(np.mean([float(row[3]) for row in rows[:2]]), abs=0.01)


def test_one_bad_item_is_reported_in_two_lines_and_the_others_are_scored(cli, folders):
    image(folders[1] / "a_x4.png", size=(33, 32))
    ran = cli("compare", *folders)
    assert ran.code == 1
    error, hint = ran.err.splitlines()
    assert error.startswith("error: ")
    assert "33x32" in error
    assert "40x32" in error
    assert hint.startswith("  try: ")
    assert "b.png" in ran.out
    assert "1 not compared" in ran.out


def test_a_protocol_is_only_stated_of_what_was_measured(cli, tmp_path):
    ran = cli("compare", image(tmp_path / "a.png"), image(tmp_path / "b.png", size=(33, 32)))
    assert ran.code == 1
    assert ran.out.splitlines() == [f"nothing was compared with {tmp_path / 'a.png'}"]


def test_no_pair_at_all_is_exit_3(cli, tmp_path):
    a = image(tmp_path / "a.png")
    assert cli("compare", a, tmp_path / "none.png").code == 3
    assert cli("compare", tmp_path / "none.png", a).code == 3
    image(tmp_path / "other/z.png")
    image(tmp_path / "hr/a.png")
    assert cli("compare", tmp_path / "hr", tmp_path / "other").code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.png",),
        ("a.png", "b.png", "--no-reference"),
        ("a.png", "b.png", "--border", -1),
        ("a.png", "."),
        ("a.png", "b.png", "-o", "-"),
        ("a.png", "b.png", "-o", "https://host/page.html"),
    ],
)
def test_wrong_usage_is_exit_2(cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    image(Path("a.png"))
    image(Path("b.png"))
    ran = cli("compare", *arguments)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 2
    assert sorted(path.name for path in Path().iterdir()) == ["a.png", "b.png"]


def test_several_results_of_several_images_are_counted_apart(cli, folders):
    ran = cli("compare", folders[0], folders[1], folders[1])
    assert "4 results of 2 images compared with" in " ".join(ran.out.split())


def test_the_document_has_every_number_and_null_for_infinity(cli, tmp_path):
    a, b, same = image(tmp_path / "a.png"), image(tmp_path / "b.png", 3), image(tmp_path / "c.png")
    ran = cli("compare", a, b, same, tmp_path / "none.png", "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert found.keys() == {"dagan", "reference", "results", "protocol", "notes", "items", "means", "page"}
    assert found["reference"] == str(a)
    assert found["results"] == [str(b), str(same), str(tmp_path / "none.png")]
    wrong, equal, missing = found["items"]
    assert wrong["scores"].keys() == {"psnr_y", "ssim_y", "psnr_rgb"}
    assert wrong["scores"]["psnr_rgb"] == pytest.approx(10 * np.log10(255**2 / 9))
    assert equal["scores"] == {"psnr_y": None, "ssim_y": 1, "psnr_rgb": None}
    assert (equal["kind"], equal["size"], equal["failed"]) == ("image", [40, 32], None)
    assert missing["failed"].keys() == {"error", "hint"}
    assert missing["scores"] == {}
    assert [mean["items"] for mean in found["means"]] == [1, 1, 0]


@pytest.mark.slow
def test_the_document_of_videos_has_the_values_of_each_frame(cli, tmp_path):
    a = clip(tmp_path / "a.mkv", "-c:v", "ffv1", "-an", seconds=0.2)
    ffmpeg("-i", a, "-vf", "noise=alls=9:allf=t", "-c:v", "ffv1", tmp_path / "b.mkv")
    ran = cli("compare", a, tmp_path / "b.mkv", "--json", "--progress", "none")
    assert ran.code == 0, ran.err
    (item,) = json.loads(ran.out)["items"]
    assert item["kind"] == "video"
    assert item["unmatched_frames"] == {"reference": 0, "result": 0}
    assert item["frames"]["seconds"] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    for name in ("psnr_y", "ssim_y", "flicker"):
        values = item["frames"][name]
        assert len(values) == 5
        assert item["scores"][name] == pytest.approx(np.mean([value for value in values if value is not None]))
    assert item["frames"]["flicker"][0] is None
    assert 0 < item["flicker_reliable"] <= 1
    assert len(item["worst_seconds"]) == 1  # all frames are within half a second


def test_lpips_is_taken_from_the_file_that_is_named_or_from_the_cache_folder(cli, tmp_path, monkeypatch):
    a, b = image(tmp_path / "a.png"), image(tmp_path / "b.png", 3)
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path / "cache"))
    assert "LPIPS" not in cli("compare", a, b).out
    save_file(random_weights("squeeze"), tmp_path / "named.safetensors")
    assert "LPIPS v0.1 (squeeze)" in cli("compare", a, b, "--lpips", tmp_path / "named.safetensors").out
    (tmp_path / "cache/lpips").mkdir(parents=True)
    save_file(random_weights("alex"), tmp_path / "cache/lpips/lpips_alex.safetensors")
    ran = cli("compare", a, b)
    assert "LPIPS v0.1 (alex)" in ran.out
    assert cli("compare", a, b, "--lpips", a).code == 4


def test_a_file_that_is_no_page_is_only_replaced_if_asked_to(cli, tmp_path):
    a, b = image(tmp_path / "a.png"), image(tmp_path / "b.png", 3)
    page = tmp_path / "page.html"
    page.write_text("<p>mine")
    ran = cli("compare", a, b, "-o", page)
    assert ran.code == 6
    assert page.read_text() == "<p>mine"
    assert cli("compare", a, b, "-o", page, "-y").code == 0
    assert cli("compare", a, b, "-o", page).code == 0  # it is one now
    assert page.read_bytes().startswith(b"<!doctype html>")


@pytest.mark.parametrize("kept", ["hr/a.png", "sr/b_x4.png", "lpips.safetensors", "link.html"])
def test_what_is_compared_is_never_replaced_by_the_page(cli, folders, kept):
    place = folders[0].parent
    weights = place / "lpips.safetensors"
    save_file(random_weights("alex"), weights)
    os.link(folders[0] / "a.png", place / "link.html")
    before = (place / kept).read_bytes()
    ran = cli("compare", *folders, "--lpips", weights, "-o", place / kept, "-y")
    assert ran.code == 2
    assert "is an input" in ran.err
    assert (place / kept).read_bytes() == before


def test_results_without_a_reference_become_a_page(cli, tmp_path):
    a, b = image(tmp_path / "a.png"), image(tmp_path / "b.png", 3)
    ran = cli("compare", a, b, "--no-reference", "-o", tmp_path / "page.html")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [f"page: {tmp_path / 'page.html'}"]
    assert b"PSNR" not in (tmp_path / "page.html").read_bytes()[-3000:]


def test_results_that_cannot_be_shown_together_are_reported(cli, tmp_path):
    shown = [image(tmp_path / "a.png"), image(tmp_path / "b.png", 3)]
    other = image(tmp_path / "large.png", size=(80, 64))
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(shown[0].read_bytes()[:-500])
    files = [*shown, other, damaged, tmp_path / "none.png"]
    ran = cli("compare", *files, "--no-reference", "-o", tmp_path / "page.html", "--json")
    assert ran.code == 1
    for name in ("large.png is 80x64", "damaged.png", "none.png"):
        assert name in ran.err
    found = json.loads(ran.out)
    assert found["reference"] is None
    assert found["results"] == [str(file) for file in files]
    assert (found["items"], found["means"]) == ([], [])


@pytest.mark.slow
def test_videos_that_cannot_be_shown_together_are_reported(cli, tmp_path):
    one, other = (
        clip(tmp_path / f"{name}.mkv", "-an", seconds=0.2, source=f"testsrc2=size={size}:rate=25")
        for name, size in (("a", "64x48"), ("b", "128x96"))
    )
    ran = cli("compare", one, other, one, "--no-reference", "-o", tmp_path / "page.html")
    assert ran.code == 1
    assert "b.mkv is 128x96" in ran.err


HOSTILE = ["-i.mkv", "a:b='c',[x];\\n.mkv", "%d.mkv", "a b\n\u202e<script>.mkv", "concat:x|y.mkv"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="such names cannot exist there")
def test_names_that_other_programs_would_take_for_something_else_are_only_names(tmp_path):
    clip(tmp_path / "good.mkv", "-c:v", "ffv1", "-an", seconds=0.12)
    for name in HOSTILE:
        shutil.copy(tmp_path / "good.mkv", tmp_path / name)
    ran = dagan(
        "compare", "--json", "-o", "page.html", "--", HOSTILE[0], *HOSTILE, cwd=tmp_path, env=os.environ | _here()
    )
    assert ran.returncode == 0, ran.stderr
    items = json.loads(ran.stdout)["items"]
    assert len(items) == len(HOSTILE)
    for item in items:
        assert item["scores"]["ssim_y"] == pytest.approx(1)
        assert "left out" not in "".join(item["notes"])
    assert b"<script>.mkv" not in (tmp_path / "page.html").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_comparison_that_is_stopped_ends_soon_and_leaves_nothing(tmp_path, number):
    source = "testsrc2=size=320x240:rate=25"
    a = clip(tmp_path / "a.mkv", "-c:v", "libx264", "-preset", "ultrafast", "-an", seconds=20, source=source)
    place = tmp_path / "tmp"
    place.mkdir()
    words = command("compare", a, a, "-o", tmp_path / "page.html", "--progress", "json")
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(place)}
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if json.loads(line)["event"] == "progress":
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number
    assert json.loads(err.splitlines()[-1]) == {"event": "stopped"}
    assert out == ""
    assert list(place.iterdir()) == []
    assert not (tmp_path / "page.html").exists()


def test_names_that_would_turn_lines_are_escaped(cli, tmp_path):
    name = "a\u202egnp\u2028b\x9bc.png"
    a, b = image(tmp_path / "a.png"), image(tmp_path / name, 3)
    ran = cli("compare", a, b, picture(tmp_path / f"x{name}", (3, 3)))
    assert ran.code == 1
    assert all(line.isprintable() for line in (ran.out + ran.err).split("\n"))
    assert r"a\u202egnp" in ran.out


def _here() -> dict[str, str]:
    """For `python -m dagan_cli` from another folder."""
    return {"PYTHONPATH": str(Path(__file__).parents[2])}
