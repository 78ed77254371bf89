"""Make a published model of a run: measure the averaged weights, write their numbers into the header, store as fp16.

usage: python -m trainer.release RUN_FOLDER_OR_MODEL OUT.safetensors --val DIR [--report DIR ...] [--data-note TEXT]

What is printed is the model's entry for `weights/catalog.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from dagan_cli.errors import DaganError
from dagan_cli.media.atomic import whole_or_absent
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.generator import Generator
from dagan_cli.protocol import PROTOCOL
from trainer.data import load_pictures, validation_pairs
from trainer.evaluate import validate
from trainer.loop import MODEL


def measure(generator: Generator, folder: Path, *, largest: int) -> dict[str, float]:
    """PSNR-Y in dB on a folder at each of the generator's orders, by name: {"order 1": 31.2}."""
    pictures = load_pictures([folder], smallest=8 * generator.scale)
    pairs = list(validation_pairs(pictures, generator.scale, largest))
    orders = generator.config.orders or (None,)
    return {f"order {o}" if o else "psnr_y": round(validate(generator, pairs, o), 3) for o in orders}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.release", description="Make a published model of a run.")
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--val", type=Path, required=True, help="folder the weights were chosen on")
    parser.add_argument("--report", type=Path, action="append", default=[], help="folder that is only reported")
    parser.add_argument("--data-note", default="", help="training data and licences, for the header")
    parser.add_argument("--licence", default="MIT")
    parser.add_argument("--order", type=int, help="the order it runs at unless told otherwise")
    args = parser.parse_args()
    try:
        source = args.source / MODEL if args.source.is_dir() else args.source
        model = load_generator(source)
        generator = Generator(replace(model.generator.config, default_order=args.order)).eval()
        generator.load_state_dict(model.generator.half().state_dict())  # measured as they will be stored
        facts = {name: value for name, value in model.provenance.items() if name != "metrics"}
        facts |= {"licence": args.licence, "protocol": PROTOCOL}
        if args.data_note:
            facts["training_data"] = args.data_note
        facts["metrics"] = {"val (centre 512)": measure(generator, args.val, largest=512)}
        for folder in args.report:
            facts["metrics"][folder.name] = measure(generator, folder, largest=1 << 20)
        data = save_model(generator, facts, half=True)
        with whole_or_absent(args.out) as part:
            part.write_bytes(data)
    except DaganError as error:
        print(f"error: {error}\ntry: {error.hint}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(facts["metrics"], indent=2))
    print(f'sha256="{sha256(data).hexdigest()}",  # {args.out.name}, {len(data)} bytes')
    return 0


if __name__ == "__main__":
    sys.exit(main())
