"""`dagan verify`: good outputs pass, and outputs broken on purpose, by another FFmpeg, are caught with exit code 7."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from dagan_cli.commands.app import run_command
from dagan_cli.inspection.checks import Check
from dagan_cli.inspection.inventory import contents, fates, read_packets
from dagan_cli.inspection.verify import Verification, verify
from tests.support.clips import UNEVEN, clip, clip_with_times, ffmpeg, pictures
from tests.support.tiny import noise

FFV1 = ("-c:v", "ffv1", "-c:a", "copy", "-c:s", "copy")  # new pictures without loss, all else as it is
AS_IS = ("-map", "0", "-c", "copy")


class Pair(NamedTuple):
    source: Path
    output: Path


def upscaled(source: Path, output: Path, *options: object) -> Path:
    arguments = [source, "-o", output, "-n", "nearest", "-s", 2, "--device", "cpu", "--preset", "ultrafast", *options]
    assert run_command(["upscale", *map(str, arguments)]) == 0
    return output


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A film with two subtitles, a font, chapters and tags, and its upscaled copy."""
    folder = tmp_path_factory.mktemp("film")
    for name, words in (("eng", "Hello\nworld"), ("fra", "Bonjour")):
        (folder / f"{name}.srt").write_text(f"1\n00:00:00,200 --> 00:00:00,900\n{words}\n")
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={a}\nEND={a + 700}\ntitle={a}\n" for a in (0, 700))
    (folder / "film.txt").write_text(f";FFMETADATA1\ntitle=A film\n{chapters}")
    (folder / "font.ttf").write_bytes(b"\0\1\0\0" * 9)
    plain = clip(folder / "plain.mkv", "-c:v", "libx264", "-bf", "0", "-c:a", "aac", seconds=1.4)
    inputs = [part for name in ("plain.mkv", "eng.srt", "fra.srt", "film.txt") for part in ("-i", folder / name)]
    kept = ("-map", "0", "-map", "1", "-map", "2", "-map_metadata", "3", "-c", "copy", "-attach", folder / "font.ttf")
    labels = ("-metadata:s:a", "language=eng", "-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=fra")
    ffmpeg(*inputs, *kept, *labels, "-metadata:s:t", "mimetype=font/ttf", folder / "in.mkv")
    assert plain.exists()
    return Pair(folder / "in.mkv", upscaled(folder / "in.mkv", folder / "out.mkv"))


def rows(found: Verification) -> dict[str, Check]:
    return {row.what: row for row in found.checks}


def failed(source: Path, output: Path, **options) -> set[str]:
    """What does not come through, by the first words of the rows."""
    return {row.what.split(",")[0].split(":")[0] for row in verify(source, output, **options).failed}


def broken(film: Pair, folder: Path, *options: str | Path) -> Path:
    """The good output, changed by FFmpeg."""
    target = folder / "broken.mkv"
    ffmpeg("-copyts", "-i", film.output, *options, target)
    return target


# --- what is as it should be


@pytest.mark.slow
def test_a_good_output_keeps_everything(cli, film):
    ran = cli("verify", *film)
    assert ran.code == 0
    assert {line.split()[0] for line in ran.out.splitlines()[1:]} == {"ok"}
    found = rows(verify(*film))
    assert found["frames"].found == "35"
    assert found["size"].found == "192x128, x2"
    assert found["stream 1, audio aac eng"].result == "ok"
    assert {name for name in found if name.startswith("stream")} >= {
        "stream 2, subtitle subrip eng",
        "stream 3, subtitle subrip fra",
        'stream 4, attachment font/ttf "font.ttf"',
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "target"), [(".mp4", ".mp4"), (".mov", ".mov"), (".mkv", ".mkv"), (".mp4", ".mkv"), (".ts", ".mkv")]
)
def test_good_outputs_pass_whatever_the_container(tmp_path, suffix, target):
    """Transport streams begin at 1.4 s, and put a header before each packet of AAC."""
    source = clip(tmp_path / f"in{suffix}")
    assert not verify(source, upscaled(source, tmp_path / f"out{target}")).failed


