"""The page that a comparison describes: which images and frames are shown, in which order, and with what numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dagan_cli.comparison.compare import Measures, compare
from dagan_cli.comparison.page import make_page
from dagan_cli.comparison.pairs import find_pairs
from dagan_cli.comparison.result import Comparison
from dagan_cli.errors import BadInput
from dagan_cli.pages.viewer import Viewer
from tests.support.tiny import clip, ffmpeg, noise


def page_of(*arguments: Path, reference: bool = True, most: int = 12) -> Viewer:
    pairs = find_pairs(arguments)
    rows = [row for item in pairs.items for row in compare(item, Measures())] if reference else []
    comparison = Comparison(arguments=arguments, labels=pairs.labels, rows=tuple(rows))
    return make_page("title", pairs, comparison, ["protocol"], most=most)


def saved(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(samples).save(path)
    return path


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Three images, and results that are wrong by 1, 9 and 4 code values in turn."""
    for name, wrong in (("a", 1), ("b", 9), ("c", 4)):
        samples = noise(24, 32, 3) // 2
        saved(tmp_path / f"hr/{name}.png", samples)
        saved(tmp_path / f"sr/{name}.png", samples + np.uint8(wrong))
    return tmp_path / "hr", tmp_path / "sr"


def test_the_worst_image_is_first_and_all_numbers_are_in_the_table(folders):
    page = page_of(*folders)
    assert [view.title for view in page.views] == ["b.png", "c.png", "a.png"]
    assert [column.label for column in page.columns] == ["hr", "sr"]
    assert [row[0] for row in page.table] == ["item", "a.png", "b.png", "c.png"]
    psnr = page.scores.index("PSNR RGB, dB")
    assert page.views[0].scores[1][psnr] == f"{10 * np.log10(255**2 / 81):.2f}"
    assert set(page.views[0].scores[0]) == {""}
    assert page.notes[0] == "protocol"
    assert len(page_of(*folders, most=1).views) == 1


def test_images_are_shown_as_they_are(folders):
    view = page_of(*folders).views[0]
    for column, folder in enumerate(folders):
        assert np.array_equal(view.images[column][0], np.array(Image.open(folder / "b.png")))


def test_an_image_that_is_missing_is_grey_and_named(folders):
    third = folders[0].parent / "third"
    saved(third / "a.png", noise(24, 32, 3))
    page = page_of(*folders, third)
    shown = {view.title: view for view in page.views}
    assert "third" in shown["b.png"].note
    assert (shown["b.png"].images[2][0] == 128).all()
    assert "not shown" not in shown["a.png"].note
    assert any("not compared" in note and note.startswith("b.png, third") for note in page.notes)


def test_a_large_image_is_cropped_to_where_it_differs_most(tmp_path):
    samples = np.zeros((900, 1400, 3), np.uint8)
    other = samples.copy()
    other[800:850, 1300:1390] = 200
    view = page_of(saved(tmp_path / "a.png", samples), saved(tmp_path / "b.png", other)).views[0]
    assert view.images[1][0].shape == (720, 960, 3)
    assert view.images[1][0].sum() == other.sum()
    assert "960x720 pixels at" in view.note


def test_a_cropped_result_is_shown_next_to_the_same_part(tmp_path):
    samples = noise(25, 33, 3)
    page = page_of(saved(tmp_path / "a.png", samples), saved(tmp_path / "b.png", samples[:24, :32]))
    assert [image[0].shape for image in page.views[0].images] == [(24, 32, 3)] * 2
    assert np.array_equal(page.views[0].images[0][0], samples[:24, :32])


def test_without_a_reference_results_are_shown_without_numbers(folders):
    page = page_of(*folders, reference=False)
    assert [view.title for view in page.views] == ["a.png", "b.png", "c.png"]
    assert (page.scores, page.table, page.curves) == ([], (), [])
    assert page.views[0].scores == ()


