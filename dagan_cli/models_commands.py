"""`dagan models`: what there is, what it is, where it lies; from the Hub and to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from dagan_cli.arguments import one_of
from dagan_cli.command import SETTINGS, AsJson, Debug, fetched, friendly_errors
from dagan_cli.console import Reporter, say, table
from dagan_cli.errors import BadModel

models_app = typer.Typer(
    help="The published models, and others from files and the Hub.", rich_markup_mode=None, context_settings=SETTINGS
)

Named = Annotated[str, typer.Argument(metavar="MODEL", help="A published name, a file, or hf://owner/repo.")]


@models_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """The models that can be named with -n."""
    from weights.catalog import CATALOG

    if as_json:
        typer.echo(json.dumps([model.to_json() for model in CATALOG]))
        return
    rows = [
        [
            model.name,
            f"x{model.scale}",
            f"{model.size / 1e6:.1f} MB",
            model.licence,
            "package" if model.path.is_file() else "Hub",
            f"{model.metrics['Set5']:.2f}" if "Set5" in model.metrics else "-",
            model.summary,
        ]
        for model in CATALOG
    ]
    rows += [[name, "any", "-", "-", "-", "-", "no network: a baseline"] for name in ("nearest", "bicubic", "lanczos")]
    header = ["name", "scale", "size", "licence", "where", "Set5, dB", "for"]
    typer.echo(table(header, rows, left=len(header)))


@models_app.command()
def info(model: Named, as_json: AsJson = False, debug: Debug = False) -> None:
    """What a model is, and how it was trained."""
    with friendly_errors(debug):
        name = fetched(model)

        from dagan_cli.model.checkpoint import load_model
        from weights.catalog import find_model

        loaded = load_model(*find_model(name))
        config = loaded.generator.config
        facts = {
            "model": name,
            "sha256": loaded.sha256,
            "scale": config.scale,
            "parameters": sum(p.numel() for p in loaded.generator.parameters()),
            "orders": list(config.orders),
            "config": config.to_dict(),
            "provenance": loaded.provenance,
        }
        typer.echo(json.dumps(facts, indent=None if as_json else 2))


@models_app.command()
def path(model: Named, debug: Debug = False) -> None:
    """Where a model's file lies on this machine."""
    with friendly_errors(debug):
        from weights.catalog import local_model

        found = local_model(model)
        if found is None:
            raise BadModel(f"{model} is not here", hint=f"dagan models pull {model}, or see `dagan models list`")
        typer.echo(os.fsencode(found))


@models_app.command()
def pull(
    model: Named,
    update: Annotated[bool, typer.Option("--update", help="Of an hf:// branch: ask for its newest commit.")] = False,
    progress: Annotated[str, typer.Option("--progress", help="auto, bar, json or none.")] = "auto",
    debug: Debug = False,
) -> None:
    """Have a model's file here, for use without a network: from the package, the cache, else from the Hub."""
    with friendly_errors(debug):
        from weights.catalog import find_model, pinned
        from weights.reference import PREFIX, parse_reference

        mode = one_of("--progress", progress, ("auto", "bar", "json", "none"))
        with Reporter(mode, quiet=False, verbose=False) as reporter:
            name = model
            if update and model.startswith(PREFIX):
                from weights.hub import fetch

                name = str(fetch(parse_reference(model), tell=reporter.fetching, update=True).reference)
            name = pinned(name, reporter.fetching)
            found, expected = find_model(name)

        from dagan_cli.model.checkpoint import load_model

        load_model(found, expected)
        if name != model:
            say(name)
        typer.echo(os.fsencode(found))


@models_app.command()
def verify(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Names, files or hf://...; all by default.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Is every byte of these models what it should be? No request is made."""
    with friendly_errors(debug):
        from dagan_cli.model.checkpoint import load_model
        from weights.catalog import CATALOG, local_model, published

        rows: list[dict[str, str | None]] = []
        wrong: list[BadModel] = []
        for name in models or [model.name for model in CATALOG]:
            entry, found = published(name), local_model(name)
            row = {"model": name, "result": "absent", "sha256": None, "path": found and str(found)}
            try:
                if found is not None:
                    row["result"] = "damaged"
                    row |= {"sha256": load_model(found, entry and entry.sha256).sha256, "result": "whole"}
                elif models:  # what nobody asked for need not have been fetched
                    wrong.append(BadModel(f"{name} is not here", hint=f"dagan models pull {name}"))
            except BadModel as error:
                wrong.append(error)
            rows.append(row)
        if as_json:
            typer.echo(json.dumps(rows))
        else:
            cells = [[row["result"], row["model"], (row["sha256"] or "-")[:16], row["path"] or "-"] for row in rows]
            typer.echo(table(["", "model", "sha256", "file"], cells, left=4))
        if wrong:
            raise wrong[0]


@models_app.command()
def card(
    model: Named,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file, instead of stdout.")] = None,
    debug: Debug = False,
) -> None:
    """The model card that `push` writes: what the model is for, its data, its results, its failures."""
    with friendly_errors(debug):
        name = fetched(model)

        from dagan_cli.atomic import whole_or_absent
        from dagan_cli.card import card as card_
        from dagan_cli.model.checkpoint import load_model
        from weights.catalog import find_model, published
        from weights.reference import PREFIX, parse_reference

        loaded = load_model(*find_model(name))
        use, title = name, name
        pictures = []
        if name.startswith(PREFIX):
            repository = parse_reference(name).repository
            use, title = PREFIX + repository, repository.partition("/")[2]
        elif known := published(name):
            pictures = [known.picture.name] if known.picture.is_file() else []
        else:
            use, title = Path(name).name, Path(name).stem
        text = card_(title, loaded, use, pictures=pictures)
        if output is None:
            typer.echo(text, nl=False)
            return
        with whole_or_absent(output) as part:
            part.write_text(text)


@models_app.command()
def push(
    source: Annotated[str, typer.Argument(metavar="RUN_OR_FILE", help="A run's folder, a file, or a published name.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/REPO", help="On the Hub; made if there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Only you can see it.")] = False,
    licence: Annotated[str | None, typer.Option("--licence", "--license", help="If the model states none.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print card and files; no network.")] = False,
    debug: Debug = False,
) -> None:
    """Publish a model on the Hugging Face Hub: weights, configuration, model card, curves and samples."""
    with friendly_errors(debug):
        from dagan_cli.publish import publication

        prepared = publication(source, repository, licence=licence)
        if dry_run:
            typer.echo(prepared.card)
        rows = [[name, f"{len(data):,}"] for name, data in prepared.files.items()]
        listing = table([f"{repository}{' (private)' if private else ''}", "bytes"], rows)
        if dry_run:
            typer.echo(f"{listing}\n\nnothing was uploaded")
            return
        for line in listing.splitlines():
            say(line)

        from weights.hub import upload

        commit = upload(repository, prepared.files, message=prepared.message, private=private)
        typer.echo(f"hf://{repository}@{commit}")


@models_app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A .pth or state.pt, a published name, or a .safetensors file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="OUT.safetensors or OUT.onnx; by default beside it.")
    ] = None,
    order: Annotated[int | None, typer.Option("--order", help="That an ONNX file runs at: 1, 2 or 4.")] = None,
    debug: Debug = False,
) -> None:
    """Turn PyTorch weights, a pickle, into a model's file; or a model into an ONNX file."""
    with friendly_errors(debug):
        from dagan_cli.convert import convert as convert_

        done = convert_(source, output, order=order)
        if done.difference is not None:
            say(f"largest difference from PyTorch: {done.difference:.1e}, of values from 0 to 1")
        typer.echo(os.fsencode(done.target))