@pytest.mark.slow
def test_uneven_times_pass_and_are_measured(tmp_path):
    source = clip_with_times(tmp_path / "in.mkv", UNEVEN)
    found = rows(verify(source, upscaled(source, tmp_path / "out.mkv")))
    assert found["frame times"] == Check("frame times", "within 0.50 ms", "0.00 ms off at most", "ok")


@pytest.mark.slow
@pytest.mark.parametrize("part", [{"--start": 0.4}, {"--end": 0.6}, {"--frames": 7}, {"--start": 0.2, "--end": 1}])
def test_a_part_is_compared_with_its_part(cli, film, tmp_path, part):
    options = [word for option in part.items() for word in option]
    output = upscaled(film.source, tmp_path / "part.mkv", *options)
    assert cli("verify", film.source, output, *options).code == 0
    assert cli("verify", film.source, output).code == 7
    assert cli("verify", film.source, output, "--start", 0.3, "--frames", 7).code == 7


@pytest.mark.slow
def test_sound_that_was_left_out_on_purpose_is_not_missed(film, cli, tmp_path):
    output = upscaled(film.source, tmp_path / "out.mkv", "--audio", "none")
    assert cli("verify", film.source, output, "--audio", "none").code == 0
    assert failed(film.source, output) == {"stream 1"}


@pytest.mark.slow
def test_an_interlaced_film_is_compared_by_its_fields(tmp_path):
    interlaced = ("-vf", "tinterlace=interleave_top", "-c:v", "libx264", "-flags", "+ilme+ildct", "-qp", "8")
    source = clip(tmp_path / "in.mkv", *interlaced, picture="testsrc2=size=96x64:rate=50")
    assert not verify(source, upscaled(source, tmp_path / "out.mkv")).failed


@pytest.mark.slow
def test_subtitles_in_another_format_are_the_same_words_at_the_same_times(film, tmp_path):
    target = tmp_path / "out.mp4"
    kept = ("-map", "0:v", "-map", "0:a", "-map", "0:s", "-c", "copy", "-c:s", "mov_text")
    ffmpeg("-i", film.output, *kept, "-metadata:s:a", "language=eng", target)
    found = rows(verify(film.source, target))
    assert "stream 2, subtitle subrip eng" in found
    row = found["stream 2, subtitle subrip eng"]
    assert (row.result, row.found, "mov_text" in row.remark) == ("ok", "1 cues", True)
    font = found['stream 4, attachment font/ttf "font.ttf"']
    assert (font.result, font.remark) == ("note", "the output's container cannot hold it")


# --- pictures of a film


@pytest.mark.slow
def test_a_dropped_frame_is_caught(film, tmp_path):
    select = "select='not(eq(n,20))'"
    target = broken(film, tmp_path, "-map", "0", "-vf", select, "-fps_mode", "passthrough", *FFV1)
    found = rows(verify(film.source, target))
    assert (found["frames"].expected, found["frames"].found) == ("35", "34")
    assert "frame 20 (0.800 s) shown at 0.840 s" in found["frame times"].found
    assert "frame 20 (0.800 s) shows the one after it" in found["pictures"].found


@pytest.mark.slow
def test_a_frame_that_is_shown_twice_is_caught(film, tmp_path):
    target = broken(
        film, tmp_path, "-map", "0", "-vf", "loop=loop=1:size=1:start=20", "-fps_mode", "passthrough", *FFV1
    )
    found = rows(verify(film.source, target))
    assert (found["frames"].found, found["frames"].result) == ("36", "differs")
    good, bad = pictures(film.output), pictures(target)
    first = next(i for i, hash in enumerate(bad) if hash == bad[i - 1])
    assert [*bad[:first], *bad[first + 1 :]] == good
    assert f"frame {first} ({first / 25:.3f} s) shows the one before it" in found["pictures"].found


@pytest.mark.slow
def test_frames_in_another_order_are_caught_though_nothing_else_differs(film, tmp_path):
    swap = "shuffleframes=" + " ".join(map(str, [*range(20), 21, 20, *range(22, 35)]))
    target = broken(film, tmp_path, "-map", "0", "-vf", swap, *FFV1)
    found = verify(film.source, target)
    assert [row.what for row in found.failed] == ["pictures"]
    assert "2 in another place, first frame 20" in found.failed[0].found


