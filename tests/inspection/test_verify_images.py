"""`dagan verify` of images: gaps in float samples, sizes that one factor rounds to, damage that is noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dagan_cli.inspection.checks import Check
from dagan_cli.inspection.verify import verify
from tests.support.tiny import noise


def rows(source: Path, output: Path) -> dict[str, Check]:
    return {row.what: row for row in verify(source, output).checks}


@pytest.mark.filterwarnings("error")
def test_gaps_of_a_float_image_are_compared_by_their_place(tmp_path):
    samples = noise(32, 40, 1, dtype="u2")[..., 0] / np.float32(65535)
    samples[3, 3], samples[20:, 30:] = np.inf, np.nan
    larger = samples.repeat(2, axis=0).repeat(2, axis=1)
    for name, array in (("in", samples), ("good", larger), ("bad", np.full_like(larger, np.nan))):
        tifffile.imwrite(tmp_path / f"{name}.tif", array)
    assert rows(tmp_path / "in.tif", tmp_path / "good.tif")["pictures"].result == "ok"
    assert rows(tmp_path / "in.tif", tmp_path / "bad.tif")["pictures"].result == "differs"


@pytest.mark.parametrize(
    ("size", "shown"), [((80, 60), "x2"), ((79, 60), "x1.985"), ((78, 60), None), ((2, 1), "x0.05")]
)
def test_the_factor_is_one_that_rounds_both_sides_to_their_size(tmp_path, size, shown):
    """1.985 makes 79x60 of 40x30, and 2 does not."""
    image = Image.new("L", (40, 30))
    image.save(tmp_path / "in.png")
    image.resize(size).save(tmp_path / "out.png")
    row = rows(tmp_path / "in.png", tmp_path / "out.png")["size"]
    assert row.failed if shown is None else row.found == f"{size[0]}x{size[1]}, {shown}"


def test_damage_to_the_output_that_changes_no_pixel_is_noted(tmp_path):
    Image.new("L", (40, 30)).save(tmp_path / "in.png")
    info = PngInfo()
    info.add_itxt("Comment", "a record")
    Image.new("L", (80, 60)).save(tmp_path / "out.png", pnginfo=info)
    data = bytearray((tmp_path / "out.png").read_bytes())
    data[data.index(b"a record")] ^= 1
    (tmp_path / "out.png").write_bytes(data)
    row = rows(tmp_path / "in.png", tmp_path / "out.png")["the output"]
    assert (row.result, row.remark) == ("note", "its iTXt chunk has a wrong checksum and was left out")
