"""The tables of models on the pages are what the script writes from the headers of the weights and from its scores."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dagan_cli.evaluate import evaluate, mean
from dagan_cli.upscaler import ModelChoice, Upscaler
from tests.support.documentation import ROOT, script
from weights.catalog import CATALOG

SCORES = ROOT / "docs" / "samples" / "scores.json"
SET5 = Path(os.environ.get("DAGAN_TEST_DATA", "/nowhere")) / "benchmarks" / "Set5"


@pytest.fixture(scope="module")
def tables() -> Any:
    return script("samples/tables.py")


@pytest.mark.slow
def test_each_page_has_the_tables_that_the_script_writes(tables: Any):
    found = tables.current()
    for name in tables.PAGES:
        page = (ROOT / name).read_text()
        assert tables.written(page, found) == page, "run: python docs/samples/tables.py"
    assert all(any(f"table: {name} -->" in (ROOT / page).read_text() for page in tables.PAGES) for name in found)


def test_the_scores_are_those_of_the_published_files():
    models = json.loads(SCORES.read_text())["models"]
    known = {f"{model.name} x{model.scale}": model.sha256 for model in CATALOG}
    assert {name: row["sha256"] for name, row in models.items() if not name.startswith("bicubic")} == known


def test_a_table_is_replaced_and_the_text_around_it_stays(tables: Any):
    page = "before\n\n<!-- table: one -->\n\nold\n\n<!-- end of table -->\n\nafter "
    page += "<!-- table: two --> x <!-- end of table -->"
    told = tables.written(page, {"one": [["a", "b", "c"], ["d", "1", "2"]], "two": [["e"]]})
    one = "<!-- table: one -->\n\n| a | b | c |\n| --- | ---: | ---: |\n| d | 1 | 2 |\n\n<!-- end of table -->"
    assert told.startswith(f"before\n\n{one}\n\nafter <!-- table: two -->")
    assert "| e |" in told


@pytest.mark.slow
@pytest.mark.skipif(not SET5.is_dir(), reason="DAGAN_TEST_DATA names no folder with benchmarks/Set5 in it")
@pytest.mark.parametrize("name", ["bicubic x4", "dagan-x4-psnr x4", "dagan-x2-real x2"])
def test_a_score_is_what_eval_measures(name: str):
    model, _, scale = name.partition(" x")
    upscaler = Upscaler.of(ModelChoice(model), device="cpu", runtime="torch", precision="fp32")
    found = mean(list(evaluate(SET5, upscaler, int(scale))))
    written = json.loads(SCORES.read_text())["models"][name]["Set5"]
    assert written["psnr"] == pytest.approx(found.psnr, abs=2e-3)
    assert written["ssim"] == pytest.approx(found.ssim, abs=2e-4)
