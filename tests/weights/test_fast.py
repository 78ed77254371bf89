"""The fast models: their names are kept, an error says that there are no weights yet, and a file is all they lack."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from dagan_cli.errors import BadModel
from tests.support.tiny import picture
from weights import catalog
from weights.catalog import CATALOG, Published, default_model, fast_model, find_model, planned, published

MISSING = pytest.mark.skipif(not planned(), reason="the fast models are published")


@pytest.fixture(params=["folder", "package"])
def stand_in(request, tmp_path, monkeypatch) -> Path:
    """Another model's file under the name of the fast one: in a folder of the user, or published."""
    folder = tmp_path / "models"
    folder.mkdir()
    file = folder / "dagan-x2-fast.safetensors"
    shutil.copyfile(find_model("dagan-x2-psnr")[0], file)
    if request.param == "folder":
        monkeypatch.setenv("DAGAN_MODELS", str(folder))
        return file
    for model in CATALOG:
        if model.kind != "fast":
            shutil.copyfile(model.path, folder / model.path.name)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    entry = Published("dagan-x2-fast", 2, sha256, file.stat().st_size, "MIT", "fast", {"Set5": 37.0})
    others = tuple(model for model in CATALOG if model.name != entry.name)
    monkeypatch.setattr(catalog, "HERE", folder)
    monkeypatch.setattr(catalog, "CATALOG", (entry, *others))
    return file


@MISSING
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["upscale", "{}", "-s", "2", "-n", "dagan-x2-fast"], "dagan-x2-fast"),
        (["upscale", "{}", "-s", "3", "-n", "fast"], "dagan-x4-fast"),
        (["upscale", "{}", "--size", "1080p", "-n", "fast", "--dry-run"], "dagan-x4-fast"),
        (["models", "info", "dagan-x4-fast"], "dagan-x4-fast"),
        (["models", "path", "dagan-x4-fast"], "dagan-x4-fast"),
        (["models", "pull", "dagan-x2-fast"], "dagan-x2-fast"),
        (["bench", "-n", "dagan-x2-fast"], "dagan-x2-fast"),
    ],
)
def test_a_fast_model_has_no_weights_yet_and_the_error_names_others(cli, tmp_path, arguments, name):
    source = str(picture(tmp_path / "in.png", (8, 6)))
    ran = cli(*(argument.format(source) for argument in arguments))
    assert ran.code == 4
    usual = name.removesuffix("-fast")
    assert ran.err.splitlines()[-2:] == [
        f"error: this version has no weights for {name} yet",
        f"  try: use -n {usual}, which takes longer, or -n bicubic, which adds no detail",
    ]
    assert list(tmp_path.iterdir()) == [Path(source)]


@MISSING
def test_the_list_shows_a_fast_model_as_not_yet_there_and_scripts_see_only_what_exists(cli):
    rows = [line.split()[:6] for line in cli("models", "list").out.splitlines()]
    assert [row for row in rows if row[0].endswith("-fast")] == [
        ["dagan-x2-fast", "x2", "-", "-", "not", "yet"],
        ["dagan-x4-fast", "x4", "-", "-", "not", "yet"],
    ]
    assert not any(model["name"].endswith("-fast") for model in json.loads(cli("models", "list", "--json").out))


def test_no_source_gets_a_fast_model_unless_it_is_named(stand_in):
    for video in (False, True):
        assert "fast" not in default_model(2.0, video=video)
        assert "fast" not in default_model(4.0, video=video)


def test_the_fast_model_is_there_as_soon_as_its_file_is(stand_in, cli, tmp_path):
    assert fast_model(2.0) == default_model(2.0, kind="fast") == "dagan-x2-fast"
    assert find_model("dagan-x2-fast")[0] == stand_in
    source = picture(tmp_path / "in.png", (8, 6))
    for number, flags in enumerate((["-n", "fast"], ["-n", "dagan-x2-fast"])):
        ran = cli(source, "-s", 2, *flags, "--name", "{stem}_{model}_" + str(number), "--json")
        assert ran.code == 0, ran.err
        (item,) = json.loads(ran.out)["items"]
        assert item["model"] == "dagan-x2-fast"
        assert item["out_size"] == [16, 12]
        assert Path(item["output"]).name == f"in_dagan-x2-fast_{number}.png"
    assert "not yet" not in next(line for line in cli("models", "list").out.splitlines() if "dagan-x2-fast" in line)
    assert cli("models", "path", "dagan-x2-fast").out == f"{stand_in}\n"
    assert json.loads(cli("models", "info", "dagan-x2-fast", "--json").out)["scale"] == 2


def test_an_entry_of_the_catalogue_replaces_the_name_that_was_kept(stand_in):
    assert {model.name for model in planned()}.isdisjoint(model.name for model in catalog.CATALOG)
    assert (published("dagan-x2-fast") is None) == ("dagan-x2-fast" in {model.name for model in planned()})


@MISSING
def test_the_kind_alone_is_no_file_and_the_error_names_its_models():
    with pytest.raises(BadModel, match="fast is a kind") as caught:
        find_model("fast")
    assert caught.value.hint == "name one of them: dagan-x2-fast, dagan-x4-fast"
    assert fast_model(2.0) is None
