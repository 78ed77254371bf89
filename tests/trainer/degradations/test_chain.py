"""The whole chain: a function of its arguments alone, in place, logged, and worse the stronger it is."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
import torch
from torch import Tensor

from dagan_cli.metrics.fidelity import bicubic
from tests.support.drawn import drawn, psnr
from trainer.degradations import MARGIN, STRENGTHS, degrade
from trainer.degradations.blur import Blur
from trainer.degradations.chain import shrunk
from trainer.degradations.noise import Noise
from trainer.degradations.recipe import Pass, Recipe, draw_recipe
from trainer.degradations.strengths import RANGES
from trainer.degradations.video import Clip, present_encoders

SPOILING = STRENGTHS[1:]
CUT = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))


def pictures(count: int, side: int) -> Tensor:
    return torch.stack([drawn(seed, side) for seed in range(count)])


def stills(strength, scale: int, count: int) -> list[Recipe]:
    """Recipes without noise and codec, which keep what is to be measured."""
    recipes = [draw_recipe(np.random.default_rng(i), RANGES[strength], scale, frozenset()) for i in range(count)]
    return [replace(r, codec=None, passes=tuple(replace(p, noise=None) for p in r.passes)) for r in recipes]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_strength_it_is_the_bicubic_of_the_protocol(scale):
    hr = pictures(3, 20 * scale)
    lr, logs = degrade(hr, scale, "none", 0, 0)
    assert torch.equal(lr * 255, bicubic(hr.double().mul(255).round(), 20, 20).float())
    assert logs == [{"strength": "none"}] * 3


@pytest.mark.parametrize("strength", SPOILING)
@pytest.mark.parametrize("scale", [2, 4])
def test_pictures_have_the_size_the_range_and_the_levels_of_a_network_s_input(strength, scale):
    hr = pictures(6, 36 * scale)[..., : 33 * scale]
    lr, logs = degrade(hr, scale, strength, 1, 2)
    assert lr.shape == (6, 3, 36, 33)
    assert (lr.dtype, lr.device) == (torch.float32, hr.device)
    assert torch.equal(lr.mul(255).round().div(255), lr)
    assert 0 <= lr.min() < lr.max() <= 1
    assert len(logs) == 6


@pytest.mark.slow
@pytest.mark.parametrize("strength", SPOILING)
def test_a_batch_is_a_function_of_its_arguments_alone(strength):
    hr = pictures(8, 72)
    first, logs = degrade(hr, 2, strength, 3, 7)
    torch.manual_seed(5)
    np.random.seed(5)
    degrade(hr, 2, strength, 3, 8)
    torch.set_num_threads(2)
    again, logs_again = degrade(hr, 2, strength, 3, 7)
    torch.set_num_threads(1)
    assert torch.equal(again, first)
    assert logs_again == logs
    for seed, step in ((3, 8), (4, 7)):
        other, other_logs = degrade(hr, 2, strength, seed, step)
        assert all(not torch.equal(a, b) for a, b in zip(other, first, strict=True))
        assert other_logs != logs


def test_a_batch_may_be_made_in_parts():
    hr = pictures(8, 72)
    whole, logs = degrade(hr, 2, "medium", 0, 0)
    parts = [degrade(hr[i : i + 1], 2, "medium", 0, 0, first=i) for i in range(8)]
    assert torch.equal(torch.cat([lr for lr, _ in parts]), whole)
    assert [log for _, part in parts for log in part] == logs


def test_the_same_picture_is_degraded_in_another_way_in_each_place_of_a_batch():
    lr, logs = degrade(pictures(1, 72).expand(6, -1, -1, -1), 2, "medium", 0, 0)
    assert len({picture.numpy().tobytes() for picture in lr}) == 6
    assert len({json.dumps(log) for log in logs}) == 6


@pytest.mark.slow
def test_every_parameter_is_logged_as_json_holds_it():
    hr = pictures(8, 72)
    logs = [log for step in range(6) for log in degrade(hr, 2, "strong", 0, step)[1]]
    for log in logs:
        assert json.loads(json.dumps(log))["passes"] == json.loads(json.dumps(log["passes"]))
        assert list(log) == ["strength", "passes", "final", "codec", "missing", "picture_type"]
        assert log["strength"] == "strong"
        for step in log["passes"]:
            assert list(step) == ["blur", "ratio", "kernel", "noise"]
            assert step["noise"] is None or 0 <= step["noise"]["deviation"] <= RANGES["strong"].deviation[1]
    video = [log for log in logs if log["codec"] and "encoder" in log["codec"]]
    assert {log["picture_type"] for log in video} == {"P", "B"}  # never one that stands alone
    assert {log["picture_type"] for log in logs if log not in video} == {None}
    assert {len(log["passes"]) for log in logs} == {1, 2}


def test_the_log_is_what_was_done():
    """A sample that was neither noisy nor coded can be made again from its recipe, by another way in."""
    hr = pictures(1, 144)
    made = (degrade(hr, 4, "mild", 0, step) for step in range(200))
    lr, log = next(
        (lr, log) for lr, (log,) in made if log["codec"] is None and not any(p["noise"] for p in log["passes"])
    )
    passes = tuple(Pass(**(p | {"blur": p["blur"] and Blur(**p["blur"])})) for p in log["passes"])
    recipe = Recipe(passes=passes, final=log["final"], codec=None)
    again = shrunk(hr, recipe, 36, 36, np.random.default_rng(0))
    assert torch.equal(again.mul(255).round().div(255), lr)


@pytest.mark.slow
def test_the_stronger_the_further_from_the_clean_picture():
    hr = pictures(20, 2 * (32 + 2 * MARGIN))
    clean = degrade(hr, 2, "none", 0, 0)[0][CUT]
    score = {}
    for strength in SPOILING:
        degraded = degrade(hr, 2, strength, 0, 0)[0][CUT]
        score[strength] = mean(psnr(a, b) for a, b in zip(degraded, clean, strict=True))
    assert score["mild"] > score["medium"] + 1
    assert score["medium"] > score["strong"] + 1
    assert score["strong"] > 15


@pytest.mark.parametrize("scale", [2, 4])
def test_with_nothing_to_do_it_is_plain_scaling(scale):
    hr = 0.2 + 0.6 * pictures(2, 24 * scale)  # whose overshoot is not cut off, which happens in another place
    nothing = Pass(
        blur=Blur(kind="gaussian"), ratio=1.0, kernel="bicubic", noise=Noise(kind="poisson", deviation=0.0, grey=True)
    )
    recipe = Recipe(passes=(nothing, nothing), final="area", codec=None)
    random = np.random.default_rng(0)
    lr = torch.cat([shrunk(picture[None], recipe, 24, 24, random) for picture in hr])
    assert (lr - degrade(hr, scale, "none", 0, 0)[0]).abs().max() < 1.5 / 255  # which rounds twice


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_chain_moves_nothing(scale):
    """The centre of a soft spot lies where bicubic scaling has it, to within a thirtieth of an LR pixel."""
    side = 48
    y, x = torch.meshgrid(*[(torch.arange(side * scale) + 0.5) / scale] * 2, indexing="ij")
    spot = torch.exp(-((y - 22.3) ** 2 + (x - 25.8) ** 2) / (2 * 2.5**2)).expand(1, 3, -1, -1)
    place = torch.arange(side) + 0.5

    def centre(lr: Tensor) -> Tensor:
        mass = lr[0, 1].double()
        return torch.stack([(mass.sum(1) * place).sum(), (mass.sum(0) * place).sum()]) / mass.sum()

    for recipe in stills("strong", scale, 60):
        moved = centre(shrunk(spot, recipe, side, side, np.random.default_rng(0)))
        torch.testing.assert_close(moved, torch.tensor([22.3, 25.8]).double(), atol=1 / 30, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
def test_what_lies_at_the_edges_does_not_reach_past_the_margin(scale):
    """Measured with the outermost two LR pixels as a negative; only rings of a sinc get so far."""
    side = 2 * MARGIN + 8
    hr = pictures(1, side * scale)
    cut = hr.clone()
    for edge in (slice(None, 2 * scale), slice(-2 * scale, None)):
        cut[..., edge, :] = 1 - cut[..., edge, :]
        cut[..., edge] = 1 - cut[..., edge]
    random = np.random.default_rng(0)
    reached = []
    for recipe in stills("strong", scale, 60):
        difference = shrunk(hr, recipe, side, side, random) - shrunk(cut, recipe, side, side, random)
        assert difference.abs().max() > 0.2
        reached.append(difference[CUT].abs().max().item() * 255)
    assert np.quantile(reached, 0.9) < 0.5
    assert max(reached) < 16


def test_no_frame_of_a_clip_looks_further_than_the_margin():
    clips = [draw_recipe(np.random.default_rng(i), RANGES["mild"], 4, present_encoders()).codec for i in range(400)]
    steps = [abs(step) for clip in clips if isinstance(clip, Clip) for move in clip.moves for step in move]
    assert 3 * 4 < max(steps) < MARGIN * 4
    assert mean(step % 4 != 0 for step in steps if step) > 0.5  # by parts of LR pixels


@pytest.mark.slow
def test_the_odds_of_a_strength_are_those_of_its_recipes():
    for strength in SPOILING:
        ranges = RANGES[strength]
        recipes = [draw_recipe(np.random.default_rng(i), ranges, 4, present_encoders()) for i in range(400)]
        passes = [p for r in recipes for p in r.passes]
        share = {
            "blur": mean(p.blur is not None for p in passes),
            "noise": mean(p.noise is not None for p in passes),
            "resize": mean(p.ratio != 1 for p in passes),
        }
        assert share == {name: pytest.approx(getattr(ranges, name), abs=0.08) for name in share}
        assert mean(len(r.passes) == 2 for r in recipes) == pytest.approx(0.5, abs=0.1)
        ratios = [p.ratio for p in passes if p.ratio != 1]
        assert ranges.ratio[0] <= min(ratios) < max(ratios) <= ranges.ratio[1]


def test_ranges_widen_with_strength():
    mild, medium, strong = (RANGES[strength] for strength in SPOILING)
    for name in ("sigma", "motion", "deviation", "ratio", "x264", "x265", "mpeg"):
        most = [getattr(r, name)[1] for r in (mild, medium, strong)]
        assert most == sorted(set(most))
    for name in ("jpeg", "webp", "cutoff", "ratio"):
        least = [getattr(r, name)[0] for r in (mild, medium, strong)]
        assert least == sorted(set(least), reverse=True)


@pytest.mark.gpu
def test_on_a_gpu_the_pictures_are_the_same_to_a_level():
    hr = pictures(8, 144)
    here, logs = degrade(hr, 4, "medium", 0, 0)
    there, logs_there = degrade(hr.cuda(), 4, "medium", 0, 0)
    assert there.is_cuda
    assert logs_there == logs
    uncoded = [i for i, log in enumerate(logs) if log["codec"] is None]
    assert (there.cpu() - here)[uncoded].abs().max() < 1.5 / 255
