"""The command line: parse, build the choices, call one verb, print. Heavy imports wait inside the commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dagan_cli.arguments import (
    key_value,
    listed_inputs,
    moment,
    one_of,
    result_folder,
    tile_side,
    whole_number,
    window_of,
)
from dagan_cli.command import SETTINGS, AsJson, Debug, fetched, friendly_errors
from dagan_cli.console import Reporter, fail, say, table
from dagan_cli.errors import BadOption
from dagan_cli.models_commands import models_app
from dagan_cli.train_commands import train_app
from dagan_cli.version import __version__

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # click's, which newer typers carry within themselves

app = typer.Typer(
    name="dagan",
    help="Upscale images and video with a dual-attention Runge-Kutta GAN, and train new weights for it.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would take longer to load than all the rest
    context_settings=SETTINGS,
)
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Order = Annotated[int | None, typer.Option("--order", help="The solver's order, 1, 2 or 4: speed 4x, 2x, 1x.")]
Detail = Annotated[
    float | None, typer.Option("--detail", min=0, max=1, help="From the fidelity twin, 0, to a perceptual model, 1.")
]
Window = Annotated[
    str | None,
    typer.Option("--window", help="What pooling and attention see: global or local; else the model's."),
]
Tile = Annotated[str, typer.Option("-t", "--tile", help="auto, off, or the side in input pixels.")]


def run_command(arguments: list[str]) -> int:
    """Parse and work; the exit code. Wrong usage is two lines, as every error is."""
    try:
        return app(arguments, prog_name="dagan", standalone_mode=False) or 0
    except UsageError as error:
        usage: Any = error
        what = " ".join(usage.format_message().split()).rstrip(".")
        return fail(BadOption(what, hint=f"{usage.ctx.command_path if usage.ctx else 'dagan'} --help"))
    except typer.Abort:
        return 130


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("-V", "--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(f"dagan {__version__}")
        raise typer.Exit


@app.command()
def upscale(
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT...", help="Files, folders, patterns.")] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", help="File for one input, else a folder.")] = None,
    scale: Annotated[
        float | None, typer.Option("-s", "--scale", "--outscale", help="Final factor; 4 by default.")
    ] = None,
    size: Annotated[str | None, typer.Option("--size", help="Fit inside WxH, or 1080p, 1440p, 4k, 8k.")] = None,
    model: Annotated[
        str | None, typer.Option("-n", "--model", help="Name, file, hf://owner/repo, or nearest, bicubic, lanczos.")
    ] = None,
    tile: Tile = "auto",
    overlap: Annotated[int | None, typer.Option("--overlap", help="Of tiles, in input pixels.")] = None,
    device: Device = "auto",
    gpu: Annotated[int | None, typer.Option("-g", "--gpu", help="The same as --device cuda:N.")] = None,
    precision: Annotated[str, typer.Option("--precision", help="auto, fp16, bf16 or fp32.")] = "auto",
    fp32: Annotated[bool, typer.Option("--fp32", help="The same as --precision fp32.")] = False,
    batch: Annotated[str, typer.Option("--batch", help="Tiles at once: auto or a number.")] = "auto",
    ensemble: Annotated[bool, typer.Option("-x", "--ensemble", "--tta", help="Mean of eight flips and turns.")] = False,
    order: Order = None,
    detail: Detail = None,
    window: Window = None,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Folders inside folders.")] = False,
    include: Annotated[list[str] | None, typer.Option("--include", help="Only these names, such as *.jpg.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="Not these names.")] = None,
    files_from: Annotated[
        str | None, typer.Option("--files-from", help="A list of paths, one a line; - is stdin.")
    ] = None,
    nul: Annotated[bool, typer.Option("-0", "--null", help="That list is separated by NUL bytes.")] = False,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace outputs that exist.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip outputs that exist: the default.")
    ] = False,
    format: Annotated[
        str | None, typer.Option("-f", "--format", "--ext", help="png, jpg, webp, tiff, avif ...")
    ] = None,
    quality: Annotated[int, typer.Option("-q", "--quality", help="Of lossy pictures, 1 to 100.")] = 95,
    lossless: Annotated[bool, typer.Option("--lossless", help="Pictures without loss.")] = False,
    codec: Annotated[str | None, typer.Option("-c", "--codec", help="Video encoder, such as libx265.")] = None,
    crf: Annotated[float | None, typer.Option("--crf", help="Video quality, by default 17; lower is better.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Of the video encoder.")] = None,
    pix_fmt: Annotated[str | None, typer.Option("--pix-fmt", help="Of the video, such as yuv444p10le.")] = None,
    encoder_option: Annotated[
        list[str] | None, typer.Option("-e", help="key=value for the encoder; repeatable.")
    ] = None,
    audio: Annotated[str, typer.Option("--audio", help="copy or none.")] = "copy",
    streams: Annotated[str, typer.Option("--streams", help="all, or video: nothing beside the picture.")] = "all",
    start: Annotated[str | None, typer.Option("--start", help="Time into the video: 12.5 or 1:02:03.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="Time into the video: 12.5 or 1:02:03.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="At most so many frames.")] = None,
    deinterlace: Annotated[str, typer.Option("--deinterlace", help="auto, off or on.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and what it takes.")] = False,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on with a video that was stopped.")] = True,
    reuse: Annotated[
        bool, typer.Option("--reuse/--no-reuse", help="Of what is as in the video's frame before; exact.")
    ] = True,
    report: Annotated[Path | None, typer.Option("--report", help="Write a JSON report.")] = None,
    as_json: AsJson = False,
    progress: Annotated[str, typer.Option("--progress", help="auto, bar, json or none.")] = "auto",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
    debug: Debug = False,
) -> None:
    """Upscale images and videos; the result lies beside the input, or in OUT."""
    with friendly_errors(debug):
        names = [*(inputs or []), *listed_inputs(files_from, nul)]
        if not names:
            raise BadOption("no input was named", hint="dagan upscale picture.jpg -s 4")
        if overwrite and skip_existing:
            raise BadOption("both --overwrite and --skip-existing were given", hint="give one of them")
        if output == "-" and as_json:
            raise BadOption("both the picture and --json would go to stdout", hint="use --report FILE")
        mode = one_of("--progress", progress, ("auto", "bar", "json", "none"))

        from dagan_cli.engine.options import EngineOptions
        from dagan_cli.media.video_codecs import Encoding
        from dagan_cli.request import Goal, Request
        from dagan_cli.run import run_and_report

        request = Request(
            inputs=tuple(names),
            output=output,
            goal=Goal.of(scale, size),
            model=model,
            engine=EngineOptions(
                device=device if gpu is None else f"cuda:{gpu}",
                precision="fp32" if fp32 else precision,
                tile=tile_side(tile),
                overlap=overlap,
                batch="auto" if batch == "auto" else whole_number("--batch", batch),
                ensemble=ensemble,
                folder=result_folder(output, names),
            ),
            order=order,
            detail=detail,
            window=window_of(window),
            recursive=recursive,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            overwrite=overwrite,
            format=format,
            quality=quality,
            lossless=lossless,
            encoding=Encoding(
                codec=codec,
                crf=crf,
                preset=preset,
                pix_fmt=pix_fmt,
                options=dict(key_value(option) for option in encoder_option or ()),
                audio=one_of("--audio", audio, ("copy", "none")),
                streams=one_of("--streams", streams, ("all", "video")),
            ),
            start=moment("--start", start),
            end=moment("--end", end),
            frames=frames,
            deinterlace=one_of("--deinterlace", deinterlace, ("auto", "off", "on")),
            dry_run=dry_run,
            resume=resume,
            reuse=reuse,
        )
        raise typer.Exit(run_and_report(request, report, as_json, mode, verbose=verbose, quiet=quiet))


@app.command("eval")
def eval_(
    dataset: Annotated[Path, typer.Argument(help="Folder of high-resolution pictures.")],
    model: Annotated[
        str | None, typer.Option("-n", "--model", help="Name, file, hf://owner/repo, or nearest, bicubic, lanczos.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="In place of a model: upscaled pictures of any program.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="Small pictures to start from, in place of the originals shrunk.")
    ] = None,
    scale: Annotated[int | None, typer.Option("-s", "--scale", min=2, help="By default the model's own.")] = None,
    order: Order = None,
    detail: Detail = None,
    tile: Tile = "auto",
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp16, bf16 or fp32.")] = "auto",
    window: Window = None,
    ensemble: Annotated[bool, typer.Option("-x", "--ensemble", help="Mean of eight flips and turns.")] = False,
    lpips: Annotated[Path | None, typer.Option("--lpips", help="LPIPS weights, to judge by them too.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """PSNR-Y and SSIM-Y of a model on a folder of originals, beside bicubic; with --lpips, how alike they look."""
    with friendly_errors(debug):
        from dagan_cli.evaluate import evaluate, mean
        from dagan_cli.lpips import Lpips
        from dagan_cli.protocol import PROTOCOL
        from dagan_cli.upscaler import Upscaler

        if model is not None and results is None:
            model = fetched(model)
            judged: Upscaler | Path = Upscaler.load(
                model,
                order=order,
                detail=detail,
                window=window_of(window),
                device=device,
                precision=precision,
                tile=tile_side(tile),
                ensemble=ensemble,
            )
        elif results is not None and model is None:
            judged = results
        else:
            raise BadOption("eval judges a model or results", hint="give either -n MODEL or --results FOLDER")
        upscaler = judged if isinstance(judged, Upscaler) else None
        factor = scale or (4 if upscaler is None or upscaler.is_baseline else upscaler.scale)
        judge = Lpips.load(lpips) if lpips is not None else None
        scores = []
        for score in evaluate(dataset, judged, factor, judge, inputs):
            scores.append(score)
            if sys.stderr.isatty():
                say(f"{len(scores)}: {score.name}")
        total = mean(scores)
        if as_json:
            facts = {"model": model, "sha256": upscaler and upscaler.sha256, "scale": factor}
            facts |= {"order": upscaler and upscaler.order, "detail": detail}
            facts |= {name: path and str(path) for name, path in (("results", results), ("inputs", inputs))}
            facts["lpips_net"] = judge.net if judge else None
            rows = [score.to_json() for score in (*scores, total)]
            typer.echo(json.dumps(facts | {"dataset": str(dataset), "protocol": PROTOCOL, "scores": rows}))
            return
        header = [
            "picture",
            "PSNR-Y",
            "SSIM-Y",
            "bicubic PSNR",
            "SSIM",
            "colour",
            *(["LPIPS", "bicubic"] if judge else []),
        ]
        header += ["µs"] if upscaler else []
        lines = [
            [
                *(s.name, f"{s.psnr:.2f}", f"{s.ssim:.4f}", f"{s.bicubic_psnr:.2f}", f"{s.bicubic_ssim:.4f}"),
                f"{s.rgb_offset:.2f}",
                *(f"{distance:.4f}" for distance in (s.lpips, s.bicubic_lpips) if distance is not None),
                *([] if s.microseconds is None else [f"{s.microseconds:.1f}"]),
            ]
            for s in (*scores, total)
        ]
        typer.echo(table(header, lines))
        seen = f"; LPIPS v0.1 ({judge.net}) of whole RGB pictures" if judge else ""
        dial = "" if upscaler is None or upscaler.order is None else f", order {upscaler.order}"
        dial += "" if detail is None else f", detail {detail:g}"
        dial += "" if inputs is None else f", from {inputs}"
        columns = "Colour: offset of the mean in 8-bit steps" + ("; µs: for each input pixel" if upscaler else "")
        typer.echo(f"\n{model or results} x{factor}{dial}, {len(scores)} pictures. {PROTOCOL}{seen}. {columns}.")


@app.command()
def verify(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="What was upscaled.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="What came of it.")],
    start: Annotated[str | None, typer.Option("--start", help="As it was given to upscale.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="As it was given to upscale.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="As it was given to upscale.")] = None,
    audio: Annotated[str, typer.Option("--audio", help="As it was given to upscale.")] = "copy",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Frames, time stamps, streams, tags, scale: does OUTPUT keep what INPUT holds?"""
    with friendly_errors(debug):
        sound = one_of("--audio", audio, ("copy", "none")) == "copy"

        from dagan_cli.checks import Part
        from dagan_cli.verify import verify as verify_

        with Reporter("auto", quiet=False, verbose=False) as reporter:
            reporter.start(0, 1, output.name)
            found = verify_(
                source,
                output,
                Part(moment("--start", start), moment("--end", end), frames),
                sound=sound,
                tell=lambda done, total: reporter.advance(done, total, "frames"),
            )
        if as_json:
            typer.echo(json.dumps(found.to_json()))
        else:
            rows = [[row.result, row.what, row.expected, row.found, row.remark] for row in found.checks]
            typer.echo(table(["", "what", "expected", "found", "remark"], rows, left=5))
        if complaint := found.complaint():
            raise complaint


