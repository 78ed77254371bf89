"""Sound, subtitles, chapters and the rest beside the pictures, judged by another FFmpeg."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import pytest
from av.stream import Disposition

from dagan_cli.media.streams.copied import chapters_within
from dagan_cli.media.video.mux import default_suffix, foreseen_losses
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.source import open_video
from tests.support.clips import (
    FAST,
    clip,
    clip_with_times,
    copied_to,
    described,
    ffmpeg,
    passed_through,
    payload,
    times,
)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_starts_late_starts_late(tmp_path, suffix):
    tone = clip(tmp_path / "tone.mp4", "-c:a", "aac", "-vn")
    late = clip_with_times(tmp_path / "late.mp4", [0, 40, 80])
    source = tmp_path / f"in{suffix}"
    ffmpeg("-i", tone, "-itsoffset", "0.226", "-i", late, "-map", "0", "-map", "1", "-c", "copy", source)
    passed_through(source, tmp_path / f"out{suffix}")
    assert times(tmp_path / f"out{suffix}") == times(source)
    assert times(source)[0] > Fraction(2, 10)
    assert payload(tmp_path / f"out{suffix}", "a") == payload(source, "a")


@pytest.mark.slow
def test_sound_that_begins_before_zero_does_not_shift_the_picture_in_another_container(tmp_path):
    source = clip(tmp_path / "in.mp4")
    passed_through(source, tmp_path / "out.mkv")
    assert times(tmp_path / "out.mkv") == [Fraction(i, 25) for i in range(25)]


@pytest.mark.slow
def test_sound_hidden_before_zero_stays_hidden_in_another_container(tmp_path):
    plain = clip(tmp_path / "plain.mp4")
    source = tmp_path / "in.mp4"
    ffmpeg("-i", plain, "-itsoffset", "-0.5", "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy", source)
    passed_through(source, tmp_path / "out.mkv")
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        begins = [next(iter(file.demux(audio=0))) for file in (before, after)]
    assert [round(float((packet.pts or 0) * packet.time_base), 1) for packet in begins] == [-0.5, 0]
    assert times(tmp_path / "out.mkv") == times(source)


@pytest.mark.slow
def test_sound_and_picture_are_interleaved(tmp_path):
    """Over more than the ten seconds for which a muxer waits for the slower stream."""
    source = clip(tmp_path / "in.mp4", seconds=30, picture="testsrc2=size=32x32:rate=10")
    passed_through(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as out:
        packets = [(packet.stream.type, float((packet.pts or 0) * packet.time_base)) for packet in out.demux()]
    latest, apart = {"audio": 0.0, "video": 0.0}, 0.0
    for kind, time in packets[:-2]:
        latest[kind] = max(time, latest[kind])
        apart = max(apart, abs(latest["audio"] - latest["video"]))
    assert apart < 1


# --- the other streams


@pytest.mark.slow
def test_every_sound_track_is_copied_in_order_with_its_language_and_title(tmp_path):
    one = clip(tmp_path / "one.mkv")
    source = tmp_path / "in.mkv"
    tracks = ("-map", "0:a", "-map", "0:v", "-map", "0:a", "-c:v", "copy", "-c:a:0", "copy", "-c:a:1", "flac")
    names = (
        "-metadata:s:a:0",
        "language=fra",
        "-metadata:s:a:1",
        "title=Director",
        "-metadata:s:v",
        "title=Picture",
        "-disposition:a:1",
        "comment",
    )
    ffmpeg("-i", one, *tracks, *names, "-metadata", "title=A film", source)
    passed_through(source, tmp_path / "out.mkv")
    assert payload(tmp_path / "out.mkv", "a") == payload(source, "a")
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert [stream.type for stream in out.streams] == ["audio", "video", "audio"]
        assert out.streams[0].language == "fra"
        assert out.streams[1].metadata["title"] == "Picture"
        assert out.streams[2].metadata["title"] == "Director"
        assert out.streams[2].disposition & Disposition.comment
        assert out.metadata["title"] == "A film"


WORDS = """1
00:00:00,100 --> 00:00:00,600
Hello <i>there</i>, {dear} & 1 < 2

