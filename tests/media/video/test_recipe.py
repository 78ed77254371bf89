"""How a video is encoded: what follows from the source, and what is refused before any work."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path

import av
import pytest

from dagan_cli.errors import BadOption
from dagan_cli.media.video.encoders import has_encoder
from dagan_cli.media.video.preflight import can_encode, check_encoder
from dagan_cli.media.video.recipe import Encoding, Recipe, plan
from dagan_cli.media.video.source import open_video
from tests.support.clips import LOSSLESS, clip, described, ffmpeg, passed_through, pictures

NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")


def stored(folder: Path, pix_fmt: str, *options: str, size: str = "96x64") -> Path:
    """A short clip of that pixel format, exactly as it was made."""
    codec = ("-c:v", "mjpeg", "-strict", "-1") if pix_fmt.startswith("yuvj") else ("-c:v", "ffv1")
    picture = f"testsrc=size={size}:rate=25"
    return clip(folder / "in.mkv", *codec, "-pix_fmt", pix_fmt, "-an", *options, picture=picture, seconds=0.2)


def recipe(source: Path, encoding: Encoding, suffix: str = ".mkv", size: tuple[int, int] | None = None) -> Recipe:
    with open_video(source) as video:
        return plan(video.info, size or (video.info.width, video.info.height), encoding, suffix)


# --- refused before any work


REFUSED = [
    (Encoding(codec="nonsense"), "unknown --codec nonsense"),
    (Encoding(codec="aac"), "aac does not encode video"),
    (Encoding(codec="libx264", preset="nonsense"), "libx264 has no --preset nonsense"),
    (Encoding(codec="libsvtav1", preset="slow"), "libsvtav1 has no --preset slow"),
    (Encoding(codec="libvpx-vp9", preset="slow"), "libvpx-vp9 has no --preset slow"),
    (Encoding(codec="libx264", crf=52), "--crf 52 is out of range for libx264"),
    (Encoding(codec="libsvtav1", crf=64), "--crf 64 is out of range for libsvtav1"),
    (Encoding(crf=-1), "--crf -1 is out of range for libx264"),
    (Encoding(codec="ffv1", crf=3), "ffv1 has no constant-quality mode for --crf"),
    (Encoding(codec="prores_ks", preset="slow"), "prores_ks has no --preset slow"),
    (Encoding(pix_fmt="rgb24"), "libx264 does not support --pix-fmt rgb24"),
    (Encoding(pix_fmt="nonsense"), "libx264 does not support --pix-fmt nonsense"),
    (Encoding(options={"typo": "1"}), "libx264 has no option typo"),
    (Encoding(options={"tune": "foo"}), "invalid tune 'foo'"),
    (Encoding(options={"preset": "foo"}), "invalid preset 'foo'"),
    (Encoding(options={"g": "often"}), 'Unable to parse "g" option value "often"'),
    (Encoding(options={"x264-params": "typo=1"}), "Error parsing option 'typo = 1'"),
    (Encoding(codec="libx265", options={"tune": "foo"}), "Error setting preset/tune (null)/foo"),
    (Encoding(codec="libx265", options={"x265-params": "typo=1"}), "Unknown option: typo"),
    (Encoding(codec="libx265", options={"x265-params": "rd=much"}), "Invalid value for rd: much"),
    (Encoding(codec="libx265", options={"x265-params": "rd=99"}), "RD Level is out of range"),
    (Encoding(codec="libsvtav1", options={"svtav1-params": "typo=1"}), "Error parsing option typo: 1"),
    (Encoding(codec="libsvtav1", options={"svtav1-params": "tune=99"}), "Invalid tune flag"),
    (Encoding(codec="libvpx-vp9", options={"cpu-used": "99"}), "for parameter 'cpu-used' out of range"),
    (Encoding(codec="prores_ks", options={"profile": "foo"}), 'Unable to parse "profile" option value "foo"'),
    (Encoding(codec="ffv1", options={"coder": "foo"}), 'Unable to parse "coder" option value "foo"'),
]


@pytest.mark.parametrize(
    ("encoding", "words", "hint"),
    [
        (Encoding(preset="foo"), "unknown --preset foo", "ultrafast"),
        (Encoding(codec="libx265", preset="foo"), "libx265 has no --preset foo", "ultrafast"),
        (Encoding(codec="libsvtav1", preset="slow"), "libsvtav1 has no --preset slow", "13"),
        (Encoding(codec="nonsense"), "unknown --codec nonsense", "libx264"),
        (Encoding(codec="libx264", crf=52), "--crf 52 is out of range for libx264", "51"),
    ],
)
def test_a_codec_or_preset_that_no_source_makes_valid_is_refused_before_any_is_opened(encoding, words, hint):
    with pytest.raises(BadOption, match=words) as caught:
        encoding.require_known()
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "encoding", [Encoding(), Encoding(preset="slow"), Encoding(preset="8"), Encoding(codec="prores_ks")]
)
def test_what_some_source_makes_valid_is_not_refused_beforehand(encoding):
    encoding.require_known()


@pytest.mark.parametrize(("encoding", "words"), REFUSED)
def test_a_choice_that_cannot_be_is_refused_before_any_work(tmp_path, capfd, encoding, words):
    """By name, in two lines, and nothing of it is left or printed by the encoder itself."""
    source = clip(tmp_path / "in.mp4", seconds=0.2)
    with pytest.raises(BadOption, match=re.escape(words)) as caught:
        passed_through(source, tmp_path / "out.mkv", encoding)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert os.listdir(tmp_path) == ["in.mp4"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("codec", "size", "words"),
    [
        ("libx264", (16386, 64), "invalid width x height (16386x64)"),
        ("libsvtav1", (16386, 64), "Source Width must be less than or equal to 16384"),
        ("libsvtav1", (2, 2), "Source Width must be at least 4"),
        ("libx265", (2, 2), "Image size is too small (2x2)"),
    ],
)
def test_a_size_that_an_encoder_cannot_hold_is_refused_in_its_own_words(tmp_path, capfd, codec, size, words):
    source = clip(tmp_path / "in.mp4", seconds=0.2)
    planned = recipe(source, Encoding(codec=codec), size=size)
    with pytest.raises(
        BadOption, match=re.escape(f"{codec} refuses {size[0]}x{size[1]} yuv420p with these settings: {words}")
    ):
        check_encoder(planned, size, Fraction(25), Fraction(1, 12800))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("encoding", "suffix"), [(Encoding(codec="libx264"), ".webm"), (Encoding(codec="ffv1"), ".mov")]
)
def test_a_codec_that_a_container_does_not_hold_is_refused(tmp_path, encoding, suffix):
    with pytest.raises(BadOption, match=f"{encoding.codec} cannot be stored in {suffix[1:]}"):
        passed_through(clip(tmp_path / "in.mp4"), tmp_path / f"out{suffix}", encoding)


def test_a_name_that_is_no_videos_is_refused(tmp_path):
    with pytest.raises(BadOption, match=r"unsupported suffix \.txt"):
        passed_through(clip(tmp_path / "in.mp4"), tmp_path / "out.txt")


@pytest.mark.parametrize("codec", NVENC)
@pytest.mark.skipif(any(map(can_encode, NVENC)), reason="there is a graphics card that encodes")
def test_a_graphics_card_that_is_not_there_is_told_with_another_way(tmp_path, codec):
    source = clip(tmp_path / "in.mp4", seconds=0.2)
    encoding = Encoding(codec=codec, preset="p5", crf=20)
    with pytest.raises(BadOption, match=f"{codec} refuses 96x64 yuv420p") as caught:
        passed_through(source, tmp_path / "out.mp4", encoding)
    assert "NVIDIA" in caught.value.hint
    assert "libx264" in caught.value.hint


def test_a_wrong_option_of_nvenc_is_not_taken_for_a_missing_card(tmp_path):
    source = clip(tmp_path / "in.mp4", seconds=0.2)
    with pytest.raises(BadOption, match='Unable to parse "rc" option value "foo"') as caught:
        passed_through(source, tmp_path / "out.mp4", Encoding(codec="hevc_nvenc", options={"rc": "foo"}))
    assert "NVIDIA" not in caught.value.hint


@pytest.mark.parametrize("codec", NVENC)
def test_what_nvenc_is_told(tmp_path, codec):
    deep = recipe(stored(tmp_path, "yuv420p10le"), Encoding(codec=codec, preset="p7", crf=20))
    assert deep.options.items() >= {"cq": "20", "preset": "p7", "rc": "vbr", "b": "0"}.items()
    assert deep.pix_fmt == ("yuv420p" if codec == "h264_nvenc" else "p010le")
    with pytest.raises(BadOption, match="has no --preset slow") as caught:
        recipe(tmp_path / "in.mkv", Encoding(codec=codec, preset="slow"))
    assert "p1, p2" in caught.value.hint


def test_hardware_is_asked_for_by_opening_it():
    assert [can_encode(name) for name in ("libx264", "ffv1", "nonsense")] == [True, True, False]
    assert has_encoder("h264_nvenc") or not can_encode("h264_nvenc")


# --- what follows from the source and the container


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pix_fmt", "suffix", "video"),
    [
        ("yuv420p", ".mp4", r"h264 \(High\).*, yuv420p"),
        ("yuv422p", ".mkv", r"h264 \(High 4:2:2\).*, yuv422p"),
        ("yuv411p", ".mp4", r"h264 .*, yuv420p"),
        ("yuv444p", ".mov", r"h264 \(High 4:4:4 Predictive\).*, yuv444p"),
        ("bgr0", ".mp4", r"h264 .*, yuv444p"),
        ("gray", ".mp4", r"h264 .*, yuvj420p\(pc"),
        ("yuvj420p", ".mp4", r"h264 .*, yuvj420p\(pc"),
        ("yuv420p10le", ".mp4", r"hevc \(Main 10\) \(hvc1.*, yuv420p10le"),
        ("yuv422p12le", ".mkv", r"hevc \(Rext\), yuv422p12le"),
        ("yuv420p16le", ".mkv", r"hevc \(Rext\), yuv420p12le"),
        ("yuv420p", ".webm", r"vp9 \(Profile 0\), yuv420p"),
        ("yuv444p", ".webm", r"vp9 \(Profile 1\), yuv444p"),
        ("yuv420p10le", ".webm", r"av1 .*\(Main\), yuv420p10le"),
    ],
)
def test_the_codec_follows_the_depth_and_the_container(tmp_path, capfd, pix_fmt, suffix, video):
    passed_through(stored(tmp_path, pix_fmt), tmp_path / f"out{suffix}", Encoding())
    assert re.search(f"Video: {video}", described(tmp_path / f"out{suffix}"))
    assert capfd.readouterr().err == ""  # x265 and SVT-AV1 like to tell all they do


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "expected"),
    [
        ("ffv1", "bgr0", "bgr0"),
        ("ffv1", "bgra", "bgra"),
        ("ffv1", "gbrap16le", "gbrap16le"),
        ("ffv1", "gray", "gray"),
        ("ffv1", "gray12le", "gray12le"),
        ("ffv1", "ya8", "ya8"),
        ("ffv1", "yuv410p", "yuv410p"),
        ("ffv1", "yuva422p10le", "yuva422p10le"),
        ("ffv1", "yuv420p14le", "yuv420p14le"),
        ("libx265", "yuva420p", "yuv420p"),
        ("libsvtav1", "yuv444p12le", "yuv420p10le"),
        ("libvpx-vp9", "yuva444p", "yuva420p"),
        ("prores_ks", "yuv420p", "yuv422p10le"),
        ("prores_ks", "yuv444p", "yuv444p10le"),
        ("prores_ks", "bgra", "yuva444p10le"),
        ("qtrle", "bgra", "argb"),
        ("mjpeg", "yuv422p", "yuvj422p"),
        ("libx264rgb", "bgr0", "rgb24"),
        ("hevc", "yuv420p10le", "yuv420p10le"),
    ],
)
def test_the_pixel_format_is_the_one_that_loses_least(tmp_path, codec, pix_fmt, expected):
    planned = recipe(stored(tmp_path, pix_fmt), Encoding(codec=codec))
    assert planned.pix_fmt == expected
    check_encoder(planned, (96, 64), Fraction(25), Fraction(1, 1000))


def test_what_a_format_cannot_hold_is_told(tmp_path):
    warnings = recipe(stored(tmp_path, "yuv444p12le"), Encoding(codec="libsvtav1")).warnings
    assert warnings == ("12 bits per value are written as 10", "colour is written at lower resolution: 444 as 420")


@pytest.mark.parametrize(
    ("pix_fmt", "description"),
    [("yuv420p", r"prores \(HQ\) \(apch"), ("yuv444p", r"prores \(4444\) \(ap4h"), ("bgra", r"ap4h.*yuva444p12le")],
)
def test_prores_has_the_profile_that_holds_the_colour(tmp_path, pix_fmt, description):
    passed_through(stored(tmp_path, pix_fmt), tmp_path / "out.mov", Encoding(codec="prores_ks"))
    assert re.search(description, described(tmp_path / "out.mov"))


def test_full_range_colours_become_limited_where_nobody_could_say_so(tmp_path):
    """Every reader of ProRes takes its colours for limited ones."""
    smooth = ("-vf", "gblur=4,scale=out_range=full,setparams=colorspace=smpte170m", "-color_range", "pc")
    source, target = stored(tmp_path, "yuv420p", *smooth), tmp_path / "out.mov"
    assert "(pc, smpte170m" in described(source)
    passed_through(source, target, Encoding(codec="prores_ks"))
    assert "(tv," in described(target)
    same = "zscale=rangein={}:range=full:matrixin=170m:matrix=gbr,format=gbrp"
    graph = f"[0:v]{same.format('full')}[a];[1:v]{same.format('limited')}[b];[a][b]psnr=stats_file=-"
    scores = re.findall(r"psnr_avg:(\S+)", ffmpeg("-i", source, "-i", target, "-lavfi", graph, "-f", "null", "-"))
    assert len(scores) == 5
    assert min(map(float, scores)) > 45


@pytest.mark.parametrize("codec", ["libsvtav1", "libvpx-vp9", "ffv1"])
def test_odd_sizes_stay_in_4_2_0_where_the_codec_keeps_them(tmp_path, codec):
    source, target = stored(tmp_path, "yuv420p", size="97x65"), tmp_path / "out.mkv"
    assert passed_through(source, target, Encoding(codec=codec)) == ()
    assert re.search(r"yuv420p\(.*97x65", described(target))
    if codec == "ffv1":
        assert pictures(target) == pictures(source)


# --- quality and options


@pytest.mark.slow
def test_quality_and_the_encoders_own_options_reach_it(tmp_path):
    source = clip(tmp_path / "in.mp4")
    sizes = []
    for crf in (5, 40):
        passed_through(source, tmp_path / "out.mp4", Encoding(crf=crf, options={"g": "5"}))
        sizes.append((tmp_path / "out.mp4").stat().st_size)
        with av.open(str(tmp_path / "out.mp4")) as out:
            assert sum(packet.is_keyframe for packet in out.demux(video=0) if packet.size) >= 5
    assert sizes[0] > 2 * sizes[1]


def test_another_rate_control_is_not_overruled_by_the_quality_nobody_asked_for(tmp_path):
    source = clip(tmp_path / "in.mp4", seconds=0.2)
    passed_through(source, tmp_path / "out.mp4", Encoding(options={"qp": "0"}))
    assert pictures(tmp_path / "out.mp4") == pictures(source)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9"])
def test_the_quality_is_17_in_each_codecs_own_word(tmp_path, codec):
    assert recipe(clip(tmp_path / "in.mp4", seconds=0.2), Encoding(codec=codec)).options["crf"] == "17"


def test_choices_that_mean_nothing_to_a_codec_nobody_named_are_told_and_not_used(tmp_path):
    """As in a folder of videos of which one is transparent."""
    source = stored(tmp_path, "yuva420p")
    warnings = passed_through(source, tmp_path / "out.mkv", Encoding(crf=20, preset="slow"))
    assert warnings == (
        "ffv1 has no constant-quality mode for --crf: ignored",
        "ffv1 has no --preset slow: ignored",
    )
    assert pictures(tmp_path / "out.mkv") == pictures(source)


def test_what_others_print_while_an_encoder_is_tried_is_not_lost(tmp_path, capfd, monkeypatch):
    planned = recipe(clip(tmp_path / "in.mp4", seconds=0.2), LOSSLESS)
    create = av.CodecContext.create

    def create_and_print(*arguments):
        os.write(2, b"50 % done\n")
        return create(*arguments)

    monkeypatch.setattr(av.CodecContext, "create", create_and_print)
    check_encoder(planned, (96, 64), Fraction(25), Fraction(1, 12800))
    assert capfd.readouterr().err == "50 % done\n"
