"""Frames with side data that PyAV has no name for are read, and what it has names for is still found."""

from __future__ import annotations

import pytest
from av.sidedata.sidedata import Type
from PIL import Image

from dagan_cli.media.container import open_input
from dagan_cli.media.side_data import side_data
from tests.conftest import Cli
from tests.support.images import noise, pillow, saved
from tests.support.tiny import ffmpeg


@pytest.mark.slow
def test_motion_jpeg_with_exif_as_cameras_write_it_is_read(cli: Cli, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Ace"
    (tmp_path / "in.mjpeg").write_bytes(saved(pillow(noise(32, 48, 3)), "JPEG", exif=exif.tobytes()) * 5)
    ffmpeg("-f", "mjpeg", "-i", tmp_path / "in.mjpeg", "-c", "copy", tmp_path / "in.avi")
    with open_input(tmp_path / "in.avi") as container:
        kinds = [each.type for frame in container.decode(video=0) for each in side_data(frame)]
    assert len(kinds) == 5  # of EXIF data
    for verb in (["probe"], ["upscale", "-s", 2, "-n", "nearest", "-o", tmp_path / "out.mkv"]):
        ran = cli(verb[0], tmp_path / "in.avi", *verb[1:])
        assert ran.code == 0, ran.err


def test_kinds_with_names_are_what_they_were():
    assert Type(int(Type.A53_CC.value)) is Type.A53_CC
    assert Type(4711).name == "UNNAMED_4711"