2
00:00:00,500 --> 00:00:00,900
Über zwei
Zeilen

3
00:00:00,900 --> 00:00:00,960
end
"""
CHAPTERS = "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
    for start, end, title in ((0, 300, "One"), (300, 700, "Two"), (700, 1000, "Three"))
)


def subtitled(folder: Path, suffix: str, codec: str, words: str = WORDS) -> Path:
    """A clip with subtitles and chapters."""
    (folder / "in.srt").write_text(words)
    (folder / "chapters.txt").write_text(f";FFMETADATA1\n{CHAPTERS}")
    source = folder / f"in{suffix}"
    plain = clip(folder / "plain.mkv", "-c:v", "libx264", "-c:a", "libopus", "-bf", "0")
    inputs = ("-i", plain, "-i", folder / "in.srt", "-i", folder / "chapters.txt")
    ffmpeg(
        *inputs,
        "-map",
        "0",
        "-map",
        "1",
        "-map_metadata",
        "2",
        "-metadata:s:s",
        "language=deu",
        *ENCODED[suffix],
        *("-c:s", codec),
        source,
    )
    return source


ENCODED = {
    ".mkv": ("-c", "copy"),
    ".mp4": ("-c", "copy"),
    ".mov": ("-c:v", "copy", "-c:a", "aac"),
    ".webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "copy"),
}


def cues(path: Path) -> list[tuple[Fraction, Fraction, bytes]]:
    """Start, duration and content of each subtitle but the empty ones that mp4 files have between them."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(subtitles=0) if bytes(packet).strip(b"\0")]
        return [((p.pts or 0) * p.time_base, (p.duration or 0) * p.time_base, bytes(p)) for p in packets]


def read(path: Path, stream: str = "s:0") -> list[tuple[str, str]]:
    """Times and text of each subtitle as the other FFmpeg reads it."""
    text = ffmpeg("-copyts", "-i", path, "-map", f"0:{stream}", "-f", "srt", "-")
    blocks = re.findall(r"(\d\d:\S+ --> \S+)\n(.*?)\n\n", text + "\n", re.DOTALL)
    return [(times, re.sub(r"</?font[^>]*>|\\u2060", "", words)) for times, words in blocks]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mkv", "srt"), (".mkv", "ass"), (".mkv", "webvtt"), (".mp4", "mov_text"), (".webm", "webvtt")],
)
def test_subtitles_and_chapters_are_copied_where_the_container_takes_them(tmp_path, suffix, codec):
    source = subtitled(tmp_path, suffix, codec)
    target, warnings = copied_to(source, suffix)
    assert cues(target) == cues(source) != []
    assert "(deu): Subtitle" in described(target)
    assert chapters(target) == [
        ("0.000000", "0.300000", "One"),
        ("0.300000", "0.700000", "Two"),
        ("0.700000", "1.000000", "Three"),
    ]
    assert warnings == ()


