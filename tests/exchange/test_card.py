"""Model cards: written from the file alone, valid for the Hub, and the committed ones are what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dagan_cli.exchange.card import card
from dagan_cli.model.checkpoint import Model, load_model
from dagan_cli.model.generator import Generator
from tests.conftest import TINY, Cli
from weights.catalog import CATALOG, Published

CARDS = Path(__file__).parents[2] / "weights" / "cards"
EACH = pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.name)


def metadata(text: str, tmp_path: Path) -> dict[str, Any]:
    """The block as the Hub's own library reads it, checks of the results included."""
    from huggingface_hub import ModelCard

    path = tmp_path / "README.md"
    path.write_text(text)
    return ModelCard.load(path).data.to_dict()


def made(**provenance: Any) -> str:
    torch.manual_seed(0)
    return card("mine", Model(Generator(TINY), "ab" * 32, provenance), "hf://me/mine")


@pytest.mark.slow
@EACH
def test_the_committed_card_is_what_the_file_says(cli: Cli, model: Published):
    command = f"dagan models card {model.name} -o weights/cards/{model.name}.md"
    assert cli("models", "card", model.name).out == (CARDS / f"{model.name}.md").read_text(), f"run: {command}"


def test_there_is_a_card_for_each_published_model_and_no_other():
    assert {path.stem for path in CARDS.glob("*.md")} == {model.name for model in CATALOG}


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"block": "dense"}, {"growth", "layers"}),
        ({"block": "residual"}, set()),
        ({"block": "residual", "solver": "tied-euler"}, {"stages"}),
    ],
)
def test_a_card_leaves_out_the_settings_that_do_nothing_in_its_network(settings, shown):
    network = Generator(replace(TINY, orders=(), **settings))
    text = card("mine", Model(network, "ab" * 32, {}), "hf://me/mine")
    line = next(line for line in text.splitlines() if " parameters. " in line)
    assert {name for name in ("growth", "layers", "stages") if f" {name} " in line} == shown


@pytest.mark.slow
@EACH
def test_the_page_of_models_says_what_the_file_says_of_its_parts(model: Published):
    page = (CARDS.parents[1] / "docs" / "models.md").read_text()
    section = page[page.index("## What the parts are worth") : page.index("## Blending with")]
    (line,) = (line for line in section.splitlines() if line.startswith(f"| `{model.name}` |"))
    found = load_model(model.path).provenance["ablation"]
    rows = {(row["order"], row["change"]): (row["psnr_y"], row["lpips"]) for row in found["rows"]}
    psnr, lpips = rows[1, ""]
    cells = [f"`{model.name}`", f"{psnr:.3f} / {lpips:.4f}"]
    for order, change in (
        (1, "softmax replaced by the mean of its window"),
        (1, "spatial attention left out"),
        (1, "gates replaced by their means"),
        (4, "textbook constants of rk4"),
    ):
        lost = [a - b for a, b in zip(rows[order, change], rows[order, ""], strict=True)]
        cells.append(f"{lost[0]:+.3f} / {lost[1]:+.4f}")
    cells += [f"{found['entropy']:.3f}", f"{found['gate_spread']:.4f}"]
    assert line == f"| {' | '.join(cells)} |"


@pytest.mark.slow
@EACH
def test_the_catalogue_says_what_the_file_says(model: Published):
    loaded = load_model(model.path, model.sha256)
    order = f"order {loaded.generator.order}"
    found = {data: row[order] for data, row in loaded.provenance["metrics"].items() if not data.startswith("val")}
    assert model.metrics == found
    assert (model.scale, model.licence) == (loaded.generator.config.scale, loaded.provenance["licence"])
    assert model.size == model.path.stat().st_size
    assert model.reference.repository.endswith(model.name)


@pytest.mark.slow
@EACH
def test_the_hub_reads_licence_and_results_from_the_metadata(tmp_path, model: Published):
    facts = metadata((CARDS / f"{model.name}.md").read_text(), tmp_path)
    assert (facts["license"], facts["library_name"], facts["pipeline_tag"]) == ("mit", "dagan", "image-to-image")
    (index,) = facts["model-index"]
    results = {entry["dataset"]["name"]: entry["metrics"][0]["value"] for entry in index["results"]}
    assert results == model.metrics


@pytest.mark.slow
def test_a_card_tells_data_iterations_hardware_protocol_and_failures():
    text = (CARDS / "dagan-x4-psnr.md").read_text()
    facts = load_model(CARDS.parent / "dagan-x4-psnr.safetensors").provenance
    for word in (facts["training_data"], facts["hardware"], str(facts["iterations"]), "BT.601", "Known failures"):
        assert word in text


