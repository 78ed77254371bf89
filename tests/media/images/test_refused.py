"""Files that are no images, damaged or too large are refused with advice."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from dagan_cli.errors import BadInput
from dagan_cli.media.images import (
    open_picture,
)
from dagan_cli.media.sniff import is_picture
from tests.support.images import (
    ffmpeg_tiff,
    info_of,
    noise,
    opened,
    photo,
    pillow,
    saved,
    written,
)


def test_what_is_not_a_picture_is_refused_in_two_parts(tmp_path):
    cases = {
        "missing.png": (None, "no such file"),
        "empty.png": (b"", "empty"),
        "text.png": (b"just some text, named like a picture", "not an image"),
        "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "cannot read"),
        "header.png": (saved(pillow(photo((9, 9, 3))), "PNG")[:20], "cannot read"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadInput, match=words) as failure:
            opened(path)
        assert name in str(failure.value)
        assert failure.value.hint


@pytest.mark.parametrize(
    ("name", "article"), [("a.ico", "an ICO"), ("a.pcx", "a PCX"), ("a.dds", "a DDS"), ("A.ICO", "an ICO")]
)
def test_an_image_of_a_format_that_is_not_read_is_named_as_such(tmp_path, name, article):
    Image.new("RGB", (16, 16)).save(tmp_path / name)
    with pytest.raises(BadInput, match=f"{name} is {article} file, which is not supported") as failure:
        opened(tmp_path / name)
    assert "convert it" in failure.value.hint
    assert is_picture(tmp_path / name)
    (tmp_path / name).write_bytes(b"text under that name")
    assert not is_picture(tmp_path / name)


@pytest.mark.parametrize(
    "format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "16-bit PNG", "LZW TIFF"]
)
def test_a_file_cut_short_is_refused_wherever_it_is_cut(format):
    array = noise(40, 40, 3)
    if format == "16-bit PNG":
        data = written([noise(40, 40, 3, dtype="u2")], info_of(noise(40, 40, 3, dtype="u2")), "png")
    elif format == "LZW TIFF":
        data = ffmpeg_tiff(noise(40, 40, 3, dtype="u2"), "lzw")
    else:
        data = saved(pillow(array), format)
    for part in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(BadInput):
            opened(data[: int(len(data) * part)])


@pytest.mark.slow
def test_damaged_bytes_raise_nothing_but_bad_input(capfd):
    rng = np.random.default_rng(1)
    deep = noise(12, 12, 4, dtype="u2")
    originals = [
        saved(pillow(photo((12, 12, 3))), name) for name in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
    ]
    originals += [written([deep], info_of(deep), name) for name in ("png", "tiff")]
    refused = 0
    for original in originals:
        for _ in range(60):
            data = np.frombuffer(original, np.uint8).copy()
            data[rng.integers(0, min(len(data), 200), 4)] = rng.integers(0, 256, 4)
            try:
                with open_picture(data.tobytes(), limit_pixels=1 << 20) as picture:
                    info, frames = picture.info, list(picture.frames)
            except BadInput:
                refused += 1
            else:
                assert all(frame.shape == (info.height, info.width, info.channels) for frame in frames)
    assert refused > 100
    assert "Warning" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("format", ["PNG", "16-bit PNG", "GIF", "TIFF", "16-bit TIFF", "PPM", "16-bit PPM"])
def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(format):
    array = noise(40, 50, 3, dtype="u2" if format.startswith("16") else "u1")
    data = written([array], info_of(array), format.split()[-1])
    with pytest.raises(BadInput, match="limit"), open_picture(data, limit_pixels=1999):
        pass
    with open_picture(data, limit_pixels=2000) as picture:
        assert next(iter(picture.frames)).shape == (40, 50, 3)


def test_a_camera_raw_file_is_refused_instead_of_its_preview():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, noise(8, 8, 3), photometric="rgb", extratags=[(50706, 1, 4, b"\1\4\0\0", True)])
    with pytest.raises(BadInput, match="camera raw"):
        opened(buffer.getvalue())
