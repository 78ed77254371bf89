"""The gallery: each picture is shown, has its licence and its source, and all of them stay small."""

from __future__ import annotations

import re

from PIL import Image

from tests.support.documentation import ROOT

FOLDER = ROOT / "docs" / "gallery"
PICTURES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".webp", ".png"))


def test_each_picture_is_shown_and_has_its_licence():
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (FOLDER / "README.md").read_text())
    licences = (FOLDER / "LICENSE.md").read_text()
    assert sorted(shown) == [path.name for path in PICTURES]
    assert all(f"`{path.name}`" in licences for path in PICTURES)
    assert "CC BY-SA 4.0" in licences


def test_the_gallery_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 3_000_000
    for path in PICTURES:
        with Image.open(path) as picture:
            assert picture.width <= 3 * 400, path


def test_the_script_names_no_place_of_one_machine():
    for script in (FOLDER / "make.py", ROOT / "docs" / "terminal" / "record.py"):
        assert not re.search(r"/(home|work|tmp|root|mnt)/", script.read_text())