@pytest.mark.slow
@pytest.mark.parametrize(
    "paint",
    [
        "drawbox=color=black:t=fill:enable='eq(n,17)'",
        "drawbox=x=64:y=32:w=32:h=32:color=black:t=fill:enable='eq(n,17)'",  # a lost tile
        "eq=brightness=0.06",  # as from a wrong colour range
    ],
)
def test_a_wrong_picture_is_caught(film, tmp_path, paint):
    target = broken(film, tmp_path, "-map", "0", "-vf", paint, *FFV1)
    found = verify(film.source, target)
    assert [row.what for row in found.failed] == ["pictures"]
    assert ("frame 17 (0.680 s)" in found.failed[0].found) == ("17" in paint)


@pytest.mark.slow
def test_a_single_frame_at_the_wrong_time_is_caught(film, tmp_path):
    late = "setpts='PTS+if(eq(N,9),0.012/TB,0)'"
    ticks = ("-fps_mode", "passthrough", "-enc_time_base", "1/1000")
    target = broken(film, tmp_path, "-map", "0", "-vf", f"settb=1/1000,{late}", *ticks, *FFV1)
    found = verify(film.source, target)
    assert [row.what for row in found.failed] == ["frame times"]
    assert "12.00 ms off at most, 1 frames, first frame 9 (0.360 s)" in found.failed[0].found


@pytest.mark.slow
def test_uneven_times_made_even_are_caught(tmp_path):
    source = clip_with_times(tmp_path / "in.mkv", UNEVEN)
    good = upscaled(source, tmp_path / "good.mkv")
    ffmpeg("-i", good, "-fps_mode", "cfr", "-r", "25", "-c:v", "ffv1", tmp_path / "out.mkv")
    assert failed(source, tmp_path / "out.mkv") >= {"frames", "frame times"}


@pytest.mark.slow
def test_a_film_that_ends_early_is_caught(film, tmp_path):
    target = broken(film, tmp_path, *AS_IS, "-t", "1.0")
    assert failed(film.source, target) >= {"frames", "length of the pictures", "stream 1"}


@pytest.mark.slow
def test_a_part_of_a_file_is_not_the_file(film, tmp_path):
    target = tmp_path / "cut.mkv"
    data = film.output.read_bytes()
    target.write_bytes(data[: len(data) * 2 // 3])
    assert "frames" in failed(film.source, target)


# --- what headers say


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("-vf", "scale=192:100", *FFV1), "size"),
        (("-vf", "setsar=4/3", *FFV1), "sample aspect ratio"),
        (("-vf", "setparams=colorspace=bt2020nc", *FFV1), "colour"),
        (("-vf", "setparams=color_trc=smpte2084", *FFV1), "colour"),
        (("-vf", "format=gray", *FFV1), "pixel format"),
        (("-c", "copy", "-metadata", "title=Another"), "tags of the file"),
        (("-c", "copy", "-metadata:s:a:0", "language=deu"), "languages"),
        (("-c", "copy", "-disposition:s:0", "forced"), "languages"),
        (("-c", "copy", "-map_chapters", "-1"), "chapters"),
    ],
)
def test_wrong_headers_are_caught(film, tmp_path, options, what):
    assert what in failed(film.source, broken(film, tmp_path, "-map", "0", *options))


@pytest.mark.slow
def test_a_place_is_compared_as_exactly_as_mp4_tells_it(tmp_path):
    place = ("-metadata", "location=+48.8789+002.3376+048.928/")
    source = clip(tmp_path / "in.mov", "-c:v", "libx264", "-c:a", "aac", *place)
    output = upscaled(source, tmp_path / "out.mp4")
    assert rows(verify(source, output))["tags of the file"].result == "ok"
    ffmpeg("-i", output, "-c", "copy", "-metadata", "location=+48.8799+002.3376+048.928/", tmp_path / "else.mp4")
    assert failed(source, tmp_path / "else.mp4") == {"tags of the file"}


