"""Losses by hand, and the running average of the weights by its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from trainer.ema import Average
from trainer.losses.terms import (
    PIXEL,
    artifact_map,
    charbonnier,
    colour,
    fft_l1,
    grid,
    heavier_border,
    l1,
    ldl,
    mse,
    shifted,
    total_variation,
)

REAL = torch.zeros(1, 1, 1, 4)
FAKE = torch.tensor([0.0, 0.5, -0.25, 1.0]).view(1, 1, 1, 4)


def test_l1_is_the_mean_absolute_difference():
    assert l1(FAKE, REAL).item() == pytest.approx((0.5 + 0.25 + 1) / 4)


def test_charbonnier_is_the_mean_root_of_squares_and_a_small_constant():
    assert charbonnier(FAKE, REAL, epsilon=0.1).item() == pytest.approx((0.1 + 0.26**0.5 + 0.0725**0.5 + 1.01**0.5) / 4)
    assert charbonnier(REAL, REAL).item() == pytest.approx(1e-3)


def test_charbonnier_has_a_round_bottom_where_l1_has_none():
    for loss, slope in ((l1, 1.0), (charbonnier, 0.01)):
        fake = torch.full((1,), 1e-5, requires_grad=True)
        loss(fake, torch.zeros(1)).backward()
        assert fake.grad is not None
        assert fake.grad.item() == pytest.approx(slope, rel=1e-3)


def test_mse_is_the_mean_squared_difference():
    assert mse(FAKE, REAL).item() == pytest.approx((0.25 + 0.0625 + 1) / 4)


def test_pixel_losses_can_be_chosen_by_name():
    assert (PIXEL["l1"], PIXEL["charbonnier"], PIXEL["mse"]) == (l1, charbonnier, mse)


def test_a_border_is_multiplied_by_the_factor_and_a_corner_by_its_square():
    one = torch.ones(1, 1, 4, 5)
    expected = [[9, 3, 3, 3, 9], [3, 1, 1, 1, 3], [3, 1, 1, 1, 3], [9, 3, 3, 3, 9]]
    assert heavier_border(one, 3.0, 1)[0, 0].tolist() == expected
    assert heavier_border(one, 3.0, 9).unique().tolist() == [9]
    assert one.unique().tolist() == [1]


def test_total_variation_divides_each_direction_by_its_own_count_and_by_the_batch():
    picture = torch.tensor([[0.0, 0.5, 0.25], [1.0, 0.5, 0.0]]).expand(1, 3, 2, 3)
    # per channel: three vertical differences 1, 0, -1/4; four horizontal ones 1/2, -1/4, -1/2, -1/2
    one = 2 * (3 * (1 + 0.0625) / 9 + 3 * (0.25 + 0.0625 + 0.25 + 0.25) / 12)
    assert total_variation(picture).item() == pytest.approx(one)
    pair = torch.cat([picture, torch.zeros_like(picture)])
    assert total_variation(pair).item() == pytest.approx(one / 2)


def test_fft_l1_is_the_mean_over_real_and_imaginary_parts_of_the_spectrum():
    fake = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(1, 1, 2, 4)
    zero = torch.zeros_like(fake)
    assert fft_l1(fake, zero).item() == pytest.approx(1 / 2)  # an impulse: 1 + 0i everywhere
    assert fft_l1(torch.ones_like(fake), zero).item() == pytest.approx(8 / 16)  # flat: all 8 in one place
    # an impulse beside the corner: 1, -i, -1, i in each row, so half of the 16 numbers are of size 1
    assert fft_l1(fake.roll(1, -1), zero).item() == pytest.approx(8 / 16)
    assert fft_l1(fake.roll(1, -1), fake).item() == pytest.approx(2 * (0 + (1 + 1) + (2 + 0) + (1 + 1)) / 16)


def test_fft_l1_is_the_slow_transform():
    fake, real = torch.rand(2, 2, 3, 6, 5)
    h, w = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in (6, 5))
    spectrum = h @ (fake - real).numpy() @ w
    expected = (np.abs(np.real(spectrum)).mean() + np.abs(np.imag(spectrum)).mean()) / 2
    assert fft_l1(fake, real).item() == pytest.approx(expected, rel=1e-5)


def test_colour_compares_the_average_over_each_lr_pixel_and_nothing_finer():
    fake = torch.tensor([[0.0, 1.0, 0.2, 0.2], [1.0, 0.0, 0.2, 0.2]]).expand(1, 3, 2, 4)
    lr = torch.tensor([0.5, 0.5]).expand(1, 3, 1, 2)
    assert colour(fake, lr).item() == pytest.approx((0 + 0.3) / 2)


def artifact_map_by_hand(fake: np.ndarray, real: np.ndarray, average: np.ndarray) -> np.ndarray:
    """One picture (3, H, W), pixel by pixel."""
    residual, steadier = np.abs(fake - real).sum(0), np.abs(average - real).sum(0)
    mirrored = np.pad(residual, 3, mode="reflect")
    out = np.zeros_like(residual)
    for y, x in np.ndindex(*residual.shape):
        if residual[y, x] >= steadier[y, x]:
            out[y, x] = residual.var(ddof=1) ** (1 / 5) * mirrored[y : y + 7, x : x + 7].var(ddof=1)
    return out


def test_ldl_weighs_each_pixel_by_its_artifact_map():
    fake, real, average = torch.rand(3, 2, 3, 9, 11)
    found = artifact_map(fake, real, average)
    pictures = zip(*(x.double().numpy() for x in (fake, real, average)), strict=True)
    expected = np.stack([artifact_map_by_hand(*triple) for triple in pictures])
    assert found.shape == (2, 1, 9, 11)
    assert 0.2 < (expected == 0).mean() < 0.8
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=1e-4, atol=1e-7)
    weighted = (expected[:, None] * np.abs((fake - real).numpy())).mean()
    assert ldl(fake, real, average).item() == pytest.approx(weighted, rel=1e-5)


def test_ldl_is_nothing_where_the_fake_beats_the_average_and_its_map_is_not_trained():
    real = torch.zeros(1, 3, 8, 8)
    fake = torch.rand(1, 3, 8, 8).requires_grad_()
    assert ldl(fake, real, real + 2).item() == 0
    loss = ldl(fake, real, real)
    loss.backward()
    assert fake.grad is not None
    weights = artifact_map(fake, real, real).expand_as(fake)
    torch.testing.assert_close(fake.grad, weights / fake.numel())


def test_ldl_of_a_perfect_fake_is_zero_with_a_finite_gradient():
    real = torch.rand(1, 3, 8, 8)
    fake = real.clone().requires_grad_()
    loss = ldl(fake, real, real)
    loss.backward()
    assert loss.item() == 0
    assert fake.grad is not None
    assert fake.grad.isfinite().all()


TERMS = {
    **PIXEL,
    "total_variation": lambda fake, real: total_variation(fake),
    "fft_l1": fft_l1,
    "colour": lambda fake, real: colour(fake, real[..., ::2, ::2]),
}


@pytest.mark.parametrize("name", TERMS)
def test_slopes_are_those_of_finite_differences(name):
    fake, real = torch.rand(2, 1, 3, 6, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: TERMS[name](x, real), (fake.requires_grad_(),))


@pytest.mark.parametrize("name", [*TERMS, "ldl"])
def test_half_precision_pictures_give_full_precision_losses(name):
    fake, real = torch.rand(2, 1, 3, 32, 32).to(torch.bfloat16)
    loss = TERMS.get(name, lambda fake, real: ldl(fake, real, real))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(fake, real)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss(fake.double(), real.double()).item(), rel=1e-4)


def constant(value: float) -> Generator:
    """A tiny network whose weights all have one value."""
    network = Generator(GeneratorConfig(blocks=1, channels=4, reduction=2, block="residual", upsampler="direct"))
    set_to(network, value)
    return network


def set_to(network: Generator, value: float) -> None:
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, value)


def values(network: nn.Module) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


def test_the_average_follows_its_formula_for_every_parameter():
    decay, network = 0.5, constant(1.0)
    average, expected = Average(network, decay), 1.0
    for step, value in enumerate((2.0, -3.0, 7.0, 0.5, 4.0, 1.0, 9.0, 2.0, 2.5), start=1):
        set_to(network, value)
        average.update(network, step)
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
        torch.testing.assert_close(values(average.network), torch.full_like(values(network), expected))


def test_the_average_is_apart_from_the_network_and_never_trained():
    network = constant(1.0)
    average = Average(network, 0.9)
    set_to(network, 5.0)
    assert (values(average.network) == 1).all()
    assert not any(p.requires_grad for p in average.network.parameters())
    assert not average.network.training
    assert all(p.requires_grad for p in network.parameters())


def test_what_is_moved_is_cut_out_at_its_offset_and_gives_its_gradient_back_there():
    pictures = torch.rand(2, 3, 9, 7, requires_grad=True)
    part = shifted(pictures, torch.tensor([1, 3]), 3)
    assert torch.equal(part, pictures[:, :, 1:7, 3:7])
    part.sum().backward()
    expected = torch.zeros(9, 7)
    expected[1:7, 3:7] = 1
    assert pictures.grad is not None
    assert torch.equal(pictures.grad, expected.expand(2, 3, 9, 7))
    assert torch.equal(shifted(pictures, torch.tensor([0, 0]), 0), pictures)


def test_a_pattern_that_repeats_with_every_input_pixel_costs_by_the_window_and_texture_hardly():
    real = torch.zeros(1, 1, 16, 16)
    dots = real.clone()
    dots[..., ::2, ::2] = 0.4  # one place of four, everywhere
    assert grid(dots, real, scale=2, window=4).item() == pytest.approx(0.4 / 4)
    half = dots.clone()
    half[..., 8:] = -half[..., 8:]  # windows do not see each other's sign
    assert grid(half, real, scale=2, window=4).item() == pytest.approx(0.4 / 4)
    assert grid(half, real, scale=2, window=8).item() == pytest.approx(0, abs=1e-7)
    noise = 0.4 * torch.randn(1, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    assert grid(noise, torch.zeros_like(noise), scale=2, window=8) < 0.15 * noise.abs().mean()
    assert grid(dots, dots, scale=2).item() == 0
