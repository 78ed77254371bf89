"""The user's folders of models: DAGAN_MODELS."""

from __future__ import annotations

import os

import pytest

from dagan_cli.errors import BadModel
from weights.catalog import find_model
from weights.folder import in_folders, models_in_folders


@pytest.fixture
def folders(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    monkeypatch.setenv("DAGAN_MODELS", os.pathsep.join(map(str, (first, tmp_path / "missing", second))))
    monkeypatch.chdir(tmp_path)
    return first, second


def test_a_model_is_found_by_its_file_name_and_by_its_stem(folders):
    path = folders[1] / "4x-Sharp v1.5.pth"
    path.touch()
    assert find_model("4x-Sharp v1.5") == find_model("4x-Sharp v1.5.pth") == (path, None)


def test_the_first_folder_and_the_safer_file_come_first(folders):
    for folder in folders:
        for name in ("net.pth", "net.safetensors", "net.txt"):
            (folder / name).touch()
    assert in_folders("net") == folders[0] / "net.safetensors"
    assert in_folders("net.pth") == folders[0] / "net.pth"
    assert models_in_folders() == {"net": folders[0] / "net.safetensors", "net.pth": folders[0] / "net.pth"}


def test_published_names_and_existing_files_come_before_the_folders(folders, tmp_path):
    for name in ("dagan-x2.pth", "net.pth"):
        (folders[0] / name).touch()
    (tmp_path / "net.pth").touch()
    assert find_model("dagan-x2")[0].name == "dagan-x2.safetensors"
    assert find_model("net.pth")[0].resolve() == tmp_path / "net.pth"


@pytest.mark.parametrize("name", ["../first/net.pth", "first/../net", "", ".", ".."])
def test_only_a_bare_name_is_looked_up(folders, name):
    (folders[0] / "net.pth").touch()
    assert in_folders(name) is None


def test_a_name_that_is_nearly_right_is_suggested(folders):
    (folders[0] / "4x-UltraSharp.pth").touch()
    with pytest.raises(BadModel) as error:
        find_model("4x-UltraShrap")
    assert error.value.hint == "did you mean 4x-UltraSharp?"


def test_without_the_variable_there_are_none(monkeypatch):
    monkeypatch.delenv("DAGAN_MODELS", raising=False)
    assert models_in_folders() == {}
    assert in_folders("net") is None
