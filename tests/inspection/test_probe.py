"""`dagan probe`: what it says of a file is what was put into it, and what another FFmpeg says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.boxes import EQUIRECTANGULAR, SIDE_BY_SIDE, STSD, aperture, inserted
from tests.support.captioned import captioned
from tests.support.clips import UNEVEN, clip, clip_with_times, described, ffmpeg, times
from tests.support.images import saved
from tests.support.sources import jpeg, noisy, photograph
from tests.support.tiny import picture

pytestmark = pytest.mark.slow


@pytest.fixture
def probed(cli):
    """The facts of a file."""

    def probe(path: Path, *options: object) -> dict[str, Any]:
        ran = cli("probe", path, "--json", *options)
        assert ran.code == 0
        return json.loads(ran.out)

    return probe


def test_what_headers_tell_is_there(probed, tmp_path):
    (tmp_path / "words.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nHello\n")
    (tmp_path / "film.txt").write_text(
        ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=250\nEND=500\ntitle=One\n"
    )
    inputs = [part for name in ("plain.mkv", "words.srt", "film.txt") for part in ("-i", tmp_path / name)]
    clip(tmp_path / "plain.mkv")
    labels = ("-metadata:s:a", "language=fra", "-metadata:s:a", "title=Director", "-disposition:a", "comment")
    source = tmp_path / "in.mkv"
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-map_metadata", "2", "-c", "copy", *labels, source)
    facts = probed(source)
    assert (facts["kind"], facts["container"], facts["tags"]["title"]) == ("video", "matroska,webm", "A film")
    video, sound, words = facts["streams"]
    assert (video["codec"], video["becomes"]) == ("h264", "upscaled")
    assert (sound["codec"], sound["language"], sound["title"]) == ("aac", "fra", "Director")
    assert (sound["disposition"], sound["becomes"]) == (["comment"], "copied")
    assert (words["kind"], words["codec"], words["becomes"]) == ("subtitle", "subrip", "copied")
    assert facts["chapters"] == [{"start": 0.25, "end": 0.5, "title": "One"}]
    assert facts["duration"] == pytest.approx(
        float(re.findall(r"Duration: 00:00:(\S+),", described(source))[0]), abs=0.01
    )
    assert (facts["picture"]["width"], facts["picture"]["height"], facts["picture"]["rate"]) == (96, 64, 25)


@pytest.mark.parametrize(
    ("suffix", "sound", "becomes"),
    [(".avi", "adpcm_ms", "rewritten"), (".avi", "mp3", "copied"), (".mp4", "aac", "copied")],
)
def test_what_becomes_of_a_stream_is_what_upscale_does_with_it(probed, cli, tmp_path, suffix, sound, becomes):
    source = clip(tmp_path / f"in{suffix}", "-c:v", "mpeg4", "-c:a", sound, seconds=0.3)
    assert [stream["becomes"] for stream in probed(source)["streams"]] == ["upscaled", becomes]
    assert cli("upscale", source, "-n", "nearest", "-s", 1).code == 0
    (result,) = tmp_path.glob("in_x1.*")
    kept = "audio: " + sound in described(result).lower()
    assert kept == (becomes == "copied"), described(result)


def test_the_shape_that_is_seen_follows_from_pixels_and_rotation(probed, tmp_path):
    plain = clip(tmp_path / "plain.mp4", "-vf", "setsar=4/3", "-c:v", "libx264", "-an")
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", tmp_path / "in.mp4")
    seen = probed(tmp_path / "in.mp4")["picture"]
    assert (seen["sample_aspect_ratio"], seen["rotation"], seen["mirrored"]) == ("4/3", 90, False)
    assert (seen["shown_width"], seen["shown_height"]) == (64, 128)
    ffmpeg("-display_hflip", "-i", plain, "-c", "copy", tmp_path / "mirror.mp4")
    assert probed(tmp_path / "mirror.mp4")["picture"]["mirrored"]


def test_colour_tells_what_is_said_and_what_is_a_guess(probed, tmp_path):
    silent = probed(clip(tmp_path / "silent.mkv"))["picture"]["colour"]
    assert {name for name, tag in silent.items() if not tag["said"]} == {"matrix", "primaries", "transfer"}
    assert silent["matrix"]["is"] == "smpte170m"  # as players guess of few lines
    tags = "setparams=range=pc:colorspace=bt709:color_primaries=bt2020:color_trc=arib-std-b67"
    told = probed(clip(tmp_path / "told.mkv", "-vf", tags, "-c:v", "libx264", "-c:a", "aac"))["picture"]["colour"]
    assert {name: tag["is"] for name, tag in told.items()} == {
        "range": "full",
        "matrix": "bt709",
        "primaries": "bt2020",
        "transfer": "hlg",
    }
    assert all(tag["said"] for tag in told.values())


def test_depth_hdr_and_the_codec_that_follows(probed, tmp_path):
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    hevc = ("-c:v", "libx265", "-pix_fmt", "yuv422p10le", "-preset", "ultrafast", "-c:a", "aac")
    options = ("-x265-params", f"log-level=error:hdr10=1:{light}")
    facts = probed(clip(tmp_path / "in.mp4", *hevc, *options, seconds=0.2))
    seen = facts["picture"]
    assert (seen["pixel_format"], seen["depth"], seen["chroma"]) == ("yuv422p10le", 10, "422")
    assert seen["hdr10"]["mastering"]["green"] == [0.265, 0.69]
    assert seen["hdr10"]["mastering"]["highest"] == 1000
    assert seen["hdr10"]["content"] == {"max_cll": 1000, "max_fall": 400}
    result = facts["result"]
    assert (result["name"], result["width"], result["codec"]) == ("in_x4.mp4", 384, "libx265")
    assert probed(tmp_path / "in.mp4", "-s", 3)["result"]["name"] == "in_x3.mp4"


def test_uneven_times_interlacing_and_transparency_are_seen(probed, tmp_path):
    assert probed(clip_with_times(tmp_path / "uneven.mkv", UNEVEN))["picture"]["varies"] is True
    assert probed(clip(tmp_path / "even.mkv"))["picture"]["varies"] is False
    weave = ("-vf", "tinterlace=interleave_top", "-c:v", "libx264", "-flags", "+ilme+ildct", "-c:a", "aac")
    interlaced = probed(clip(tmp_path / "fields.mkv", *weave))
    assert interlaced["picture"]["interlaced"]
    clear = clip(tmp_path / "clear.mov", "-c:v", "qtrle", "-pix_fmt", "argb", "-c:a", "aac", seconds=0.2)
    assert probed(clear)["picture"]["transparency"]


def test_counting_decodes_everything(probed, tmp_path):
    source = clip_with_times(tmp_path / "in.mkv", UNEVEN)
    counted = probed(source, "--count")["counted"]
    steps = [float(b - a) for a, b in zip(times(source), times(source)[1:], strict=False)]
    assert counted["frames"] == len(times(source)) == 10
    assert (counted["shortest"], counted["longest"]) == pytest.approx((min(steps), max(steps)))
    assert (counted["damaged_packets"], counted["repaired_times"], counted["shortfall"]) == (0, 0, None)
    cut = tmp_path / "cut.mkv"
    whole = clip(tmp_path / "whole.mkv", seconds=4).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    assert "but ends after" in probed(cut, "--count")["counted"]["shortfall"]
    assert probed(source)["counted"] is None


def test_it_reads_as_columns(cli, tmp_path):
    ran = cli("probe", clip(tmp_path / "in.mp4"), "--count")
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in ran.out.splitlines()[1:])
    assert ran.code == 0
    assert rows["frames"].startswith("25 counted; constant rate, 25 fps")
    assert rows["pixels"] == "yuv420p: 8 bits, 4:2:0 (left), no transparency, progressive"
    assert rows["planned output"].startswith("in_x4.mp4, 384x256, dagan-x4, libx264")
    assert rows["damage"] == "none"


@pytest.mark.slow
def test_probe_and_a_dry_run_plan_what_a_run_does(probed, cli, tmp_path):
    small = "testsrc2=size=24x16:rate=25"
    clip(tmp_path / "deep.mov", "-c:v", "prores_ks", "-pix_fmt", "yuva444p10le", "-an", picture=small, seconds=0.1)
    clip(tmp_path / "old.avi", "-c:v", "mjpeg", "-pix_fmt", "yuvj422p", "-c:a", "pcm_s16le", picture=small, seconds=0.1)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "image.qoi")
    sources = sorted(path for path in tmp_path.iterdir())
    plans = {Path(i["input"]): i for i in json.loads(cli("upscale", *sources, "--dry-run", "--json").out)["items"]}
    done = {
        Path(i["input"]): i
        for i in json.loads(cli("upscale", *sources, "--json", "--preset", "ultrafast").out)["items"]
    }
    for source in sources:
        result, plan, item = probed(source)["result"], plans[source], done[source]
        warnings = [*probed(source)["warnings"], *result["warnings"]]
        assert result["name"] == Path(plan["output"]).name == Path(item["output"]).name
        assert [result["width"], result["height"]] == plan["out_size"] == item["out_size"]
        assert warnings == plan["warnings"]
        assert set(warnings) <= set(item["warnings"])
        forms = ("model", "codec", "pixel_format", "format", "depth")
        assert [result.get(form) for form in forms] == [plan["forecast"][form] for form in forms]
        if result.get("codec"):
            chroma = {"libx264": "yuvj422p", "prores_ks": "yuva444p1"}[result["codec"]]
            assert chroma in described(Path(item["output"]))
        else:
            with Image.open(item["output"]) as image:
                assert image.format == result["format"]


def test_a_picture_is_told_with_its_profile_and_orientation(probed, cli, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    source = tmp_path / "in.jpg"
    image = Image.fromarray(np.zeros((40, 60), np.uint8)).convert("CMYK")
    image.convert("RGB").save(source, exif=exif, icc_profile=profile.tobytes(), dpi=(300, 300))
    facts = probed(source)
    assert (facts["format"], facts["width"], facts["height"], facts["orientation"]) == ("JPEG", 40, 60, 6)
    assert facts["profile"] == ImageCms.getProfileDescription(profile).strip()
    assert (facts["mode"], facts["channels"], facts["depth"], facts["dpi"]) == ("RGB", 3, 8, [300, 300])
    assert facts["result"] == {
        "name": "in_x4.jpg",
        "width": 160,
        "height": 240,
        "model": "dagan-x4-real",  # Pillow saves with a quality of 75
        "format": "JPEG",
        "depth": 8,
        "warnings": [],
    }
    assert "EXIF 6: read upright" in cli("probe", source).out


@pytest.mark.parametrize(
    ("mode", "channels", "depth", "words"),
    [
        ("L", 1, 8, "grey, 8 bits, stored as L"),
        ("RGBA", 4, 8, "RGB and transparency, 8 bits, stored as RGBA"),
        ("I;16", 1, 16, "grey, 16 bits, stored as I;16"),
    ],
)
def test_samples_of_pictures(probed, cli, tmp_path, mode, channels, depth, words):
    source = picture(tmp_path / "in.png", mode=mode)
    facts = probed(source)
    assert (facts["mode"], facts["channels"], facts["depth"]) == (mode, channels, depth)
    assert words in cli("probe", source).out


def test_an_animation_has_frames_with_times(probed, tmp_path):
    images = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    images[0].save(tmp_path / "in.gif", save_all=True, append_images=images[1:], duration=[100, 40, 250], loop=3)
    facts = probed(tmp_path / "in.gif", "--count")
    assert (facts["frames"], facts["durations"], facts["plays"]) == (3, [100, 40, 250], 4)
    assert facts["counted"] == {"frames": 3}


@pytest.mark.parametrize(("name", "code"), [("missing.mp4", 3), (".", 3), ("noise.mp4", 3), ("noise.png", 1)])
def test_what_cannot_be_looked_at_is_an_error_in_two_lines(cli, tmp_path, name, code):
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 99)
    (tmp_path / "noise.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"noise" * 99)
    ran = cli("probe", tmp_path / name)
    assert (ran.code, ran.out) == (code, "")
    assert len(ran.err.splitlines()) == 2


def test_what_players_do_with_the_frames_is_told(probed, cli, tmp_path):
    source = tmp_path / "in.mov"
    data = clip(source, "-c:v", "libx264", "-an").read_bytes()
    for box in (aperture(80, 48), EQUIRECTANGULAR, SIDE_BY_SIDE):
        data = inserted(data, box, *STSD)
    source.write_bytes(data)
    seen = probed(source)["picture"]
    assert (seen["width"], seen["height"], seen["crop"]) == (80, 48, [8, 8, 8, 8])
    assert (seen["projection"], seen["stereo"], seen["captions"]) == ("equirectangular", "left_right", False)
    text = cli("probe", source).out
    assert "cropped by 8, 8, 8, 8" in text
    assert re.search(r"projection +equirectangular", text)
    assert re.search(r"stereo mode +left_right", text)


def test_captions_are_told(probed, cli, tmp_path):
    source = captioned(tmp_path / "in.mp4", "libx264", "HELLO WORLD!")
    assert probed(source)["picture"]["captions"]
    assert "closed captions inside the frames" in cli("probe", source).out
    assert not probed(tmp_path / "plain.mp4")["picture"]["captions"]


def test_a_clock_that_jumps_is_told_if_everything_is_decoded(probed, tmp_path):
    part = clip(tmp_path / "part.ts", "-c:v", "libx264", "-c:a", "aac").read_bytes()
    (tmp_path / "in.ts").write_bytes(part + part)
    facts = probed(tmp_path / "in.ts", "--count")
    assert facts["picture"]["varies"] is False
    assert (facts["counted"]["frames"], facts["counted"]["shortfall"]) == (50, None)
    assert [facts["counted"][name] for name in ("shortest", "longest")] == pytest.approx([0.04, 0.04])
    assert any("clock of the file jumps once" in warning for warning in facts["warnings"])


def test_what_an_image_looks_like_tells_the_file_from_its_pixels(probed, cli, tmp_path):
    (tmp_path / "declared.jpg").write_bytes(saved(photograph(), "JPEG", quality=60))
    noisy(jpeg(photograph(), 40), 0).save(tmp_path / "hidden.png")
    declared, hidden = (probed(tmp_path / name)["looks"] for name in ("declared.jpg", "hidden.png"))
    assert (declared["quality"], declared["quality_from"], hidden["quality"], hidden["quality_from"]) == (
        *(60, "file"),
        *(40, "pixels"),
    )
    assert declared.keys() == {
        *("quality", "quality_from", "bits_per_pixel", "codec", "noise", "grain", "resolution", "content", "blocking"),
        "interlaced",
    }
    assert re.search(
        r"looks like +JPEG quality about 60 \(from the file\), no noise, sharp, .*photograph",
        cli("probe", tmp_path / "declared.jpg").out,
    )
    assert probed(tmp_path / "declared.jpg", "--count")["looks"] == declared


def test_what_a_video_looks_like_is_shown(probed, cli, tmp_path):
    path = clip(tmp_path / "in.mp4", "-c:v", "libx264", "-qp", "24", "-an", picture="testsrc2=size=192x128:rate=25")
    looks = probed(path)["looks"]
    assert looks["quality"] == pytest.approx(88, abs=6)  # a JPEG as bad as H.264 with this quantiser
    assert (looks["codec"], looks["quality_from"], looks["interlaced"]) == ("h264", "file", False)
    assert "looks like" in cli("probe", path).out


def test_a_damaged_image_looks_like_nothing(probed, tmp_path):
    data = saved(photograph(), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    assert probed(tmp_path / "cut.jpg")["looks"] is None
