"""The frames of an excerpt are from all over a film, with the quantisers that their encoder was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dagan_cli.errors import BadInput
from dagan_cli.media.excerpt import Excerpt, excerpts
from tests.support.tiny import ffmpeg

pytestmark = pytest.mark.slow
CONSTANT = ("-c:v", "libx264", "-qp", "30", "-x264-params", "ipratio=1:pbratio=1")


def film(path: Path, *options: str, seconds: int = 10) -> Path:
    """A clip that gets brighter."""
    picture = f"color=black:s=64x48:r=25,geq=lum='16+20*T':cb=128:cr=128,trim=duration={seconds},noise=alls=9:allf=t"
    ffmpeg("-f", "lavfi", "-i", picture, *options, path)
    return path


def read(path: Path) -> list[tuple[Excerpt, float]]:
    """Excerpts with the mean of their luma, whose memory is the decoder's."""
    return [(one, float(np.mean(one.planes[0]))) for one in excerpts(path)]


def test_frames_are_from_five_places(tmp_path):
    found = read(film(tmp_path / "in.mp4", *CONSTANT, "-g", "25"))
    keys = [mean for one, mean in found if one.is_key]
    assert len(keys) == 5
    assert np.diff(keys) == pytest.approx([40] * 4, abs=21)  # every two seconds, at the key frame before
    assert len(found) == 15
    assert all(one.bits for one, _ in found if one.is_key)


@pytest.mark.parametrize(
    ("options", "codec", "quantiser"),
    [
        (CONSTANT, "h264", 30),
        (("-c:v", "mpeg4", "-q:v", "7"), "mpeg4", 7),
        (("-c:v", "mpeg2video", "-q:v", "7"), "mpeg2video", 7),
        (("-c:v", "libx265", "-x265-params", "log-level=error"), "hevc", None),
    ],
    ids=["h264", "mpeg4", "mpeg2", "hevc"],
)
def test_quantisers_are_those_of_the_encoder(tmp_path, options, codec, quantiser):
    found = [one for one, _ in read(film(tmp_path / "in.mkv", *options, seconds=1))]
    assert {one.codec for one in found} == {codec}
    assert found[0].quantiser == (quantiser and pytest.approx(quantiser, abs=0.5))


def test_a_film_with_one_key_frame_has_it_once(tmp_path):
    found = read(film(tmp_path / "in.mp4", *CONSTANT, "-g", "1000", seconds=3))
    assert [one.is_key for one, _ in found] == [True, False, False]


def test_streams_that_cannot_be_sought_are_read_from_their_start(tmp_path):
    assert read(film(tmp_path / "in.h264", *CONSTANT, seconds=1))[0][0].is_key
    assert read(film(tmp_path / "in.y4m", seconds=1))[0][1] == pytest.approx(16, abs=6)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(BadInput):
        list(excerpts(tmp_path / "text.mp4"))
