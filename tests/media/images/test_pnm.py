"""PPM and PGM with more than 8 bits."""

import numpy as np
import pytest

from tests.support.images import SHAPES, ffmpeg_decode, info_of, noise, opened, written


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