@pytest.mark.slow
def test_chapters_at_other_times_are_caught(film, tmp_path):
    (tmp_path / "late.txt").write_text(
        ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=600\ntitle=0\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=600\nEND=1400\ntitle=700\n"
    )
    late = ("-i", tmp_path / "late.txt", "-map_chapters", "1", *AS_IS)
    found = verify(film.source, broken(film, tmp_path, *late))
    assert [(row.expected, row.found) for row in found.failed] == [("2: 0.700 s 700", "2: 0.600 s 700")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("turn", "good"), [((), False), (("-display_rotation", "90"), True), (("-display_hflip",), False)]
)
def test_a_picture_turned_otherwise_is_caught(tmp_path, turn, good):
    plain = clip(tmp_path / "plain.mp4")
    source = tmp_path / "in.mp4"
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", source)
    output = upscaled(source, tmp_path / "out.mp4")
    assert not verify(source, output).failed
    ffmpeg("-display_rotation", "0", "-i", output, "-c", "copy", tmp_path / "flat.mp4")
    ffmpeg(*turn, "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "turned.mp4")
    assert ("turned and mirrored" in failed(source, tmp_path / "turned.mp4")) != good


@pytest.mark.slow
def test_lost_hdr_metadata_is_caught(tmp_path):
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    tags = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv")
    hevc = ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-preset", "ultrafast", *tags)
    source = clip(tmp_path / "in.mp4", *hevc, "-x265-params", f"log-level=error:hdr10=1:{light}", seconds=0.2)
    output = upscaled(source, tmp_path / "out.mp4")
    assert rows(verify(source, output))["HDR10 metadata"].result == "ok"
    raw = tmp_path / "raw.y4m"
    ffmpeg("-i", output, "-strict", "-1", raw)
    ffmpeg("-i", raw, "-i", output, "-map", "0:v", "-map", "1:a", "-c:a", "copy", *hevc, tmp_path / "lost.mp4")
    found = rows(verify(source, tmp_path / "lost.mp4"))["HDR10 metadata"]
    assert (found.result, found.found) == ("lost", "none")
    assert (
        found.expected == "0.005 to 1000 cd/m2, 0.68 0.32 0.265 0.69 0.15 0.06 0.3127 0.329; MaxCLL 1000, MaxFALL 400"
    )


# --- the other streams


@pytest.mark.slow
@pytest.mark.parametrize("late", ["0.1", "-0.1"])
def test_sound_that_is_shifted_is_caught(film, tmp_path, late):
    target = tmp_path / "out.mkv"
    second = ("-itsoffset", late, "-i", film.output)
    streams = ("-map", "0:v", "-map", "1:a", "-map", "0:s", "-map", "0:t", "-c", "copy")
    ffmpeg("-copyts", "-i", film.output, *second, *streams, "-avoid_negative_ts", "disabled", target)
    found = [row for row in verify(film.source, target).failed if row.what.startswith("stream")]
    assert [row.what for row in found] == ["stream 1, audio aac eng: times"]
    assert f"100.00 ms {'early' if '-' in late else 'late'}, from packet 0 on" in found[0].found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left_out", "stream"), [("0:a", "stream 1"), ("0:s:0", "stream 2"), ("0:s:1", "stream 3"), ("0:t", "stream 4")]
)
def test_a_lost_stream_is_caught_and_named(film, tmp_path, left_out, stream):
    found = verify(film.source, broken(film, tmp_path, "-map", "0", "-map", f"-{left_out}", "-c", "copy"))
    assert [(row.what.split(",")[0], row.found, row.result) for row in found.failed] == [(stream, "missing", "lost")]


@pytest.mark.slow
def test_sound_of_other_bytes_is_caught(film, tmp_path):
    target = broken(film, tmp_path, *AS_IS, "-c:a", "aac", "-b:a", "32k")
    found = [row for row in verify(film.source, target).failed if row.what == "stream 1, audio aac eng"]
    assert "different from packet 0 on" in found[0].found


@pytest.mark.slow
def test_sound_encoded_anew_is_compared_by_when_it_is_heard(film, tmp_path):
    streams = ("-map", "0:v", "-map", "1:a", "-map", "0:s", "-map", "0:t", "-c", "copy", "-c:a", "flac")
    for late, result in (("0", "note"), ("0.1", "differs")):
        target = tmp_path / f"late{late}.mkv"
        ffmpeg("-copyts", "-i", film.output, "-itsoffset", late, "-i", film.output, *streams, target)
        row = rows(verify(film.source, target))["stream 1, audio aac eng"]
        assert (row.result, row.remark) == (result, "re-encoded: aac as flac")


