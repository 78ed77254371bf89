"""Sources become targets: each its own, and nothing overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.media.find import Found, Source, find_inputs
from dagan_cli.media.targets import plan_naming, plan_targets, target_of, told_apart


def test_one_file_is_written_beside_itself_or_to_the_file_that_was_named(tree):
    found = find_inputs(["sub/c.gif"])
    (source,) = found.sources
    assert target_of(source, plan_naming(found, None, "x4"), ".gif") == Path("sub/c_x4.gif")
    assert target_of(source, plan_naming(found, "big.webp", "x4"), ".webp") == Path("big.webp")
    for folder in ("sub", "new", "new.d/", tree):
        assert target_of(source, plan_naming(found, folder, "x4"), ".gif") == Path(folder, "c_x4.gif")


def test_several_inputs_or_a_folder_need_an_output_folder(tree):
    for inputs in (["a.jpg", "b.png"], ["sub"], ["*.png"]):
        with pytest.raises(BadOption, match="is a file"):
            plan_naming(find_inputs(inputs), "notes.md", "x4")
        assert not plan_naming(find_inputs(inputs), "out.d", "x4").out_is_file
        for out in ("one.png", "one.MKV"):
            with pytest.raises(BadOption, match="names one file"):
                plan_naming(find_inputs(inputs), out, "x4")
            assert not plan_naming(find_inputs(inputs), f"{out}/", "x4").out_is_file
    (tree / "old.png").mkdir()
    assert not plan_naming(find_inputs(["sub"]), "old.png", "x4").out_is_file


def test_two_inputs_with_one_target_both_get_their_kind_into_the_name():
    sources = [
        Source(Path("p/a.png"), "picture"),
        Source(Path("p/a.jpg"), "picture"),
        Source(Path("p/c.png"), "picture"),
    ]
    naming = plan_naming(Found(tuple(sources), (), (), False), None, "x4")
    expected = [Path("p/a_png_x4.webp"), Path("p/a_jpg_x4.webp"), Path("p/c_x4.webp")]
    assert plan_targets(sources, naming, [".webp"] * 3) == expected
    assert plan_targets(sources[::-1], naming, [".webp"] * 3) == expected[::-1]
    assert plan_targets(sources, naming, [".png", ".jpg", ".png"])[:2] == [Path("p/a_x4.png"), Path("p/a_x4.jpg")]


@pytest.mark.parametrize(
    ("inputs", "results"),
    [
        (["x/a.png", "y/a.png", "y/b.png"], ["x/a_x4.png", "y/a_x4.png", "b_x4.png"]),
        (["p/x/a.png", "p/y/a.png"], ["x/a_x4.png", "y/a_x4.png"]),
        (["p/q/x/a.png", "p/q/a.png", "r/a.png"], ["p/q/x/a_x4.png", "p/q/a_x4.png", "r/a_x4.png"]),
        (["x/../x/a.png", "/y/a.png"], None),
        (["x/a.png", "y/a.png", "x/a.jpg"], ["x/a_x4.png", "y/a_x4.png", "a_jpg_x4.png"]),
        (["x/a.png", "y/a.png", "x/a.jpg", "y/a.jpg"], [f"{d}/a_{e}_x4.png" for e in ("png", "jpg") for d in "xy"]),
    ],
)
def test_inputs_of_one_name_are_told_apart_by_their_folders_below_the_common_one(inputs, results):
    sources = [Source(Path(name), "picture") for name in inputs]
    naming = plan_naming(Found(tuple(sources), (), (), False), "out", "x4")
    targets = plan_targets(sources, naming, [".png"] * len(inputs))
    if results is not None:
        assert targets == [Path("out", result) for result in results]
    assert len(set(targets)) == len(inputs)
    assert plan_targets(sources[::-1], naming, [".png"] * len(inputs)) == targets[::-1]
    kept = [target for _, target in told_apart(sources, naming, targets)]
    assert kept == [target for target in targets if isinstance(target, Path) and target.parent != Path("out")]


def test_results_of_one_name_from_several_trees_keep_their_trees():
    sources = [Source(Path(tree, "deep/a.png"), "picture", Path("deep")) for tree in ("x", "y")]
    naming = plan_naming(Found(tuple(sources), (), (), False), "out", "x4")
    assert plan_targets(sources, naming, [".png"] * 2) == [Path("out", tree, "deep/a_x4.png") for tree in ("x", "y")]


def test_inputs_that_cannot_be_told_apart_are_errors_and_the_others_go_on():
    sources = [Source(Path(name), "picture") for name in ("p/a.png", "p/A.png", "q/b.png")]
    naming = plan_naming(Found(tuple(sources), (), (), True), "out.png", "x4")
    first, second, _ = plan_targets(sources, naming, [".png"] * 3)
    assert isinstance(first, BadOption)
    assert isinstance(second, BadOption)
    assert "out" in str(first)


def test_no_input_is_ever_overwritten(tree):
    found = find_inputs(["b.png"])
    (tree / "link.png").hardlink_to(tree / "b.png")
    for out in ("b.png", "./sub/../b.png", "link.png"):
        (target,) = plan_targets(found.sources, plan_naming(found, out, "x1"), [".png"])
        assert isinstance(target, BadOption)
        assert "overwrite" in str(target)
    both = find_inputs(["a.jpg", "b.png"])
    (tree / "a_x1.png").symlink_to(tree / "b.png")
    target, _ = plan_targets(both.sources, plan_naming(both, None, "x1"), [".png", ".png"])
    assert isinstance(target, BadOption)


def test_a_name_too_long_for_any_disk_is_told_beforehand():
    source = Source(Path("a" * 250 + ".png"), "picture")
    (target,) = plan_targets([source], plan_naming(Found((source,), (), (), True), None, "x4"), [".png"])
    assert isinstance(target, BadOption)
