"""Images in the protocols of terminals, decoded again by small decoders of their specifications."""

from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dagan_cli.commands.shown.inline import drawn
from dagan_cli.commands.shown.strip import row_of
from dagan_cli.preview.places import Box
from dagan_cli.preview.result import Spot
from tests.support.tiny import noise


def from_kitty(data: bytes) -> np.ndarray:
    """Join the chunks of kitty's protocol and decode the PNG."""
    commands = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", data)
    assert b"".join(b"\x1b_G%s;%s\x1b\\" % command for command in commands) == data
    keys = [dict(pair.split(b"=") for pair in control.split(b",")) for control, _ in commands]
    assert keys[0][b"a"] == b"T"  # transmit and display
    assert keys[0][b"f"] == b"100"  # PNG
    assert all(set(one) <= {b"m", b"q"} for one in keys[1:])
    assert [one[b"m"] for one in keys] == [b"1"] * (len(keys) - 1) + [b"0"]
    assert all(one[b"q"] == b"2" for one in keys)  # no answers
    assert all(len(text) <= 4096 for _, text in commands)
    assert all(len(text) % 4 == 0 for _, text in commands)
    return _png(b"".join(b64decode(text, validate=True) for _, text in commands))


def from_iterm2(data: bytes) -> np.ndarray:
    found = re.fullmatch(rb"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", data)
    assert found
    facts = dict(pair.split(b"=") for pair in found[1].split(b";"))
    png = b64decode(found[2], validate=True)
    assert facts[b"inline"] == b"1"
    assert int(facts[b"size"]) == len(png)
    pixels = _png(png)
    assert (facts[b"width"], facts[b"height"]) == (b"%dpx" % pixels.shape[1], b"%dpx" % pixels.shape[0])
    return pixels


def _png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)))


def from_sixel(data: bytes) -> np.ndarray:
    """Decode sixels as the VT340's manual says: colours of percents, repeats, carriage returns and new lines."""
    found = re.fullmatch(rb'\x1bP[\d;]*q"1;1;(\d+);(\d+)(.*)\x1b\\', data, re.DOTALL)
    assert found
    width, height = int(found[1]), int(found[2])
    pixels = np.full((-(-height // 6) * 6, width, 3), -1)
    palette: dict[int, tuple[int, ...]] = {}
    colour, x, y, count = (0, 0, 0), 0, 0, 1
    for token in re.finditer(rb"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)|([?-~])|([$])|(-)", found[3]):
        if token[1]:
            if token[2]:
                palette[int(token[1])] = tuple(round(int(token[i]) * 255 / 100) for i in (2, 3, 4))
            colour = palette[int(token[1])]
        elif token[5]:
            count = int(token[5])
        elif token[6]:
            bits = token[6][0] - 63
            for row in range(6):
                if bits >> row & 1:
                    pixels[y + row, x : x + count] = colour
            x, count = x + count, 1
            assert x <= width
        else:
            x = 0
            y += 6 if token[8] else 0
    assert b"".join(t[0] for t in re.finditer(rb"#[\d;]+|!\d+|[?-~$-]", found[3])) == found[3]
    assert (pixels[height:] == -1).all()
    return pixels[:height]


def gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (120, 200)])
def test_kitty_and_iterm2_show_exactly_the_pixels(size):
    pixels = noise(*size, 3)
    np.testing.assert_array_equal(from_kitty(drawn(pixels, "kitty")), pixels)
    np.testing.assert_array_equal(from_iterm2(drawn(pixels, "iterm2")), pixels)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (6, 7), (13, 40), (60, 300)])
def test_sixel_shows_few_colours_exactly(size):
    """Colours that are whole percents, and fewer than the palette has."""
    levels = np.random.default_rng(1).integers(0, 6, (*size, 3)) * 51
    few = np.where(np.random.default_rng(2).random((*size, 1)) < 0.7, levels[0, 0], levels // 102 * 102)
    np.testing.assert_array_equal(from_sixel(drawn(few.astype(np.uint8), "sixel")), few)


def test_sixel_shows_many_colours_within_the_error_of_its_palette():
    pixels = gradient(90, 130)
    best = Image.fromarray(pixels).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    shown, expected = from_sixel(drawn(pixels, "sixel")), np.asarray(best.convert("RGB")).astype(int)
    assert np.abs(shown - expected).max() <= 2  # percents are steps of 2.55
    assert np.abs(shown - pixels).mean() < 10


def test_sixel_compresses_runs():
    assert len(drawn(np.full((60, 900, 3), 51, np.uint8), "sixel")) < 200


def test_a_row_fits_the_terminal_and_shows_the_middle_of_each_image():
    images = [[noise(40, 300, 3, seed=seed)] * 3 for seed in range(3)]
    spot = Spot(why="", box=Box(0, 0, 1, 1), time=None, rate=0.0, images=images)
    row = row_of(spot, 400)
    assert row.shape == (40, 3 * 130 + 8, 3)
    np.testing.assert_array_equal(row[:, :130], images[0][0][:, 85:215])
    np.testing.assert_array_equal(row[:, -130:], images[2][0][:, 85:215])
    assert row_of(spot, 5000).shape == (40, 908, 3)
