"""What every test starts from: one thread, one seed, a tiny model, and real files where a folder of them is named."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

import dagan_cli  # noqa: F401, before torch: it says how torch's threads wait

# isort: split
import numpy as np
import torch

from dagan_cli.__main__ import with_verb
from dagan_cli.commands.app import run_command
from dagan_cli.device import cpu_has_fast_bf16
from dagan_cli.model.checkpoint import save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from tests.support.hub_case import hub  # noqa: F401

TINY = GeneratorConfig(
    scale=2,
    blocks=2,
    channels=16,
    block="residual",
    pairwise="embedded",
    temperature=4.0,
    window=16,
    pool=4,
    solver="rk4",
    orders=(1, 2, 4),
    upsampler="direct",
    image_skip=True,
    patch=16,
)


class Ran(NamedTuple):
    """How a command line ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]
SEED = int(os.environ.get("DAGAN_TEST_SEED", "0"))


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # a background job ignores them, and so do its processes
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    os.environ["DAGAN_FAST_BF16"] = "0"
    os.environ["DAGAN_CONFIG"] = os.devnull  # whoever runs the tests may have defaults of their own
    for name in [name for name in os.environ if name.startswith("DAGAN_UPSCALE_")]:
        del os.environ[name]
    if not hasattr(config, "workerinput"):  # one cache for all workers, and never the user's
        config.add_cleanup((cache := TemporaryDirectory(prefix="dagan-cache-")).cleanup)
        os.environ["DAGAN_CACHE"] = cache.name
    os.environ.pop("COLUMNS", None)  # xdist sets it, and tables would be cut to fit


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow checks over real files run when they are asked for: `-m corpus`, or DAGAN_CORPUS=1."""
    for item in items:
        if item.get_closest_marker("corpus") or (os.environ.get("DAGAN_ATTACK") and item.get_closest_marker("attack")):
            item.add_marker(pytest.mark.timeout(0))  # at full length they take what they take
    if "corpus" in (config.option.markexpr or "") or os.environ.get("DAGAN_CORPUS") == "1":
        return
    slow = [item for item in items if item.get_closest_marker("corpus")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("corpus")]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    seed_all(SEED)  # for the fixtures that this test is the first to need


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    seed_all(SEED + 10_000)  # whatever the fixtures drew, and other numbers than theirs


def seed_all(seed: int) -> None:
    """Seed every generator that a test may draw from without one of its own; DAGAN_TEST_SEED chooses another seed."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@pytest.fixture(autouse=True)
def _in_pytorch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests compare results to the last bit, and compile nothing."""
    if not request.node.get_closest_marker("openvino"):
        monkeypatch.setattr("dagan_cli.engine.runtimes.library.is_installed", lambda: False)


@pytest.fixture(autouse=True)
def _in_fp32(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests that name no precision mean fp32, in all their processes, also on a CPU where `auto` would take bf16."""
    if not request.node.get_closest_marker("bf16"):
        yield
        return
    monkeypatch.delenv("DAGAN_FAST_BF16")
    cpu_has_fast_bf16.cache_clear()
    yield
    cpu_has_fast_bf16.cache_clear()  # the next tests are told again


@pytest.fixture(autouse=True)
def _needs_its_device(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture
def corpus() -> Path:
    """The folder of real files."""
    folder = os.environ.get("DAGAN_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DAGAN_TEST_DATA names no folder of real files")
    return Path(folder)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """`dagan` within this process, which is quicker than a new one: arguments in, exit code and output back."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run_command(with_verb([str(argument) for argument in arguments]))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file: x2, the published architecture made tiny, random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(TINY)
    path = tmp_path_factory.mktemp("model") / "tiny-x2.safetensors"
    path.write_bytes(save_model(generator, {"data": "none", "licence": "MIT"}))
    return path
