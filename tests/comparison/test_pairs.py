"""Which file is compared with which: names in folders, names of our own results, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagan_cli.comparison.pairs import find_pairs
from dagan_cli.errors import BadOption, DaganError, NoInput
from tests.support.tiny import clip, dagan, picture


def folder(root: Path, *names: str) -> Path:
    for name in names:
        picture(root / name)
    return root


def paired(reference: Path, results: Path) -> dict[str, str | None]:
    """The name of each image, and the path in the folder of what it is compared with."""
    return {
        item.name: item.paths[1].relative_to(results).as_posix() if isinstance(item.paths[1], Path) else None
        for item in find_pairs([reference, results]).items
    }


def test_images_in_folders_are_paired_by_their_paths_whatever_their_formats(tmp_path):
    reference = folder(tmp_path / "a", "x.png", "in/x.png", "y.bmp")
    results = folder(tmp_path / "b", "x.png", "in/x.bmp", "y.png", "z.png")
    assert paired(reference, results) == {"in/x.png": "in/x.bmp", "x.png": "x.png", "y.bmp": "y.png"}


def test_a_name_that_dagan_gives_to_a_result_belongs_to_its_source(tmp_path):
    reference = folder(tmp_path / "a", "baby.png", "in/bird.png", "head.png")
    results = folder(tmp_path / "b", "baby_x4.png", "in/bird_x2.png", "head_1080p.webp", "unlike_x4.png")
    assert paired(reference, results) == {
        "baby.png": "baby_x4.png",
        "head.png": "head_1080p.webp",
        "in/bird.png": "in/bird_x2.png",
    }


def test_a_name_that_is_in_one_place_only_is_found_there(tmp_path):
    reference = folder(tmp_path / "a", "x.png", "y.png")
    results = folder(tmp_path / "b", "deep/er/x.png", "deep/y_x4.png")
    assert paired(reference, results) == {"x.png": "deep/er/x.png", "y.png": "deep/y_x4.png"}


def test_names_that_fit_several_files_are_not_guessed(tmp_path):
    reference = folder(tmp_path / "a", "x.png", "y.png")
    results = folder(tmp_path / "b", "x_x2.png", "x_x4.png", "y.png")
    assert paired(reference, results) == {"x.png": None, "y.png": "y.png"}
    reason = find_pairs([reference, results]).items[0].paths[1]
    assert isinstance(reason, DaganError)
    assert "2 images" in str(reason)


def test_a_file_of_the_very_name_is_taken_among_several_of_its_stem(tmp_path):
    reference = folder(tmp_path / "a", "x.png")
    results = folder(tmp_path / "b", "x.png", "x.bmp")
    assert paired(reference, results) == {"x.png": "x.png"}


@pytest.mark.slow
def test_a_result_that_stands_next_to_its_source_is_compared_and_not_the_source(tmp_path):
    reference = folder(tmp_path / "a", "x.png")
    results = folder(tmp_path / "b", "x.png")
    assert dagan("upscale", results / "x.png", "-n", "nearest", "-s", 2).returncode == 0
    assert paired(reference, results) == {"x.png": "x_x2.png"}


def test_files_are_compared_as_they_are_named(tmp_path):
    a, b, c = (picture(tmp_path / f"{name}.png") for name in "abc")
    pairs = find_pairs([a, b, c])
    assert pairs.labels == ("a.png", "b.png", "c.png")
    assert [item.paths for item in pairs.items] == [(a, b, c)]


def test_equal_names_are_told_apart_by_their_folders_and_equal_paths_by_numbers(tmp_path):
    a, b = picture(tmp_path / "a/x.png"), picture(tmp_path / "b/x.png")
    assert find_pairs([a, b]).labels == (str(a), str(b))
    assert find_pairs([a, a]).labels == (f"{a} (1)", f"{a} (2)")


def test_one_file_that_cannot_be_compared_does_not_end_the_others(tmp_path):
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    film = clip(tmp_path / "film.mkv", "-c:v", "ffv1", seconds=0.1)
    paths = find_pairs([a, tmp_path / "none.png", film, b]).items[0].paths
    assert [isinstance(path, DaganError) for path in paths] == [False, True, True, False]
    assert "is a video" in str(paths[2])


def test_videos_in_folders_are_named_in_a_note(tmp_path):
    reference = folder(tmp_path / "a", "x.png")
    clip(reference / "film.mkv", "-c:v", "ffv1", seconds=0.1)
    (note,) = find_pairs([reference, folder(tmp_path / "b", "x.png")]).notes
    assert "1 in all" in note


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("none.png", "a.png"), NoInput),
        (("a.png", "none.png"), NoInput),
        (("a.png", "text.txt"), NoInput),
        (("folder", "a.png"), BadOption),
        (("a.png", "folder"), BadOption),
        (("empty", "folder"), NoInput),
        (("folder", "empty"), NoInput),
        (("folder", "other"), NoInput),
        (("https://example.org/a.png", "a.png"), NoInput),
    ],
)
def test_what_gives_no_pair_is_an_error(tmp_path, monkeypatch, names, kind):
    monkeypatch.chdir(tmp_path)
    picture(Path("a.png"))
    Path("text.txt").write_text("text")
    Path("empty").mkdir()
    folder(Path("folder"), "x.png")
    folder(Path("other"), "y.png")
    with pytest.raises(kind):
        find_pairs([Path(name) for name in names])
