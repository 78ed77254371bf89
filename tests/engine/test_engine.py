from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor, nn

from dagan_cli.engine import tiling
from dagan_cli.engine.engine import Engine
from dagan_cli.engine.measuring import meter
from dagan_cli.engine.options import EngineOptions
from dagan_cli.engine.resample import Resize, resample
from dagan_cli.errors import BadInput, BadModel, BadOption, OutOfMemory
from tests.support.fakes import Blur, Convolutions, Limited, Mean, Mirror, NotFinite, Overflowing, Windows

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

SIZES = [(40, 33), (64, 64), (1, 90), (71, 1), (1, 1), (17, 16), (50, 130)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tiles: on a busy machine, threads would wait for each other far longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def upscaler(network: nn.Module, **options) -> Engine:
    return Engine(network, EngineOptions(**({"device": "cpu", "precision": "fp32"} | options)))  # pyright: ignore


def whole(network: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(x)


def decibels(a: Tensor, b: Tensor) -> float:
    return -10 * float((a.float() - b.float()).square().mean().log10())


@pytest.mark.slow
@pytest.mark.parametrize("tile", [16, 17, 40, 128, "off", "auto"])
@pytest.mark.parametrize("size", SIZES)
def test_a_tiled_picture_equals_the_same_picture_upscaled_whole(size, tile):
    x = torch.rand(2, 3, *size)
    for network in (Blur(), Convolutions(depth=3), Convolutions(depth=2, scale=3)):
        torch.testing.assert_close(upscaler(network, tile=tile)(x), whole(network, x), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 40), (64, 96), (33, 70), (5, 100), (1, 1)])
@pytest.mark.parametrize("tile", [16, 24, 50])
def test_tiles_start_on_the_networks_grid(size, tile):
    h, w = size
    x = torch.rand(1, 3, h, w)
    padded = nn.functional.pad(x, (0, -w % 8, 0, -h % 8), "replicate")
    expected = whole(Windows(), padded)[..., :h, :w]
    torch.testing.assert_close(upscaler(Windows(), tile=tile)(x), expected)


def test_sides_are_multiples_of_what_the_network_wants():
    class Halves(Blur):
        multiple = 6

        def forward(self, x: Tensor) -> Tensor:
            assert [side % 6 for side in x.shape[2:]] == [0, 0]
            return super().forward(x)

    x = torch.rand(1, 3, 31, 44)
    for tile in (16, "off"):
        torch.testing.assert_close(upscaler(Halves(), tile=tile)(x), whole(Blur(), x), atol=1e-5, rtol=0)


def test_all_tiles_of_a_picture_have_one_size():
    network = Limited(Blur(), pixels=float("inf"))
    upscaler(network, tile=24)(torch.rand(1, 3, 50, 99))
    assert len(set(network.calls)) == 1


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_tiles_of_several_frames_are_computed_in_batches(batch):
    network = Limited(Blur(), pixels=float("inf"))
    x = torch.rand(3, 3, 40, 40)
    got = upscaler(network, tile=24, batch=batch)(x)
    torch.testing.assert_close(got, whole(Blur(), x), atol=1e-5, rtol=0)
    assert max(n for n, *_ in network.calls) == min(batch, 12)


def test_where_the_network_sees_everywhere_neighbouring_tiles_are_mixed_without_a_step():
    ramp = torch.linspace(0, 1, 200).expand(1, 3, 40, 200)
    got = upscaler(Mean(), tile=64)(ramp)
    plain = resample(ramp, (400, 80), "nearest")
    added = (got - plain)[0, 0, 0]  # what each tile adds is its own mean: 0.3 apart from tile to tile
    assert added.diff().abs().max() < 0.03
    assert float(added.max() - added.min()) > 0.5


