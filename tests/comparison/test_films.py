"""Scores of videos: against another FFmpeg's filters, frames paired by their times, and damaged or unlike files."""

from __future__ import annotations

import json
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from dagan_cli.comparison import outside
from dagan_cli.comparison.films import Film, compare_films
from dagan_cli.errors import BadInput, DaganError
from dagan_cli.metrics.fidelity import ssim
from tests.support.clips import clip_with_times
from tests.support.tiny import clip, ffmpeg

SOURCE = "testsrc2=size=160x96:rate=25"
LOSSLESS = ("-c:v", "ffv1", "-an")
PICTURES = "mandelbrot=size=192x160:rate=25"


def compared(reference: Path, *results: Path, border: int = 0) -> list[Film]:
    films = compare_films(reference, results, border, lambda done, total: None)
    assert all(isinstance(film, Film) for film in films), films
    return [film for film in films if isinstance(film, Film)]


def measured(graph: str, reference: Path, result: Path, folder: Path) -> str:
    """What FFmpeg says about two files by these filters."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", result, "-i", reference]
    run = subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], capture_output=True, cwd=folder, text=True)
    assert run.returncode == 0, run.stderr
    return run.stderr


def raw_luma(path: Path) -> np.ndarray:
    """(frames, 160, 192) uint8, as the other FFmpeg decodes them."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        path,
        "-vf",
        "extractplanes=y",
        "-f",
        "rawvideo",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, 160, 192)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """Eight frames that zoom, so that each differs from the one before."""
    return clip(
        tmp_path_factory.mktemp("films") / "a.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", seconds=0.32, source=PICTURES
    )


@pytest.fixture(scope="module")
def result(reference) -> Path:
    path = reference.parent / "b.mkv"
    ffmpeg("-i", reference, "-c:v", "libx264", "-crf", "34", "-preset", "ultrafast", path)
    return path


@pytest.mark.slow
def test_psnr_of_each_frame_is_that_of_another_ffmpeg_on_luma(reference, result, tmp_path):
    measured("psnr=stats_file=log", reference, result, tmp_path)
    expected = [float(y) for y in re.findall(r"psnr_y:([\d.]+)", (tmp_path / "log").read_text())]
    (film,) = compared(reference, result)
    assert film.scores.numbers["psnr_y"] == pytest.approx(expected, abs=0.01)
    assert len(expected) == 8
    assert film.means["psnr_y"] == pytest.approx(np.mean(expected), abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["yuv420p10le", "yuv444p12le"])
def test_deeper_videos_have_the_psnr_of_another_ffmpeg_too(form, tmp_path):
    a, b = (tmp_path / f"{name}.mkv" for name in "ab")
    clip(a, *LOSSLESS, "-pix_fmt", form, seconds=0.12, source=SOURCE)
    ffmpeg("-i", a, "-vf", "noise=alls=12", "-pix_fmt", form, *LOSSLESS, b)
    measured("psnr=stats_file=log", a, b, tmp_path)
    expected = [float(y) for y in re.findall(r"psnr_y:([\d.]+)", (tmp_path / "log").read_text())]
    assert compared(a, b)[0].scores.numbers["psnr_y"] == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
@pytest.mark.skipif("vmaf" not in outside.available()[1], reason="the ffmpeg program has no libvmaf")
def test_vmaf_and_xpsnr_are_those_of_the_filters_on_the_files_themselves(reference, result, tmp_path):
    measured("libvmaf=log_fmt=json:log_path=log", reference, result, tmp_path)
    vmaf = [frame["metrics"]["vmaf"] for frame in json.loads((tmp_path / "log").read_text())["frames"]]
    measured("xpsnr=stats_file=log2", reference, result, tmp_path)
    xpsnr = [float(y) for y in re.findall(r"XPSNR y: *([\d.]+)", (tmp_path / "log2").read_text())][: len(vmaf)]
    (film,) = compared(reference, result)
    assert film.scores.numbers["vmaf"] == pytest.approx(vmaf, abs=0.01)
    assert film.scores.numbers["xpsnr_y"] == pytest.approx(xpsnr, abs=0.01)
    assert 5 < np.mean(vmaf) < 95


