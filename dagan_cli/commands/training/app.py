"""The commands of `dagan train`."""

from __future__ import annotations

import typer

from dagan_cli.commands.options import SETTINGS, GroupedCommand
from dagan_cli.commands.training.experiments import choose, paper
from dagan_cli.commands.training.images import degrade, spoil
from dagan_cli.commands.training.results import plot, release
from dagan_cli.commands.training.train import bench, train

train_app = typer.Typer(rich_markup_mode=None, context_settings=SETTINGS)
train_app.callback(invoke_without_command=True)(train)
for _command in (bench, plot, paper, choose, degrade, release):
    train_app.command(cls=GroupedCommand)(_command)
train_app.command(hidden=True, cls=GroupedCommand)(spoil)
