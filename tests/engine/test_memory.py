import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dagan_cli.engine import memory, tiles, tiling
from dagan_cli.engine.engine import Engine
from dagan_cli.engine.measuring import meter
from dagan_cli.engine.options import EngineOptions
from dagan_cli.engine.planner import is_held
from dagan_cli.engine.tiles import plan
from dagan_cli.engine.tiling import Demand, choose_tiling, with_rim
from dagan_cli.errors import BadOption, CannotWrite, OutOfMemory
from dagan_cli.model.footprint import Footprint
from tests.support.fakes import Convolutions, Limited

GIB = 1 << 30
CPU = torch.device("cpu")


def demand(**changes) -> Demand:
    usual = {"device": "cpu", "half": False, "receptive_field": 8, "grid": 1, "overlap": None}
    return Demand(**(usual | changes))


def test_this_machine_has_some_memory():
    assert memory.free_memory(CPU) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("not enough memory: you tried to allocate 1 bytes"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_running_out_of_memory_is_an_answer(error):
    def step():
        raise error

    assert memory.attempt(step) is None


def test_any_other_error_goes_through():
    with pytest.raises(RuntimeError, match="size"):
        memory.attempt(lambda: torch.zeros(2) @ torch.zeros(3))
    assert memory.attempt(lambda: 5) == 5


@pytest.mark.slow
def test_a_real_allocation_that_cannot_be_had_is_caught():
    assert memory.attempt(lambda: torch.empty(1 << 60, dtype=torch.uint8)) is None


def test_the_footprint_counts_what_is_alive_at_once():
    class TwoLayers(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 16), (16, 16), (16, 3)))

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    seen = meter.measure(TwoLayers(), CPU, torch.float32, grid=1)
    assert seen.flops_per_pixel == pytest.approx(2 * 9 * (3 * 16 + 16 * 16 + 16 * 3))
    assert seen.flops_per_pair == 0
    assert 32 * 4 <= seen.bytes_per_pixel <= (3 + 16 + 16 + 16) * 4  # two layers' results, and the input


def test_the_footprint_of_attention_over_the_whole_tile_grows_with_the_tile():
    class Attention(nn.Module):
        def forward(self, x):
            q = x.flatten(2).transpose(1, 2)[:, None].repeat(1, 1, 1, 8)
            return F.scaled_dot_product_attention(q, q, q)

    seen = meter.measure(Attention(), CPU, torch.float32, grid=1)
    assert seen.flops_per_pair == pytest.approx(4 * 24)


