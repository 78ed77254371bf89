"""Models of other programs at the command line: named, listed, inspected, and written down in results."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from PIL import Image

from dagan_cli.community.library import is_installed
from dagan_cli.media.made.stored import read_record
from tests.support.community_networks import small
from tests.support.hub_case import refused
from tests.support.hub_server import Repository
from tests.support.tiny import picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason="needs spandrel, the extra `community`"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of models, with one of another program."""
    (tmp_path / "models").mkdir()
    torch.save({"params_ema": small("Compact")}, tmp_path / "models" / "2x-Sharp.pth")
    monkeypatch.setenv("DAGAN_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_a_result_and_the_report_name_the_architecture_and_the_file(cli, folder, tmp_path):
    digest = sha256((folder / "2x-Sharp.pth").read_bytes()).hexdigest()
    ran = cli(picture(tmp_path / "in.png"), "-n", "2x-Sharp", "-s", 2, "--report", tmp_path / "report.json")
    assert ran.code == 0, ran.err
    model = json.loads((tmp_path / "report.json").read_text())["model"]
    assert (model["name"], model["architecture"], model["sha256"]) == ("2x-Sharp.pth", "RealESRGAN Compact", digest)
    record = read_record(tmp_path / "in_x2.png")
    assert record is not None
    assert (record["--model"], record["weights"]) == ("2x-Sharp.pth", digest[:16])
    with Image.open(tmp_path / "in_x2.png") as image:
        assert image.size == (24, 16)
        assert f"RealESRGAN Compact, sha256 {digest[:16]}" in str(image.info) + str(dict(image.getexif()))


def test_a_model_has_one_name_however_it_is_named(cli, folder, tmp_path):
    source = picture(tmp_path / "in.png")
    assert cli(source, "-n", "2x-Sharp", "-s", 2).code == 0
    ran = cli(source, "-n", folder / "2x-Sharp.pth", "-s", 2, "--json")
    assert json.loads(ran.out)["items"][0]["status"] == "skipped"


def test_a_network_of_scale_1_restores_at_the_size_of_the_image(cli, tmp_path):
    torch.save(small("DnCNN, grey"), tmp_path / "net.pth")
    assert cli(picture(tmp_path / "in.png"), "-n", tmp_path / "net.pth", "-s", 1).code == 0
    with Image.open(tmp_path / "in_x1.png") as image:
        assert image.size == (12, 8)


def test_the_list_shows_what_is_in_the_folder_and_what_cannot_be_used(cli, folder, tiny_model):
    (folder / "broken.pth").write_bytes(b"<html>")
    (folder / "own.safetensors").write_bytes(tiny_model.read_bytes())
    lines = {line.split()[0]: line for line in cli("models", "list").out.splitlines()}
    assert "RealESRGAN Compact" in lines["2x-Sharp"]
    assert "unusable" in lines["broken"]
    assert " x2 " in lines["own"]
    listed = {model["name"]: model for model in json.loads(cli("models", "list", "--json").out)}
    assert (listed["2x-Sharp"]["architecture"], listed["2x-Sharp"]["scale"]) == ("RealESRGAN Compact", 2)
    assert (listed["broken"]["architecture"], listed["own"]["architecture"]) == (None, "dagan")


def test_info_path_and_verify_of_a_model_in_the_folder(cli, folder):
    digest = sha256((folder / "2x-Sharp.pth").read_bytes()).hexdigest()
    facts = json.loads(cli("models", "info", "2x-Sharp").out)
    assert (facts["architecture"], facts["scale"], facts["sha256"]) == ("RealESRGAN Compact", 2, digest)
    assert cli("models", "path", "2x-Sharp").out.strip() == str(folder / "2x-Sharp.pth")
    assert digest[:16] in cli("models", "verify", "2x-Sharp").out


def test_a_model_of_another_program_comes_from_the_hub_if_its_file_is_named(cli, hub, folder, tmp_path):
    files = {"2x-Sharp.pth": (folder / "2x-Sharp.pth").read_bytes(), "page.pth": b"<html></html>"}
    hub.repositories["someone/sharp"] = Repository(files)
    assert cli(picture(tmp_path / "in.png"), "-n", "hf://someone/sharp/2x-Sharp.pth", "-s", 2).code == 0
    assert json.loads(cli("models", "info", "hf://someone/sharp/2x-Sharp.pth").out)["scale"] == 2
    assert refused(cli("models", "pull", "hf://someone/sharp/page.pth"), "is not a PyTorch file")
