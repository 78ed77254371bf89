"""How a video is encoded."""

from __future__ import annotations

import os

import av
import pytest

from dagan_cli.errors import BadOption
from dagan_cli.media.video_codecs import Encoding
from tests.clips import clip, described, passed_through

# --- choices


@pytest.mark.parametrize(
    ("encoding", "suffix", "words"),
    [
        (Encoding(codec="nonsense"), ".mp4", "no encoder nonsense"),
        (Encoding(codec="aac"), ".mp4", "does not encode video"),
        (Encoding(pix_fmt="rgb24"), ".mp4", "does not take --pix-fmt rgb24"),
        (Encoding(options={"typo": "1"}), ".mp4", "no option typo"),
        (Encoding(), ".webm", "libx264 cannot be kept in webm"),
        (Encoding(), ".txt", "no video is written as .txt"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_before_any_work(tmp_path, encoding, suffix, words):
    with pytest.raises(BadOption, match=words):
        passed_through(clip(tmp_path / "in.mp4"), tmp_path / f"out{suffix}", encoding)
    assert os.listdir(tmp_path) == ["in.mp4"]


def test_quality_and_the_encoders_own_options_reach_it(tmp_path):
    source = clip(tmp_path / "in.mp4")
    sizes = []
    for crf in (5, 40):
        passed_through(source, tmp_path / "out.mp4", Encoding(crf=crf, options={"g": "5"}))
        sizes.append((tmp_path / "out.mp4").stat().st_size)
        with av.open(str(tmp_path / "out.mp4")) as out:
            assert sum(packet.is_keyframe for packet in out.demux(video=0) if packet.size) >= 5
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(("pix_fmt", "codec"), [("yuv420p", "h264"), ("yuv420p10le", "hevc"), ("gbrp", "h264")])
def test_the_codec_follows_the_depth(tmp_path, pix_fmt, codec):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, seconds=0.2)
    passed_through(source, tmp_path / "out.mp4")
    assert f"Video: {codec}" in described(tmp_path / "out.mp4")
