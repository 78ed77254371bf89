"""Transparent video: read whole, kept where the container can, and told where it cannot; judged by another FFmpeg."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.source import open_video
from tests.media.video.test_deinterlace import hashes
from tests.support.clips import LOSSLESS, clip, described, ffmpeg, passed_through, pictures

pytestmark = pytest.mark.slow

FADING = "testsrc2=size=96x64:rate=25,format=yuva420p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='mod(X*2+N*9,256)'"
VP9 = ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "20", "-b:v", "0")
WITH_ALPHA = ("-c:v", "libvpx-vp9")  # the decoder that does not leave it out


def fading(path: Path, *options: str) -> Path:
    return clip(path, *(options or VP9), "-an", picture=FADING, seconds=0.4)


def alpha_of(path: Path, *decoder: str) -> np.ndarray:
    """(frames, 64, 96) uint8, as the other FFmpeg sees it."""
    raw = path.with_suffix(".alpha")
    ffmpeg(*decoder, "-i", path, "-vf", "alphaextract,format=gray", "-f", "rawvideo", raw)
    return np.fromfile(raw, np.uint8).reshape(-1, 64, 96)


@pytest.mark.parametrize(
    ("name", "options", "decoder"),
    [
        ("vp9.webm", VP9, WITH_ALPHA),
        ("vp9.mkv", VP9, WITH_ALPHA),
        (
            "vp8.webm",
            ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-b:v", "1M", "-auto-alt-ref", "0"),
            ("-c:v", "libvpx"),
        ),
        ("prores.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"), ()),
        ("ffv1.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuva422p10le"), ()),
    ],
)
def test_transparency_is_read_with_the_colours(tmp_path, name, options, decoder):
    source = fading(tmp_path / name, *options)
    with open_video(source) as video:
        assert video.info.layout.alpha
        frames = list(video.frames())
        assert hashes(frames) == pictures(source, decoder=decoder)
        assert video.warnings == ()
    assert frames[0].planes[3].min() < 10 < 150 < frames[0].planes[3].max()


@pytest.mark.parametrize(("codec", "pix_fmt"), [("png", "rgba"), ("qtrle", "argb")])
def test_transparency_of_rgb_is_read_too(tmp_path, codec, pix_fmt):
    source = fading(tmp_path / "in.mov", "-c:v", codec, "-pix_fmt", pix_fmt)
    with open_video(source) as video:
        as_stored = "format=gbrap,shuffleplanes=2:0:1:3"  # G, B, R, A to R, G, B, A
        assert hashes(video.frames()) == pictures(source, "-vf", as_stored)


def test_colours_of_a_transparent_video_keep_the_tags_that_only_the_container_says(tmp_path):
    tags = "setparams=range=tv:colorspace=bt709:color_primaries=bt2020:color_trc=smpte2084"
    source = clip(tmp_path / "in.webm", *VP9, "-an", "-vf", tags, picture=FADING, seconds=0.2)
    with open_video(source) as video:
        tags = video.info.layout.tags
        assert (tags.range, tags.matrix, tags.primaries, tags.transfer) == (1, 1, 9, 16)


def with_alpha_mode(path: Path, pictures_of: Path) -> Path:
    """The packets of a file in another one that says it holds transparency."""
    with av.open(str(path), "w") as out, av.open(str(pictures_of)) as source:
        stream = out.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuva420p"
        out.start_encoding()
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    with av.open(str(path)) as made:
        assert made.streams.video[0].metadata["alpha_mode"] == "1"
    return path


def test_a_video_that_only_says_it_is_transparent_is_read_as_it_is(tmp_path):
    opaque = clip(tmp_path / "opaque.webm", "-c:v", "libvpx-vp9", "-an", seconds=0.2)
    with open_video(with_alpha_mode(tmp_path / "in.webm", opaque)) as video:
        assert hashes(video.frames()) == pictures(opaque)
        assert video.warnings == ()


def test_transparency_that_cannot_be_read_is_told_and_the_colours_are_read(tmp_path):
    """libvpx here decodes 8 bits alone."""
    deep = clip(tmp_path / "deep.webm", "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p10le", "-an", seconds=0.2)
    with open_video(with_alpha_mode(tmp_path / "in.webm", deep)) as video:
        assert hashes(video.frames()) == pictures(deep)
        assert video.warnings == ("transparency is not read",)
        assert video.shortfall is None


@pytest.mark.parametrize(
    ("suffix", "description", "decoder", "tolerance"),
    [
        (".webm", "alpha_mode      : 1\n", WITH_ALPHA, 12),
        (".mov", "yuva444p12le", (), 1),
        (".mkv", "ffv1, yuva420p", (), 0),
    ],
)
def test_transparency_is_kept_where_the_container_can(tmp_path, suffix, description, decoder, tolerance):
    source, target = fading(tmp_path / "in.webm"), tmp_path / f"out{suffix}"
    assert passed_through(source, target, Encoding()) == ()
    assert description in described(target)
    before, after = alpha_of(source, *WITH_ALPHA).astype(int), alpha_of(target, *decoder).astype(int)
    assert before.shape == after.shape
    assert np.abs(before - after).max() <= tolerance


def test_a_lossless_copy_of_a_transparent_video_is_exact(tmp_path):
    source = fading(tmp_path / "in.webm")
    passed_through(source, tmp_path / "out.mkv", LOSSLESS)
    assert pictures(tmp_path / "out.mkv") == pictures(source, decoder=WITH_ALPHA)


@pytest.mark.parametrize("stored", ["rgba", "rgba64be"])
def test_rgb_with_transparency_is_exact_as_ffv1(tmp_path, stored):
    source = fading(tmp_path / "in.mov", "-c:v", "png", "-pix_fmt", stored)
    passed_through(source, tmp_path / "out.mkv", LOSSLESS)
    assert pictures(tmp_path / "out.mkv", "-pix_fmt", stored) == pictures(source, "-pix_fmt", stored)


@pytest.mark.parametrize(
    ("suffix", "encoding", "told"),
    [
        (".mp4", Encoding(), "transparency is not kept: .mp4 cannot hold it, .mov, .mkv and .webm can"),
        (".mkv", Encoding(codec="libx264"), "transparency is not kept: without --codec, ffv1 would keep it"),
        (".mov", Encoding(pix_fmt="yuv420p"), "transparency is not kept: without --pix-fmt, prores_ks would keep it"),
    ],
)
def test_transparency_that_is_not_kept_is_told(tmp_path, suffix, encoding, told):
    assert passed_through(fading(tmp_path / "in.webm"), tmp_path / f"out{suffix}", encoding) == (told,)
    assert "h264" in described(tmp_path / f"out{suffix}")
    assert "alpha_mode" not in described(tmp_path / f"out{suffix}").lower()