@pytest.mark.slow
def test_subtitles_of_other_words_or_times_are_caught(film, tmp_path):
    for name, cue in (
        ("words", "00:00:00,200 --> 00:00:00,900\nHello"),
        ("times", "00:00:00,250 --> 00:00:00,900\nHello\nworld"),
    ):
        (tmp_path / f"{name}.srt").write_text(f"1\n{cue}\n")
        target = tmp_path / f"{name}.mkv"
        streams = ("-map", "0:v", "-map", "0:a", "-map", "1", "-map", "0:s:1", "-map", "0:t", "-c", "copy")
        language = ("-metadata:s:s:0", "language=eng")
        ffmpeg("-i", film.output, "-i", tmp_path / f"{name}.srt", *streams, *language, target)
        assert failed(film.source, target) == {"stream 2"}


@pytest.mark.slow
def test_streams_in_another_order_are_caught(film, tmp_path):
    streams = ("-map", "0:v", "-map", "0:a", "-map", "0:s:1", "-map", "0:s:0", "-map", "0:t", "-c", "copy")
    assert failed(film.source, broken(film, tmp_path, *streams)) == {"order of streams"}


def test_a_stream_that_nobody_knows_is_listed_and_read_all_the_same(tmp_path):
    data = clip(tmp_path / "in.mkv").read_bytes()
    strange = tmp_path / "strange.mkv"
    strange.write_bytes(data.replace(b"A_AAC", b"A_XYZ"))
    assert [str(stream) for stream in contents(strange).streams] == ["video h264", "audio unknown"]
    assert fates(strange, ".mp4")[1] == "left out"
    known, unknown = (read_packets(path, [1])[1] for path in (tmp_path / "in.mkv", strange))
    assert known.sha256 == unknown.sha256


@pytest.mark.slow
def test_lost_transparency_is_caught(tmp_path):
    picture = "testsrc2=size=96x64:rate=25,format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='X*2'"
    source = clip(tmp_path / "in.mov", "-c:v", "qtrle", "-c:a", "pcm_s16le", seconds=0.2, picture=picture)
    ffmpeg("-i", source, "-vf", "scale=192:128:flags=neighbor", "-c:v", "qtrle", "-c:a", "copy", tmp_path / "out.mov")
    assert rows(verify(source, tmp_path / "out.mov"))["transparency"].result == "ok"
    solid = "scale=192:128:flags=neighbor,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a=255"
    ffmpeg("-i", source, "-vf", solid, "-c:v", "qtrle", "-c:a", "copy", tmp_path / "solid.mov")
    assert "pictures" in failed(source, tmp_path / "solid.mov")
    opaque = ("-vf", "scale=192:128:flags=neighbor", "-c:v", "ffv1", "-pix_fmt", "yuv444p", "-c:a", "copy")
    ffmpeg("-i", source, *opaque, tmp_path / "opaque.mkv")
    assert rows(verify(source, tmp_path / "opaque.mkv"))["transparency"].result == "lost"


# --- the command


@pytest.mark.slow
def test_what_differs_is_told_with_exit_code_7(cli, film, tmp_path):
    ran = cli("verify", film.source, broken(film, tmp_path, "-map", "0", "-map", "-0:s:1", "-c", "copy"))
    assert ran.code == 7
    assert "lost" in ran.out
    assert "stream 3, subtitle subrip fra" in ran.out
    assert len(ran.err.splitlines()) == 2
    assert "does not keep all of" in ran.err


@pytest.mark.slow
def test_the_rows_are_there_as_json(cli, film):
    document = json.loads(cli("verify", *film, "--json").out)
    assert (document["ok"], document["scale"]) == (True, 2)
    assert {"what": "frames", "expected": "35", "found": "35", "result": "ok", "remark": ""} in document["checks"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "output", "code"),
    [
        ("missing.mkv", "out.mkv", 3),
        ("in.mkv", "missing.mkv", 3),
        (".", "out.mkv", 3),
        ("in.mkv", "noise.mkv", 1),
        ("in.mkv", "in.mkv", 2),
        ("in.mkv", "picture.png", 1),
    ],
)
def test_what_cannot_be_compared_is_an_error_in_two_lines(cli, film, tmp_path, source, output, code):
    (tmp_path / "noise.mkv").write_bytes(b"\x1aE\xdf\xa3" + b"noise" * 99)
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    for name in ("in.mkv", "out.mkv"):
        os.link(getattr(film, {"in.mkv": "source", "out.mkv": "output"}[name]), tmp_path / name)
    ran = cli("verify", tmp_path / source, tmp_path / output)
    assert (ran.code, ran.out) == (code, "")
    assert len(ran.err.splitlines()) == 2