def test_measuring_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    meter.measure(Convolutions(), CPU, torch.float32, grid=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_a_network_that_does_not_even_fit_on_a_small_tile_takes_endlessly_much():
    seen = meter.measure(Limited(Convolutions(), pixels=0), CPU, torch.float32, grid=1)
    assert seen.bytes_per_pixel == float("inf")
    assert max(plan(500, 500, choose_tiling(500, 500, seen, demand(), fit=0)).sides) == tiles.SMALLEST


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("fit", [16**2, 40**2, 100**2, 300**2, 1e12])
@pytest.mark.parametrize("field", [0, 3, 50, None])
def test_an_automatic_tile_fits_the_memory_and_the_grid(device, fit, field):
    chosen = choose_tiling(1080, 1920, Footprint(1000.0), demand(device=device, receptive_field=field, grid=8), fit)
    cut = plan(1080, 1920, chosen)
    assert cut.area <= fit
    assert not {span.start % 8 for span in (*cut.ys, *cut.xs)} - {0}


def test_processes_that_share_the_memory_plan_with_a_part_of_it(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda _: 64 << 20)
    monkeypatch.setattr(memory, "free_host_memory", lambda: 256 << 20)
    areas = []
    for number in (1, 8):
        options = EngineOptions(device="cpu", runtime="torch", on_device=number)
        areas.append(Engine(Convolutions(width=64), options).plan(900, 900).area)
    assert 0 < areas[1] < areas[0]
    assert [is_held(100 << 20, EngineOptions(on_machine=number)) for number in (1, 2)] == [True, False]


def test_a_cpu_gets_tiles_for_its_cache_and_a_gpu_the_whole_picture():
    on_cpu = plan(1080, 1920, choose_tiling(1080, 1920, Footprint(1000.0), demand(), fit=1e12))
    assert 64 <= max(on_cpu.sides) <= 256
    assert on_cpu.overhead < 1.35
    on_gpu = plan(1080, 1920, choose_tiling(1080, 1920, Footprint(1000.0), demand(device="cuda"), fit=1e12))
    assert len(on_gpu.tiles) == 1


def test_a_rim_as_wide_as_a_tile_makes_the_cpu_prefer_the_whole_picture():
    cut = plan(540, 960, choose_tiling(540, 960, Footprint(1000.0), demand(overlap=80), fit=1e12))
    assert len(cut.tiles) == 1


def test_attention_over_the_whole_tile_makes_tiles_small_but_not_tiny():
    global_attention = Footprint(1000.0, flops_per_pixel=1e6, flops_per_pair=1e3)
    cut = plan(1080, 1920, choose_tiling(1080, 1920, global_attention, demand(receptive_field=None), fit=1e12))
    assert 48 <= max(cut.sides) <= 128


@pytest.mark.parametrize(
    ("side", "field", "overlap", "halo", "fade"),
    [
        (16, 2, None, 2, 0),  # affordable: exact
        (256, 32, None, 32, 0),
        (256, 60, None, 16, 8),  # not affordable: mixed
        (512, None, None, 32, 16),
        (1024, None, None, 32, 16),
        (16, None, None, 4, 2),
        (64, 10, 12, 12, 0),  # as asked, and enough
        (64, 10, 4, 4, 2),  # as asked, and too little
        (64, 10, 0, 0, 0),
    ],
)
def test_the_rim_is_the_receptive_field_where_that_is_affordable(side, field, overlap, halo, fade):
    chosen = with_rim(side, demand(receptive_field=field, overlap=overlap))
    assert (chosen.halo, chosen.fade) == (halo, fade)


@pytest.mark.parametrize(("side", "halo"), [(48, 12), (96, 24), (192, 24), (224, 16), (256, 16), (512, 32)])
def test_a_small_tile_of_a_network_that_pools_has_a_rim_of_a_third_of_what_it_should_pool_over(side, halo):
    assert with_rim(side, demand(receptive_field=None, context=72)).halo == halo


def test_a_network_that_sees_no_further_than_the_rim_needs_no_large_tiles():
    exact = demand(receptive_field=16, context=72)
    assert (exact.smallest_good, exact.least_rim, with_rim(64, exact).fade) == (64, 0, 0)


@pytest.mark.parametrize("length", range(70, 300, 7))
def test_tiles_of_a_network_that_pools_are_not_made_shorter_than_it_needs_to_spread_them_evenly(length):
    cut = plan(length, length, with_rim(96, demand(receptive_field=None, context=72, grid=4)))
    assert min(cut.sides) == min(96, tiles.round_up(length, 4))


@pytest.mark.parametrize(("context", "least"), [(None, 64), (72, 96)])
def test_a_tile_with_too_little_to_pool_over_is_used_only_if_no_larger_one_fits(context, least):
    global_attention = Footprint(1000.0, flops_per_pixel=1e6, flops_per_pair=1e3)
    needs = demand(receptive_field=None, context=context, grid=4)
    assert needs.smallest_good == least
    assert max(plan(900, 900, choose_tiling(900, 900, global_attention, needs, fit=1e12)).sides) > least - 16
    assert max(plan(900, 900, choose_tiling(900, 900, global_attention, needs, fit=least**2 / 4)).sides) < least - 16


def test_a_rim_that_leaves_nothing_is_refused():
    with pytest.raises(BadOption):
        with_rim(32, demand(overlap=16))


def test_tiles_are_halved_down_to_the_smallest():
    cut, sides = plan(300, 500, tiling.uncut(300, 500, 8)), []
    while tiling.can_be_smaller(cut, demand(grid=8)):
        cut = plan(300, 500, tiling.smaller(cut, demand(grid=8)))
        sides.append(max(cut.sides))
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] == tiles.SMALLEST
    with pytest.raises(OutOfMemory) as caught:
        tiling.smaller(cut, demand(grid=8))
    assert caught.value.exit_code == 5


def test_an_overlap_too_wide_for_the_halved_tile_gives_way():
    cut = plan(300, 300, with_rim(64, demand(overlap=24)))
    assert tiling.smaller(cut, demand(overlap=24)).size == 32


def test_a_mapped_file_leaves_no_name_behind(tmp_path):
    x = memory.mapped_zeros((1, 3, 4, 5), torch.bfloat16, tmp_path)
    assert x.shape == (1, 3, 4, 5)
    assert not x.any()
    x += 1
    assert (x == 1).all()
    assert not list(tmp_path.iterdir())


def test_no_room_for_a_mapped_file_is_said(tmp_path):
    with pytest.raises(CannotWrite, match="no room"):
        memory.mapped_zeros((1 << 30, 1 << 20), torch.float32, tmp_path)
    with pytest.raises(CannotWrite):
        memory.mapped_zeros((4,), torch.float32, tmp_path / "missing")
