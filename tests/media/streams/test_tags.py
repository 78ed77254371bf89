"""Titles, languages and other words: what of them comes into each container, and that the rest is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from dagan_cli.media.streams.tags import kept_metadata, later_timecode
from tests.support.clips import clip, copied_to, described, passed_through

NTSC = Fraction(30000, 1001)


def counted(fps: int, skipped: int) -> Iterator[str]:
    """Timecodes as a clock with wheels shows them."""
    hour = minute = second = frame = 0
    while True:
        yield f"{hour:02}:{minute:02}:{second:02}{';' if skipped else ':'}{frame:02}"
        frame += 1
        if frame == fps:
            second, frame = second + 1, 0
        if second == 60:
            minute, second = minute + 1, 0
            frame = skipped if minute % 10 else 0
        if minute == 60:
            hour, minute = hour + 1, 0


def through(source: Path, suffix: str) -> tuple[Path, str]:
    """A copy of the clip in that container, and all warnings as one text."""
    target, warnings = copied_to(source, suffix)
    return target, "\n".join(warnings)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "skipped"), [(Fraction(25), 0), (NTSC, 2), (2 * NTSC, 4), (NTSC, 0)])
def test_a_timecode_goes_on_frame_by_frame(rate, skipped):
    expected = list(islice(counted(round(rate), skipped), 40_000))
    assert [later_timecode(expected[0], number / rate, rate) for number in range(40_000)] == expected
    assert [later_timecode(expected[20_000], number / rate, rate) for number in range(20_000)] == expected[20_000:]


def test_a_timecode_begins_again_after_a_day_and_other_words_stay():
    assert later_timecode("23:59:59:24", Fraction(1, 25), Fraction(25)) == "00:00:00:00"
    assert later_timecode("at noon", Fraction(1), Fraction(25)) == "at noon"


def test_what_described_the_old_files_bytes_is_left_out():
    tags = {"major_brand": "isom", "ENCODER": "x", "BPS-eng": "1", "_STATISTICS_TAGS": "BPS", "artist": "A"}
    assert kept_metadata(tags) == {"artist": "A"}
    assert kept_metadata({"timecode": "late", "artist": "A"}, "mp4") == {"artist": "A"}  # no track can be made of it


def labelled(folder: Path, *options: str, sound: str = "aac") -> Path:
    return clip(folder / "in.mkv", "-c:v", "libx264", "-c:a", sound, *options, seconds=0.4)


def language_of_sound(path: Path) -> str:
    found = re.search(r"#0:\d(?:\[\w+\])?\((\w+)\): Audio", described(path))
    return found[1] if found else ""


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "sound"), [(".mp4", "aac"), (".mov", "aac"), (".mkv", "aac"), (".webm", "libopus")])
def test_a_title_of_a_stream_comes_through_and_back(tmp_path, suffix, sound):
    target, _ = through(labelled(tmp_path, "-metadata:s:a", "title=Director", sound=sound), suffix)
    assert "Director" in described(target)
    passed_through(target, tmp_path / "back.mkv")
    with av.open(str(tmp_path / "back.mkv")) as back:
        assert back.streams.audio[0].metadata["title"] == "Director"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "language", "found"),
    [
        (".mp4", "swe", "swe"),
        (".mkv", "swe", "swe"),
        (".mov", "fra", "fra"),
        (".mov", "deu", "ger"),
        (".mov", "zho", "chi"),
    ],
)
def test_a_language_comes_through(tmp_path, suffix, language, found):
    target, warnings = through(labelled(tmp_path, "-metadata:s:a", f"language={language}"), suffix)
    assert language_of_sound(target) == found
    assert "language" not in warnings


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "language"), [(".mov", "hrv"), (".mp4", "pt-BR")])
def test_a_language_that_the_container_has_no_word_for_is_named(tmp_path, suffix, language):
    target, warnings = through(labelled(tmp_path, "-metadata:s:a", f"language={language}"), suffix)
    assert language_of_sound(target) in ("", "und")
    assert warnings == f"stream 1 (audio aac, {language}) loses its language {language}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "mark", "kept"),
    [
        (".mkv", "forced", True),
        (".mkv", "hearing_impaired", True),
        (".mp4", "forced", True),
        (".mp4", "comment", True),
        (".mp4", "original", False),
        (".mov", "forced", False),
        (".mov", "visual_impaired", False),
        (".webm", "forced", True),
        (".webm", "comment", False),
    ],
)
def test_a_mark_of_a_stream_comes_through_or_is_named(tmp_path, suffix, mark, kept):
    target, warnings = through(
        labelled(tmp_path, "-disposition:a", mark, sound="libopus" if suffix == ".webm" else "aac"), suffix
    )
    with av.open(str(target)) as out:
        assert bool(out.streams.audio[0].disposition & Disposition[mark]) == kept
    assert ("no longer marked as " + mark.replace("_", " ") in warnings) != kept


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "kept", "lost"),
    [
        (".mkv", ["title", "artist", "show", "make", "DIRECTOR"], []),
        (".mp4", ["title", "artist", "show"], ["make", "DIRECTOR"]),
        (".mov", ["title", "artist", "make"], ["show", "DIRECTOR"]),
    ],
)
def test_tags_of_the_file_come_through_or_are_named(tmp_path, suffix, kept, lost):
    words = [part for tag in (*kept, *lost) for part in ("-metadata", f"{tag}=of {tag.lower()}")]
    target, warnings = through(labelled(tmp_path, *words), suffix)
    text = described(target)
    assert all(f"of {tag.lower()}" in text for tag in kept)
    assert not any(f"of {tag.lower()}" in text for tag in lost)
    named = re.findall(r"tags are not kept: (.*?);", warnings)
    assert sorted(named[0].lower().split(", ") if named else []) == sorted(map(str.lower, lost))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_the_tags_that_phones_write_all_come_through(tmp_path, suffix):
    tags = {"com.apple.quicktime.creationdate": "2013-11-29T13:19:09+0100", "title": "Holidays", "show": "Ours"}
    words = [part for tag, value in tags.items() for part in ("-metadata", f"{tag}={value}")]
    source = clip(
        tmp_path / "in.mov", "-c:v", "libx264", "-c:a", "aac", "-movflags", "use_metadata_tags", *words, seconds=0.4
    )
    target, warnings = through(source, suffix)
    text = described(target).lower()
    assert all(f"{tag}" in text and value.lower() in text for tag, value in tags.items())
    assert warnings == ""


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "begin"), [(".mov", "01:02:03:04"), (".mp4", "01:00:00;02")])
def test_a_timecode_is_kept_and_goes_on_in_a_part(tmp_path, suffix, begin):
    rate = "30000/1001" if ";" in begin else "25"
    source = clip(tmp_path / f"in{suffix}", "-timecode", begin, picture=f"testsrc2=size=96x64:rate={rate}", seconds=2)
    for target, part, expected in (
        (tmp_path / f"all{suffix}", {}, begin),
        (
            tmp_path / f"part{suffix}",
            {"trim": True, "start": 0.99},
            begin.replace(":03:04", ":04:04").replace("00;02", "01;02"),
        ),
    ):
        assert passed_through(source, target, **part) == ()
        text = described(target)
        assert re.findall(r"timecode +: (\S+)", text) == [expected, expected]  # of the picture, and of its track
        assert "tmcd" in text
    assert passed_through(source, tmp_path / "out.mkv") == (
        f"stream 2 (data unknown, eng) becomes the tag timecode={begin}",
    )
    assert re.search(r"TIMECODE +: " + begin, described(tmp_path / "out.mkv"))