def test_a_card_names_the_phases_that_came_before():
    first = {"scale": 2, "phase": "pixel", "iterations": 7000, "degradations": "none", "seconds": 3.0}
    second = {"scale": 4, "phase": "adversarial", "iterations": 90, "degradations": "medium", "note": "by hand"}
    row = "| earlier phases | 7,000 pixel x2; 90 adversarial x4 of degraded inputs; by hand |"
    text = made(earlier=[first, second], iterations=10, training={"gan": {"lr": 0.1, "iterations": None}}, phase="gan")
    assert row in text
    assert "7,100 iterations in all" in text
    assert "| adversarial phase | lr 0.1 |" in text
    assert "earlier phases" not in made(earlier=[])


def test_a_card_names_the_teacher_and_its_licence():
    teacher = {"name": "SPAN", "source": "hongyuanyu/SPAN", "licence": "Apache-2.0", "sha256": "ca85"}
    told = "SPAN, source hongyuanyu/SPAN, licence Apache-2.0, sha256 ca85"
    assert f"| teachers | {told} |" in made(teacher=teacher)
    assert "| teachers |" not in made()
    phase = {"scale": 2, "phase": "pixel", "iterations": 6, "teacher": teacher}
    before = made(earlier=[phase, phase], teacher={"name": "x4plus", "licence": "BSD-3-Clause"})
    assert "| earlier phases | 6 pixel x2 with SPAN as teacher; 6 pixel x2 with SPAN as teacher |" in before
    assert f"| teachers | {told}; x4plus, licence BSD-3-Clause |" in before
    assert f"| teachers | {told} |" in made(earlier=[phase], teacher=teacher)


def test_a_card_says_how_the_weight_of_the_targets_changes():
    teacher = {"name": "SPAN"}
    text = made(teacher=teacher, training={"target_weight": [[0, 0.75], [0.5, 0.75], [1, 0]]})
    assert "| weight of the teacher's targets | 0.75 at 0, 0.75 at 0.5, 0 at 1 |" in text


def test_a_phase_without_a_discriminator_is_not_called_adversarial():
    without = made(phase="adversarial", training={"gan": {"adversarial_weight": 0, "lr": 0.1}})
    assert "| perceptual phase | adversarial_weight 0, lr 0.1 |" in without
    with_one = made(phase="adversarial", training={"gan": {"adversarial_weight": 0.1, "lr": 0.1}})
    assert "| adversarial phase | adversarial_weight 0.1, lr 0.1 |" in with_one


@pytest.mark.parametrize(("phase", "ending"), [("adversarial", " (GAN),"), ("perceptual", ",")])
def test_a_short_pixel_phase_at_the_end_does_not_take_the_invented_detail_away(phase, ending):
    earlier = [{"scale": 4, "phase": kind, "iterations": 9} for kind in ("pixel", phase)]
    text = made(earlier=earlier, phase="pixel", training={"gan": None, "loss": "l1"}, pairs=True)
    assert f"rather than known{ending} for compressed" in text
    assert "Detail is invented" in text
    assert "Fidelity" in made(earlier=earlier[:1], phase="pixel", training={"gan": None, "loss": "l1"})


def test_a_phase_that_was_only_planned_is_not_told_of():
    earlier = [{"scale": 4, "phase": "adversarial", "iterations": 9}]
    training = {"gan": {"lr": 0.1}, "target_weight": [[0, 1]]}
    text = made(earlier=earlier, phase="pixel", training=training, teacher={"name": "SPAN"})
    assert "| adversarial phase |" not in text
    assert "| weight of the teacher's targets | 1 at 0 |" in text


@pytest.mark.parametrize(("weight", "shown"), [(6.0, True), (1.0, False), (None, False)])
def test_a_card_says_how_much_more_the_borders_of_crops_counted(weight, shown):
    text = made(phase="pixel", training={"loss": "l1", "border_weight": weight})
    assert ("| factor of the borders | 6 |" in text) == shown
    assert ("factor of the borders" in text) == shown


def test_a_model_of_given_pairs_is_for_degraded_sources():
    text = made(pairs=True, training={"gan": None, "degradation": "none"}, phase="pixel")
    assert "compressed, noisy" in text
    assert "| degradations | those of given pairs |" in text


def test_a_run_that_was_never_measured_says_so():
    assert "Not measured" in made(training={"gan": None}, phase="pixel")
    assert "30.12 dB" in made(training={"gan": None}, val_psnr_y=30.123)


@pytest.mark.parametrize(
    ("training", "phase", "words"),
    [
        ({"gan": None, "degradation": "none"}, "pixel", ["Fidelity", "clean sources", "smooth"]),
        ({"gan": {"lr": 1e-4}, "degradation": "none"}, "gan", ["Perceptual", "Detail is invented"]),
        ({"gan": {"lr": 1e-4}, "degradation": "none"}, "pixel", ["Fidelity", "smooth"]),
        ({"gan": None, "degradation": "video"}, "pixel", ["compressed, noisy", "Grain"]),
        ({}, None, ["Super-resolution, x2", "Nothing is known"]),
    ],
)
def test_a_card_says_what_the_model_is_for_by_how_it_was_trained(training, phase, words):
    text = made(training=training, phase=phase)
    assert all(word in text for word in words), text


