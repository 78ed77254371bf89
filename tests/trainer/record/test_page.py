"""report.html stands alone, tells the whole story of a run, and lets nothing through that a file slips in."""

from __future__ import annotations

import base64
import json
import shlex
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.model.checkpoint import save_model
from dagan_cli.model.generator import Generator
from tests.conftest import TINY
from tests.support.browser import axe_findings, chromium, opened
from tests.support.pages import Page
from trainer.config import GanConfig, TrainConfig
from trainer.config_toml import to_toml
from trainer.record.folder import read_run
from trainer.record.page import LARGEST, page, write_report


def write_log(folder: Path, steps: int = 60) -> Path:
    """Two phases; PSNR-Y is best at step 20, then at 50; LPIPS is lowest at 30, then at 60."""
    folder.mkdir(parents=True, exist_ok=True)
    psnr = {10: 28.0, 20: 29.0, 30: 28.5, 40: 27.0, 50: 28.2, 60: 27.5}
    lpips = {10: 0.5, 20: 0.45, 30: 0.4, 40: 0.3, 50: 0.25, 60: 0.2}
    lines = []
    for step in range(1, steps + 1):
        gan = step > 30
        line = {"step": step, "phase": "adversarial" if gan else "pixel", "seconds": float(step), "lr": 1e-3}
        line |= {"skipped": 0 if step < 45 else 2, "loss": 1 / step, "norm": 0.1}
        line |= {"loss_d": 1.3, "d_real": 0.6, "d_fake": 0.4, "d_accuracy": 0.7} if gan else {}
        if step in psnr:
            line |= {"psnr_y": psnr[step], "lpips": lpips[step], "constants": {"rk4": [0.5, 0.3, 0.2]}}
        lines.append(json.dumps(line))
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_model(folder: Path, **training: object) -> None:
    facts = {"training": {"metric": "psnr_y", **training}, "pictures": 361, "data": "0b09ab", "parameters": 12345}
    (folder / "model.safetensors").write_bytes(save_model(Generator(TINY), facts | {"hardware": "CPU, 2 threads"}))


def write_strip(folder: Path, step: int, colour: int, side: int = 40) -> None:
    """Four columns: black, dark grey, the generator's `colour`, white."""
    columns = [np.full((side, side, 3), value, np.uint8) for value in (0, 60, colour, 255)]
    (folder / "samples").mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(columns, 1)).save(folder / "samples" / f"{step:08d}.png")


def picture_of(text: str) -> Image.Image:
    (source,) = [attributes["src"] for tag, attributes in Page(text).elements if tag == "img"]
    assert source is not None
    return Image.open(BytesIO(base64.b64decode(source.partition("base64,")[2])))


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    write_model(write_log(tmp_path))
    write_strip(tmp_path, 60, 128)
    text = write_report(read_run(tmp_path)).read_text()
    found = Page(text)
    assert not {tag for tag, _ in found.elements} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_tells_what_was_trained_on_what_and_how_long(tmp_path):
    write_model(write_log(tmp_path))
    texts = " ".join(text for _, text in Page(page(read_run(tmp_path))).texts)
    for told in ("×2 pixel then adversarial", "12,345", "361", "fingerprint 0b09ab", "CPU, 2 threads", "29.00 dB"):
        assert told in texts
    assert "1 min" in texts or "90 s" in texts  # 30 seconds of the one phase, 60 of the other
    assert "2 steps were not finite and were skipped" in texts


def test_there_is_a_curve_for_everything_logged(tmp_path):
    write_log(tmp_path)
    text = page(read_run(tmp_path))
    drawn = [attributes["aria-label"] for tag, attributes in Page(text).elements if tag == "svg"]
    wanted = ["PSNR-Y on validation", "LPIPS on validation", "loss of the generator", "loss of the discriminator"]
    wanted += ["D(real), D(fake)", "D accuracy", "gradient norm, generator", "learning rate", "rk4 constants"]
    for title in [*wanted, "speed", "skipped steps"]:
        assert [name for name in drawn if name and name.startswith(title)], title
    assert text.count('class="mark"') == len(drawn)  # where the adversarial phase begins


@pytest.mark.parametrize(("metric", "best"), [("psnr_y", ["20", "50"]), ("lpips", ["30", "60"])])
def test_the_best_validation_of_each_phase_is_marked(tmp_path, metric, best):
    write_model(write_log(tmp_path), metric=metric)
    rows = page(read_run(tmp_path)).split('<tr class="best">')[1:]
    assert [Page(f"<tr>{row}").all("th")[0] for row in rows] == best


def test_the_newest_samples_stand_beside_those_of_the_first_step_and_of_the_phase_before(tmp_path):
    write_log(tmp_path)
    for step, colour in ((10, 90), (20, 100), (30, 150), (40, 160), (60, 210)):
        write_strip(tmp_path, step, colour)
    text = page(read_run(tmp_path))
    pixels = np.asarray(picture_of(text).convert("L"))
    assert pixels.shape == (40, 6 * 40)
    middles = [int(pixels[20, 40 * i + 20]) for i in range(6)]
    assert np.abs(np.subtract(middles, [0, 60, 90, 150, 210, 255])).max() <= 4
    heads = [text for text in Page(text).all("span") if text.startswith("step ")]
    assert heads == ["step 10", "step 30", "step 60"]
    assert "27.50 dB, LPIPS 0.200" in text


