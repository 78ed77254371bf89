"""A preview shows what the whole job makes: the same pixels, the estimate of a dry run, and a command that works."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dagan_cli.engine.options import EngineOptions
from dagan_cli.media.find import Kind, Source
from dagan_cli.media.images.blocks.code_points import CodePoints, profile_of
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.source import open_video
from dagan_cli.preview import preview as preview_module
from dagan_cli.preview.choices import Asked
from dagan_cli.preview.film import luma_of
from dagan_cli.preview.preview import preview
from dagan_cli.preview.result import INPUT, Preview, clock, in_words
from dagan_cli.upscale.events import Advance, Event, Stopped, Tell
from dagan_cli.upscale.request import Goal, Request
from dagan_cli.upscaler import Upscaler
from tests.support.fakes import Blur
from tests.support.tiny import clip, ffmpeg, noise, picture
from weights.choice import ModelChoice

CPU = EngineOptions(device="cpu")


def request(path: Path, goal: Goal) -> Request:
    return Request(
        inputs=(str(path),), output=None, goal=goal, model=ModelChoice(), engine=CPU, encoding=Encoding(), resume=False
    )


def previewed(
    path: Path, *models: str, goal: Goal | None = None, kind: Kind = "picture", tell: Tell = lambda _: None
) -> Preview:
    goal = goal or Goal.of(2, None)
    size = ("-s", f"{goal.factor:g}") if goal.factor else ("--size", goal.name)
    return preview(Source(path, kind), request(path, goal), Asked(models=models, size=size), tell, lambda: False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Noise, blurred in parts: 400x300, larger than three places."""
    samples = noise(300, 400, 3).astype(np.float32)
    smooth = samples.reshape(75, 4, 100, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1)
    samples[:, 200:] = smooth[:, 200:]
    samples[150:] *= 0.3
    path = tmp_path / "a photo.png"
    Image.fromarray(samples.astype(np.uint8)).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("goal", [Goal.of(2, None), Goal.of(1.5, None), Goal.of(3, None), Goal.of(None, "800x600")])
def test_a_place_equals_that_of_the_whole_result_where_the_network_sees_no_more(photo, goal, monkeypatch):
    upscaler = Upscaler(Blur(9), CPU, name="blur", sha256="0" * 64)
    monkeypatch.setattr(preview_module.Engines, "use", lambda *_: upscaler)
    shown = previewed(photo, "blur.safetensors", goal=goal)
    whole = upscaler.upscale_to(np.asarray(Image.open(photo)), shown.out_size)
    factor = shown.out_size[0] / 400
    assert len(shown.spots) == 3
    assert not any("differ" in note for note in shown.notes)
    for spot in shown.spots:
        left, top = round(spot.box.left * factor), round(spot.box.top * factor)
        (part,) = spot.images[1]
        expected = whole[top : top + part.shape[0], left : left + part.shape[1]]
        # Sums of floats in another order may round to the next code value.
        assert np.abs(part.astype(int) - expected).max() <= 1
        assert (part != expected).mean() < 0.001


@pytest.mark.slow
def test_a_place_is_nearly_that_of_the_whole_result_where_the_network_sees_all(photo, tiny_model, cli):
    """The attention of this network is over the whole of what it gets: 64 pixels around a place are enough."""
    assert cli(photo, "-s", 2, "-n", tiny_model, "-o", photo.with_name("whole.png"), "--device", "cpu").code == 0
    whole = np.asarray(Image.open(photo.with_name("whole.png"))).astype(int)
    shown = previewed(photo, str(tiny_model))
    (note,) = [note for note in shown.notes if "may differ" in note]
    assert "64 pixels" in note
    assert tiny_model.name in note
    for spot in shown.spots:
        (part,) = spot.images[1]
        y, x = 2 * spot.box.top, 2 * spot.box.left
        difference = np.abs(part - whole[y : y + part.shape[0], x : x + part.shape[1]])
        assert difference.mean() < 0.5
        assert difference.max() <= 8


@pytest.mark.slow
def test_an_image_that_is_computed_whole_is_exactly_its_result_and_nothing_else_is_said(tmp_path, tiny_model, cli):
    path = picture(tmp_path / "in.png", (90, 60))
    assert cli(path, "-s", 2, "-n", tiny_model, "-o", tmp_path / "whole.png", "--device", "cpu").code == 0
    shown = previewed(path, str(tiny_model))
    np.testing.assert_array_equal(shown.spots[0].images[1][0], np.asarray(Image.open(tmp_path / "whole.png")))
    assert not any("differ" in note for note in shown.notes)


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 16)])
def test_a_profile_that_the_page_does_not_show_is_said(primaries, transfer, tmp_path):
    points = CodePoints(primaries, transfer)
    for profile in (profile_of(points), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), None):
        Image.fromarray(noise(20, 30, 3)).save(tmp_path / "in.png", icc_profile=profile)
        said = [note for note in previewed(tmp_path / "in.png", "nearest").notes if "as if they were sRGB" in note]
        assert [str(points) in note for note in said] == [True] * (profile == profile_of(points))