def test_lpips_has_a_table_and_a_place_in_the_metadata(tmp_path):
    text = made(metrics={"Set14": {"order 1": 26.5}}, lpips={"Set14": {"order 1": 0.151}})
    assert "| Set14 | 0.151 |" in text
    (result,) = metadata(text, tmp_path)["model-index"][0]["results"]
    assert [(m["type"], m["value"]) for m in result["metrics"]] == [("psnr", 26.5), ("lpips", 0.151)]


def test_what_the_parts_are_worth_is_a_table_of_differences_to_the_whole_at_that_order():
    rows = [
        {"order": 1, "change": "", "psnr_y": 28.859, "lpips": 0.1887},
        {"order": 1, "change": "spatial attention left out", "psnr_y": 22.807, "lpips": 0.31},
        {"order": 4, "change": "", "psnr_y": 28.884, "lpips": 0.1891},
        {"order": 4, "change": "textbook constants of rk4", "psnr_y": 28.88, "lpips": 0.1891},
    ]
    text = made(ablation={"data": "val (centre 512)", "rows": rows, "entropy": 0.9812, "gate_spread": 0.0123})
    section = text[text.index("## What its parts are worth") : text.index("## Known failures")]
    assert "| none | 1 | 28.859 |  | 0.1887 |  |" in section
    assert "| spatial attention left out | 1 | 22.807 | -6.052 | 0.31 | +0.1213 |" in section
    assert "| textbook constants of rk4 | 4 | 28.88 | -0.004 | 0.1891 | +0.0000 |" in section
    assert "val (centre 512)" in section
    assert "entropy of the softmax is 0.981 " in section
    assert "is 0.0123." in section
    assert "## What its parts are worth" not in made()


@pytest.mark.parametrize("rows", [7, [None], [{}], [{"change": 3}], [{"order": [], "psnr_y": "x"}, {"psnr_y": 1.0}]])
def test_a_table_of_parts_can_be_anything_in_somebody_s_file(rows):
    made(ablation={"rows": rows, "data": 3, "entropy": "x", "gate_spread": None})


def test_a_licence_that_the_hub_has_no_name_for_is_told_in_words(tmp_path):
    facts = metadata(made(licence="Only on: Sundays"), tmp_path)
    assert (facts["license"], facts["license_name"]) == ("other", "Only on: Sundays")
    assert metadata(made(), tmp_path)["license_name"] == "not stated"


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, 7, "x", [], [1], {"a": 1}, {"a": {"b": {"c": None}}}, True, float("nan")])
@pytest.mark.parametrize(
    "key",
    [
        "training",
        "metrics",
        "lpips",
        "licence",
        "training_data",
        "seconds",
        "iterations",
        "earlier",
        "teacher",
        "pairs",
        "ablation",
    ],
)
def test_a_card_can_be_written_whatever_a_file_says(key, value, tmp_path):
    metadata(made(**{key: value}), tmp_path)


def test_what_a_file_says_cannot_add_markup(tmp_path):
    evil = 'x\n---\nlicense: evil\n<script>|[a](javascript:1)`"'
    text = made(training_data=evil, hardware=evil, licence=evil, metrics={evil: {evil: 1.0, "order 4": 2.0}})
    assert "<script>" not in text.partition("\n---\n")[2]
    assert "](javascript" not in text.partition("\n---\n")[2]
    facts = metadata(text, tmp_path)
    assert facts["license"] == "other"
    assert facts["license_name"] == evil


@pytest.mark.slow
def test_list_and_its_json_name_every_model_with_repository_and_numbers(cli: Cli):
    rows = {row["name"]: row for row in json.loads(cli("models", "list", "--json").out)}
    table = cli("models", "list").out
    for model in CATALOG:
        row = rows[model.name]
        assert (row["sha256"], row["size"], row["metrics"]) == (model.sha256, model.size, model.metrics)
        assert (row["repository"], row["embedded"]) == (model.reference.repository, True)
        assert f"{model.metrics['Set5']:.2f}" in table


@pytest.mark.slow
def test_verify_finds_the_one_that_is_damaged(cli: Cli, tmp_path, tiny_model):
    data, bad = tiny_model.read_bytes(), tmp_path / "bad.safetensors"
    bad.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    ran = cli("models", "verify", tiny_model, bad, "--json")
    assert [row["result"] for row in json.loads(ran.out)] == ["whole", "damaged"]
    assert ran.code == 4
    assert "checksum" in ran.err
    assert cli("models", "verify", tiny_model).code == 0