def test_what_a_file_slips_in_is_shown_and_not_obeyed(tmp_path):
    bad = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    run = tmp_path / "<img src=x onerror=alert(0)>&amp;"
    run.mkdir()
    line = {"step": 1, "phase": bad, "loss": 1.0, bad: 2.0, "psnr_y": 30.0, "constants": {bad: [0.5, 0.6]}}
    (run / "log.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line | {"step": 2, "phase": "b"}) + "\n")
    event = {"event": bad, "step": 1, "at": bad, bad: bad, "val": bad, "data": [bad]}
    (run / "events.jsonl").write_text(json.dumps(event) + "\n" + json.dumps(event | {"event": "started"}) + "\n")
    (run / "config.toml").write_text(bad)
    facts = {"training": {bad: bad}, "pictures": bad, "data": bad, "hardware": bad, "torch": [bad]}
    (run / "model.safetensors").write_bytes(save_model(Generator(TINY), facts))
    found = Page(page(read_run(run)))
    assert not {tag for tag, _ in found.elements} & {"img", "script"}
    assert not [1 for _, attributes in found.elements if "onerror" in attributes]
    assert found.all("h1") == [run.name]


def test_a_strip_that_is_damaged_huge_or_of_another_size_leaves_the_rest_of_the_page(tmp_path):
    write_log(tmp_path)
    write_strip(tmp_path, 10, 90, side=30)
    write_strip(tmp_path, 60, 90, side=40)
    assert "cannot be shown" in page(read_run(tmp_path))
    (tmp_path / "samples" / "00000060.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    assert "cannot be shown" in page(read_run(tmp_path))
    Image.new("L", (4000, 2000)).save(tmp_path / "samples" / "00000060.png")
    assert "cannot be shown" in page(read_run(tmp_path))


@pytest.mark.slow
def test_the_page_stays_below_two_megabytes(tmp_path):
    lines = [
        json.dumps({"step": i, "seconds": i / 9, "loss": 1 + i % 7, "psnr_y": 30.0, "x" * 50: 1.0})
        for i in range(20000)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    (tmp_path / "samples").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (1800, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "samples" / "00000001.png")
    path = write_report(read_run(tmp_path))
    assert path.stat().st_size < LARGEST
    assert "cannot be shown" in path.read_text()


@pytest.mark.parametrize("lines", ["", '{"step": 7}\n', '{"step": 7, "loss": 0.0}\n', '{"step": 0, "psnr_y": -5.0}\n'])
def test_a_run_that_has_hardly_begun_has_a_page(tmp_path, lines):
    (tmp_path / "log.jsonl").write_text(lines)
    assert "<h1>" in page(read_run(tmp_path))


@pytest.mark.slow
def test_the_page_is_made_without_matplotlib_and_plot_says_how_to_get_it(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_log(tmp_path)
    assert cli("train", "plot", tmp_path, "--report").code == 0
    assert (tmp_path / "report.html").exists()
    ran = cli("train", "plot", tmp_path)
    assert (ran.code, ran.err) == (1, "error: drawing needs matplotlib\n  try: pip install matplotlib\n")


@pytest.mark.slow
def test_the_commands_on_the_page_go_on_with_the_run_and_use_its_weights(cli, tmp_path):
    data, run = tmp_path / "my pictures", tmp_path / "a run"
    data.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    Image.fromarray(noise).save(data / "noise.png")
    torch.manual_seed(0)
    config = TrainConfig(generator=TINY, batch=2, iterations=2, warmup=0, precision="fp32", validate_every=1)
    config_file = tmp_path / "choices.toml"
    config_file.write_text(to_toml(config))
    assert cli("train", "--config", config_file, "--data", data, "--val", data, "--run", run).code == 0
    use, resume = (shlex.split(text) for text in Page((run / "report.html").read_text()).all("pre")[:2])
    assert use[:2] == ["dagan", "upscale"]
    picture = data / "noise.png"
    assert cli(*use[1:-1], picture, "-o", tmp_path / "large.png").code == 0
    assert Image.open(tmp_path / "large.png").size == (144, 128)
    assert cli(*resume[1:], "--iterations", 4).code == 0
    assert [event["event"] for event in read_run(run).events] == ["started", "done", "resumed", "done"]
    assert read_run(run).rows[-1].step == 4


def test_all_choices_are_on_the_page_even_where_only_the_weights_know_them(tmp_path):
    write_log(tmp_path)
    training = TrainConfig(generator=TINY, iterations=9, gan=GanConfig(iterations=7)).to_dict()
    training.pop("generator")
    write_model(tmp_path, **training)
    text = page(read_run(tmp_path))
    assert "iterations = 9" in text
    assert "[gan]" in text
    assert "[generator]" in text


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_for_all_in_a_browser(tmp_path, scheme):
    write_model(write_log(tmp_path))
    write_strip(tmp_path, 60, 128)
    report = write_report(read_run(tmp_path))
    with chromium() as browser, opened(browser, report, width=390, color_scheme=scheme) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
        assert axe_findings(shown) == []
