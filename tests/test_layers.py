"""The import rules: which folder may know of which, and what starting the command line may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FACE = (
    "dagan_cli.app",
    "dagan_cli.command",
    "dagan_cli.models_commands",
    "dagan_cli.train_commands",
    "dagan_cli.arguments",
    "dagan_cli.console",
    "typer",
    "rich",
)
NEVER = {  # a folder, and what no file in it may import
    "dagan_cli/model": ("dagan_cli.upscale", "dagan_cli.engine", "dagan_cli.media", "weights", "trainer", "av", "PIL"),
    "dagan_cli/engine": ("dagan_cli.upscale", "dagan_cli.media", "weights", "trainer", "av", "PIL"),
    "dagan_cli/media": ("dagan_cli.upscale", "dagan_cli.engine", "dagan_cli.model", "weights", "trainer", "torch"),
    "weights": ("dagan_cli.upscale", "dagan_cli.engine", "dagan_cli.media", "dagan_cli.model", "trainer", "torch"),
    "trainer": ("dagan_cli.upscale", "dagan_cli.engine", "weights"),
}
HEAVY = ("torch", "av", "PIL", "numpy", "safetensors", "rich", "huggingface_hub")


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


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
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def reaches(names: set[str], forbidden: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if any(f"{name}.".startswith(f"{root}.") for root in forbidden))


def test_the_reader_of_imports_sees_every_form_of_them(tmp_path):
    file = tmp_path / "file.py"
    text = "import a.b as c\nfrom d import e\ndef f():\n    if True:\n        from g.h import i\n"
    file.write_text(text + "if TYPE_CHECKING:\n    import j\n")
    assert imports(file) == {"a.b", "d", "d.e", "g.h", "g.h.i", "j"}
    assert imports(file, later=False) == {"a.b", "d", "d.e"}
    assert reaches({"av", "available", "av.codec"}, ("av",)) == ["av", "av.codec"]


@pytest.mark.parametrize("folder", NEVER)
def test_a_folder_imports_nothing_it_must_not_know_of(folder):
    files = modules(folder)
    assert files
    broken = {str(file.relative_to(ROOT)): reaches(imports(file), (*NEVER[folder], *FACE)) for file in files}
    assert {file: names for file, names in broken.items() if names} == {}


def test_only_the_train_command_knows_the_trainer_and_only_while_it_runs():
    knowing = [file for file in (*modules("dagan_cli"), *modules("weights")) if reaches(imports(file), ("trainer",))]
    assert knowing == [ROOT / "dagan_cli/train_commands.py"]
    assert reaches(imports(ROOT / "dagan_cli/train_commands.py", later=False), ("trainer",)) == []


def test_only_the_doors_of_the_program_import_the_command_line():
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"))
    knowing = {str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("dagan_cli.app",))}
    assert knowing == {"dagan_cli/__main__.py"}


def test_only_media_the_doctor_and_the_video_degradation_know_pyav():
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"))
    knowing = {str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("av",))}
    allowed = {"dagan_cli/doctor.py", "trainer/degradations/video.py"}
    assert {name for name in knowing if not name.startswith("dagan_cli/media/")} <= allowed


def test_only_what_reads_and_writes_networks_knows_safetensors():
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"))
    knowing = [str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("safetensors",))]
    assert knowing == ["dagan_cli/model/checkpoint.py", "dagan_cli/model/tensors.py", "trainer/networks.py"]


def test_only_one_module_knows_the_hub_s_library_and_only_while_it_works():
    files = (*modules("dagan_cli"), *modules("weights"), *modules("trainer"))
    assert [str(file.relative_to(ROOT)) for file in files if reaches(imports(file), ("huggingface_hub",))] == [
        "weights/hub.py"
    ]
    assert reaches(imports(ROOT / "weights/hub.py", later=False), ("huggingface_hub",)) == []


@pytest.mark.parametrize("module", ["dagan_cli", "dagan_cli.app", "dagan_cli.__main__", "weights", "trainer"])
def test_importing_it_loads_no_heavy_library(module):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {set(HEAVY)}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.split() == []


def test_the_rules_of_a_request_are_checked_without_torch():
    code = "import sys, dagan_cli.request, weights.catalog; print('torch' in sys.modules, 'av' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.split() == ["False", "False"]
