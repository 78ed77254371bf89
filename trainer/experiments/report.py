"""Results of an experiment as files to commit: table.md, figure.png and .svg, README.md, and runs/ with the logs."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from shlex import quote

import torch

from dagan_cli.files import whole_or_absent
from trainer.experiments.evidence import t_quantile
from trainer.experiments.figure import draw
from trainer.experiments.grid import draw_grid
from trainer.experiments.logs import write_logs
from trainer.experiments.runs import Arm, Setting
from trainer.experiments.summary import arms_table, pairs_table
from trainer.experiments.table import Experiment
from trainer.loop import MODEL
from trainer.networks import load_network

WRITTEN = ("README.md", "table.md", "figure.png", "figure.svg", "grid.png", "runs")


def write_report(experiment: Experiment, setting: Setting, arms: list[Arm], seeds: int) -> Path:
    """Write the files and return their folder. Raises CannotWrite."""
    at_x = "" if setting.scale == experiment.scales[0] else f"-x{setting.scale}"
    folder = setting.folder / f"{experiment.name}{at_x}"
    images = ["figure.png"]
    title = f"{experiment.name}, x{setting.scale}: {experiment.question}"
    epoch = len(setting.pictures.pixels) / setting.size.batch
    draw(arms, title, [folder / "figure.png", folder / "figure.svg"], epoch)
    if experiment.name == "V":
        networks = {arm.name: load_network(setting.run(arm.name, 0) / MODEL)[0] for arm in arms}
        draw_grid(folder / "grid.png", networks, setting.val, setting.scale)
        images.insert(0, "grid.png")
    write_logs(folder / "runs", setting, arms)
    header = _header(experiment, setting, seeds)
    tables = f"{arms_table(arms)}\n\n{pairs_table(arms, experiment.comparisons)}\n"
    _write(folder / "table.md", f"{header}\n\n{tables}")
    shown = "\n\n".join(f"![{experiment.question}]({name})" for name in images)
    _write(
        folder / "README.md", f"# {title}\n\n{header}\n\n{shown}\n\n{tables}\n{_caveats(experiment, setting, seeds)}\n"
    )
    return folder


def _header(experiment: Experiment, setting: Setting, seeds: int) -> str:
    size, full = setting.size, experiment.iterations(setting.scale)
    network = ", ".join(f"{name} {value}" for name, value in size.generator.items())
    network = f"{network}; " if _of_the_size(experiment, setting) else ""
    lines = [
        f"The paper's {experiment.figure}. Each arm was trained for **{setting.iterations:,} steps**, "
        f"{setting.iterations / full:.2%} of the paper's {full:,}, with {seeds} seed{'s' if seeds > 1 else ''}; "
        f"all arms of a seed got the same batches.",
        f"Setting `{size.name}`: {network}batches of {size.batch} crops of {size.crop} px"
        + (f"; discriminator of width {size.discriminator} (the paper's: 64)" if setting.protocol == "gan" else "")
        + f"; {len(setting.pictures.pixels)} training images, fingerprint {setting.pictures.fingerprint}; validated "
        f"on the centre {size.validate_side} px of each held-out image.",
    ]
    if setting.protocol == "gan":
        lines.append(
            "Protocol of the paper's baseline: no pixel phase, Adam at 1e-3 for both networks, no schedule, "
            f"MSE + 1e-3 adversarial + perceptual + 2e-8 TV. Perceptual term: {setting.perceptual.label}."
        )
    else:
        lines.append("Trained with L1 only, Adam at 1e-4, no schedule.")
    return "\n\n".join([*lines, f"```\n{_command(experiment, setting, seeds)}\n```"])


def _of_the_size(experiment: Experiment, setting: Setting) -> list[str]:
    """Return the arms whose networks are as large as the setting says: all but the baselines."""
    return [arm for arm in experiment.arms if setting.config(arm, 0).baseline is None]


def _caveats(experiment: Experiment, setting: Setting, seeds: int) -> str:
    short = setting.iterations < experiment.iterations(setting.scale)
    lines = [
        "PSNR is that of the averaged weights (decay 0.999), which do not affect the training; every other number is "
        "the mean over the last interval. ± is the standard deviation over seeds, for a comparison that of the paired "
        "differences. Multiply-adds are those of one patch. Seconds are those of training only, on "
        f"{_hardware()}; other load on the machine distorts them.",
        "`runs/` has the configuration of each arm for seed 0 (`ARM.toml`) and its log for all seeds (`ARM.jsonl`).",
    ]
    if setting.protocol == "gan":
        lines.append(
            "The paper's measure in figures 7, 8 and 10 to 12 is the generator's loss. It includes 1e-3 times the "
            "adversarial term, which is between 0 and 1: a discriminator that collapses to a constant moves the loss "
            "by up to 1e-3, which is more than the 5.8e-4 between 28 and 30 dB. The image term has no such part."
        )
    if short:
        lines.append(
            "**This was run at reduced length.** It shows the beginning of the training under equal conditions, and "
            "that the comparison works, but not the final results: it neither confirms nor refutes the paper's."
        )
    if setting.size.name != "full":
        sized = _of_the_size(experiment, setting)
        lines.append(f"The {'networks, ' if sized else ''}batches and crops are also smaller than the paper's.")
        if sized and (whole := [arm for arm in experiment.arms if arm not in sized]):
            lines.append(f"Only {', '.join(whole)} has the size of the paper's: compare times and scores with care.")
    if seeds < 3:
        lines.append("Fewer than three seeds: this supports no claim.")
    else:
        least = t_quantile(0.05, seeds - 1) / sqrt(seeds)
        lines.append(
            f"With {seeds} seeds, a mean difference of less than {least:.1f} standard deviations of the differences is "
            "not significant (two-sided t-test at 5 %)."
        )
    if seeds > 1:
        lines.append(
            "95 % is half the width of the confidence interval of the mean difference in PSNR-Y (Student's t over the "
            "seeds). p is that of the paired t-test, multiplied for the number of comparisons in the table (Holm)."
        )
    return "\n\n".join(lines)


def _command(experiment: Experiment, setting: Setting, seeds: int) -> str:
    """Return the command line, with placeholders instead of local paths."""
    words = ["dagan train paper", experiment.name, "--data DATA --val VAL --run RUN"]
    if setting.scale != experiment.scales[0]:
        words.append(f"--scale {setting.scale}")
    words.append(f"--size {setting.size.name} --iterations {setting.iterations} --seeds {seeds}")
    if setting.protocol == "gan" and setting.perceptual.path is not None:
        words.append(f"--vgg-weights {setting.perceptual.path.name}")
    if setting.lpips is not None:
        words.append(f"--lpips {setting.lpips.name}")
    words += [f"--arm {quote(name + '=' + ','.join(values))}" for name, values in setting.own.items()]
    return " ".join(words)


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU thread{'s' if torch.get_num_threads() > 1 else ''}"


def _write(path: Path, text: str) -> None:
    with whole_or_absent(path) as file:
        file.write(text.encode())
