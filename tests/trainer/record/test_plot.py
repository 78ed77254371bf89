"""The curves of runs: which there are, how they are smoothed and scaled, and that pictures of them come out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dagan_cli.commands.shown.training import draw_training
from dagan_cli.errors import BadOption
from dagan_cli.pages.axes import number
from trainer.loop import Progress
from trainer.record.curves import Line, Panel, axis, boundaries, panels, smoothed
from trainer.record.folder import read_run
from trainer.record.plot import COLOURS, plot
from trainer.record.svg import HEIGHT, WIDTH, sketch


def run_of(folder: Path, *lines: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def two_phases(folder: Path, lift: float = 0.0) -> Path:
    lines: list[dict[str, object]] = []
    for step in range(1, 41):
        line: dict[str, object] = {"step": step, "phase": "pixel", "loss": 0.1 + lift, "norm": 0.2, "seconds": step / 2}
        if step > 20:
            line |= {"phase": "adversarial", "loss": 3.0 + lift, "seconds": step - 20.0, "pixel": 0.01, "ldl": 0.02}
            line |= {"loss_d": 1.3, "d_real": 0.7, "d_fake": 0.3, "d_accuracy": 0.9, "norm": 0.0 if step < 25 else 2.0}
        if step % 10 == 0:
            line |= {"psnr_y": 30 + step / 10 + lift, "constants": {"rk4": [0.5, 0.3], "heun": [0.5]}}
        lines.append(line)
    return run_of(folder, *lines)


def panel_of(*values: float, log: bool = False) -> Panel:
    points = (np.arange(len(values), dtype=float), np.array(values))
    return Panel("title", "", log, [Line(0, 0, "", [points], [points], False)])


def by_title(folder: Path) -> dict[str, Panel]:
    return {panel.title: panel for panel in panels([read_run(folder)])}


def test_every_term_has_a_panel_and_the_scores_come_first(tmp_path):
    titles = list(by_title(two_phases(tmp_path)))
    assert titles[:3] == ["PSNR-Y on validation", "loss of the generator", "pixel term"]
    assert {"ldl term", "loss of the discriminator", "D(real), D(fake)", "D accuracy", "rk4 constants, mean"} <= {
        *titles
    }
    assert "skipped steps" not in titles


def test_a_loss_is_cut_where_the_next_phase_begins_and_a_score_is_not(tmp_path):
    found = by_title(two_phases(tmp_path))
    assert boundaries(read_run(tmp_path)) == [(20, "adversarial")]
    loss = found["loss of the generator"]
    assert [(x[0], x[-1]) for x, _ in loss.lines[0].parts] == [(1, 20), (21, 40)]
    assert [(x[0], x[-1]) for x, _ in found["PSNR-Y on validation"].lines[0].parts] == [(10, 40)]
    assert loss.log
    assert not found["PSNR-Y on validation"].log


def test_a_generator_that_waits_for_the_discriminator_has_no_gradient(tmp_path):
    norm = by_title(two_phases(tmp_path))["gradient norm, generator"].lines[0]
    assert [(x[0], y.min()) for x, y in norm.parts] == [(1, 0.2), (25, 2.0)]


def test_the_speed_is_of_each_phase_by_its_own_clock(tmp_path):
    speed = by_title(two_phases(tmp_path))["speed"].lines[0]
    assert [set(y) for _, y in speed.parts] == [{2.0}, {1.0}]


def test_a_mean_weighs_by_steps_and_not_by_lines():
    x = np.concatenate([np.arange(100.0, 1001, 100), np.arange(1001.0, 1101)])  # a line each 100 steps, then each step
    y = np.where(x <= 1000, 1.0, 5.0)
    across, means = smoothed((x, y))
    assert np.allclose(means[across < 850], 1.0)
    # A Gaussian mean of the exact step function, which is 1 up to 1000 and 5 from there to 1100.
    grid = np.linspace(0, 1100, 20_000)
    truth = np.where(grid <= 1000, 1.0, 5.0)
    for at in (900.0, 1000.0, 1050.0):
        kernel = np.exp(-0.5 * ((grid - at) / (6 * 1100 / 240)) ** 2)
        assert np.interp(at, across, means) == pytest.approx((kernel * truth).sum() / kernel.sum(), abs=0.06)


def test_a_smoothed_constant_is_that_constant():
    x = np.cumsum(np.random.default_rng(0).integers(1, 50, 300)).astype(float)
    assert np.allclose(smoothed((x, np.full(300, 0.25)))[1], 0.25)


@pytest.mark.parametrize(
    "values", [(0.0, 1.0), (28.01, 28.02), (-3.0, 4e6), (1e-9, 3e-9), (5.0,), (0.0,), (0.9999, 1.0)]
)
def test_ticks_are_round_few_within_and_told_apart(values):
    (low, high), ticks = axis(panel_of(*values))
    assert 2 <= len(ticks) <= 5
    assert low <= min(ticks)
    assert max(ticks) <= high
    assert low < min(values)
    assert max(values) < high
    assert len({number(tick, 5) for tick in ticks}) == len(ticks)


@pytest.mark.parametrize("values", [(0.1, 0.9), (1e-6, 1e3), (2.0, 3.0), (0.031, 0.3)])
def test_ticks_of_a_logarithmic_axis_are_told_apart(values):
    (low, high), ticks = axis(panel_of(*values, log=True))
    assert 10**low < min(values) <= max(values) < 10**high
    assert 1 <= len(ticks) <= 7
    assert all(low <= np.log10(tick) <= high for tick in ticks)


def test_a_sketch_puts_each_value_where_its_axis_has_it():
    drawn = sketch(panel_of(0.0, 1.0, 0.5), (0.0, 2.0), [(1, "next")])
    (path,) = re.findall(r'<path class="k0" d="M([^"]+)"', drawn)
    points = [tuple(map(float, pair.split())) for pair in path.split("L")]
    ticks = {float(t): float(y) - 3.5 for y, t in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)</text>', drawn)}
    assert points[0][1] == pytest.approx(ticks[0.0], abs=0.2)
    assert points[1][1] == pytest.approx(ticks[1.0], abs=0.2)
    assert points[2][1] == pytest.approx((points[0][1] + points[1][1]) / 2, abs=0.2)
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.2)
    assert re.findall(r'class="mark" d="M([\d.]+) ', drawn) == [f"{points[1][0]:.1f}"]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 6])
def test_runs_are_drawn_into_png_and_svg(cli, tmp_path, count):
    pytest.importorskip("matplotlib")
    folders = [two_phases(tmp_path / f"run $x_{i}$", lift=i / 10) for i in range(count)]
    svg = tmp_path / "a.svg"
    assert cli("train", "plot", *folders, "-o", svg).out == f"{svg}\n"
    text = svg.read_text()
    assert all(f"<!-- {title} -->" in text for title in by_title(folders[0]))
    drawn = [colour for colour in COLOURS if f"stroke: {colour.lower()}" in text]
    assert set(COLOURS[:count]) <= set(drawn)
    assert text.count("run $x_") >= count  # a dollar is a dollar


@pytest.mark.slow
def test_without_o_one_run_gets_its_curves_beside_its_log(cli, tmp_path):
    pytest.importorskip("matplotlib")
    two_phases(tmp_path)
    assert cli("train", "plot", tmp_path).code == 0
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1500
        colours = {colour for _, colour in picture.convert("RGB").getcolors(10**6) or ()}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours  # D(real), D(fake)


@pytest.mark.slow
def test_with_report_each_run_gets_its_page(cli, tmp_path):
    folders = [two_phases(tmp_path / name) for name in "ab"]
    assert cli("train", "plot", *folders, "--report").code == 0
    assert all((folder / "report.html").exists() and not (folder / "curves.png").exists() for folder in folders)


def test_what_cannot_be_drawn_is_refused(cli, tmp_path):
    run = read_run(two_phases(tmp_path / "run"))
    with pytest.raises(BadOption, match="cannot draw"):
        plot([run], tmp_path / "a.gif")
    with pytest.raises(BadOption, match="9 runs"):
        plot([run] * 9, tmp_path / "a.png")
    with pytest.raises(BadOption, match="nothing yet"):
        plot([read_run(run_of(tmp_path / "empty"))], tmp_path / "a.png")
    ran = cli("train", "plot", tmp_path / "none")
    assert ran.code == 3
    assert ran.err.count("\n") == 2


def test_progress_tells_both_networks_in_the_adversarial_phase(capsys):
    pixel = Progress(8, 0.5, 0.1, 2.0, 125.0, terms={"loss": 0.1, "norm": 0.25})
    terms = {"loss": 1.5, "pixel": 0.004, "perceptual": 1.25, "loss_d": 1.375, "d_real": 0.71, "d_fake": 0.3}
    gan = Progress(9, 0.9, 1.5, 2.0, 30.0, 27.5, phase="adversarial", terms=terms, lpips=0.25)
    draw_training([pixel, gan, replace(gan, message="done")], "auto", "run")
    assert capsys.readouterr().err.splitlines() == [
        "pixel step 8  loss 0.1  norm 0.25  2.00 it/s  2 min left",
        "adversarial step 9  G 1.5  D 1.375  real 0.71  fake 0.30  pixel 0.004  perceptual 1.25  2.00 it/s"
        "  30.0 s left",
        "step 9: PSNR-Y 27.500 dB, LPIPS 0.2500",
        "adversarial step 9  done",
        "step 9: PSNR-Y 27.500 dB, LPIPS 0.2500",
    ]
    draw_training([gan], "json", "run")
    assert json.loads(capsys.readouterr().err)["terms"] == terms