@pytest.mark.slow
def test_ssim_of_frames_is_that_of_their_planes_in_float64(reference, result):
    raws = [torch.from_numpy(raw_luma(path).astype(np.float64))[:, None, None] for path in (reference, result)]
    expected = [ssim(a, b) for a, b in zip(*raws, strict=True)]
    assert compared(reference, result)[0].scores.numbers["ssim_y"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_video_equals_itself_in_every_measure(reference):
    (film,) = compared(reference, reference)
    assert film.means["psnr_y"] == film.means.get("xpsnr_y", float("inf")) == float("inf")
    assert film.means["ssim_y"] == pytest.approx(1)
    assert film.means["flicker"] == 0
    assert film.scores.numbers["flicker"][0] is None  # nothing is before the first frame
    assert film.scores.unmatched == (0, 0)


@pytest.mark.slow
def test_noise_that_changes_flickers_and_noise_that_stands_does_not(tmp_path):
    still = ("-f", "lavfi", "-i", "mandelbrot=size=192x160:rate=25,trim=end_frame=1,loop=5:1", "-pix_fmt", "gray")
    ffmpeg(*still, *LOSSLESS, tmp_path / "a.mkv")
    for name, kind in (("standing", "noise=alls=20"), ("changing", "noise=alls=20:allf=t")):
        ffmpeg("-i", tmp_path / "a.mkv", "-vf", kind, "-pix_fmt", "gray", *LOSSLESS, tmp_path / f"{name}.mkv")
    standing, changing = compared(tmp_path / "a.mkv", tmp_path / "standing.mkv", tmp_path / "changing.mkv")
    assert standing.means["psnr_y"] == pytest.approx(changing.means["psnr_y"], abs=0.3)
    assert standing.means["flicker"] == 0
    raw = raw_luma(tmp_path / "changing.mkv").astype(float)
    assert changing.means["flicker"] == pytest.approx(np.abs(np.diff(raw, axis=0)).mean(), abs=0.01)


@pytest.mark.slow
def test_frames_are_paired_by_their_times_and_the_others_are_counted(tmp_path):
    a = clip_with_times(tmp_path / "a.mkv", [0, 40, 80, 120, 160])
    # Without 80, a little later than 120, and with one frame more at the end.
    b = tmp_path / "b.mkv"
    ffmpeg("-i", a, "-vf", "select='not(eq(n,2))'", "-fps_mode", "passthrough", *LOSSLESS, b)
    (film,) = compared(a, b)
    assert film.scores.matched == [True, True, False, True, True]
    assert film.scores.unmatched == (1, 0)
    assert film.means["psnr_y"] == float("inf")
    assert any("1 of the reference, 0 of the result" in note for note in film.notes)
    (film,) = compared(b, a)
    assert film.scores.unmatched == (0, 1)
    assert film.means["psnr_y"] == float("inf")


@pytest.mark.slow
def test_times_that_are_rounded_differently_belong_together(tmp_path):
    """Milliseconds of Matroska against ticks of 1/30000 s of mp4."""
    a = clip(
        tmp_path / "a.mp4", "-c:v", "libx264", "-qp", "0", "-an", seconds=0.5, source=SOURCE.replace("25", "30000/1001")
    )
    ffmpeg("-i", a, "-c", "copy", tmp_path / "b.mkv")
    (film,) = compared(a, tmp_path / "b.mkv")
    assert film.scores.unmatched == (0, 0)
    assert film.means["psnr_y"] == float("inf")


@pytest.mark.slow
def test_a_file_that_was_moved_to_zero_by_another_program_is_paired_by_its_start(tmp_path):
    a = clip(tmp_path / "a.mkv", *LOSSLESS, seconds=0.2, source=SOURCE)
    ffmpeg("-itsoffset", "2", "-i", a, "-c", "copy", "-copyts", tmp_path / "b.mkv")
    (film,) = compared(tmp_path / "b.mkv", a)
    assert film.scores.unmatched == (0, 0)
    assert film.means["psnr_y"] == float("inf")
    assert any("begins" in note for note in film.notes)


@pytest.mark.slow
def test_one_result_that_cannot_be_compared_does_not_end_the_others(reference, tmp_path):
    small = clip(tmp_path / "small.mkv", *LOSSLESS, seconds=0.1, source=SOURCE)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(small.read_bytes()[:300])
    films = compare_films(reference, [small, broken, reference], 0, lambda done, total: None)
    assert [isinstance(film, DaganError) for film in films] == [True, True, False]
    assert "160x96" in str(films[0])
    assert "192x160" in str(films[0])


def test_a_video_shown_at_other_times_altogether_is_an_error(tmp_path):
    a = clip_with_times(tmp_path / "a.mkv", [0, 1, 2])
    b = clip_with_times(tmp_path / "b.mkv", [0, 5000])
    (film,) = compare_films(a, [b], 0, lambda done, total: None)
    assert isinstance(film, Film)  # the first frames are both at 0
    assert film.scores.unmatched == (2, 1)


@pytest.mark.slow
def test_full_and_limited_range_are_compared_on_the_scale_of_the_reference(tmp_path):
    a = clip(tmp_path / "a.mkv", *LOSSLESS, "-pix_fmt", "yuv444p", seconds=0.12, source=SOURCE)
    full = ("-vf", "scale=in_range=limited:out_range=full", "-pix_fmt", "yuv444p", "-color_range", "pc")
    ffmpeg("-i", a, *full, *LOSSLESS, tmp_path / "b.mkv")
    (film,) = compared(a, tmp_path / "b.mkv")
    assert film.means["psnr_y"] is not None
    assert film.means["psnr_y"] > 50  # only rounding
    assert any("range" in note for note in film.notes)


@pytest.mark.slow
def test_without_the_filters_the_other_scores_remain_and_a_note_says_so(reference, monkeypatch):
    monkeypatch.setattr(outside, "available", lambda: ("ffmpeg", ()))
    (film,) = compared(reference, reference)
    assert film.means.keys() == {"psnr_y", "ssim_y", "flicker"}
    assert any("VMAF and XPSNR left out" in note and "does not have them" in note for note in film.notes)


@pytest.mark.slow
def test_a_program_that_does_not_run_is_called_so(reference, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nonexistent")
    outside.available.cache_clear()
    try:
        (film,) = compared(reference, reference)
    finally:
        outside.available.cache_clear()
    assert any("VMAF and XPSNR left out" in note and "does not run" in note for note in film.notes)


@pytest.mark.slow
@pytest.mark.parametrize(("other", "words"), [("smpte2084", "HDR (pq)"), ("bt709", "pq and bt709")])
def test_scores_of_hdr_are_said_to_be_of_stored_values(other, words, tmp_path):
    made = [
        clip(tmp_path / f"{name}.mkv", *LOSSLESS, "-vf", f"setparams=color_trc={transfer}", seconds=0.12, source=SOURCE)
        for name, transfer in (("a", "smpte2084"), ("b", other))
    ]
    (film,) = compared(*made)
    assert any(words in note for note in film.notes)


@pytest.mark.slow
def test_a_program_that_fails_costs_only_its_scores(reference, monkeypatch, tmp_path):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'no such thing: \033[31m' >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setattr(outside, "available", lambda: (str(program), ("vmaf", "xpsnr_y")))
    (film,) = compared(reference, reference)
    assert film.means["psnr_y"] == float("inf")
    (note,) = (note for note in film.notes if "ffmpeg failed" in note)
    assert "no such thing" in note
    assert note.isprintable()


def test_the_program_ends_and_its_folder_goes_when_the_work_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = outside.Outside((64, 64), 8, Fraction(25))

    def work() -> None:
        with run:
            run.feed(torch.zeros(64, 64), torch.zeros(64, 64))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert run._process is None or run._process.returncode is not None
    assert list(tmp_path.iterdir()) == []


def test_a_reference_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"\x1aE\xdf\xa3" + bytes(100))
    with pytest.raises(BadInput):
        compare_films(tmp_path / "a.mkv", [tmp_path / "a.mkv"], 0, lambda done, total: None)
