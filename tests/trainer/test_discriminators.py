"""Discriminators: their published sizes, their output, and the U-Net by a plain re-implementation."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.training import parameters
from trainer.discriminators import Kind, UNet, discriminator

KINDS: tuple[Kind, ...] = get_args(Kind)


@pytest.mark.parametrize(
    ("kind", "side", "count"),
    [
        ("leftthomas", 88, 5_215_425),
        ("srgan", 96, 23_565_505),
        ("srgan", 88, 23_565_505),  # 88 -> 44 -> 22 -> 11 -> 6, as 96 is
        ("srgan", 128, 4_689_088 + 512 * 64 * 1024 + 1024 + 1025),
        ("vgg128", 128, 14_499_401),
        ("unet", 128, 4_376_897),
    ],
)
def test_the_number_of_parameters_is_the_published_one(kind, side, count):
    with torch.device("meta") if kind != "unet" else torch.device("cpu"):
        assert parameters(discriminator(kind, side)) == count


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [False, True])
def test_logits_come_one_a_picture_or_one_a_pixel_and_have_gradients(kind, half):
    network = discriminator(kind, 48)
    pictures = torch.rand(2, 3, 48, 48).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = network(pictures.to(memory_format=torch.channels_last))
    assert logits.shape == ((2, 1, 48, 48) if kind == "unet" else (2, 1))
    assert logits.dtype == (torch.bfloat16 if half else torch.float32)
    logits.float().square().sum().backward()
    for tensor in (pictures, *network.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_not_squashed(kind):
    """The sigmoid, where a loss wants one, belongs to the loss."""
    network = discriminator(kind, 32).eval()
    last = next(m for m in reversed(list(network.modules())) if isinstance(m, nn.Linear | nn.Conv2d))
    if kind == "unet":
        last = network.get_submodule("last")
    assert isinstance(last.bias, Tensor)
    nn.init.constant_(last.bias, 7.0)
    before = network(torch.rand(1, 3, 32, 32))
    nn.init.constant_(last.bias, -7.0)
    assert before.mean() > 3
    assert network(torch.rand(1, 3, 32, 32)).mean() < -3


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "sides"), [("leftthomas", (24, 87)), ("vgg128", (48, 96)), ("unet", (40, 87))])
def test_all_but_srgans_take_any_side(kind, sides):
    network = discriminator(kind).eval()
    for side in sides:
        logits = network(torch.rand(1, 3, side, side))
        assert logits.shape[-1] == (side if kind == "unet" else 1)


@pytest.mark.slow
def test_vgg128_is_the_original_at_its_own_size():
    """Averaging to 4x4 does nothing to the 4x4 that 128 pixels leave."""
    network = discriminator("vgg128", 128).eval()
    assert isinstance(network, nn.Sequential)
    pictures = torch.rand(1, 3, 128, 128)
    without = nn.Sequential(*(m for m in network if not isinstance(m, nn.AdaptiveAvgPool2d)))
    torch.testing.assert_close(network(pictures), without(pictures))


def test_leftthomas_does_not_change_when_the_picture_is_repeated():
    """Global averaging: all that grows with the picture is how much is averaged."""
    network = discriminator("leftthomas").eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.padding_mode, layer._reversed_padding_repeated_twice = "circular", [1, 1, 1, 1]
    tile = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(network(tile), network(tile.repeat(1, 1, 2, 2)), rtol=1e-3, atol=1e-5)


def unet_by_hand(network: UNet, x: Tensor) -> Tensor:
    """The published layout, with weights divided by their largest singular value as LAPACK finds it."""

    def normed(layer: nn.Module) -> Tensor:
        weight = layer.get_parameter("parametrizations.weight.original").double()
        return weight / torch.linalg.matrix_norm(weight.flatten(1), 2)

    def twice(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    first, last = network.first, network.last
    assert first.bias is not None
    assert last.bias is not None
    x0 = leaky(F.conv2d(x, first.weight.double(), first.bias.double(), padding=1))
    x1 = leaky(F.conv2d(x0, normed(network.down[0]), stride=2, padding=1))
    x2 = leaky(F.conv2d(x1, normed(network.down[1]), stride=2, padding=1))
    x3 = leaky(F.conv2d(x2, normed(network.down[2]), stride=2, padding=1))
    y = leaky(F.conv2d(twice(x3), normed(network.up[0]), padding=1)) + x2
    y = leaky(F.conv2d(twice(y), normed(network.up[1]), padding=1)) + x1
    y = leaky(F.conv2d(twice(y), normed(network.up[2]), padding=1)) + x0
    y = leaky(F.conv2d(y, normed(network.end[0]), padding=1))
    y = leaky(F.conv2d(y, normed(network.end[1]), padding=1))
    return F.conv2d(y, last.weight.double(), last.bias.double(), padding=1)


@pytest.mark.slow
def test_the_unet_is_the_published_layout_with_spectrally_normed_weights():
    network = UNet(width=4)
    pictures = torch.rand(2, 3, 32, 24)
    for _ in range(600):  # each pass in training brings the norm nearer, slowly where two singular values are close
        network(pictures[:1, :, :8, :8])
    network.eval()
    expected = unet_by_hand(network, pictures.double())
    torch.testing.assert_close(network(pictures).double(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_spectral_norm_is_computed_in_full_precision_under_autocast(device):
    network = UNet(width=4).to(device)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pictures = torch.rand(1, 3, 16, 16, device=device)
    network(pictures)
    exact = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    with torch.autocast(device, torch.bfloat16):
        network(pictures)
    torch.testing.assert_close(network.state_dict(), exact)
