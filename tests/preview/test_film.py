"""Looking around in a film, and reading seconds of it; another FFmpeg decodes the same frames."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dagan_cli.errors import BadInput
from dagan_cli.media.video.source import open_video
from dagan_cli.preview import film
from dagan_cli.preview.film import look_around, luma_of, part_of, second_of
from dagan_cli.preview.places import Box
from tests.support.tiny import clip, ffmpeg

pytestmark = pytest.mark.slow
SIZE = 96, 64


def go_on() -> None:
    """Nobody asks to stop."""


@pytest.fixture(scope="module", params=["mp4", "mkv", "ts", "avi"])
def long(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds of a clock, a key frame every two seconds."""
    codec = ("-c:v", "mpeg4", "-q:v", "2") if request.param == "avi" else ("-c:v", "libx264", "-preset", "ultrafast")
    path = tmp_path_factory.mktemp("film") / f"long.{request.param}"
    return clip(path, *codec, "-g", "50", "-an", seconds=40, source="testsrc2=size=96x64:rate=25")


def decoded(path: Path, time: float, frames: int) -> np.ndarray:
    """Luma of frames from a time on, by the other FFmpeg, which decodes the file from its start."""
    raw = path.with_suffix(".gray")
    chosen = f"trim=start={time - 0.02},setpts=PTS-STARTPTS,extractplanes=y"
    ffmpeg("-i", path, "-vf", chosen, "-frames:v", str(frames), "-fps_mode", "passthrough", "-f", "rawvideo", raw)
    return np.frombuffer(raw.read_bytes(), np.uint8).reshape(frames, SIZE[1], SIZE[0])


def test_a_second_holds_the_frames_that_are_shown_then(long):
    frames, rate = second_of(long, 17.0, go_on)
    assert rate == 12.5
    assert len(frames) == 12
    start = float(frames[0].pts * frames[0].time_base)
    with open_video(long) as video:
        start -= float(video.info.start)
    assert start == pytest.approx(17.0, abs=0.021)
    np.testing.assert_array_equal([frame.planes[0] for frame in frames], decoded(long, start, 23)[::2])


def test_looks_are_spread_over_a_long_film_though_only_key_frames_are_decoded(long, monkeypatch):
    monkeypatch.setattr(film, "_DECODED", 1000)
    monkeypatch.setattr(film, "_SOUGHT", 10 * SIZE[0] * SIZE[1])
    looks = look_around(long, go_on)
    times = [look.time for look in looks]
    assert len(times) == 10
    assert times == sorted(times)
    assert all(later - earlier >= 2 for earlier, later in pairwise(times))
    assert times[0] <= 2.1
    assert times[-1] >= 36
    for look in looks[::4]:
        luma = film._FULL[decoded(long, look.time, 1)[0]]
        assert look.cells.luma[0, 0] == pytest.approx(luma[:16, :16].mean())


def test_when_time_is_over_the_looks_are_still_spread(long, monkeypatch):
    monkeypatch.setattr(film, "_DECODED", 1000)
    monkeypatch.setattr(film, "_LIMIT", 0.0)
    times = [look.time for look in look_around(long, go_on)]
    assert 3 <= len(times) < 32
    assert max(times) - min(times) >= 15


def test_a_short_film_is_decoded_from_start_to_end(tmp_path):
    path = clip(tmp_path / "short.mp4", "-c:v", "libx264", "-g", "250", "-an", seconds=3)
    times = [look.time for look in look_around(path, go_on)]
    assert 20 <= len(times) <= 32
    assert times[0] == 0
    assert times[-1] > 2.8


def test_a_raw_stream_that_cannot_be_sought_shows_its_start(tmp_path):
    path = clip(tmp_path / "raw.h264", "-c:v", "libx264", "-an", "-f", "h264", seconds=2)
    assert look_around(path, go_on)
    frames, _ = second_of(path, 0.0, go_on)
    assert frames


def test_a_second_after_the_end_is_an_error(tmp_path):
    path = clip(tmp_path / "short.mp4", seconds=0.4)
    with pytest.raises(BadInput, match="no frames at"):
        second_of(path, 10.0, go_on)


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p10le", "yuv444p", "gray", "gbrp", "yuv411p"])
def test_a_part_of_a_frame_has_the_planes_of_that_part(layout, tmp_path):
    path = clip(tmp_path / "film.mkv", "-c:v", "ffv1", "-pix_fmt", layout, "-an", source="testsrc2=size=98x66:rate=25")
    box = Box(32, 16, 66, 50)
    with open_video(path) as video:
        frame = next(video.frames())
        part = part_of(frame, box)
        np.testing.assert_array_equal(part.planes[0], frame.planes[0][16:66, 32:98])
        assert [plane.shape for plane in part.planes[1:3]] == [tuple(map(int, shape)) for shape in _chroma(layout, box)]
        luma = luma_of(frame)
    assert luma.shape == (66, 98)
    assert luma.dtype == np.uint8
    assert luma.max() > 200


def _chroma(layout: str, box: Box) -> list[tuple[float, float]]:
    across = {"yuv420p": 2, "yuv422p10le": 2, "yuv411p": 4}.get(layout, 1)
    down = 2 if layout == "yuv420p" else 1
    return [] if layout == "gray" else [(-(-box.height // down), -(-box.width // across))] * 2
