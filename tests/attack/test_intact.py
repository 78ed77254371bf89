"""Nothing is lost of intact files of every kind, and `dagan verify` raises no false alarm about their results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attack.conftest import FULL, Figure
from tests.attack.spoilt import originals
from tests.conftest import Cli

WRITTEN = {"images": ("png", "jpg", "webp", "tif", "avif", "gif", "bmp"), "clips": ("mkv", "mp4", "webm", "mov")}
EVERY = {"images": 1 if FULL else 16, "clips": 1 if FULL else 20}  # of all pairs of a file and a format
TRUE = {"reported-flat.mkv"}  # a projection, which no output holds


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "clips"])
def test_results_of_intact_files_pass(kind: str, cli: Cli, tmp_path: Path, figure: Figure):
    pairs = []
    for name, data in originals(kind, tmp_path / "originals").items():
        (tmp_path / name).write_bytes(data)
        pairs += [(tmp_path / name, suffix) for suffix in ("", *WRITTEN[kind])]
    alarms, compared, refused = [], 0, 0
    for source, suffix in pairs[:: EVERY[kind]]:
        out = tmp_path / "out"
        out.mkdir()
        target = out / f"result.{suffix}" if suffix else out
        codec = ("-e", "deadline=realtime") if suffix == "webm" else ("--preset", "ultrafast")
        options = codec if kind == "clips" and source.suffix != ".webm" else ()
        ran = cli("upscale", source, "-s", 2, "-n", "bicubic", "-o", target, *options)
        results = [path for path in out.iterdir() if not path.name.startswith(".")]  # records are beside some
        if ran.code:  # the format holds no alpha, or the encoder no such pixels: said, not done
            assert "  try: " in ran.err, ran.err
            refused += 1
        else:
            found = cli("verify", source, *results, "--json")
            rows = json.JSONDecoder().raw_decode(found.out)[0]["checks"]
            bad = [row for row in rows if row["result"] in ("lost", "differs")]
            alarms += [f"{source.name} -> {suffix or 'its own'}: {row}" for row in bad if source.name not in TRUE]
            compared += 1
        for path in list(out.iterdir()):
            path.unlink()
        out.rmdir()
    figure(f"intact {kind}", f"{compared} results verified, {refused} refused, {len(alarms)} false alarms")
    assert alarms == []
    assert compared > 5 * refused
