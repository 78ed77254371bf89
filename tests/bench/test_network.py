import json

import pytest

from dagan_cli.bench.network import bench
from dagan_cli.engine.options import EngineOptions
from tests.support.fakes import Convolutions


@pytest.mark.slow
def test_a_bench_gives_times_and_ratios_that_fit_together():
    network = Convolutions(depth=2, width=8, scale=2)
    result = bench(network, EngineOptions(device="cpu", precision="fp32", tile=32), width=70, height=50, rounds=1)
    assert result.flops == 70 * 50 * 2 * 9 * (3 * 8 + 8 * 8 + 8 * 12)
    assert result.tiles > 1
    assert result.halo_cost > 1
    assert result.flops_per_second == pytest.approx(result.flops / result.tiled_seconds)
    assert result.tile_share_of_roof > result.share_of_roof > 0
    assert result.peak_bytes > 70 * 50 * 4 * 12
    printed = json.loads(json.dumps(result.to_dict()))
    assert printed["engine_cost"] == result.engine_cost
    assert printed["tile_width"] <= 32