@pytest.mark.slow
def test_as_much_overlap_as_asked_makes_a_wide_field_exact():
    x, network = torch.rand(1, 3, 90, 90), Convolutions(depth=9)
    exact = upscaler(network, tile=64, overlap=10)(x)
    torch.testing.assert_close(exact, whole(network, x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_result_has_the_type_of_the_frames(dtype):
    x = torch.rand(1, 3, 20, 20).to(dtype)
    assert upscaler(Convolutions())(x).dtype == dtype


def test_bytes_are_taken_as_255ths():
    x = torch.randint(0, 256, (1, 3, 40, 30), dtype=torch.uint8)
    torch.testing.assert_close(upscaler(Blur(), tile=16)(x), whole(Blur(), x / 255), atol=1e-6, rtol=0)


def test_the_frames_and_the_network_are_left_as_they_were():
    x, network = torch.rand(1, 3, 20, 20), Convolutions().train()
    before = x.clone()
    result = upscaler(network, precision="bf16")(x)
    assert torch.equal(x, before)
    assert network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    result.clamp_(0, 1)  # an ordinary tensor: not one that only inference mode may change


# memory


@pytest.mark.slow
@pytest.mark.parametrize("network", [Blur(), Windows()])
def test_running_out_of_memory_is_survived(network):
    x = torch.rand(1, 3, 96, 104)
    limited = Limited(network, pixels=40 * 40)
    engine = upscaler(limited, tile="off")
    torch.testing.assert_close(engine(x), whole(network, x), atol=1e-5, rtol=0)
    assert any("out of memory" in notice for notice in engine.notices)


@pytest.mark.slow
@pytest.mark.parametrize("network", [Blur(), Mean()])
def test_finished_tiles_are_kept_when_memory_runs_out_later(network):
    class Shrinking(Limited):
        """Memory that others take away after five tiles."""

        def forward(self, x: Tensor) -> Tensor:
            self.pixels = float("inf") if len(self.calls) < 5 else 30 * 30
            return super().forward(x)

    x = torch.rand(1, 3, 120, 120)
    limited, seen = Shrinking(network, 0), []
    engine = upscaler(limited, tile=48, batch=1)
    got = engine(x, lambda done, total: seen.append((done, total)))
    if isinstance(network, Blur):
        torch.testing.assert_close(got, whole(network, x), atol=1e-5, rtol=0)
    else:  # mixed: each tile adds its own mean, about one half, so nothing may be added twice or be missing
        added = got - resample(x, (240, 240), "nearest")
        assert 0.4 < added.min() < added.max() < 0.6
    assert sum(h * w > 30 * 30 for _, _, h, w in limited.calls) == 5  # none of them again
    assert len(limited.calls[5:]) < engine.plan(120, 120).count
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))


@pytest.mark.slow
def test_a_batch_is_halved_before_the_tile():
    limited = Limited(Blur(), pixels=3 * 24 * 24)
    engine = upscaler(limited, tile=24, batch=8)
    engine(torch.rand(1, 3, 60, 60))
    assert {n for n, *_ in limited.calls} <= {1, 2}
    assert not engine.notices


@pytest.mark.slow
def test_what_fitted_is_remembered_for_the_next_frame():
    limited = Limited(Blur(), pixels=40 * 40)
    engine = upscaler(limited, tile="off")
    x = torch.rand(1, 3, 90, 90)
    engine(x)
    notices = len(engine.notices)
    assert torch.equal(engine(x), engine(x))
    assert len(engine.notices) == notices


@pytest.mark.slow
@pytest.mark.parametrize("tile", ["auto", "off", 64])
def test_out_of_memory_at_the_smallest_tile_is_an_error_with_a_hint(tile):
    limited = Limited(Blur(), pixels=10 * 10, error=RuntimeError("DefaultCPUAllocator: not enough memory"))
    with pytest.raises(OutOfMemory) as caught:
        upscaler(limited, tile=tile)(torch.rand(1, 3, 200, 200))
    assert caught.value.hint


@pytest.mark.slow
def test_a_tile_that_cannot_fit_by_estimate_is_not_tried():
    limited = Limited(Convolutions(), pixels=float("inf"))
    upscaler(limited, tile="off", memory=10 << 20)(torch.rand(1, 3, 600, 600))
    assert max(h * w for _, _, h, w in limited.calls) < 400 * 400


@pytest.mark.slow
def test_the_network_is_measured_once_and_frames_of_one_size_share_a_plan(monkeypatch):
    measured, planned = [], []
    measure, choose = meter.measure, tiling.choose_tiling
    monkeypatch.setattr(meter, "measure", lambda *args: measured.append(1) or measure(*args))
    monkeypatch.setattr(tiling, "choose_tiling", lambda *args: planned.append(1) or choose(*args))
    engine = upscaler(Convolutions(width=2))
    for _ in range(3):
        engine(torch.rand(1, 3, 260, 270))
    engine(torch.rand(1, 3, 270, 260))
    assert (len(measured), len(planned)) == (1, 2)
    assert engine.tile_bytes(270, 260) > 0


