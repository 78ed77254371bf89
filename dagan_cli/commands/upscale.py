"""`dagan upscale`: its options, and the request that they make."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from dagan_cli.commands.options import (
    BATCH,
    DEFAULTS,
    IMAGES,
    IN_OUT,
    SIZE,
    SPEED,
    VIDEO,
    Audio,
    Cluster,
    Codec,
    DenoiseOrAuto,
    Detail,
    Device,
    EncoderPreset,
    Ensemble,
    Format,
    Grain,
    Model,
    Order,
    Precision,
    RuntimeName,
    Size,
    Square,
    Tile,
    Window,
    friendly_errors,
    key_value,
    listed_inputs,
    moment,
    result_folder,
    share,
    switch,
    tile_side,
    whole_number,
)
from dagan_cli.commands.run import run_and_report
from dagan_cli.commands.settings.command import applied_flags, sources_named, with_source
from dagan_cli.commands.settings.sources import recipe_names
from dagan_cli.commands.shown.progress import ProgressMode
from dagan_cli.errors import BadOption


def upscale(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Files, folders or patterns; - is stdin."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="File for one input, else a folder; without a suffix: a folder.",
            rich_help_panel=IN_OUT,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="TEMPLATE",
            help="Name of results without a suffix; default: {stem}_x{scale}{part}. Also {model}, {width}, {height}.",
            rich_help_panel=IN_OUT,
        ),
    ] = None,
    overwrite: Annotated[bool, switch("-y", "--overwrite", help="Replace existing outputs.", panel=IN_OUT)] = False,
    skip_existing: Annotated[
        bool,
        switch(
            "--skip-existing",
            help="Skip existing outputs, even if they were made from another source or with other settings.",
            panel=IN_OUT,
        ),
    ] = False,
    scale: Annotated[
        float | None,
        typer.Option(
            "-s",
            "--scale",
            "--outscale",
            metavar="FACTOR",
            help="Final scale, such as 2 or 1.5; default: 4.",
            rich_help_panel=SIZE,
        ),
    ] = None,
    size: Size = None,
    model: Model = None,
    order: Order = None,
    detail: Detail = None,
    denoise: DenoiseOrAuto = None,
    grain: Grain = 0.0,
    window: Window = None,
    ensemble: Ensemble = False,
    tile: Tile = "auto",
    overlap: Annotated[
        int | None,
        typer.Option(
            "--overlap",
            metavar="PIXELS",
            help="Tile overlap in input pixels; default: what the model needs.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    batch: Annotated[
        str,
        typer.Option("--batch", metavar="N", help="Tiles computed together: auto, or a number.", rich_help_panel=SPEED),
    ] = "auto",
    device: Device = "auto",
    gpu: Annotated[
        str | None,
        typer.Option(
            "-g",
            "--gpu",
            metavar="N[,N...]",
            help="GPUs to use, such as 0,1; one is the same as --device cuda:N.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            min=1,
            max=64,
            metavar="N",
            help="Worker processes on each device; default: 1.",
            rich_help_panel=SPEED,
        ),
    ] = 1,
    cluster: Cluster = None,
    mixed_nodes: Annotated[
        bool,
        switch(
            "--mixed-nodes",
            help="Allow nodes that compute in different ways, such as on other GPUs: pixels differ slightly.",
            panel=SPEED,
        ),
    ] = False,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    fp32: Annotated[bool, switch("--fp32", help="Same as --precision fp32.", panel=SPEED)] = False,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse/--no-reuse",
            help="Reuse tiles that did not change since the previous frame (lossless).",
            rich_help_panel=SPEED,
        ),
    ] = True,
    format: Format = None,
    quality: Annotated[
        int,
        typer.Option(
            "-q", "--quality", metavar="1..100", help="Quality of lossy images, 1 to 100.", rich_help_panel=IMAGES
        ),
    ] = 95,
    lossless: Annotated[bool, switch("--lossless", help="Write images without loss.", panel=IMAGES)] = False,
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            "--max-megapixels",
            min=0.000001,
            max=1e6,
            metavar="N",
            help="Largest image to read; default: 268; all frames together: 16 times that.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    codec: Codec = None,
    crf: Annotated[
        float | None,
        typer.Option(
            "--crf", metavar="CRF", help="Quality of the video; lower is better; default: 17.", rich_help_panel=VIDEO
        ),
    ] = None,
    preset: EncoderPreset = None,
    pix_fmt: Annotated[
        str | None,
        typer.Option(
            "--pix-fmt", metavar="FMT", help="Pixel format of the video, such as yuv444p10le.", rich_help_panel=VIDEO
        ),
    ] = None,
    encoder_option: Annotated[
        list[str] | None,
        typer.Option(
            "-e",
            "--encoder-option",
            metavar="KEY=VALUE",
            help="Option for the encoder; repeatable.",
            rich_help_panel=VIDEO,
        ),
    ] = None,
    audio: Audio = "copy",
    streams: Annotated[
        Literal["all", "video"],
        typer.Option(
            "--streams", help="Streams to keep; video drops audio, subtitles, attachments.", rich_help_panel=VIDEO
        ),
    ] = "all",
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="TIME", help="Start at this time: 12.5 or 1:02:03.", rich_help_panel=VIDEO),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--end", metavar="TIME", help="Stop at this time: 12.5 or 1:02:03.", rich_help_panel=VIDEO),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, metavar="N", help="Stop after N frames.", rich_help_panel=VIDEO)
    ] = None,
    deinterlace: Annotated[
        Literal["auto", "off", "on"],
        typer.Option(
            "--deinterlace", help="Deinterlace the source; auto: where it is interlaced.", rich_help_panel=VIDEO
        ),
    ] = "auto",
    square: Square = False,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Resume an interrupted video.", rich_help_panel=VIDEO)
    ] = True,
    recursive: Annotated[bool, switch("-r", "--recursive", help="Search folders inside folders.", panel=BATCH)] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include", metavar="PATTERN", help="Take only these names, such as *.jpg.", rich_help_panel=BATCH
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="PATTERN", help="Leave out these names.", rich_help_panel=BATCH),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(
            "--files-from", metavar="LIST", help="Read input paths from LIST, one per line.", rich_help_panel=BATCH
        ),
    ] = None,
    null: Annotated[
        bool, switch("-0", "--null", help="Paths in LIST are separated by NUL bytes.", panel=BATCH)
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Take only share I of N of the inputs, from 1/N to N/N: one for each of N machines.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    retry_failed: Annotated[
        Path | None,
        typer.Option(
            "--retry-failed",
            metavar="REPORT",
            help="Take the inputs that an earlier run left: failed, partial, stopped or untried in its report.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    watch: Annotated[
        bool,
        switch("--watch", help="Keep looking for new files in the folders, until Ctrl-C.", panel=BATCH),
    ] = False,
    dry_run: Annotated[
        bool, switch("--dry-run", help="Print the plan and its cost; write nothing.", panel=BATCH)
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a JSON report to FILE.", rich_help_panel=BATCH),
    ] = None,
    json: Annotated[bool, switch("--json", help="Print one JSON document on stdout.", panel=BATCH)] = False,
    progress: Annotated[
        ProgressMode, typer.Option("--progress", help="How progress is shown, on stderr.", rich_help_panel=BATCH)
    ] = "auto",
    verbose: Annotated[bool, switch("-v", "--verbose", help="Print more details.", panel=BATCH)] = False,
    quiet: Annotated[bool, switch("--quiet", help="Print errors and warnings only.", panel=BATCH)] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Set of options for a kind of source, such as photo or vhs; `dagan recipes list` shows all; or none.",
            autocompletion=recipe_names,
            rich_help_panel=DEFAULTS,
        ),
    ] = None,
    reset: Annotated[
        list[str] | None,
        typer.Option(
            "--reset",
            metavar="OPTION",
            help="Use the built-in default of this option, or of all: no recipe, variable or config.toml.",
            rich_help_panel=DEFAULTS,
        ),
    ] = None,
    debug: Annotated[bool, switch("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Upscale images and videos. Each result is written next to its input, or to OUT."""
    with friendly_errors(debug), sources_named(context):
        names = [*(inputs or []), *listed_inputs(files_from, null)]
        if names and retry_failed is not None:
            raise BadOption("both an INPUT and --retry-failed were given", hint="leave out one of them")
        if not names and retry_failed is None:
            raise BadOption("no input was given", hint="dagan upscale picture.jpg -s 4")
        if "" in names:  # of an unset variable in a script; as a path it would be the current folder
            raise BadOption("an INPUT is empty", hint="name a file or a folder; . is the current folder")
        if output == "":
            raise BadOption("--output is empty", hint="name a file or a folder; . is the current folder")
        if overwrite and skip_existing:
            raise BadOption("both --overwrite and --skip-existing were given", hint="give one of them")
        if output == "-" and json:
            raise BadOption("both -o - and --json would write to stdout", hint="use --report FILE instead of --json")

        if report is not None and report.name in ("", ".."):
            raise BadOption(f"--report {report} is a folder", hint="name a file, such as report.json")
        from dagan_cli.media.remote.address import names_url

        if report is not None and names_url(report):
            raise BadOption("--report names a URL, and reports are local files", hint="name a local file")
        if report is not None:
            from dagan_cli.upscale.report import require_free

            require_free(report)

        from dagan_cli.media.template import Template
        from dagan_cli.upscale.inputs.retry import Retry
        from dagan_cli.upscale.inputs.shard import Shard
        from dagan_cli.upscale.inputs.watch import require_watchable
        from dagan_cli.upscale.request import Goal, Part, Request

        template = None if name is None else Template(name)
        share_of = None if shard is None else Shard.of(shard)
        retry = None if retry_failed is None else Retry.of(retry_failed)
        if retry is not None and output is None:
            output = retry.output
        if watch:
            require_watchable(names, output, others={"--dry-run": dry_run, "--shard": shard, "--retry-failed": retry})

        goal = Goal.of(scale, size, square=square)
        part = Part(moment("--start", start), moment("--end", end), frames)

        from dagan_cli.media.video.recipe import Encoding

        encoding = Encoding(
            codec=codec,
            crf=crf,
            preset=preset,
            pix_fmt=pix_fmt,
            options=dict(key_value(option) for option in encoder_option or ()),
            audio=audio,
            streams=streams,
        )
        encoding.require_known()

        from dagan_cli.engine.options import EngineOptions
        from dagan_cli.media.images import LIMIT_PIXELS
        from weights.choice import ModelChoice

        devices = _devices(device, gpu)
        if cluster is not None and gpu is not None:
            raise BadOption(
                f"-g {gpu} and --cluster do not go together: Ray chooses the GPUs", hint="leave out one of them"
            )
        request = Request(
            inputs=tuple(names),
            output=output,
            goal=goal,
            template=template,
            model=ModelChoice(
                model, order=order, detail=detail, denoise=share(model, denoise), window=window, grain=grain
            ),
            engine=EngineOptions(
                device=devices[0],
                runtime=runtime,
                precision="fp32" if fp32 else precision,
                tile=tile_side(tile),
                overlap=overlap,
                batch="auto" if batch == "auto" else whole_number("--batch", batch),
                ensemble=ensemble,
                folder=result_folder(output, names or [str(retry_failed)]),
            ),
            devices=tuple(each for each in devices for _ in range(jobs)),
            cluster=cluster,
            mixed_nodes=mixed_nodes,
            recursive=recursive,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            overwrite=overwrite,
            skip_existing=skip_existing,
            format=format,
            quality=quality,
            lossless=lossless,
            encoding=encoding,
            part=part,
            deinterlace=deinterlace,
            dry_run=dry_run,
            resume=resume,
            reuse=reuse,
            max_pixels=LIMIT_PIXELS if max_megapixels is None else round(max_megapixels * 1e6),
            report=report,
            listed=Path(files_from) if files_from not in (None, "-") else None,
            shard=share_of,
            retry=retry,
            watch=watch,
            replaced=retry.incomplete if retry else frozenset(),
            defaulted=applied_flags(context),
        )
        explain = partial(with_source, context)
        raise typer.Exit(run_and_report(request, report, json, progress, explain, verbose=verbose, quiet=quiet))


def _devices(device: str, gpu: str | None) -> list[str]:
    """Return the devices that --device or -g names. Raises BadOption."""
    if gpu is None:
        return [device]
    if device != "auto":
        raise BadOption(f"-g {gpu} and --device {device} name different devices", hint="leave out one of them")
    numbers = [number.strip() for number in gpu.split(",")]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise BadOption(f"-g {gpu} names no GPUs", hint="use their numbers, such as -g 0 or -g 0,1")
    if len(set(map(int, numbers))) < len(numbers):
        raise BadOption(f"-g {gpu} names a GPU twice", hint="use --jobs 2 for two workers on each")
    return [f"cuda:{int(number)}" for number in numbers]
