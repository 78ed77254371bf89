"""Every odd image of the corpus is read completely and written back, or refused."""

from pathlib import Path

import numpy as np
import pytest

from dagan_cli.errors import BadInput
from dagan_cli.media.images import (
    is_picture,
    output_suffix,
    plan_output,
    write_picture,
)
from tests.support.images import DATA, opened

ODD = {  # what reading must find: channels, depth, frames; None is refused
    "16bit.cropped.tif": (1, 16, 1),
    "basi0g16.png": (1, 16, 1),
    "basn2c16.png": (3, 16, 1),
    "basn4a16.png": (2, 16, 1),
    "basn6a16.png": (4, 16, 1),
    "broken_data_stream.png": None,
    "decompression_bomb.gif": None,
    "derived_rommel_truncated.jpg": None,
    "dispose_bgnd.gif": (3, 8, 5),
    "hopper_16bit.pgm": (1, 16, 1),
    "i_trns.png": (2, 16, 1),
    "iss634.webp": (3, 8, 42),
    "la.tga": (2, 8, 1),
    "mode_16bit.png": (4, 8, 2),
    "pil_sample_cmyk.jpg": (3, 8, 1),
    "png_decompression_dos.png": None,
    "rgb32bf-rgba.bmp": (4, 8, 1),
    "sugarshack.mpo": (3, 8, 1),
    "truncated_image.png": None,
    "truncated_jpeg.jpg": None,
    "xs1n0g01.png": None,
}


@pytest.mark.corpus
@pytest.mark.skipif(DATA is None, reason="DAGAN_TEST_DATA names no folder of real files")
def test_every_odd_picture_is_read_whole_and_written_back_or_refused(tmp_path, capfd):
    for path in sorted(Path(DATA or "", "odd-images").iterdir()):
        if ODD.get(path.name, ()) is None:
            with pytest.raises(BadInput):
                opened(path)
            continue
        info, frames = opened(path)
        assert is_picture(path)
        assert ODD.get(path.name, (info.channels, info.depth, info.frames)) == (info.channels, info.depth, len(frames))
        target = tmp_path / f"{path.stem}_x1{output_suffix(info, kept=path.suffix)}"
        write_picture(target, plan_output(info, target, (info.width, info.height)), frames)
        again, copies = opened(target)
        kept = ("channels", "depth", "frames", "durations", "plays", "icc", "xmp", "iptc")
        assert [getattr(again, name) for name in kept] == [getattr(info, name) for name in kept], path.name
        if again.lossless:
            assert all(np.array_equal(a, b) for a, b in zip(frames, copies, strict=True)), path.name
    assert not capfd.readouterr().err