def test_results_without_a_reference_and_of_other_sizes_cannot_be_shown_together(tmp_path):
    a, b = saved(tmp_path / "a.png", noise(20, 20, 3)), saved(tmp_path / "b.png", noise(30, 20, 3))
    assert "not shown: b.png" in page_of(a, b, reference=False).views[0].note


def test_a_page_of_nothing_is_an_error(tmp_path):
    a, b = saved(tmp_path / "a.png", noise(20, 20, 3)), saved(tmp_path / "b.png", noise(31, 20, 3))
    with pytest.raises(BadInput):
        page_of(a, b)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> tuple[Path, Path]:
    """Two seconds, and a result whose frames 12 and 40 are worse than the others."""
    folder = tmp_path_factory.mktemp("films")
    a, b = folder / "a.mkv", folder / "b.mkv"
    clip(a, "-c:v", "ffv1", "-an", seconds=2, source="testsrc2=size=96x64:rate=25")
    worse = "drawbox=enable='between(n,12,13)':color=red:t=fill,drawbox=x=20:w=40:enable='eq(n,40)':color=blue:t=fill"
    ffmpeg("-i", a, "-vf", worse, "-c:v", "ffv1", b)
    return a, b


@pytest.mark.slow
def test_the_worst_frames_come_first_apart_from_each_other_then_the_first_the_middle_and_the_last(films):
    page = page_of(*films, most=5)
    titles = [view.title for view in page.views]
    assert titles[0] in ("frame 12, 0:00.480", "frame 13, 0:00.520")
    assert titles[1] == "frame 40, 0:01.600"
    assert titles[2:] == ["frame 0, 0:00.000", "frame 25, 0:01.000", "frame 49, 0:01.960"]
    assert page.views[1].seconds == pytest.approx(1.6)
    assert not np.array_equal(page.views[1].images[0][0], page.views[1].images[1][0])
    assert np.array_equal(page.views[2].images[0][0], page.views[2].images[1][0])


@pytest.mark.slow
def test_curves_have_a_value_for_each_frame_and_none_for_the_reference(films):
    curves = {curve.title: curve for curve in page_of(*films).curves}
    assert {"PSNR-Y, dB", "flicker"} <= curves.keys()
    for curve in curves.values():
        assert len(curve.seconds) == 50
        assert [len(values) for values in curve.values] == [50, 50]
        assert set(curve.values[0]) == {None}
    assert curves["PSNR-Y, dB"].values[1][0] is None  # infinite
    assert curves["PSNR-Y, dB"].values[1][40] is not None
    assert curves["flicker"].values[1][40] is not None


@pytest.mark.slow
def test_videos_without_a_reference_show_frames_from_their_whole_length(films):
    page = page_of(*films, reference=False, most=3)
    assert [view.title for view in page.views] == ["0:00.000", "0:00.960", "0:01.960"]


@pytest.mark.slow
def test_frames_are_shown_upright_and_of_a_cropped_result_the_same_part(tmp_path):
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    plain = tmp_path / "plain.mp4"
    clip(plain, "-c:v", "libx264", "-qp", "0", "-an", seconds=0.12, source="testsrc2=size=98x66:rate=25")
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", a)
    ffmpeg("-i", plain, "-vf", "crop=96:64:0:0", "-c:v", "libx264", "-qp", "0", tmp_path / "cropped.mp4")
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "cropped.mp4", "-c", "copy", b)
    view = page_of(a, b).views[0]
    assert [images[0].shape for images in view.images] == [(96, 64, 3)] * 2
    assert np.abs(view.images[0][0].astype(int) - view.images[1][0]).mean() < 2  # chroma at the new edge
    ffmpeg("-i", b, "-frames:v", "1", tmp_path / "upright.png")  # FFmpeg turns it by itself
    upright = np.array(Image.open(tmp_path / "upright.png").convert("RGB")).astype(int)
    assert upright.shape == (96, 64, 3)
    assert np.abs(upright - view.images[1][0]).mean() < 20  # another conversion to RGB