@app.command()
def probe(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A picture or a video.")],
    scale: Annotated[float | None, typer.Option("-s", "--scale", help="For which the result is planned.")] = 2,
    count: Annotated[bool, typer.Option("--count", help="Decode all: exact frames, times and damage.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """What dagan sees in INPUT, and what it would make of it."""
    with friendly_errors(debug):
        from dagan_cli.probe import probe as probe_
        from dagan_cli.probe_text import probe_text
        from dagan_cli.request import Goal

        with Reporter("auto", quiet=False, verbose=False) as reporter:
            reporter.start(0, 1, source.name)
            facts = probe_(
                source,
                Goal.of(scale, None),
                count=count,
                tell=lambda done, total: reporter.advance(done, total, "frames"),
            )
        if as_json:
            typer.echo(json.dumps(facts))
            return
        typer.echo(table(["", str(source)], [list(row) for row in probe_text(facts)], left=2))


@app.command()
def bench(
    input: Annotated[Path | None, typer.Argument(metavar="[INPUT]", help="A video or picture: its stages.")] = None,
    stages: Annotated[bool, typer.Option("--stages", help="The stages of a made-up video of --size.")] = False,
    model: Annotated[
        str | None, typer.Option("-n", "--model", help="Name, file, hf://owner/repo, or nearest, bicubic, lanczos.")
    ] = None,
    scale: Annotated[float | None, typer.Option("-s", "--scale", help="Of INPUT; 4 by default.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="Of the frame, WxH; 960x540 by default.")] = None,
    order: Order = None,
    tile: Tile = "auto",
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp16, bf16 or fp32.")] = "auto",
    codec: Annotated[str | None, typer.Option("-c", "--codec", help="Video encoder, such as libx265.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Of the video encoder.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=2, help="Of INPUT, at most; else as fits.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="For each stage.")] = 10,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="The best of so many.")] = 3,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """How fast the stages of upscaling INPUT are, and what the whole will take; without INPUT, network and engine."""
    with friendly_errors(debug):
        from dagan_cli.request import Goal

        box = Goal.of(None, size or "960x540").box
        if box is None:
            raise BadOption(f"a frame of {size!r}", hint="use WxH, such as 960x540")
        if input is not None and (stages or size):
            raise BadOption("INPUT was given with --stages or --size", hint="its own frames are taken; leave them out")

        from dagan_cli.engine.options import EngineOptions

        options = EngineOptions(device=device, precision=precision, tile=tile_side(tile))
        model = model and fetched(model)
        if input is None and not stages:
            if {scale, codec, preset, frames} != {None}:
                raise BadOption("the choice is for a video, and there is none", hint="name an INPUT, or add --stages")
            _bench_engine(model, order, options, box, rounds, as_json)
            return

        from contextlib import ExitStack
        from tempfile import TemporaryDirectory

        from dagan_cli.bench import bench as measure
        from dagan_cli.bench_report import report
        from dagan_cli.bench_stages import make_clip
        from dagan_cli.media.video_codecs import Encoding
        from dagan_cli.request import Request

        with ExitStack() as stack:
            path = input or make_clip(Path(stack.enter_context(TemporaryDirectory(prefix="dagan-bench-"))), box)
            request = Request(
                inputs=(str(path),),
                output=None,
                goal=Goal.of(scale, None),
                model=model,
                engine=options,
                order=order,
                encoding=Encoding(codec=codec, preset=preset),
                frames=frames,
            )
            note = say if sys.stderr.isatty() else lambda _: None
            found = measure(request, shown=None if input else "INPUT", seconds=seconds, rounds=rounds, note=note)
        typer.echo(json.dumps(found.to_dict()) if as_json else report(found, table))


def _bench_engine(
    model: str | None, order: int | None, options: Any, box: tuple[int, int], rounds: int, as_json: bool
) -> None:
    """Network and engine on one frame."""
    from dagan_cli.engine.bench import bench as measure
    from dagan_cli.model.checkpoint import load_model
    from weights.catalog import default_model, find_model

    generator = load_model(*find_model(model or default_model(4))).generator
    if order is not None:
        generator.order = order
    found = measure(generator, options, width=box[0], height=box[1], rounds=rounds).to_dict()
    found["order"] = generator.order
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        typer.echo(f"{name.replace('_', ' ') + ':':24} {shown}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What this machine has: devices, codecs, versions, models."""
    from dagan_cli.doctor import examine

    facts = examine()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        typer.echo(f"{name + ':':18} {value}")
