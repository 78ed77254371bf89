"""`dagan models convert MODEL -o OUT.onnx`: the same pictures from onnxruntime, for any size and number of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from dagan_cli.errors import BadModel
from dagan_cli.exchange import onnx_export
from dagan_cli.model.checkpoint import Network, load_model, save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from dagan_cli.model.srresnet import SrResNet, SrResNetConfig
from tests.conftest import TINY
from tests.support.foreign_networks import rdn, rdn_weights
from tests.support.tiny import left_over

pytestmark = pytest.mark.slow

SIZES = [(1, 16, 16), (1, 128, 128), (2, 17, 31), (3, 1, 1), (1, 1, 70), (1, 64, 5)]  # the window is 16


def agree(network: Network, path: Path, sizes: list[tuple[int, int, int]] = SIZES) -> None:
    """Other sizes than those that the conversion checks; values outside [0, 1] too."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for number, (n, h, w) in enumerate(sizes):
        x = torch.rand(n, 3, h, w) * (1 if number else 3) - (0 if number else 1)
        (result,) = session.run(None, {"input": x.numpy()})
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(result), network(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_file_gives_pytorchs_results_at_each_order_for_any_size(order, cli, tiny_model, tmp_path):
    out = tmp_path / "net.onnx"
    ran = cli("models", "convert", tiny_model, "-o", out, "--order", order)
    assert (ran.code, ran.out) == (0, f"{out}\n"), ran.err
    assert float(ran.err.split()[4].rstrip(",")) < 1e-4
    network = load_model(tiny_model).generator
    network.order = order
    agree(network, out)


def test_the_file_says_what_it_is(cli, tiny_model, tmp_path):
    assert cli("models", "convert", tiny_model, "-o", tmp_path / "net.onnx").code == 0
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version >= 17) for entry in model.opset_import] == [("", True)]
    (x,), (y,) = model.graph.input, model.graph.output
    assert x.type.tensor_type.elem_type == y.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["batch", 3, "height", "width"]
    assert [d.dim_param or d.dim_value for d in y.type.tensor_type.shape.dim] == ["batch", 3, "2*height", "2*width"]
    props = {entry.key: entry.value for entry in model.metadata_props}
    network = load_model(tiny_model).generator
    assert props["name"] == "tiny-x2"
    assert (props["scale"], props["order"], props["licence"]) == ("2", "1", "MIT")
    assert props["receptive_field"] == ("everywhere" if network.receptive_field is None else network.receptive_field)
    assert props["model_sha256"] == load_model(tiny_model).sha256
    assert GeneratorConfig.from_dict(json.loads(props["config"])) == TINY
    assert "[0, 1]" in props["values"]


def test_pooling_is_over_the_whole_picture_in_a_file_of_a_model_for_local_windows(tmp_path):
    network = Generator(GeneratorConfig(scale=2, blocks=1, channels=8, window=8, patch=8, default_window="local"))
    network.eval().requires_grad_(False)
    data, _ = onnx_export.export_onnx(network, {})
    (tmp_path / "net.onnx").write_bytes(data)
    assert {p.key: p.value for p in onnx.load(tmp_path / "net.onnx").metadata_props}["window"] == "global"
    network.use_window("global")
    agree(network, tmp_path / "net.onnx")


@pytest.mark.parametrize(
    "network",
    [
        Generator(GeneratorConfig(scale=3, blocks=1, channels=8, growth=4, layers=2, reduction=4)),
        Generator(GeneratorConfig(scale=4, blocks=1, channels=8, attention="none", solver="euler", window=5)),
        Generator(GeneratorConfig(scale=2, blocks=1, channels=8, pool=2, pairwise="embedded", solver="rk3")),
        Generator(GeneratorConfig(scale=2, blocks=1, channels=8, window=8, pool=4, upsampler="direct")),
        SrResNet(SrResNetConfig(scale=4, blocks=1, channels=4)),
    ],
    ids=["the paper's", "plain", "pooled", "windows", "srgan"],
)
def test_every_kind_of_network_can_be_written(network, cli, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(save_model(network, {}))
    assert cli("models", "convert", tmp_path / "net.safetensors", "-o", tmp_path / "net.onnx").code == 0
    agree(network.eval(), tmp_path / "net.onnx", [size for size in SIZES if size[1] < 128])  # some attend to all of it


def test_a_pickle_becomes_an_onnx_file_at_once(cli, tmp_path):
    w = rdn_weights()
    torch.save(w, tmp_path / "rdn.pth")
    assert cli("models", "convert", tmp_path / "rdn.pth", "-o", tmp_path / "rdn.onnx").code == 0
    x = torch.rand(1, 3, 9, 8)
    (result,) = onnxruntime.InferenceSession(tmp_path / "rdn.onnx").run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(result), rdn(w, x), rtol=0, atol=1e-5)


def test_an_order_that_the_model_has_not_is_refused(cli, tiny_model, tmp_path):
    ran = cli("models", "convert", tiny_model, "-o", tmp_path / "net.onnx", "--order", 3)
    assert ran.code == 2
    assert not (tmp_path / "net.onnx").exists()


def test_a_file_whose_results_differ_never_gets_its_name(tiny_model, tmp_path, monkeypatch, cli):
    traced = onnx_export._traced

    def other_weights(network: Network) -> bytes:
        model = onnx.load_from_string(traced(network))
        bias = next(t for t in model.graph.initializer if t.name == "sfe1.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.5, bias.name))
        return model.SerializeToString()

    monkeypatch.setattr(onnx_export, "_traced", other_weights)
    ran = cli("models", "convert", tiny_model, "-o", tmp_path / "net.onnx")
    assert ran.code == BadModel.exit_code
    assert "differ" in ran.err
    assert not (tmp_path / "net.onnx").exists()
    assert not left_over(tmp_path)


def test_without_the_libraries_the_error_says_what_to_install(tiny_model, tmp_path):
    code = (
        "import sys; from importlib import abc, machinery\n"
        "class Absent(abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('onnx', 'onnxruntime'): raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from dagan_cli.__main__ import main; sys.argv = ['dagan', *sys.argv[1:]]; sys.exit(main())\n"
    )
    arguments = ["models", "convert", str(tiny_model), "-o", str(tmp_path / "net.onnx")]
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 2, ran.stderr
    assert "pip install 'dagan[onnx]'" in ran.stderr
    assert list(tmp_path.iterdir()) == []
