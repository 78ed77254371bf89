"""`dagan models`: list, inspect, locate, download, convert and publish models."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dagan_cli.commands.console import echo, echo_path, in_json, printable, say
from dagan_cli.commands.options import (
    SETTINGS,
    AsJson,
    Debug,
    GroupedCommand,
    Progress,
    fetched,
    friendly_errors,
    model_names,
)
from dagan_cli.commands.shown.progress import Reporter
from dagan_cli.commands.shown.tables import columns, room, table
from dagan_cli.errors import BadModel
from dagan_cli.upscale.events import Fetch

if TYPE_CHECKING:
    from dagan_cli.community.description import Description

models_app = typer.Typer(
    help="List, inspect, download, convert and publish models.", rich_markup_mode=None, context_settings=SETTINGS
)

Named = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A published name, a file, or hf://owner/repo.", autocompletion=model_names),
]


@models_app.command("list", cls=GroupedCommand)
def list_(as_json: AsJson = False) -> None:
    """List the models that -n accepts by name: published ones, those in the folders of DAGAN_MODELS, and baselines."""
    from weights.catalog import CATALOG

    own = _models_in_folders()
    if as_json:
        facts = [{"name": name, "path": str(path), "size": _size(path), **asdict(what)} for name, path, what in own]
        echo(in_json([*(model.to_json() for model in CATALOG), *facts]))
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
    rows += [
        [
            name,
            f"x{what.scale}" if what.scale else "-",
            f"{_size(path) / 1e6:.1f} MB",
            "-",
            str(path.parent),
            "-",
            f"{what.architecture} {what.details}".strip() if what.architecture else f"unusable: {what.details}",
        ]
        for name, path, what in own
    ]
    rows += [
        [name, "any", "-", "-", "-", "-", "baseline without a network"] for name in ("nearest", "bicubic", "lanczos")
    ]
    header = ["name", "scale", "size", "licence", "where", "Set5, dB", "for"]
    echo(table(header, rows, left=len(header)))


def _models_in_folders() -> list[tuple[str, Path, Description]]:
    from weights.folder import models_in_folders

    files = models_in_folders()
    if not files:
        return []
    from dagan_cli.community.description import describe  # torch is loaded here

    return [(name, path, describe(path)) for name, path in files.items()]


def _size(path: Path) -> int:
    return path.stat().st_size


@models_app.command(cls=GroupedCommand)
def info(model: Named, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show the configuration of a model and how it was trained."""
    with friendly_errors(debug):
        name = fetched(model)

        from dagan_cli.model.checkpoint import load_model
        from dagan_cli.model.file import is_foreign
        from weights.catalog import find_model

        found, expected = find_model(name)
        if is_foreign(found):
            from dagan_cli.community.network import load_community

            network, sha256 = load_community(found)
            echo(in_json({"model": name, "sha256": sha256, **network.facts()}, indent=None if as_json else 2))
            return
        loaded = load_model(found, expected)
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
        echo(in_json(facts, indent=None if as_json else 2))


@models_app.command(cls=GroupedCommand)
def path(model: Named, debug: Debug = False) -> None:
    """Print the path of a model's file on this machine."""
    with friendly_errors(debug):
        from weights.catalog import local_model

        found = local_model(model)
        if found is None:
            raise BadModel(
                f"{model} is not on this machine", hint=f"dagan models pull {model}, or see `dagan models list`"
            )
        echo_path(found)


@models_app.command(cls=GroupedCommand)
def pull(
    model: Named,
    update: Annotated[bool, typer.Option("--update", help="Fetch the newest commit of an hf:// branch.")] = False,
    progress: Progress = "auto",
    debug: Debug = False,
) -> None:
    """Download a model, unless it is on this machine, and print the path of its file."""
    with friendly_errors(debug):
        from weights.catalog import find_model, pinned
        from weights.reference import PREFIX, parse_reference

        with Reporter(progress, quiet=False, verbose=False) as reporter:
            name = model
            if update and model.startswith(PREFIX):
                from weights.hub import fetch

                name = str(
                    fetch(
                        parse_reference(model), tell=lambda *fetch: reporter.show(Fetch(*fetch)), update=True
                    ).reference
                )
            name = pinned(name, lambda *fetch: reporter.show(Fetch(*fetch)))
            found, expected = find_model(name)

        from dagan_cli.upscaler import checked

        checked(found, expected)
        if name != model:
            say(name)
        echo_path(found)


