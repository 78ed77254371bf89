"""Recipes: those of the package work, one's own replace them, and options given beside a recipe win."""

from __future__ import annotations

import json
import tomllib

import pytest

from dagan_cli.commands.settings.sources import recipes
from tests.commands.settings.test_defaults import shown
from tests.commands.test_errors import two_lines
from tests.support.tiny import clip, picture

NAMES = ("photo", "web", "scan", "vhs", "dvd", "film", "screen", "art")


@pytest.fixture
def inputs(tmp_path) -> tuple[object, ...]:
    return picture(tmp_path / "in.png", (8, 6)), clip(tmp_path / "in.mp4", seconds=0.12)


def test_the_package_has_these_recipes_each_with_its_reason(folder):
    assert tuple(recipes()) == NAMES
    for recipe in recipes().values():
        assert recipe.why[0].isupper()
        assert recipe.why.endswith(".")
        assert recipe.values


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_of_the_package_runs(cli, folder, inputs, name):
    ran = cli(*inputs, "--recipe", name, "-s", 2, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    items = json.loads(ran.out)["items"]
    suffix = {"perceptual": "", "fidelity": "-psnr", "real": "-real"}[str(recipes()[name].values["model"])]
    assert {item["model"].partition(" with ")[0] for item in items} == {f"dagan-x2{suffix}"}


def test_options_beside_a_recipe_win(cli, folder, inputs):
    folder.recipes.write_text('[mine]\nmodel = "bicubic"\nscale = 3\nformat = "webp"\n')
    ran = cli(inputs[0], "--recipe", "mine", "-s", 2, "--json")
    (item,) = json.loads(ran.out)["items"]
    assert (item["out_size"], item["output"][-5:]) == ([16, 12], ".webp")
    assert cli(inputs[0], "--recipe", "photo", "-n", "nearest", "-s", 2).code == 0  # without its --detail


def test_a_recipe_has_the_rank_of_where_it_is_named(cli, folder, inputs, monkeypatch):
    folder.recipes.write_text(
        '[mine]\nmodel = "nearest"\nscale = 3\n[other]\nmodel = "nearest"\nscale = 5\norder = 2\n'
    )

    def scale(*flags: object) -> float:
        (item,) = json.loads(cli(inputs[0], "-n", "nearest", "-y", "--json", *flags).out)["items"]
        return item["out_size"][0] / 8

    folder.set('recipe = "other"')
    assert scale() == 5
    folder.set('recipe = "other"', "scale = 2")
    assert scale() == 2
    assert scale("--recipe", "mine") == 3
    assert scale("--recipe", "mine", "-s", 1) == 1
    monkeypatch.setenv("DAGAN_UPSCALE_SCALE", "4")
    assert scale() == 4
    assert scale("--recipe", "mine") == 3
    monkeypatch.setenv("DAGAN_UPSCALE_RECIPE", "mine")
    assert scale() == 4
    monkeypatch.delenv("DAGAN_UPSCALE_SCALE")
    assert scale() == 3
    assert scale("--recipe", "none") == scale("--reset", "recipe") == 2
    assert scale("--reset", "all", "--recipe", "mine") == 3
    assert "--order" not in shown(cli)  # of the recipe in the file, which another one replaces


def test_where_a_value_of_a_recipe_is_from_is_shown(cli, folder, monkeypatch):
    monkeypatch.setenv("DAGAN_UPSCALE_RECIPE", "art")
    assert shown(cli) == {
        "--recipe": ("art", "DAGAN_UPSCALE_RECIPE"),
        "--model": ("perceptual", "the recipe art"),
        "--detail": (0.5, "the recipe art"),
    }


def test_a_recipe_of_one_s_own_replaces_that_of_the_package(cli, folder):
    folder.recipes.write_text('[art]\nwhy = "Mine."\norder = 4\n["two words"]\nlossless = true\n')
    listed = {row["name"]: row for row in json.loads(cli("recipes", "list", "--json").out)}
    assert tuple(listed) == (*NAMES, "two words")
    assert listed["art"] == {"name": "art", "why": "Mine.", "options": {"order": 4}, "file": str(folder.recipes)}
    assert "--order 4" in cli("recipes", "list").out
    assert cli("recipes", "path").out == f"{folder.recipes}\n"


@pytest.mark.parametrize("name", [*NAMES, "two words"])
def test_what_is_shown_can_be_written_into_a_file(cli, folder, name):
    folder.recipes.write_text('["two words"]\nencoder-option = ["tune=film"]\noutput = "é\\"{stem}"\n')
    text = cli("recipes", "show", name).out
    facts = json.loads(cli("recipes", "show", name, "--json").out)
    assert tomllib.loads(text) == {name: {"why": facts["why"], **facts["options"]}}


def test_an_unknown_recipe_is_two_lines_with_the_nearest_name(cli, folder, inputs):
    for ran in (cli(inputs[0], "--recipe", "vsh"), cli("recipes", "show", "vsh")):
        assert (ran.code, ran.out, two_lines(ran)) == (2, "", True)
        assert "did you mean vhs?" in ran.err
    folder.set('recipe = "vsh"')
    assert f"unknown recipe 'vsh' (from {folder.config})" in cli(inputs[0]).err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[mine]\nscael = 2", "unknown option scael in the recipe mine"),
        ("[mine]\nscale = true", "scale = true in the recipe mine"),
        ("[mine]\naudio = 'cpy'", "--audio 'cpy' (from the recipe mine"),
        ("[mine]\nscale = 0", "--scale 0 is out of range (--scale is from the recipe mine"),
        ("[mine]\nrecipe = 'art'", "recipes do not nest"),
        ("[mine]\nwhy = 3", "why in the recipe mine"),
        ("mine = 3", "mine in"),
        ("[none]\n[mine]", "is named none"),
        ("[mine", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_two_lines_that_name_it(cli, folder, inputs, text, words):
    folder.recipes.write_text(text)
    ran = cli(inputs[0], "--recipe", "mine")
    assert (ran.code, ran.out, two_lines(ran)) == (2, "", True), ran.err
    assert words in ran.err.splitlines()[0]
    assert str(folder.recipes) in ran.err.splitlines()[0]
    if "scale = 0" not in text:  # which only a run checks
        assert cli("recipes", "list").code == 2
