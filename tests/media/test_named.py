"""One file that is named by itself: its kind, or why it is none, in the same words for all commands."""

from __future__ import annotations

import os

import pytest

from dagan_cli.errors import NoInput
from dagan_cli.media.named import kind_of
from tests.support.tiny import picture


def test_the_content_decides_and_not_the_name(tmp_path):
    picture(tmp_path / "a.png").rename(tmp_path / "a.mp4")
    assert kind_of(tmp_path / "a.mp4") == "picture"
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W2 H2 F1:1\n")
    assert kind_of(tmp_path / "a.y4m") == "video"


@pytest.mark.parametrize("name", ["nope.png", "words.png", "words.txt", "pipe.png", "empty.png", "folder"])
def test_every_command_gives_the_same_reason_and_exit_code_for_what_is_neither(cli, tmp_path, name):
    """None advises FFmpeg, which repairs no text."""
    path, good = tmp_path / name, picture(tmp_path / "good.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "words.png").write_text("words")
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(NoInput) as caught:
        kind_of(path)
    error = f"error: {caught.value}\n  try: {caught.value.hint}\n"
    for command in (["probe", path], ["bench", path], ["verify", path, good], ["verify", good, path]):
        ran = cli(*command)
        assert (ran.code, ran.err[-len(error) :]) == (3, error)
    if name not in ("nope.png", "folder"):
        ran = cli("upscale", path, "-n", "nearest")
        assert ran.code == 3
        assert str(caught.value) in ran.err