def chapters(path: Path) -> list[tuple[str, ...]]:
    return re.findall(r"Chapter #.*?start ([\d.]+), end ([\d.]+)\s+Metadata:\s+title\s+: (.*)", described(path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "codec", "after", "found"),
    [
        (".mkv", "srt", ".mp4", "mov_text"),
        (".mkv", "srt", ".mov", "mov_text"),
        (".mkv", "srt", ".webm", "webvtt"),
        (".mkv", "ass", ".mp4", "mov_text"),
        (".mkv", "ass", ".webm", "webvtt"),
        (".mkv", "webvtt", ".mp4", "mov_text"),
        (".mp4", "mov_text", ".mkv", "subrip"),
        (".mp4", "mov_text", ".webm", "webvtt"),
        (".webm", "webvtt", ".mp4", "mov_text"),
    ],
)
def test_subtitles_are_rewritten_for_the_container(tmp_path, before, codec, after, found):
    """Judged by what another FFmpeg reads: the same words in italics at the same times, one after the other in mp4."""
    one, both, two = (
        "Hello <i>there</i>, & 1 < 2",
        "Hello <i>there</i>, & 1 < 2\nÜber zwei\nZeilen",
        "Über zwei\nZeilen",
    )
    source = subtitled(tmp_path, before, codec, WORDS.replace("{dear} ", ""))
    target, warnings = copied_to(source, after)
    stream = re.search(r"Stream #0:\d(?:\[\w+\])?(\(\w+\))?: Subtitle: (\w+)", described(target))
    assert stream is not None
    assert stream[2] == found
    assert stream[1] == ("(ger)" if after == ".mov" else "(deu)")
    said = f"stream 2 (subtitle {codec.replace('srt', 'subrip')}, deu) becomes {found}: "
    assert [warning for warning in warnings if "subtitle" in warning] == [
        said + "only bold, italic and underline styling is kept"
    ]
    in_turn = [("100", "500", one), ("500", "600", both), ("600", "900", two), ("900", "960", "end")]
    overlapping = [("100", "600", one), ("500", "900", two), ("900", "960", "end")]
    cut = [
        ("100", "500", one),
        ("500", "900", two),
        ("900", "960", "end"),
    ]  # already by the FFmpeg that made the source
    expected = cut if before == ".mp4" else in_turn if after in (".mp4", ".mov") else overlapping
    assert read(target) == [(f"00:00:00,{start} --> 00:00:00,{end}", words) for start, end, words in expected]


# --- pictures, fonts and data


def covered(folder: Path, suffix: str) -> Path:
    """A clip with two cover pictures, a font and a text."""
    for name in ("cover.png", "back.jpg"):
        ffmpeg("-f", "lavfi", "-i", "testsrc=size=40x30", "-frames:v", "1", folder / name)
    (folder / "font.ttf").write_bytes(b"\0\1\0\0" * 9)
    (folder / "notes.txt").write_text("notes")
    source = folder / f"in{suffix}"
    plain = clip(folder / "plain.mp4", seconds=0.4)
    if suffix == ".mkv":
        types = {"cover.png": "image/png", "back.jpg": "image/jpeg", "font.ttf": "font/ttf", "notes.txt": "text/plain"}
        files = [part for name in types for part in ("-attach", folder / name)]
        kinds = [part for i, kind in enumerate(types.values()) for part in (f"-metadata:s:t:{i}", f"mimetype={kind}")]
        ffmpeg("-i", plain, "-c", "copy", *files, *kinds, source)
    else:
        pictures = ("-i", folder / "cover.png", "-i", folder / "back.jpg", "-map", "0", "-map", "1", "-map", "2")
        ffmpeg(
            *("-i", plain, *pictures, "-c", "copy"),
            *("-disposition:v:1", "attached_pic", "-disposition:v:2", "attached_pic", source),
        )
    return source


def attachments(path: Path) -> dict[str, tuple[str, bytes]]:
    """Name, type and content of each attached file, by another FFmpeg."""
    found = {}
    for number, (name, kind) in enumerate(re.findall(r"filename +: (\S+)\s+mimetype +: (\S+)", described(path))):
        image = kind.startswith("image/")
        index = re.findall(r"Stream #0:(\d+)", described(path))[number + 2]
        file = path.with_suffix(f".{number}")
        if image:
            ffmpeg("-i", path, "-map", f"0:{index}", "-c", "copy", "-f", "data", file)
        else:
            command = [
                imageio_ffmpeg.get_ffmpeg_exe(),
                "-v",
                "quiet",
                "-y",
                f"-dump_attachment:{index}",
                file,
                "-i",
                path,
            ]
            subprocess.run(command, check=False)
        found[name] = kind, file.read_bytes()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(".mp4", ".mp4"), (".mp4", ".mkv"), (".mkv", ".mp4"), (".mkv", ".mkv")])
