"""A folder as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

MKV = b"\x1aE\xdf\xa3" + bytes(60)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: pictures and a video, some below, some under false names, and what is neither."""
    picture = Image.new("RGB", (4, 4))
    for name in ("b.png", "a.jpg", "sub/c.gif", "sub/deep/d.webp", "sub/e.PNG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / name)
    (tmp_path / "film.mkv").write_bytes(MKV)
    (tmp_path / "picture.txt").write_bytes((tmp_path / "b.png").read_bytes())
    (tmp_path / "false.png").write_text("not a picture at all")
    (tmp_path / "notes.md").write_text("# notes")
    (tmp_path / ".hidden.png").write_bytes((tmp_path / "b.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path
