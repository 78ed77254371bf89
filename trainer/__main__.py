"""python -m trainer: the same as `dagan train`, with plain lines for logs instead of a progress bar."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

from dagan_cli.errors import DaganError
from trainer.config import read_config
from trainer.loop import train
from trainer.presets import preset


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("config", help="a preset's name or a TOML file")
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--val", type=Path)
    parser.add_argument("--start", type=Path, help="model file to take fitting weights from")
    parser.add_argument("--branch", type=Path, help="run folder to cool down from")
    parser.add_argument("--schedule", choices=("cosine", "constant", "cooldown"))
    parser.add_argument("--budget", type=float, help="seconds")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--only-gan", action="store_true", help="leave the pixel phase out: --start has done it")
    parser.add_argument("--gan-budget", type=float, help="seconds of the adversarial phase")
    parser.add_argument("--vgg-weights", type=Path, help="what judges pictures in the adversarial phase")
    parser.add_argument("--lpips", type=Path, help="weights of LPIPS, to validate by")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between lines")
    args = parser.parse_args()
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: signals.append(received))
    try:
        config = read_config(Path(args.config)) if args.config.endswith(".toml") else preset(args.config)
        if args.schedule:
            config = replace(
                config, schedule=args.schedule, budget=None if args.schedule == "constant" else config.budget
            )
        if args.batch:
            config = replace(config, batch=args.batch)
        if args.only_gan:
            config = replace(config, iterations=0, budget=None)
        if args.gan_budget and config.gan is not None:
            config = replace(config, gan=replace(config.gan, budget=args.gan_budget, iterations=None))
        if args.budget:
            config = replace(config, budget=args.budget, iterations=None)
        steps = train(
            config,
            args.data,
            args.run,
            val=args.val,
            start=args.start,
            branch=args.branch,
            perceptual=args.vgg_weights,
            lpips=args.lpips,
            should_stop=lambda: bool(signals),
            report_every=args.every,
        )
        for p in steps:
            psnr = "" if p.psnr is None else f"  PSNR-Y {p.psnr:.3f} dB"
            print(f"step {p.step}  loss {p.loss:.5f}  {p.rate:.2f} it/s{psnr}  {p.message}", flush=True)
    except DaganError as error:
        print(f"error: {error}\ntry: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 128 + signals[0] if signals else 0


if __name__ == "__main__":
    sys.exit(main())