def test_cover_pictures_come_through_byte_by_byte(tmp_path, before, after):
    source = covered(tmp_path, before)
    target, warnings = copied_to(source, after)
    covers = [line for line in described(target).splitlines() if "attached pic" in line]
    assert ["png" in covers[0], "mjpeg" in covers[1], len(covers)] == [True, True, 2]
    for number, name in ((1, "cover.png"), (2, "back.jpg")):
        ffmpeg("-i", target, "-map", f"0:v:{number}", "-c", "copy", "-f", "data", tmp_path / "found")
        assert (tmp_path / "found").read_bytes() == (tmp_path / name).read_bytes()
    assert len([line for line in described(target).splitlines() if "Stream #0:" in line]) == (
        6 if after == ".mkv" == before else 4
    )
    named = [warning for warning in warnings if "cover" in warning]
    assert len(named) == (2 if (before, after) == (".mp4", ".mkv") else 0)
    assert all("becomes an attachment" in warning for warning in named)


@pytest.mark.slow
def test_attached_files_are_copied_with_their_names_and_types(tmp_path):
    target, warnings = copied_to(covered(tmp_path, ".mkv"), ".mkv")
    expected = {"cover.png": "image/png", "back.jpg": "image/jpeg", "font.ttf": "font/ttf", "notes.txt": "text/plain"}
    assert attachments(target) == {name: (kind, (tmp_path / name).read_bytes()) for name, kind in expected.items()}
    assert warnings == ()


@pytest.mark.slow
def test_a_cover_of_mp4_becomes_an_attached_file_of_the_usual_name(tmp_path):
    target, _ = copied_to(covered(tmp_path, ".mp4"), ".mkv")
    expected = {"cover.png": ("image/png", "cover.png"), "cover.jpg": ("image/jpeg", "back.jpg")}
    assert attachments(target) == {
        name: (kind, (tmp_path / file).read_bytes()) for name, (kind, file) in expected.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "left_out"), [(".mp4", ["font", "notes"]), (".mov", ["cover", "cover", "font", "notes"])]
)
def test_covers_and_files_that_the_container_does_not_take_are_named(tmp_path, suffix, left_out):
    target, warnings = copied_to(covered(tmp_path, ".mkv"), suffix)
    named = [warning for warning in warnings if "is not kept" in warning]
    assert [next(word for word in ("font", "notes", "cover") if word in warning) for warning in named] == left_out
    assert all(warning.endswith("does not support it, .mkv does") for warning in named)
    assert "Attachment" not in described(target)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("before", [".mkv", ".mp4", ".ts"])
def test_a_second_picture_is_copied_as_it_is(tmp_path, before, suffix):
    """With B-frames, which Matroska keeps without decoding times."""
    source = tmp_path / f"in{before}"
    second = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=30", "-t", "1", "-map", "0", "-map", "1")
    ffmpeg("-i", clip(tmp_path / "plain.mp4"), *second, "-c", "copy", "-c:v:1", "libx264", "-bf", "3", source)
    target, warnings = copied_to(source, suffix)
    assert warnings == ("stream 2 (video h264) is a second video: it is copied unchanged, not upscaled",)
    if before != ".ts":  # whose packets have start codes in between
        assert payload(target, "v:1") == payload(source, "v:1")
    frames = [ffmpeg("-i", path, "-map", "0:v:1", "-f", "md5", "-") for path in (source, target)]
    assert frames[0] == frames[1]
    found, expected = (times(path, "v:1") for path in (target, source))
    assert [float(time) for time in found] == pytest.approx([float(time) for time in expected], abs=0.0011)


@pytest.mark.slow
def test_a_second_picture_that_the_container_does_not_take_is_named(tmp_path):
    source = tmp_path / "in.mkv"
    ffmpeg("-i", clip(tmp_path / "plain.mkv", "-an", seconds=0.4), "-map", "0", "-map", "0", "-c", "copy", source)
    target, warnings = copied_to(source, ".webm")
    assert warnings == ("stream 1 (video h264) is not kept: .webm does not support it, .mkv does",)
    assert len(re.findall("Video:", described(target))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "kept"), [(".mov", True), (".mp4", True), (".mkv", False)])
