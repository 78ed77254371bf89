"""Inputs become sources: by content, in order, and without earlier results."""

import os
import shutil
import socket
from pathlib import Path

import pytest
from PIL import Image

from dagan_cli.media.container import CONTAINERS
from dagan_cli.media.find import Found, Listed, find_inputs, read_list
from dagan_cli.media.images.formats import FORMATS
from dagan_cli.media.made.beside import write_beside
from dagan_cli.media.made.identity import identity_of
from dagan_cli.media.made.record import SOURCE, to_text
from dagan_cli.media.sniff import is_picture, looks_like_video, named_kind, picture_format
from dagan_cli.media.targets import plan_naming, plan_targets, target_of
from dagan_cli.media.template import Template


def names(found: Found) -> list[str]:
    return [source.path.as_posix() for source in found.sources]


def test_a_folder_gives_its_pictures_and_videos_by_content_in_order(tree):
    found = find_inputs(["."])
    assert names(found) == ["a.jpg", "b.png", "film.mkv", "picture.txt"]
    assert [source.kind for source in found.sources] == ["picture", "picture", "video", "picture"]


@pytest.mark.parametrize("inputs", [["."], ["*"]])
def test_what_is_named_like_an_image_or_a_video_and_is_none_is_a_failure(tree, inputs):
    (tree / "empty.JPG").touch()
    (tree / "empty.mp4").touch()
    (tree / "cut.png").write_bytes((tree / "b.png").read_bytes()[:5])
    (tree / "lost.tiff").symlink_to("nowhere.tiff")
    (tree / "source.ts").write_text("export const answer = 42")
    found = find_inputs(inputs)
    reasons = {path.name: str(error) for path, error in found.failed}
    assert sorted(reasons) == ["cut.png", "empty.JPG", "empty.mp4", "false.png", "lost.tiff"]
    assert "is empty" in reasons["empty.JPG"]
    assert "its content is neither" in reasons["false.png"]
    assert "no such file" in reasons["lost.tiff"]
    assert {skipped.path.name for skipped in found.skipped} >= {"notes.md", "source.ts"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_pipes_and_sockets_with_such_names_are_failures_and_never_block(tree):
    os.mkfifo("pipe.png")
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mkv")
        found = find_inputs(["."])
    reasons = {path.name: str(error) for path, error in found.failed}
    assert "a named pipe" in reasons["pipe.png"]
    assert "a socket" in reasons["socket.mkv"]
    assert "pipe" in {skipped.path.name for skipped in found.skipped}


@pytest.mark.parametrize("url", ["https://example.com/a.png", "rtsp://camera/1", "file:///tmp/a.png"])
def test_a_url_is_an_error_of_its_own(tree, url):
    ((_, error),) = find_inputs([url]).failed
    assert str(error) == f"{url} is a URL; dagan reads files"
    assert ("name the file itself: /tmp/a.png" if url.startswith("file") else "download it first") in error.hint


def test_a_file_below_a_folder_that_looks_like_a_url_is_a_file(tree):
    (tree / "http:").mkdir()
    (tree / "b.png").rename(tree / "http:" / "b.png")
    assert names(find_inputs(["http://b.png"])) == ["http:/b.png"]


def test_everything_skipped_has_a_reason(tree):
    found = find_inputs(["."])
    assert found.reasons() == {
        "neither an image nor a video": 1,
        "a subfolder (needs -r)": 1,
        "hidden": 1,
    }


def test_recursion_mirrors_the_tree_under_the_output(tree):
    found = find_inputs([tree], recursive=True)
    below = {source.path.name: source.below.as_posix() for source in found.sources}
    assert below["c.gif"] == "sub"
    assert below["d.webp"] == "sub/deep"
    naming = plan_naming(found, "out", "x4")
    targets = {target_of(source, naming, ".png").as_posix() for source in found.sources}
    assert {"out/b_x4.png", "out/sub/c_x4.png", "out/sub/deep/d_x4.png"} <= targets


def test_include_and_exclude_match_names_and_paths_in_any_case(tree):
    assert names(find_inputs(["."], recursive=True, include=["*.png"])) == ["b.png", "sub/e.PNG"]
    assert names(find_inputs(["."], recursive=True, exclude=["sub/*", "*.mkv"])) == ["a.jpg", "b.png", "picture.txt"]
    assert names(find_inputs(["."], recursive=True, include=["*.png"], exclude=["b.*"])) == ["sub/e.PNG"]
    assert names(find_inputs(["b.png"], exclude=["*"])) == ["b.png"]  # named itself


def test_a_pattern_no_shell_expanded_is_expanded(tree):
    assert names(find_inputs(["*.png"])) == ["b.png"]
    found = find_inputs(["sub/**/*.webp"])
    assert [(source.path.as_posix(), source.below.as_posix()) for source in found.sources] == [
        ("sub/deep/d.webp", "deep")
    ]
    ((path, error),) = find_inputs(["*.tiff"]).failed
    assert path == Path("*.tiff")
    assert "nothing matches" in str(error)


def test_a_file_whose_name_looks_like_a_pattern_is_taken_as_it_is(tree):
    (tree / "b[1].png").write_bytes((tree / "b.png").read_bytes())
    assert names(find_inputs(["b[1].png"])) == ["b[1].png"]


def test_what_was_named_fails_where_a_folder_would_skip(tree):
    (tree / "empty.png").touch()
    found = find_inputs(["notes.md", "missing.png", "empty.png", "b.png"])
    assert names(found) == ["b.png"]
    words = ["neither an image nor a video", "no such file", "is empty"]
    assert [word in str(error) for word, (_, error) in zip(words, found.failed, strict=True)] == [True] * 3
    assert all(error.hint for _, error in found.failed)


def test_a_file_named_twice_is_worked_on_once(tree):
    found = find_inputs(["b.png", "./b.png", "."])
    assert names(found).count("b.png") == 1
    assert found.reasons()["already named"] == 2


RESULTS = ["b_x4.png", "b_x2.5.webp", "b_1080p.png", "a_jpg_x4.webp", "film_x2.mkv", "film_x2_from-1.5_frames-9.mkv"]


def recorded(name: str, source: str = "false.png") -> None:
    """Make a file of which a record says that dagan made it, from `source`."""
    shutil.copy("film.mkv" if name.endswith("mkv") else "b.png", name)
    with open(name, "rb") as file:
        write_beside(Path(name), file, to_text({SOURCE: identity_of(Path(source))}))


def test_earlier_results_beside_their_source_are_not_upscaled_again(tree):
    for name in (*RESULTS, "alone_x4.png"):
        recorded(name)
    found = find_inputs(["."])
    assert names(found) == ["a.jpg", "alone_x4.png", "b.png", "film.mkv", "picture.txt"]
    assert found.reasons()["an earlier result"] == len(RESULTS)
    assert names(find_inputs(["b_x4.png"])) == ["b_x4.png"]  # named itself


def test_an_earlier_result_is_known_by_its_name_across_line_breaks(tree):
    shutil.copy("b.png", "x\ny\n.png")
    for name in ("x\ny\n_x2.png", "big_x\ny\n.png"):
        recorded(name)
    found = find_inputs(["."], template=Template("big_{stem}"))
    assert sorted(skipped.path.name for skipped in found.skipped if skipped.reason == "an earlier result") == [
        "big_x\ny\n.png",
        "x\ny\n_x2.png",
    ]
    assert "x\ny\n.png" in names(found)


@pytest.mark.parametrize("inputs", [["."], ["**/*"]])
def test_earlier_results_in_other_folders_of_the_search_are_not_upscaled_again(tree, inputs):
    before = names(find_inputs(inputs, recursive=True))
    for name, source in (
        ("larger/b_x4.png", "b.png"),
        ("larger/sub/c_x4.png", "sub/c.gif"),
        ("z/d_webp_x4.png", "sub/deep/d.webp"),
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        recorded(name, source)
    found = find_inputs(inputs, recursive=True)
    assert names(found) == before
    assert found.reasons()["an earlier result"] == 3
    assert names(find_inputs(["larger"], recursive=True)) == ["larger/b_x4.png", "larger/sub/c_x4.png"]


def test_a_result_in_another_folder_than_a_file_of_that_name_is_an_input_if_it_was_made_from_another(tree):
    Path("other").mkdir()
    recorded("other/b_x4.png", "film.mkv")
    shutil.copy("b.png", "other/b_x2.png")
    found = names(find_inputs(["."], recursive=True))
    assert {"other/b_x2.png", "other/b_x4.png"} <= set(found)


def test_a_name_alone_makes_no_earlier_result(tree):
    for name in RESULTS:
        shutil.copy("film.mkv" if name.endswith("mkv") else "b.png", name)
    assert names(find_inputs(["."])) == sorted(["a.jpg", "b.png", "film.mkv", "picture.txt", *RESULTS])


def test_a_named_result_is_skipped_if_its_source_is_named_too(tree):
    recorded("b_x4.png")
    shutil.copy("b.png", "b_x2.png")
    found = find_inputs(["b_x4.png", "b_x2.png", "./b.png"])
    assert names(found) == ["b_x2.png", "b.png"]
    assert [(skipped.path.name, skipped.is_named) for skipped in found.skipped] == [("b_x4.png", True)]


def test_the_output_folder_is_not_searched(tree):
    found = find_inputs(["."], recursive=True, out=Path("sub"))
    assert not any(name.startswith("sub") for name in names(found))
    assert found.reasons()["the output folder"] == 1


def test_a_path_of_a_list_is_no_pattern(tree):
    found = find_inputs([Listed("*.png"), Listed("b.png")])
    assert names(found) == ["b.png"]
    assert "no such file" in str(found.failed[0][1])


def test_a_pattern_enters_no_links(tree):
    before = names(find_inputs(["**/*.png"]))
    for name in ("again", "and again", "out"):  # two loops are 2^40 paths
        (tree / "sub" / name).symlink_to(tree, target_is_directory=True)
    assert names(find_inputs(["**/*.png"])) == before
    assert names(find_inputs([f"{tree}/**/*.png"])) == [str(tree / name) for name in before]
    assert sorted(names(find_inputs(["sub/**"]))) == sorted(names(find_inputs(["sub"], recursive=True)))


def test_one_file_is_one_input_and_one_output_through_any_link_to_its_folder(tree):
    (tree / "link").symlink_to(tree, target_is_directory=True)
    assert names(find_inputs(["b.png", "link/b.png"])) == ["b.png"]
    (tree / "b.bmp").write_bytes((tree / "b.png").read_bytes())
    found = find_inputs(["b.png", "link/b.bmp"])
    targets = plan_targets(found.sources, plan_naming(found, None, "x2"), [".webp", ".webp"])
    assert targets == [Path("b_png_x2.webp"), Path("link/b_bmp_x2.webp")]


def test_an_output_folder_is_not_an_input_by_another_name(tree):
    (tree / "elsewhere").symlink_to(tree / "sub", target_is_directory=True)
    found = find_inputs(["."], recursive=True, out=Path("elsewhere"))
    assert found.reasons()["the output folder"] == 2  # the link, and what it leads to
    assert not any(name.startswith("sub") for name in names(found))


def test_a_loop_of_links_ends(tree):
    (tree / "sub" / "again").symlink_to(tree, target_is_directory=True)
    found = find_inputs(["."], recursive=True)
    assert found.reasons()["a link to a folder"] == 1
    assert len(found.sources) == 7


def test_a_link_to_a_folder_is_none_that_r_would_enter(tree):
    (tree / "link").symlink_to(tree / "sub", target_is_directory=True)
    reasons = find_inputs(["."]).reasons()
    assert (reasons["a link to a folder"], reasons["a subfolder (needs -r)"]) == (1, 1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed_is_a_failure(tree):
    (tree / "sub").chmod(0)
    try:
        ((path, _),) = find_inputs(["."], recursive=True).failed
    finally:
        (tree / "sub").chmod(0o755)
    assert path == Path("sub")


def test_lists_are_read_by_line_or_by_nul():
    assert read_list(b"a b.png\r\n\n\xc3\xa4.png") == [Path("a b.png"), Path("ä.png")]
    assert read_list(b"two\nlines.png\0\xff.png\0", nul=True) == [
        Path("two\nlines.png"),
        Path(os.fsdecode(b"\xff.png")),
    ]
    assert read_list(b"\xef\xbb\xbfa.png") == [Path("a.png")]


@pytest.mark.parametrize(
    ("head", "name", "kind"),
    [
        (b"\0\0\0\x1cftypisom\0\0\2\0isom", "a.mp4", "video"),
        (b"\0\0\0\x14ftypqt  ", "a.mov", "video"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "a.mov", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "a.avi", "video"),
        (b"YUV4MPEG2 W4 H4 F25:1\n", "a.y4m", "video"),
        ((b"G" + bytes(187)) * 3, "a.ts", "video"),
        ((bytes(4) + b"G" + bytes(187)) * 3, "a.m2ts", "video"),
        (b"\0\0\0\x01gB\0 " + bytes(20), "a.h264", "video"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "a.avif", "picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "a.avif", "picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a.heic", "picture"),
        (b"\xff\x0a\xfa", "a.jxl", "picture"),
        (b"P6\n4 4\n255\n", "a.ppm", "picture"),
        (b"\0\0\0\x1cftypM4A \0\0\0\0M4A mp42", "a.m4a", None),
        (b"RIFF\0\0\0\0WAVEfmt ", "a.wav", None),
        (b"BM is how this text starts, not a bitmap", "a.txt", None),
        (b"1\n00:00:01,000 --> 00:00:02,000\nHello", "a.srt", None),
        (b"", "a.png", None),
    ],
)
def test_files_are_told_by_their_first_bytes(tmp_path, head, name, kind):
    path = tmp_path / name
    path.write_bytes(head)
    assert is_picture(path) == (kind == "picture")
    assert looks_like_video(path) == (kind == "video")


def test_every_format_pillow_writes_is_told(tmp_path):
    for suffix, format in {
        ".png": "PNG",
        ".jpg": "JPEG",
        ".webp": "WEBP",
        ".tif": "TIFF",
        ".bmp": "BMP",
        ".gif": "GIF",
        ".avif": "AVIF",
        ".ppm": "PPM",
        ".tga": "TGA",
        ".jp2": "JPEG2000",
        ".qoi": "QOI",
    }.items():
        path = tmp_path / f"a{suffix}"
        Image.new("RGB", (16, 16)).save(path)
        assert picture_format(path.read_bytes()[:512], path.name) == format


@pytest.mark.corpus
@pytest.mark.skipif("DAGAN_TEST_DATA" not in os.environ, reason="DAGAN_TEST_DATA names no folder of real files")
def test_real_files_are_told_apart():
    found = find_inputs([Path(os.environ["DAGAN_TEST_DATA"], folder) for folder in ("video", "odd-images")])
    kinds = {source.path.name: source.kind for source in found.sources}
    for name in ("cockatoo.mp4", "av1_video.mkv", "no_duration.webm", "sample.3gp", "testvideo-43.avi", "portrait.MOV"):
        assert kinds[name] == "video"
    for name in ("newtonscradle.gif", "rot1mir0.avif", "la.tga", "sugarshack.mpo", "hopper.ppm"):
        assert kinds[name] == "picture"
    assert "xs1n0g01.png" not in kinds


def test_every_suffix_that_is_written_promises_its_kind():
    for suffix in (suffix for form in FORMATS for suffix in form.suffixes):
        assert named_kind(Path(f"a{suffix.upper()}")) == "picture"
    assert {named_kind(Path(f"a{suffix}")) for suffix in CONTAINERS} == {"video"}
    assert {named_kind(Path(name)) for name in ("a.txt", "png", ".png", "a.png.txt", "a.ts", "a.ogg", "a.svg")} == {
        None
    }
