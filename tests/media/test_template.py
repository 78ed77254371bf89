"""Names of results by a template: what it may hold, what it makes, and which names are recognised as its results."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.media.find import EARLIER_RESULT, Found, Source, find_inputs
from dagan_cli.media.made.beside import write_beside
from dagan_cli.media.targets import plan_naming, plan_targets
from dagan_cli.media.template import Facts, Template
from tests.support.tiny import picture

FACTS = Facts(scale=2.5, model="dagan-x4", width=640, height=480)


def targets(template: str, *paths: str, out: str | None = None, part: str = "") -> list[Path | BadOption]:
    sources = [Source(Path(path), "video" if path.endswith("mp4") else "picture") for path in paths]
    facts = {source.path: FACTS for source in sources}
    found = Found(tuple(sources), (), (), is_one_file=False)
    naming = plan_naming(found, out, "x4", part, template=Template(template), facts=facts)
    return plan_targets(sources, naming, [source.path.suffix for source in sources])


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}_x{scale}{part}", "film_x2.5_from-1_to-3.mp4"),
        ("{stem}_x{scale}", "film_x2.5.mp4"),
        ("{width}x{height} of {stem}, {model}", "640x480 of film, dagan-x4.mp4"),
        ("big{{{stem}}}", "big{film}.mp4"),
        ("{stem}.v2", "film.v2.mp4"),
        ("one name", "one name.mp4"),
    ],
)
def test_placeholders_stand_for_facts_of_the_result(template, name):
    assert targets(template, "p/film.mp4", part="from-1_to-3") == [Path("p", name)]


def test_an_image_has_no_part_and_a_whole_video_none_either():
    assert targets("{stem}{part}_a", "a.png", part="from-1") == [Path("a_a.png")]
    assert targets("{stem}{part}_a", "a.mp4") == [Path("a_a.mp4")]


@pytest.mark.parametrize(
    ("template", "words", "hint"),
    [
        ("{stme}", "unknown placeholder {stme}", "{stem}"),
        ("{}", "unknown placeholder {}", "{width}"),
        ("{stem.real}", "unknown placeholder", "{stem}"),
        ("{stem", "invalid --name", "{{"),
        ("stem}", "invalid --name", "{{"),
        ("{stem:>9}", "takes no format", "{{"),
        ("{stem!r}", "takes no format", "{{"),
        ("a/{stem}", "names a folder", "-o"),
        ("..\\{stem}", "names a folder", "-o"),
        ("{stem}\0", "names a folder", "-o"),
        (".{stem}", "hidden", "another character"),
        ("..", "hidden", "another character"),
        ("", "is empty", "{stem}"),
        (" ", "is empty", "{stem}"),
        ("{stem}_big.PNG", "has a suffix", ".PNG"),
        ("{stem}" + "ä" * 130, "too long", "shorter"),
    ],
)
def test_what_makes_no_file_names_is_refused(template, words, hint):
    with pytest.raises(BadOption) as caught:
        Template(template)
    assert "--name" in str(caught.value)
    assert words in str(caught.value)
    assert hint in caught.value.hint


def test_names_that_only_the_input_makes_hidden_or_too_long_are_errors_of_that_input():
    (hidden,) = targets("{part}", "a.mp4")
    assert isinstance(hidden, BadOption)
    assert "hidden" in str(hidden)
    first, second = targets("{stem}{stem}", f"{'a' * 130}.png", "b.png")
    assert isinstance(first, BadOption)
    assert "too long" in str(first)
    assert second == Path("bb.png")


def test_results_of_one_name_are_told_apart_or_refused_as_without_a_template():
    assert targets("{stem}!", "x/a.png", "y/a.png", out="out") == [Path("out/x/a!.png"), Path("out/y/a!.png")]
    sources = [Source(Path(name), "picture") for name in ("a.png", "a.jpg")]
    found = Found(tuple(sources), (), (), is_one_file=False)
    facts = {source.path: FACTS for source in sources}
    naming = plan_naming(found, None, "x4", template=Template("{stem}!"), facts=facts)
    assert plan_targets(sources, naming, [".webp"] * 2) == [Path("a_png!.webp"), Path("a_jpg!.webp")]
    for target in targets("same", "a.png", "b.png"):
        assert isinstance(target, BadOption)
        assert target.hint == "add {stem} to --name 'same'"


def test_no_input_is_overwritten(tmp_path):
    (target,) = targets("{stem}", str(picture(tmp_path / "a.png")))
    assert isinstance(target, BadOption)
    assert "overwrite an input" in str(target)


@pytest.mark.parametrize("name", ["big-a-x2.5.png", "big-a_png-x2.png", "a_x4.png"])
def test_earlier_results_are_recognised_by_the_template_and_their_metadata(tmp_path, name):
    source, result = picture(tmp_path / "a.png"), picture(tmp_path / name)
    template = Template("big-{stem}-x{scale}")

    def found() -> list[str]:
        return [each.path.name for each in find_inputs([tmp_path], template=template).sources]

    assert set(found()) == {"a.png", name}  # a name alone makes no result
    with open(result, "rb") as file:
        write_beside(result, file, "source=1-a")
    assert found() == ["a.png"]
    (skipped,) = find_inputs([source, result], template=template).skipped
    assert (skipped.path, skipped.reason) == (result, EARLIER_RESULT)


def test_a_file_is_no_result_of_itself(tmp_path):
    path = picture(tmp_path / "a.png")
    with open(path, "rb") as file:
        write_beside(path, file, "source=1-a")
    for template in ("{stem}", "{model}"):
        assert len(find_inputs([tmp_path], template=Template(template)).sources) == 1
