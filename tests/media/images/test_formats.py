"""Every format that is written comes back as its entry promises."""

from __future__ import annotations

import numpy as np
import pytest

from dagan_cli.media.images.formats import FORMATS
from dagan_cli.media.sniff import picture_format
from tests.support.images import info_of, opened, photo, written


@pytest.mark.parametrize("form", FORMATS, ids=[form.name for form in FORMATS])
def test_a_written_image_is_recognised_and_read_with_its_depth_and_channels(form):
    for depth in form.depths:
        for channels in (1, 3, 4) if form.alpha else (1, 3):
            small = photo((12, 16, channels))
            pixels = small if depth == 8 else small.astype("u2") * 257 if depth == 16 else small.astype("f4") / 255
            data = written([pixels], info_of(pixels), form.name.lower())
            assert picture_format(data[:512], f"x{form.suffixes[0]}") == form.name
            info, (back,) = opened(data) if form.name != "TGA" else _named(data, form.suffixes[0])
            assert (info.width, info.height) == (16, 12)
            assert info.depth == depth
            assert back.shape[2] >= channels
            if form.lossless and form.name != "WEBP":
                assert np.array_equal(back[..., :channels], pixels) or channels == 1


def _named(data, suffix):
    """A TGA has no mark of its own at its start: its name is needed."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        path.write_bytes(data)
        return opened(path)
