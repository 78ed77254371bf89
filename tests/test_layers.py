"""The import rules: which folder may know of which, and what starting the command line may load."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.tiny import picture

ROOT = Path(__file__).parent.parent
USE_CASES = (
    "dagan_cli.upscale",
    "dagan_cli.preview",
    "dagan_cli.comparison",
    "dagan_cli.inspection",
    "dagan_cli.bench",
    "dagan_cli.exchange",
    "dagan_cli.evaluate",
    "dagan_cli.ablate",
)
FLOORS = (
    "dagan_cli.media",
    "dagan_cli.engine",
    "dagan_cli.model",
    "dagan_cli.community",
    "dagan_cli.metrics",
    "dagan_cli.upscaler",
)
FACE = ("dagan_cli.commands", "typer", "rich")
AFTER = ("dagan_cli.inspection", "dagan_cli.bench", "dagan_cli.exchange", "trainer")
# What computes knows nothing of these.
OUTER = (*USE_CASES, "dagan_cli.media", "dagan_cli.upscaler", "weights", "trainer", "av", "PIL", *FACE)
NEVER = {  # a folder, and what no file in it may import
    "dagan_cli/analysis": (*USE_CASES, *FLOORS[1:], "weights", "trainer", "torch", "av", "PIL", *FACE),
    "dagan_cli/inspection": ("dagan_cli.bench", "dagan_cli.exchange", "trainer", *FACE),
    "dagan_cli/bench": ("dagan_cli.inspection", "dagan_cli.exchange", "trainer", *FACE),
    "dagan_cli/exchange": ("dagan_cli.inspection", "dagan_cli.bench", "trainer", *FACE),
    "dagan_cli/upscale": ("dagan_cli.preview", "dagan_cli.comparison", *AFTER, *FACE),
    "dagan_cli/preview": ("dagan_cli.comparison", *AFTER, *FACE),
    "dagan_cli/comparison": ("dagan_cli.upscale", "dagan_cli.preview", *AFTER, *FACE),
    "dagan_cli/pages": (*USE_CASES, *FLOORS, "weights", "trainer", "torch", "av", *FACE),
    "dagan_cli/media": (
        *USE_CASES,
        "dagan_cli.community",
        "dagan_cli.engine",
        "dagan_cli.model",
        "dagan_cli.upscaler",
        "weights",
        "trainer",
        "torch",
        *FACE,
    ),
    "dagan_cli/media/streams": ("dagan_cli.media.video",),
    "dagan_cli/media/images": ("dagan_cli.media.video",),
    "dagan_cli/engine": (*OUTER, "dagan_cli.community"),
    "dagan_cli/community": (*OUTER, "dagan_cli.engine"),
    "dagan_cli/model": (*OUTER, "dagan_cli.community", "dagan_cli.engine"),
    "dagan_cli/metrics": (*OUTER, "dagan_cli.community", "dagan_cli.engine"),
    "weights": (*USE_CASES, *FLOORS, "trainer", "torch", *FACE),
    "trainer": (
        *USE_CASES,
        "dagan_cli.community",
        "dagan_cli.engine",
        "dagan_cli.media",
        "dagan_cli.upscaler",
        "weights",
        *FACE,
    ),
}
GROUND = {  # modules of the ground floor, and the only modules of ours that they may import
    "dagan_cli/errors.py": set(),
    "dagan_cli/words.py": set(),
    "dagan_cli/version.py": set(),
    "dagan_cli/planes.py": set(),
    "dagan_cli/waiting.py": set(),
    "dagan_cli/device.py": set(),
    "dagan_cli/files/__init__.py": {"dagan_cli.errors", "dagan_cli.files"},
    "dagan_cli/files/claims.py": {"dagan_cli.errors", "dagan_cli.files"},
    "dagan_cli/files/folder.py": {"dagan_cli.errors"},
    "dagan_cli/prefetch.py": {"dagan_cli.errors"},
}
OURS = ("dagan_cli", "weights", "trainer")
NEVER_LOADED = ("sympy", "torch._dynamo", "torch._inductor", "torch.onnx", "spandrel", "rich", "huggingface_hub")
HEAVY = ("torch", "av", "PIL", "numpy", "safetensors", "rich", "huggingface_hub")


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path, *, later: bool = True) -> set[str]:
    """The full names of all that a file imports: `from a.b import c` counts as a.b and as a.b.c.

    Without `later`: what importing the file imports, not what its functions do, or only type checkers.
    """
    return set(_imported(ast.parse(path.read_text()), later))


def _imported(node: ast.AST, later: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute, so that the rules can be read"
            assert child.module is not None
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif later or not (isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types(child)):
            yield from _imported(child, later)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def reaches(names: set[str], forbidden: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if any(f"{name}.".startswith(f"{root}.") for root in forbidden))


def test_the_reader_of_imports_sees_every_form_of_them(tmp_path):
    file = tmp_path / "file.py"
    text = "import a.b as c\nfrom d import e\ndef f():\n    if True:\n        from g.h import i\n"
    file.write_text(text + "if TYPE_CHECKING:\n    import j\n")
    assert imports(file) == {"a.b", "d", "d.e", "g.h", "g.h.i", "j"}
    assert imports(file, later=False) == {"a.b", "d", "d.e"}
    assert reaches({"av", "available", "av.codec"}, ("av",)) == ["av", "av.codec"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", NEVER)
def test_a_folder_imports_nothing_it_must_not_know_of(folder):
    files = modules(folder)
    assert files
    broken = {str(file.relative_to(ROOT)): reaches(imports(file), NEVER[folder]) for file in files}
    assert {file: names for file, names in broken.items() if names} == {}


@pytest.mark.parametrize("file", GROUND)
def test_the_ground_floor_stands_on_nothing_of_ours_but_errors(file):
    ours = {name for name in imports(ROOT / file) if name.split(".")[0] in ("dagan_cli", "trainer", "weights")}
    assert {".".join(name.split(".")[:2]) for name in ours} <= GROUND[file]


def test_metrics_know_of_the_model_only_how_weights_are_read():
    ours = set().union(*(imports(file) for file in modules("dagan_cli/metrics")))
    known = {name for name in ours if name.startswith("dagan_cli.") and not name.startswith("dagan_cli.metrics")}
    assert {".".join(name.split(".")[:3]) for name in known if name.startswith("dagan_cli.model")} <= {
        "dagan_cli.model",
        "dagan_cli.model.tensors",
    }


@pytest.mark.slow
def test_only_use_cases_know_how_a_source_is_measured():
    files = [file for folder in OURS for file in modules(folder) if "analysis" not in file.parts]
    knowing = {str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("dagan_cli.analysis",))}
    allowed = ("dagan_cli/inspection/", "dagan_cli/upscale/", "dagan_cli/preview/", "dagan_cli/commands/")
    assert {name for name in knowing if not name.startswith(allowed)} == set()


@pytest.mark.slow
def test_there_is_no_circle_of_imports():
    """Counts what importing a module imports. A package that is only named on the way to its modules does not count."""
    names = {module_name(file): file for folder in OURS for file in modules(folder)}
    edges = {
        name: {found for found in imports(file, later=False) if found in names and found != name}
        for name, file in names.items()
    }
    edges = {
        name: {one for one in found if not any(other.startswith(f"{one}.") for other in found)}
        for name, found in edges.items()
    }
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path[path.index(name) :], name))}"
        if name not in finished:
            for found in edges[name]:
                visit(found, (*path, name))
            finished.add(name)

    for name in names:
        visit(name, ())


def test_every_folder_with_modules_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert listed == sorted(module_name(each) for folder in OURS for each in (ROOT / folder).rglob("__init__.py"))


def test_no_folder_is_a_hall():
    assert len(list((ROOT / "dagan_cli").glob("*.py"))) <= 12
    for folder in OURS:
        for each in {file.parent for file in modules(folder)}:
            assert len(list(each.glob("*.py"))) <= 15, each


@pytest.mark.slow
def test_only_the_train_command_knows_the_trainer_and_only_while_it_runs():
    knowing = [file for file in (*modules("dagan_cli"), *modules("weights")) if reaches(imports(file), ("trainer",))]
    assert knowing
    assert {file.parent for file in knowing} == {ROOT / "dagan_cli/commands/training"}
    assert not any(reaches(imports(file, later=False), ("trainer",)) for file in knowing)


@pytest.mark.slow
def test_only_the_door_of_the_program_imports_the_command_line():
    files = [file for folder in OURS for file in modules(folder) if "commands" not in file.parts]
    knowing = {str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("dagan_cli.commands",))}
    assert knowing == {"dagan_cli/__main__.py"}


@pytest.mark.slow
def test_only_media_what_inspects_it_and_the_video_degradation_know_pyav():
    files = [file for folder in OURS for file in modules(folder)]
    knowing = {str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("av",))}
    allowed = ("dagan_cli/media/", "dagan_cli/inspection/", "trainer/degradations/video.py")
    assert {name for name in knowing if not name.startswith(allowed)} == set()


@pytest.mark.slow
def test_only_what_reads_and_writes_networks_knows_safetensors():
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"))
    knowing = [str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("safetensors",))]
    assert knowing == ["dagan_cli/model/checkpoint.py", "trainer/networks.py"]


@pytest.mark.slow
def test_only_one_module_knows_the_hub_s_library_and_only_while_it_works():
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"))
    assert [str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("huggingface_hub",))] == [
        "weights/hub.py"
    ]
    assert reaches(imports(ROOT / "weights/hub.py", later=False), ("huggingface_hub",)) == []


@pytest.mark.slow
def test_only_one_module_knows_spandrel_and_only_while_it_works():
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"))
    knowing = [str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("spandrel", "torchvision"))]
    assert knowing == ["dagan_cli/community/library.py"]
    assert reaches(imports(ROOT / "dagan_cli/community/library.py", later=False), ("spandrel",)) == []


@pytest.mark.slow
def test_only_stores_know_fsspec_and_its_drivers_and_only_while_they_work():
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"))
    drivers = ("fsspec", "s3fs", "gcsfs", "adlfs", "aiohttp", "botocore", "aiobotocore")
    knowing = [str(file.relative_to(ROOT)) for file in files if reaches(imports(file), drivers)]
    assert knowing == ["dagan_cli/media/remote/driver.py", "dagan_cli/media/remote/s3.py"]
    assert not any(reaches(imports(ROOT / name, later=False), drivers) for name in knowing)


@pytest.mark.slow
def test_only_one_module_loads_openvino_and_only_while_it_works():
    """It silences what OpenVINO reports to its makers."""
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"), *modules("tests"))
    knowing = [str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("openvino",))]
    assert knowing == ["dagan_cli/engine/runtimes/library.py"]
    assert reaches(imports(ROOT / "dagan_cli/engine/runtimes/library.py", later=False), ("openvino",)) == []


@pytest.mark.parametrize("module", ["dagan_cli", "dagan_cli.commands.app", "dagan_cli.__main__", "weights", "trainer"])
def test_importing_it_loads_no_heavy_library(module):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {set(HEAVY)}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.split() == []


def test_the_rules_of_a_request_are_checked_without_torch():
    code = "import sys, dagan_cli.upscale.request, weights.catalog; print('torch' in sys.modules, 'av' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.split() == ["False", "False"]


@pytest.mark.parametrize("arguments", [["--help"], ["upscale", "--help"], ["train", "degrade", "-h"]])
def test_help_loads_neither_torch_nor_what_typer_parses_with(arguments):
    code = f"import sys; from dagan_cli.commands.app import run_command; run_command({arguments}); "
    code += "print(sorted({'torch', 'pydantic.types', 'rich', 'numpy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown.startswith("Usage: dagan")
    assert shown.splitlines()[-1] == "[]"


def loaded_by(names: tuple[str, ...], *arguments: object) -> tuple[int, set[str]]:
    """Run a command in a process of its own; return its exit code, and which of these modules it imported."""
    code = "import sys; from dagan_cli.__main__ import main; sys.argv[0] = 'dagan'\ntry:\n    main()\n"
    code += "except SystemExit as end:\n    sys.__stderr__.write(f'\\n{end.code} ' + ' '.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    ended, *modules = ran.stderr.splitlines()[-1].split()
    return int(ended), {*names} & {*modules}


@pytest.mark.slow
def test_commands_that_run_no_network_load_no_torch(tmp_path):
    source = picture(tmp_path / "in.png", (40, 30))
    made = ("upscale", source, "-s", 2, "-o", tmp_path / "out.png")
    subprocess.run([sys.executable, "-m", "dagan_cli", *map(str, made)], check=True, cwd=ROOT)
    for arguments in (
        made,  # it exists
        (*made[:3], 3, *made[4:], "--skip-existing"),
        ("probe", source),
        ("verify", source, tmp_path / "out.png"),
        ("config", "path"),
        ("recipes", "list"),
        ("models", "list"),
    ):
        assert loaded_by(("torch",), *arguments) == (0, set()), arguments
    assert loaded_by(("torch",), *made[:3], 3, *made[4:]) == (1, set())  # it exists, and was made with another scale


@pytest.mark.slow
def test_upscaling_with_our_own_models_loads_only_what_computes(tmp_path):
    source = picture(tmp_path / "in.png", (270, 260))  # larger than what runs without looking at the memory
    made = ("upscale", source, "-s", 2, "-o", tmp_path / "out.png", "--device", "cpu")
    assert loaded_by(("torch", *NEVER_LOADED), *made) == (0, {"torch"})