# --- pictures


def photo(path: Path, **options) -> Path:
    """A smooth picture of 96 x 64."""
    y, x = np.mgrid[0:64, 0:96]
    samples = np.stack([x * 2, y * 3, 255 - x - y], axis=-1).astype(np.uint8)
    Image.fromarray(samples).save(path, **options)
    return path


@pytest.mark.slow
def test_a_good_picture_keeps_everything(cli, tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    source = photo(tmp_path / "in.jpg", exif=exif, dpi=(300, 300), comment=b"hello")
    output = upscaled(source, tmp_path / "out.jpg")
    ran = cli("verify", source, output, "--json")
    checks = {row["what"]: row for row in json.loads(ran.out)["checks"]}
    assert ran.code == 0
    assert checks["size"]["found"] == "128x192, x2"  # upright
    assert {"EXIF tags", "dots per inch", "comment", "pictures"} <= checks.keys()
    assert {row["result"] for row in checks.values()} == {"ok"}


@pytest.mark.slow
def test_pictures_that_lost_something_are_caught(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = photo(tmp_path / "in.png", exif=exif, dpi=(300, 300), icc_profile=profile)
    good = upscaled(source, tmp_path / "good.png")
    assert not verify(source, good).failed
    with Image.open(good) as image:
        image.load()
        kept: dict[str, Any] = {"exif": image.info["exif"], "dpi": (300, 300), "icc_profile": profile}
        other: dict[str, Any] = kept | {"icc_profile": profile[:-1] + b"!"}
        image.save(tmp_path / "bare.png", icc_profile=None)
        image.save(tmp_path / "other.png", **other)
        image.resize((192, 100)).save(tmp_path / "squeezed.png", **kept)
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirror.png", **kept)
    assert failed(source, tmp_path / "bare.png") == {"EXIF tags", "dots per inch", "colour profile"}
    assert failed(source, tmp_path / "other.png") == {"colour profile"}
    assert failed(source, tmp_path / "squeezed.png") == {"size"}
    assert failed(source, tmp_path / "mirror.png") == {"pictures"}


@pytest.mark.slow
def test_what_a_format_cannot_hold_is_a_note(tmp_path):
    source = photo(tmp_path / "in.jpg", comment=b"hello", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    found = rows(verify(source, upscaled(source, tmp_path / "out.webp")))
    assert found["comment"] == Check("comment", "5 bytes", "missing", "note", "WEBP is written without it")


@pytest.mark.slow
def test_what_another_format_keeps_in_its_own_way_is_kept(tmp_path):
    source = photo(tmp_path / "in.jpg", comment=b"hello")
    assert rows(verify(source, upscaled(source, tmp_path / "out.png")))["comment"].result == "ok"
    with Image.open(source) as image:
        image.convert("RGBA").save(tmp_path / "solid.tga")
        image.putalpha(99)
        image.save(tmp_path / "clear.png")
    solid = rows(verify(tmp_path / "solid.tga", upscaled(tmp_path / "solid.tga", tmp_path / "solid.webp")))
    assert (solid["transparency"].result, solid["transparency"].found) == ("ok", "left out")
    photo(tmp_path / "opaque.png").rename(tmp_path / "opaque")
    with Image.open(tmp_path / "opaque") as image:
        image.resize((192, 128), Image.Resampling.NEAREST).save(tmp_path / "opaque.png")
    assert failed(tmp_path / "clear.png", tmp_path / "opaque.png") == {"transparency"}


def frames(path: Path, durations: list[int], order: list[int] | None = None, **options) -> Path:
    """An animation of a bar that moves."""
    drawn = []
    for index in order or range(len(durations)):
        samples = np.full((64, 96, 3), 40, np.uint8)
        samples[:, 8 * index : 8 * index + 24] = 220
        drawn.append(Image.fromarray(samples))
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=durations, loop=0, **options)
    return path


@pytest.mark.slow
def test_frames_that_are_shown_for_no_time_are_no_difference(tmp_path):
    source = frames(tmp_path / "in.webp", [100, 0, 0, 50], lossless=True, kmin=1, kmax=1)
    found = rows(verify(source, upscaled(source, tmp_path / "out.webp")))
    assert (found["frames"].found, found["frame times"].result) == ("4", "ok")


def test_what_integers_and_gifs_cannot_hold_is_no_difference(tmp_path):
    levels = np.linspace(-1, 3, 48 * 32 * 3, dtype="f4").reshape(48, 32, 3)
    tifffile.imwrite(tmp_path / "in.tif", levels, photometric="rgb")
    found = rows(verify(tmp_path / "in.tif", upscaled(tmp_path / "in.tif", tmp_path / "out.png")))
    assert found["pictures"].result == "ok"
    Image.fromarray(noise(24, 24, 4)).save(tmp_path / "in.png")
    found = rows(verify(tmp_path / "in.png", upscaled(tmp_path / "in.png", tmp_path / "out.gif", "-n", "bicubic")))
    assert (found["pictures"].result, found["pictures"].remark) == ("note", "GIF holds no partial transparency")


def test_numbers_that_the_camera_did_not_know_are_no_difference(tmp_path):
    aperture = struct.pack("<HHII", 0x829D, 5, 1, 26) + bytes(4)  # one entry: the rational at 26
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + aperture + struct.pack("<II", 0, 0)
    Image.new("RGB", (8, 8)).save(tmp_path / "in.jpg", exif=exif)
    with Image.open(tmp_path / "in.jpg") as image:
        assert str(image.getexif()[0x829D]) == "nan"
    found = rows(verify(tmp_path / "in.jpg", upscaled(tmp_path / "in.jpg", tmp_path / "out.jpg")))
    assert found["EXIF tags"].result == "ok"


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_animations_are_compared_frame_by_frame(tmp_path, suffix):
    options = {".webp": {"lossless": True, "kmin": 1, "kmax": 1}}.get(suffix, {})
    source = frames(tmp_path / f"in{suffix}", [100, 40, 250, 60], **options)
    output = upscaled(source, tmp_path / f"out{suffix}")
    assert not verify(source, output).failed
    assert rows(verify(source, output))["frames"].found == "4"
    swapped = frames(tmp_path / f"swapped{suffix}", [100, 40, 250, 60], [0, 2, 1, 3], **options)
    assert failed(source, swapped) == {"pictures"}
    late = frames(tmp_path / f"late{suffix}", [100, 60, 230, 60], **options)
    assert failed(source, late) == {"frame times"}
    short = frames(tmp_path / f"short{suffix}", [100, 40, 250], **options)
    assert "frames" in failed(source, short)


@pytest.mark.slow
def test_there_are_no_parts_of_a_picture(cli, tmp_path):
    source = photo(tmp_path / "in.png")
    ran = cli("verify", source, upscaled(source, tmp_path / "out.png"), "--frames", 1)
    assert ran.code == 2


# --- real files

REAL = Path(os.environ.get("DAGAN_TEST_DATA", "/nowhere")) / "video"


@pytest.mark.corpus
@pytest.mark.skipif(not REAL.is_dir(), reason="DAGAN_TEST_DATA names no folder with a folder `video` in it")
@pytest.mark.parametrize(
    "name",
    [
        "awesome movie.mov",
        "portrait.MOV",
        "rotated_video.mp4",
        "sample.3gp",
        "derived_interlaced_tff.mkv",
        "nasa_13013.mp4",
    ],
)
def test_real_files_come_through(tmp_path, name):
    source = REAL / name
    with_suffix = upscaled(source, tmp_path / f"out{'.mkv' if source.suffix == '.mkv' else '.mp4'}")
    assert not verify(source, with_suffix).failed


def test_a_result_in_a_format_that_is_never_written_is_an_error_of_two_lines(cli, tmp_path):
    source = photo(tmp_path / "in.png")
    photo(tmp_path / "out.jp2")
    ran = cli("verify", source, tmp_path / "out.jp2")
    assert ran.code == 1
    assert [line[:6] for line in ran.err.splitlines()[-2:]] == ["error:", "  try:"]
    assert "out.jp2" in ran.err