@pytest.mark.slow
def test_a_large_result_is_a_mapped_file_with_the_same_values(tmp_path):
    x, network = torch.rand(1, 3, 70, 50), Convolutions()
    for tile in ("off", 32):
        usual, mapped = upscaler(network, tile=tile), upscaler(network, tile=tile, result_memory=0, folder=tmp_path)
        assert torch.equal(mapped(x), usual(x))
        assert torch.equal(mapped.upscale_to(x, 1.3), usual.upscale_to(x, 1.3))
    assert not list(tmp_path.iterdir())


# precision


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_close_to_fp32(precision):
    x, network = torch.rand(1, 3, 48, 48), Convolutions(depth=2)
    half, full = upscaler(network, precision=precision)(x), upscaler(network)(x)
    assert decibels(half, full) >= 50
    assert not torch.equal(half, full)


def test_a_tile_that_is_not_finite_in_half_precision_is_computed_again_in_fp32():
    x = torch.full((1, 3, 40, 40), 0.25)
    x[..., 3, 3] = 0.75  # in the first of four tiles
    engine = upscaler(Overflowing(), precision="fp16", tile=24)
    assert torch.equal(engine(x), resample(x, (80, 80), "nearest"))
    assert len(engine.notices) == 1
    assert "float16" in engine.notices[0]


def test_after_repeated_failures_all_tiles_start_in_fp32():
    limited = Limited(Overflowing(), pixels=float("inf"))
    x = torch.rand(1, 3, 100, 100)
    x[..., ::8, ::8] = 0.9
    engine = upscaler(limited, precision="fp16", tile=16)
    got = engine(x)
    torch.testing.assert_close(got, resample(x, (200, 200), "nearest"), atol=1e-3, rtol=0)
    assert len(limited.calls) == engine.plan(100, 100).count + 3
    assert len(engine.notices) == 2


def test_a_broken_network_or_picture_is_said_and_not_written():
    with pytest.raises(BadModel):
        upscaler(NotFinite(), precision="bf16")(torch.rand(1, 3, 20, 20))
    bad = torch.rand(1, 3, 20, 20)
    bad[..., 0, 0] = float("nan")
    with pytest.raises(BadInput):
        upscaler(Convolutions())(bad)


def test_a_baseline_is_exact_whatever_precision_is_asked_for():
    x = torch.randint(0, 65536, (1, 3, 300, 200)) / 65535
    for precision in ("auto", "fp16"):
        assert torch.equal(upscaler(Resize("nearest"), precision=precision, tile=64)(x), x)


# ensemble


def test_the_ensemble_of_a_network_that_treats_all_sides_alike_changes_nothing():
    x = torch.rand(1, 3, 45, 30)
    torch.testing.assert_close(upscaler(Blur(), ensemble=True, tile=24)(x), whole(Blur(), x), atol=1e-5, rtol=0)


def test_the_ensemble_is_the_mean_over_eight_views_with_and_without_tiles():
    x = torch.rand(1, 3, 40, 26)
    views = []
    for turns in range(4):
        for mirrored in (False, True):
            view = x.rot90(turns, (2, 3))
            view = Mirror()(view.flip(3) if mirrored else view)
            views.append((view.flip(3) if mirrored else view).rot90(-turns, (2, 3)))
    expected = torch.stack(views).mean(0)
    for tile in ("off", 16):
        got = upscaler(Mirror(), ensemble=True, tile=tile)(x)
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


# steps and targets


def test_steps_report_each_tile_and_end_with_the_result():
    engine, x = upscaler(Blur(), tile=24, batch=1), torch.rand(1, 3, 50, 50)
    steps, seen = engine.steps(x), []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            result = end.value
            break
    total = engine.plan(50, 50).count
    assert seen == [(i + 1, total) for i in range(total)]
    assert torch.equal(result, engine(x))


def test_work_can_be_abandoned_between_tiles():
    limited = Limited(Blur(), pixels=float("inf"))
    steps = upscaler(limited, tile=24, batch=1).steps(torch.rand(1, 3, 90, 90))
    next(steps)
    steps.close()
    assert len(limited.calls) == 1


