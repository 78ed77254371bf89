"""What the server of `nursery` loads before it forks."""

import av  # noqa: F401
import PIL.Image  # noqa: F401
import torch  # noqa: F401

import dagan_cli.commands.app
import dagan_cli.upscale.batch
import dagan_cli.upscale.report  # noqa: F401