@pytest.mark.parametrize(("transfer", "is_said"), [("bt709", False), ("smpte2084", True), ("arib-std-b67", True)])
def test_hdr_that_the_page_does_not_show_is_said(transfer, is_said, tmp_path):
    path = clip(tmp_path / "film.mkv", "-an", "-vf", f"setparams=color_trc={transfer}", seconds=0.5)
    assert any("HDR" in note for note in previewed(path, "nearest", kind="video").notes) == is_said


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_every_kind_of_sample_is_shown_as_the_whole_result_is(mode, tmp_path):
    shape = {"L": (), "I;16": ()}.get(mode, (len(mode),))
    samples = noise(70, 90, *shape, dtype="u2" if mode == "I;16" else "u1")
    path = tmp_path / "in.png"
    Image.fromarray(samples).save(path)
    shown = previewed(path, "nearest")
    (spot,) = shown.spots
    (as_is,), (made,) = spot.images
    np.testing.assert_array_equal(as_is, made)
    assert as_is.shape == (140, 180, 3)
    first = as_is[0, 0].astype(float)
    if mode == "I;16":
        assert first == pytest.approx([samples[0, 0] / 257] * 3, abs=0.51)
    elif mode in ("LA", "RGBA"):
        alpha = samples[0, 0, -1] / 255
        assert first == pytest.approx(samples[0, 0, :-1] * alpha + 128 * (1 - alpha) + np.zeros(3), abs=0.51)
    else:
        assert first == pytest.approx(np.zeros(3) + samples[0, 0])


@pytest.mark.slow
def test_the_time_is_that_of_the_forecast_of_a_dry_run_with_the_pace_of_what_was_shown(photo, tiny_model, monkeypatch):
    known: list[float] = []
    know = preview_module.Forecaster.know

    def note(self, upscaler, height, width, pixel):
        known.append(pixel)
        know(self, upscaler, height, width, 1e-3)  # a thousand times as slow

    monkeypatch.setattr(preview_module.Forecaster, "know", note)
    network, bicubic = previewed(photo, str(tiny_model), "bicubic").options
    assert len(known) == 1
    assert 0 < known[0] < 1e-4
    assert network.seconds >= 400 * 300 * 1e-3
    assert bicubic.seconds < 60


def test_a_job_that_does_not_fit_into_memory_is_said(tmp_path, monkeypatch):
    path = picture(tmp_path / "in.png", (90, 60))
    (option,) = previewed(path, "nearest").options
    assert not option.warnings
    monkeypatch.setattr(preview_module, "free_host_memory", lambda: 50_000)  # bytes; the result alone takes more
    (option,) = previewed(path, "nearest").options
    (warning,) = option.warnings
    assert "of memory, and 0.0 GB are free" in warning


@pytest.mark.slow
def test_the_time_is_about_that_of_a_dry_run(photo, tiny_model, cli):
    (option,) = previewed(photo, str(tiny_model)).options
    ran = cli(photo, "-s", 2, "-n", tiny_model, "--dry-run", "--json", "--device", "cpu")
    planned = json.loads(ran.out)["items"][0]
    assert planned["output"] == str(option.output)
    assert option.seconds == pytest.approx(planned["forecast"]["seconds"], rel=0.9)


@pytest.mark.slow
def test_a_film_shows_frames_of_seconds_and_its_luma_is_that_of_the_whole_result(tmp_path, tiny_model, cli):
    path = clip(tmp_path / "film.mkv", "-c:v", "ffv1", "-an", seconds=6, source="testsrc2=size=320x240:rate=25")
    shown = previewed(path, str(tiny_model), "bicubic", kind="video")
    assert [len(spot.images) for spot in shown.spots] == [3, 3, 3]
    assert all(len({len(frames) for frames in spot.images}) == 1 for spot in shown.spots)
    times = sorted(spot.time for spot in shown.spots if spot.time is not None)
    assert min(b - a for a, b in pairwise(times)) >= 0.7  # an eighth of what was looked at
    part = ("--start", f"{times[1]:.3f}", "--frames", 1)
    assert cli(path, "-s", 2, "-n", "bicubic", "-c", "ffv1", *part, "-o", tmp_path / "whole.mkv").code == 0
    with open_video(tmp_path / "whole.mkv") as video:
        whole = luma_of(next(video.frames())).astype(int)
    spot = next(spot for spot in shown.spots if spot.time == times[1])
    image = spot.images[2][0]
    luma = image @ np.array([0.299, 0.587, 0.114])
    y, x = 2 * spot.box.top, 2 * spot.box.left
    difference = np.abs(luma - whole[y : y + image.shape[0], x : x + image.shape[1]])
    assert np.median(difference) <= 1.5  # rounded to limited range, and colours beyond RGB are cut


