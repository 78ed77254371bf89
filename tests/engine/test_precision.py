import platform

import pytest
import torch

from dagan_cli import device
from dagan_cli.engine.precision import choose, cpu_has_fast_bf16
from dagan_cli.errors import BadOption

pytestmark = pytest.mark.bf16


@pytest.fixture
def fresh():
    """Forgets what was found out about the CPU, before and after."""
    cpu_has_fast_bf16.cache_clear()
    yield
    cpu_has_fast_bf16.cache_clear()


def test_auto_on_a_cpu_is_bf16_only_with_the_instructions(fresh, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    for has_it, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        cpu_has_fast_bf16.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has_it=has_it: has_it, raising=False)
        assert choose("cpu").dtype == dtype


def test_a_torch_that_cannot_tell_counts_as_no_bf16(fresh, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert not cpu_has_fast_bf16()


@pytest.mark.parametrize(("bf16_seconds", "fast"), [(0.5, True), (0.9, False), (10.0, False), (float("inf"), False)])
def test_a_cpu_without_clear_flags_is_timed_once(fresh, monkeypatch, bf16_seconds, fast):
    runs = []

    def seconds(dtype: torch.dtype) -> float:
        runs.append(dtype)
        return bf16_seconds if dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(device, "_convolution_seconds", seconds)
    assert [cpu_has_fast_bf16(), cpu_has_fast_bf16()] == [fast, fast]
    assert len(runs) == 2


def test_the_timed_convolution_takes_time():
    assert 0 < device._convolution_seconds(torch.float32) < 10


def test_a_precision_is_taken_as_asked_and_says_why():
    choice = choose("cpu", "fp32")
    assert (choice.device, choice.dtype) == (torch.device("cpu"), torch.float32)
    assert "as requested" in choice.why
    assert choose("cpu", "fp16").dtype == torch.float16


@pytest.mark.parametrize("device", ["gpu", "", "xpu", "meta", "cuda:-1", "cpu:x"])
def test_an_unknown_device_is_refused_with_a_hint(device):
    with pytest.raises(BadOption) as caught:
        choose(device)
    assert caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_is_refused_where_there_is_none_and_not_chosen():
    with pytest.raises(BadOption, match="CUDA"):
        choose("cuda")
    with pytest.raises(BadOption):
        choose("cuda:1")
    assert choose("auto").device.type != "cuda"


def test_an_unknown_precision_is_refused():
    with pytest.raises(BadOption, match="fp8"):
        choose("cpu", "fp8")


@pytest.mark.parametrize(
    ("capability", "dtype"), [((6, 1), torch.float32), ((7, 0), torch.float16), ((9, 0), torch.float16)]
)
def test_auto_on_cuda_is_half_where_it_has_tensor_cores(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "some GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose("auto").dtype == dtype
    assert choose("cuda:1").device == torch.device("cuda", 1)
    with pytest.raises(BadOption, match="cuda:2"):
        choose("cuda:2")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_auto_finds_the_gpu():
    assert choose("auto").device.type == "cuda"
