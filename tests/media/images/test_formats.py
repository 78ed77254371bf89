"""Every format that is written comes back as its entry promises."""

from __future__ import annotations

import numpy as np
import pytest

from dagan_cli.media.images.formats import FORMATS
from dagan_cli.media.sniff import picture_format
from tests.support.images import info_of, opened, photo, written


@pytest.mark.parametrize("form", FORMATS, ids=[form.name for form in FORMATS])
def test_a_written_image_is_recognised_and_read_with_its_depth_and_channels(form, tmp_path):
    for depth in form.depths:
        for channels in (1, 3, 4) if form.alpha else (1, 3):
            small = photo((12, 16, channels))
            pixels = small if depth == 8 else small.astype("u2") * 257 if depth == 16 else small.astype("f4") / 255
            data = written([pixels], info_of(pixels), form.name.lower())
            assert picture_format(data[:512], f"x{form.suffixes[0]}") == form.name
            (tmp_path / f"x{form.suffixes[0]}").write_bytes(data)  # a TGA is recognised with the help of its name
            info, (back,) = opened(tmp_path / f"x{form.suffixes[0]}")
            is_grey = channels == 1 and form.grey and form.name != "GIF"  # whose palette is read as colours
            kept = 1 if is_grey else max(3, channels)
            assert (info.width, info.height, info.depth, back.shape[2]) == (16, 12, depth, kept)
            if form.lossless and form.name != "WEBP":  # which is lossless where it is asked for
                assert np.array_equal(back, np.broadcast_to(pixels, back.shape))