def _placed(rows: list[list[str]]) -> str:
    """Format rows of result, model, sha256 and path. No path is cut: where one has no room, each gets its own line."""
    whole = table(["", "model", "sha256", "file"], rows, left=4, width=sys.maxsize)
    if max(map(columns, whole.splitlines())) <= (room() or sys.maxsize):
        return whole
    return "\n".join(f"{'  '.join(map(printable, row[:3]))}\n  {printable(row[3])}" for row in rows)


@models_app.command(cls=GroupedCommand)
def verify(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help="Names, files or hf://...; default: all.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check every byte of these models, without a network."""
    with friendly_errors(debug):
        from dagan_cli.upscaler import checked
        from weights.catalog import CATALOG, local_model, published

        rows: list[dict[str, Any]] = []
        wrong: list[BadModel] = []
        for name in models or [model.name for model in CATALOG]:
            entry, found = published(name), local_model(name)
            row = {"model": name, "result": "absent", "sha256": None, "path": found and str(found)}
            try:
                if found is not None:
                    row["result"] = "damaged"
                    row |= {"sha256": checked(found, entry and entry.sha256), "result": "whole"}
                elif models:  # one that was not named need not have been downloaded
                    wrong.append(BadModel(f"{name} is not on this machine", hint=f"dagan models pull {name}"))
            except BadModel as error:
                wrong.append(error)
            rows.append(row)
        if as_json:
            echo(in_json(rows))
        else:
            echo(
                _placed(
                    [[row["result"], row["model"], (row["sha256"] or "-")[:16], row["path"] or "-"] for row in rows]
                )
            )
        if wrong:
            raise wrong[0]


@models_app.command(cls=GroupedCommand)
def card(
    model: Named,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to FILE instead of stdout.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the card of a model. `push` publishes it: purpose, data, results and known failures."""
    with friendly_errors(debug):
        name = fetched(model)

        from dagan_cli.exchange.card import card as card_
        from dagan_cli.files import require_older, whole_or_absent
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
            echo(text, end="")
            return
        require_older(output, "card", b"\nlibrary_name: dagan\n")
        with whole_or_absent(output) as file:
            file.write(text.encode())


@models_app.command(cls=GroupedCommand)
def push(
    source: Annotated[str, typer.Argument(metavar="RUN_OR_FILE", help="A run folder, a file, or a published name.")],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/REPO", help="Repository on the Hub; created if it does not exist.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    licence: Annotated[
        str | None,
        typer.Option("--licence", "--license", metavar="LICENCE", help="Licence of a model that states none."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the card and the list of files; upload nothing.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Publish a model on the Hugging Face Hub. Uploads configuration, model card, curves and samples with it."""
    with friendly_errors(debug):
        from dagan_cli.exchange.publish import publication

        prepared = publication(source, repository, licence=licence)
        if dry_run:
            echo(prepared.card)
        rows = [[name, f"{len(data):,}"] for name, data in prepared.files.items()]
        listing = table([f"{repository}{' (private)' if private else ''}", "bytes"], rows)
        if dry_run:
            echo(f"{listing}\n\nnothing was uploaded")
            return
        for line in listing.splitlines():
            say(line)

        from weights.hub import upload

        commit = upload(repository, prepared.files, message=prepared.message, private=private)
        echo(printable(f"hf://{repository}@{commit}"))


@models_app.command(cls=GroupedCommand)
def convert(
    source: Annotated[
        str, typer.Argument(metavar="MODEL", help="A .pth or state.pt, a published name, or a .safetensors file.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="OUT.safetensors or OUT.onnx; default: next to MODEL."),
    ] = None,
    order: Annotated[
        int | None, typer.Option("--order", metavar="1|2|4", help="Order of the solver in an ONNX file.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Convert pickled PyTorch weights to a model file, or a model to ONNX."""
    with friendly_errors(debug):
        from dagan_cli.exchange.convert import convert as convert_

        done = convert_(source, output, order=order)
        if done.difference is not None:
            say(f"largest difference from PyTorch: {done.difference:.1e}, for values from 0 to 1")
        echo_path(done.target)