@pytest.mark.slow
def test_a_film_that_is_turned_is_shown_upright(tmp_path):
    path = clip(tmp_path / "film.mkv", "-c:v", "ffv1", "-an", seconds=0.2, source="testsrc2=size=64x48:rate=25")
    plain = previewed(path, "nearest", kind="video")
    turned = tmp_path / "turned.mp4"
    ffmpeg("-i", path, "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p", tmp_path / "plain.mp4")
    ffmpeg("-display_rotation:v:0", "90", "-i", tmp_path / "plain.mp4", "-c", "copy", turned)
    seen = previewed(turned, "nearest", kind="video")
    upright = seen.spots[0].images[0][0]
    assert upright.shape == (128, 96, 3)
    shown = tmp_path / "shown.png"
    ffmpeg("-i", turned, "-frames:v", "1", shown)  # it turns frames as players do
    expected = np.asarray(Image.open(shown).convert("RGB")).astype(int).repeat(2, 0).repeat(2, 1)
    assert np.abs(upright - expected).mean() < 8  # another conversion to RGB
    assert plain.spots[0].images[0][0].shape == (96, 128, 3)


@pytest.mark.slow
@pytest.mark.parametrize("colour", [0, 77])
def test_a_picture_of_one_colour_is_shown_once_and_that_is_said(colour, tmp_path):
    path = tmp_path / "plain.png"
    Image.fromarray(np.full((400, 500, 3), colour, np.uint8)).save(path)
    shown = previewed(path, "bicubic")
    assert len(shown.spots) == 1
    assert "Only 1 place is shown: the image is too small or too plain for 3." in shown.notes


@pytest.mark.slow
def test_the_page_has_a_column_for_the_input_and_each_model_and_one_view_for_each_place(photo):
    shown = previewed(photo, "nearest", "bicubic")
    page = shown.viewer()
    assert [column.label for column in page.columns] == [INPUT, "nearest", "bicubic"]
    assert [column.command for column in page.columns] == ["", *(option.command for option in shown.options)]
    assert dict(page.columns[2].facts)["whole job"] == in_words(shown.options[1].seconds)
    assert [view.note for view in page.views] == [spot.why for spot in shown.spots]
    for view in page.views:
        assert len(view.images) == 3
        assert len({frame.shape for frames in view.images for frame in frames}) == 1


@pytest.mark.slow
def test_the_command_of_each_model_is_for_this_input(photo):
    for option in previewed(photo, "nearest", "bicubic").options:
        assert shlex.split(option.command) == ["dagan", "upscale", str(photo), "-s", "2", "-n", option.model]
        assert option.output == photo.with_name("a photo_x2.png")


@pytest.mark.slow
def test_progress_ends_with_all_of_the_work(photo):
    events: list[Event] = []
    previewed(photo, "nearest", "bicubic", tell=events.append)
    steps = [event for event in events if isinstance(event, Advance)]
    assert [step.done for step in steps] == list(range(1, len(steps) + 1))
    assert {step.total for step in steps} == {len(steps)}


def test_it_stops_when_asked(photo):
    job = request(photo, Goal.of(2, None))
    with pytest.raises(Stopped):
        preview(Source(photo, "picture"), job, Asked(models=("bicubic",)), lambda _: None, lambda: True)


@pytest.mark.slow
def test_a_slow_machine_shows_fewer_frames_and_says_so(tmp_path, tiny_model, monkeypatch):
    path = clip(tmp_path / "film.mkv", "-c:v", "ffv1", "-an", seconds=1.5)
    monkeypatch.setattr(preview_module, "_NETWORKS", 0.0)
    shown = previewed(path, str(tiny_model), kind="video")
    assert {len(frames) for spot in shown.spots for frames in spot.images} == {preview_module._FLICKER}
    assert any("first 6 frames" in note for note in shown.notes)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "less than 1 s"), (12.4, "about 12 s"), (180, "about 3 min"), (9000, "about 2.5 h")],
)
def test_times_are_words(seconds, words):
    assert in_words(seconds) == words


def test_moments_of_a_film_are_shown_as_players_do():
    assert (clock(2), clock(62.0004), clock(3723.5)) == ("0:02.000", "1:02.000", "1:02:03.500")