def test_data_of_a_camera_is_copied_or_named(tmp_path, suffix, kept):
    plain = clip(tmp_path / "plain.mov", "-timecode", "01:00:00:00", seconds=0.4).read_bytes()
    source = tmp_path / "in.mov"  # as cameras note their movements: a track like that of the timecode, of another kind
    source.write_bytes(
        re.sub(rb"(stsd.{12})tmcd", rb"\1gpmd", plain.replace(b"mhlrtmcd", b"mhlrmeta"), flags=re.DOTALL)
    )
    target, warnings = copied_to(source, suffix)
    assert ("gpmd" in described(target)) == kept
    if kept:
        assert payload(target, "d") == payload(source, "d") != []
    assert warnings == (
        () if kept else ("stream 2 (data bin_data, eng) is not kept: .mkv does not support it, .mp4 does",)
    )


# --- what does not fit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sound", "before", "after", "taker"),
    [
        ("libopus", ".mkv", ".mov", ".mkv"),
        ("aac", ".mkv", ".webm", ".mkv"),
        ("pcm_s16le", ".mov", ".webm", ".mkv"),
        ("wavpack", ".mkv", ".mp4", ".mkv"),
        ("flac", ".mkv", ".mov", ".mkv"),
        ("pcm_mulaw", ".mov", ".mp4", ".mkv"),
    ],
)
def test_sound_that_the_container_does_not_take_is_named(tmp_path, sound, before, after, taker):
    source = clip(tmp_path / f"in{before}", "-c:v", "libx264", "-c:a", sound, seconds=0.4)
    target, warnings = copied_to(source, after)
    codec = sound.removeprefix("lib")
    assert warnings == (f"stream 1 (audio {codec}) is not kept: {after} does not support it, {taker} does",)
    assert "Audio" not in described(target)
    with open_video(source) as video:
        assert tuple(foreseen_losses(video.info, target, FAST)) == warnings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "picture", "sound"),
    [
        (".mov", "libx264", "pcm_mulaw"),
        (".avi", "mpeg4", "adpcm_ima_wav"),
        (".wmv", "wmv2", "wmav2"),
        (".mov", "libx264", "pcm_alaw"),
    ],
)
def test_sound_that_no_one_else_takes_becomes_flac_in_matroska_sample_by_sample(tmp_path, suffix, picture, sound):
    source = clip(tmp_path / f"in{suffix}", "-c:v", picture, "-c:a", sound)
    target, warnings = copied_to(source, ".mkv")
    assert warnings == (
        f"stream 1 (audio {sound}) becomes flac without further loss: its codec cannot be written to .mkv",
    )
    samples = [ffmpeg("-i", path, "-map", "0:a", "-c:a", "pcm_s16le", "-f", "md5", "-") for path in (source, target)]
    assert samples[0] == samples[1]
    assert "Audio: flac" in described(target)


@pytest.mark.slow
def test_sound_of_a_transport_stream_goes_into_mp4(tmp_path):
    source = clip(tmp_path / "in.ts", "-c:v", "libx264", "-c:a", "aac")
    target, warnings = copied_to(source, ".mp4")
    assert warnings == ()
    samples = [ffmpeg("-i", path, "-map", "0:a", "-f", "md5", "-") for path in (source, target)]
    assert samples[0] == samples[1]


