"""`dagan train plot` and `dagan train release`: what becomes of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dagan_cli.commands.console import echo, in_json, printable, say
from dagan_cli.commands.options import Debug, WindowMode, friendly_errors
from dagan_cli.errors import BadOption


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are drawn into one figure.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="A .png or .svg; default for one run: RUN/curves.png."),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Write report.html to each folder.")] = False,
    debug: Debug = False,
) -> None:
    """Draw the curves of runs. Shows scores, losses, discriminator, gradients, learning rates, solver constants."""
    with friendly_errors(debug):
        from trainer.record.folder import read_run
        from trainer.record.page import write_report
        from trainer.record.plot import plot as plot_

        found = [read_run(folder) for folder in runs]
        if report:
            for run in found:
                echo(printable(str(write_report(run))))
        if output is not None or not report:
            target = output or (runs[0] / "curves.png" if len(runs) == 1 else Path("curves.png"))
            plot_(found, target)
            echo(printable(str(target)))


def release(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a model file.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The file to publish.")],
    val: Annotated[Path, typer.Option("--val", metavar="FOLDER", help="Folder the weights were chosen on.")],
    reports: Annotated[
        list[Path] | None,
        typer.Option("--report", metavar="FOLDER", help="Folder to report scores on, such as Set5; repeatable."),
    ] = None,
    training_data: Annotated[
        str | None,
        typer.Option("--training-data", metavar="TEXT", help="Description of the training data and its licences."),
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", "--license", metavar="LICENCE", help="Licence of the weights.")
    ] = "MIT",
    order: Annotated[int | None, typer.Option("--order", metavar="1|2|4", help="Default order of the solver.")] = None,
    window: Annotated[
        WindowMode | None, typer.Option("--window", help="Default context of pooling and attention.")
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option("--lpips", metavar="FILE", help="LPIPS weights, to report LPIPS too.")
    ] = None,
    started_from: Annotated[
        Path | None, typer.Option("--started-from", metavar="MODEL", help="Model whose weights the run started with.")
    ] = None,
    mix: Annotated[
        float,
        typer.Option(
            "--mix", min=0.0, max=1.0, help="Interpolation from the starting weights (0) to the trained ones (1)."
        ),
    ] = 1.0,
    dial: Annotated[
        bool, typer.Option("--dial", help="Measure --detail between the starting weights and the trained ones.")
    ] = False,
    fidelity: Annotated[
        Path | None,
        typer.Option(
            "--fidelity-model", metavar="MODEL", help="Fidelity model of --dial, where the run started with another."
        ),
    ] = None,
    twin: Annotated[Path | None, typer.Option("--twin", hidden=True, help="Old name of --fidelity-model.")] = None,
    debug: Debug = False,
) -> None:
    """Prepare a run for publication. Writes it as fp16 with its measured scores, and prints the catalogue entry."""
    with friendly_errors(debug):
        from trainer.release import release as release_

        if output.exists():
            raise BadOption(f"-o {output} exists", hint="choose another file")
        if twin is not None:
            say("warning: --twin is now called --fidelity-model")
        entry = release_(
            source,
            output,
            val=val,
            reports=reports or [],
            training_data=training_data,
            licence=licence,
            order=order,
            window=window,
            lpips=lpips,
            started_from=started_from,
            mix=mix,
            dial=dial,
            fidelity=fidelity or twin,
        )
        echo(in_json(entry, indent=2))