@pytest.mark.parametrize(
    ("target", "size"), [(2, (40, 30)), (1.5, (30, 23)), (1, (20, 15)), (3, (60, 45)), ((7, 50), (7, 50))]
)
def test_any_final_size_is_one_resampling_after_the_network(target, size):
    x, network = torch.rand(1, 3, 15, 20), Convolutions()
    expected = resample(whole(network, x), size)
    torch.testing.assert_close(upscaler(network).upscale_to(x, target), expected, atol=1e-5, rtol=0)


def test_a_network_runs_twice_where_that_falls_within_the_target():
    x, network = torch.rand(1, 3, 15, 20), Convolutions()
    twice = whole(network, whole(network, x))
    torch.testing.assert_close(upscaler(network).upscale_to(x, 4), twice, atol=1e-5, rtol=0)
    torch.testing.assert_close(upscaler(network).upscale_to(x, 5), resample(twice, (100, 75)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", ["nearest", "bicubic", "lanczos"])
def test_a_baseline_goes_straight_to_the_final_size(kernel):
    x = torch.rand(1, 3, 15, 20)
    assert torch.equal(upscaler(Resize(kernel, 4)).upscale_to(x, 2.5), resample(x, (50, 38), kernel))
    torch.testing.assert_close(upscaler(Resize(kernel, 3), tile=16)(x), resample(x, (60, 45), kernel))


# options


@pytest.mark.parametrize(
    "nonsense",
    [
        {"tile": 8},
        {"tile": "big"},
        {"tile": 64, "overlap": 32},
        {"overlap": -1},
        {"batch": 0},
        {"batch": "all"},
        {"memory": -1},
        {"tile": True},
    ],
)
def test_options_that_make_no_sense_are_refused(nonsense):
    with pytest.raises(BadOption) as caught:
        EngineOptions(**nonsense)
    assert caught.value.hint


def test_options_do_not_change():
    with pytest.raises(FrozenInstanceError):
        EngineOptions().tile = 5  # pyright: ignore[reportAttributeAccessIssue]


def test_frames_of_another_shape_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="shape"):
        upscaler(Blur())(torch.rand(1, 4, 8, 8))


# CUDA


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("size", SIZES)
def test_on_cuda_tiled_equals_whole_and_the_cpu(size):
    x, network = torch.rand(2, 3, *size), Convolutions()
    got = upscaler(network, device="cuda", tile=24)(x)
    assert got.device.type == "cpu"
    torch.testing.assert_close(got, whole(network, x), atol=2e-3, rtol=0)  # TF32 convolutions
    torch.testing.assert_close(got, upscaler(network, device="cuda", tile="off")(x), atol=2e-3, rtol=0)


@pytest.mark.gpu
@cuda
def test_on_cuda_half_is_close_to_fp32_and_frames_on_the_device_stay_there():
    x, network = torch.rand(1, 3, 200, 300), Convolutions()
    engine = Engine(network)
    assert engine.choice.dtype == torch.float16
    got = engine(x.cuda())
    assert got.device.type == "cuda"
    assert decibels(got.cpu(), whole(network, x)) >= 50
    assert torch.equal(resample(x.cuda(), (33, 44), "nearest").cpu(), resample(x, (33, 44), "nearest"))
    torch.testing.assert_close(resample(x.cuda(), (133, 444)).cpu(), resample(x, (133, 444)), atol=1e-5, rtol=0)


@pytest.mark.gpu
@cuda
def test_on_cuda_real_exhaustion_is_survived():
    class Greedy(Convolutions):
        """Wants a GiB for every 1000 pixels."""

        def forward(self, x: Tensor) -> Tensor:
            torch.empty(x.shape[2] * x.shape[3] * (1 << 20), dtype=torch.uint8, device=x.device)
            return super().forward(x)

    x, network = torch.rand(1, 3, 700, 700), Greedy()
    engine = upscaler(network, device="cuda", tile="off", memory=1 << 50)
    torch.testing.assert_close(engine(x), whole(Convolutions(), x), atol=2e-3, rtol=0)
    assert engine.notices


@pytest.mark.gpu
@cuda
def test_on_cuda_overflow_is_computed_again_in_fp32():
    x = torch.full((1, 3, 40, 40), 0.75)
    engine = upscaler(Overflowing(), device="cuda", precision="fp16")
    assert torch.equal(engine(x), resample(x, (80, 80), "nearest"))
    assert engine.notices