@pytest.mark.slow
def test_sound_is_left_out_when_asked(tmp_path):
    passed_through(clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", Encoding(preset="ultrafast", audio="none"))
    assert "Audio" not in described(tmp_path / "out.mp4")


@pytest.mark.slow
def test_nothing_beside_the_picture_is_kept_when_asked(tmp_path):
    source = subtitled(tmp_path, ".mkv", "srt")
    warnings = passed_through(source, tmp_path / "out.mkv", Encoding(preset="ultrafast", streams="video"))
    assert re.findall(r"Stream #0:\d+.*?: (\w+):", described(tmp_path / "out.mkv")) == ["Video"]
    assert len(chapters(tmp_path / "out.mkv")) == 3
    assert warnings == ()


# --- parts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "codec", "after"), [(".mkv", "srt", ".mkv"), (".mkv", "srt", ".mp4"), (".mp4", "mov_text", ".mp4")]
)
def test_subtitles_that_lie_across_a_cut_are_cut(tmp_path, before, codec, after):
    lines = [(0, 150, "gone"), (150, 400, "first"), (450, 500, "whole"), (520, 900, "last"), (950, 990, "gone")]
    words = "".join(f"{i}\n00:00:00,{a:03} --> 00:00:00,{b:03}\n{word}\n\n" for i, (a, b, word) in enumerate(lines))
    target, _ = copied_to(subtitled(tmp_path, before, codec, words), after, trim=True, start=0.2, end=0.6)
    assert read(target) == [
        ("00:00:00,000 --> 00:00:00,200", "first"),
        ("00:00:00,250 --> 00:00:00,300", "whole"),
        ("00:00:00,320 --> 00:00:00,400", "last"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_chapters_of_a_part_begin_with_it(tmp_path, suffix):
    target, _ = copied_to(subtitled(tmp_path, ".mkv", "srt"), suffix, trim=True, start=0.4, end=0.8)
    assert chapters(target) == [("0.000000", "0.300000", "Two"), ("0.300000", "0.400000", "Three")]


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "early"), [(".mp4", True), (".mkv", False)])
def test_sound_of_a_part_begins_at_the_cut(tmp_path, suffix, early):
    """mp4 hides what of a packet lies before it; players of Matroska would not."""
    source = tmp_path / "in.mkv"
    noise = ("-f", "lavfi", "-i", "anoisesrc=seed=1:sample_rate=44100", "-t", "1", "-map", "0:v", "-map", "1")
    ffmpeg("-i", clip(tmp_path / "plain.mkv"), *noise, "-c:v", "copy", "-c:a", "pcm_s16le", source)
    target, _ = copied_to(source, suffix, trim=True, start=0.41, end=0.8)
    with av.open(str(target)) as out:
        first = next(packet for packet in out.demux(audio=0) if packet.size)
    begin = (first.pts or 0) * first.time_base
    assert begin < 0 if early else 0 <= begin < Fraction(3, 100)
    place = samples(source).find(samples(target)[:4000]) / 2 / 44100
    assert place == pytest.approx(11 / 25 + max(0, begin), abs=0.001)


def samples(path: Path) -> bytes:
    """Of mono sound, 16 bits each, as the other FFmpeg plays it."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-map", "0:a", "-f", "s16le", "-"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def test_chapters_are_cut_and_empty_ones_left_out():
    def chapter(start: int, end: int, title: str) -> Any:
        return {"id": 1, "start": start, "end": end, "time_base": Fraction(1, 10), "metadata": {"title": title}}

    film = [
        chapter(0, 20, "a"),
        chapter(20, 40, "b"),
        chapter(40, 40, "empty"),
        chapter(40, 30, "odd"),
        chapter(40, 60, "c"),
    ]
    assert chapters_within(film) == [film[0], film[1], film[4]]
    assert chapters_within(film, Fraction(3), Fraction(9, 2)) == [chapter(0, 10, "b"), chapter(10, 15, "c")]
    assert chapters_within(film, Fraction(9)) == []


@pytest.mark.slow
def test_a_second_picture_of_a_part_begins_with_a_key_frame_and_says_so(tmp_path):
    source = tmp_path / "in.mkv"
    second = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25", "-t", "1", "-map", "0:v", "-map", "1")
    ffmpeg(
        "-i", clip(tmp_path / "plain.mp4"), *second, "-c", "copy", "-c:v:1", "libx264", "-g", "10", "-bf", "2", source
    )
    target, warnings = copied_to(source, ".mp4", trim=True, start=0.6)
    assert times(target, "v:1")[0] == Fraction(5, 25)
    assert "stream 1 (video h264) lacks its first 5 frames, before a key frame" in warnings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "sound", "expected"),
    [
        (".mp4", "aac", ".mp4"),
        (".mov", "aac", ".mov"),
        (".mkv", "flac", ".mkv"),
        (".webm", "libopus", ".webm"),
        (".avi", "mp2", ".mkv"),
        (".3gp", "aac", ".mp4"),
    ],
)
def test_the_default_container_is_the_sources_own_or_the_nearest_that_holds_all(tmp_path, suffix, sound, expected):
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    options = ("-c:v", codec, "-c:a", sound, "-strict", "-2")
    with open_video(clip(tmp_path / f"in{suffix}", *options, seconds=0.2)) as video:
        assert default_suffix(video.info) == expected
