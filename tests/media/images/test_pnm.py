"""PPM and PGM with more than 8 bits, and PFM."""

import numpy as np
import pytest

from dagan_cli.errors import BadInput
from tests.support.images import SHAPES, ffmpeg_decode, info_of, noise, opened, written
from tests.support.tiny import ffmpeg


def test_16_bit_ppm_and_pgm_are_stretched_to_the_full_range():
    samples = np.array([[0, 1, 512, 1023]])
    for head, channels in ((b"P5", 1), (b"P6", 3)):
        array = samples.repeat(channels, axis=1).reshape(1, 4, channels)
        info, (frame,) = opened(head + b" # a comment\n4 1\n1023\n" + array.astype(">u2").tobytes())
        assert (info.format, info.depth, info.channels) == ("PPM", 16, channels)
        np.testing.assert_array_equal(frame, np.rint(array * (65535 / 1023)))
    _, (plain,) = opened(b"P2 4 1 1023 0 1 512 1023")
    np.testing.assert_array_equal(plain[..., 0], np.rint(samples * (65535 / 1023)))


@pytest.mark.parametrize("kind", ["grey", "RGB"])
def test_a_16_bit_ppm_is_read_by_ffmpeg(kind):
    array = noise(*SHAPES[kind], dtype="u2")
    data = written([array], info_of(array), "ppm")
    np.testing.assert_array_equal(ffmpeg_decode(data, "gray16le" if kind == "grey" else "rgb48le", array.shape), array)
    np.testing.assert_array_equal(opened(data)[1][0], array)


def pfm(array: np.ndarray, order: str, scale: float = 1, gap: bytes = b"\n") -> bytes:
    """By its definition: rows from the bottom up, the sign of the scale is the byte order."""
    height, width, channels = array.shape
    sign = -1 if order == "<" else 1
    header = b"P%c" % (b"F" if channels == 3 else b"f")
    header += gap + b"%d %d" % (width, height) + gap + str(sign * scale).encode() + b"\n"
    return header + array[::-1].astype(f"{order}f4").tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pfm_is_read_upright_in_either_byte_order(order, channels):
    array = np.linspace(-1, 300, 15 * channels, dtype="f4").reshape(5, 3, channels)
    for gap in (b"\n", b"\r\n", b" "):
        info, (frame,) = opened(pfm(array, order, gap=gap))
        assert (info.format, info.depth, info.channels) == ("PPM", 32, channels)
        np.testing.assert_array_equal(frame, array)
    np.testing.assert_array_equal(opened(pfm(array, order, scale=2.5))[1][0], array / np.float32(2.5))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 0.25])
def test_a_pfm_is_read_as_ffmpeg_reads_it(tmp_path, scale):
    array = np.linspace(0, 1, 90, dtype="f4").reshape(5, 6, 3)
    (tmp_path / "a.pfm").write_bytes(pfm(array, "<", scale))
    ffmpeg("-i", tmp_path / "a.pfm", "-f", "rawvideo", "-pix_fmt", "gbrpf32le", tmp_path / "a.raw")
    planes = np.fromfile(tmp_path / "a.raw", "<f4").reshape(3, 5, 6)
    np.testing.assert_array_equal(opened(tmp_path / "a.pfm")[1][0], planes[[2, 0, 1]].transpose(1, 2, 0))


@pytest.mark.slow
def test_a_pfm_by_ffmpeg_is_read(tmp_path):
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=32x24:rate=1:duration=1,format=gbrpf32le",
        "-frames:v",
        "1",
        tmp_path / "a.pfm",
    )
    ffmpeg("-i", tmp_path / "a.pfm", "-f", "rawvideo", "-pix_fmt", "gbrpf32le", tmp_path / "a.raw")
    planes = np.fromfile(tmp_path / "a.raw", "<f4").reshape(3, 24, 32)
    np.testing.assert_array_equal(opened(tmp_path / "a.pfm")[1][0], planes[[2, 0, 1]].transpose(1, 2, 0))


@pytest.mark.parametrize("scale", [b"0", b"-0.0", b"1e999", b"x"])
def test_a_pfm_without_a_scale_or_samples_is_refused(scale):
    with pytest.raises(BadInput):
        opened(b"PF\n2 2\n" + scale + b"\n" + bytes(48))
    with pytest.raises(BadInput):
        opened(b"PF\n2 2\n-1.0\n" + bytes(47))
    with pytest.raises(BadInput, match="limit"):
        opened(b"PF\n99999 99999\n-1.0\n" + bytes(47))
