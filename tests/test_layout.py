"""What keeps the code base in shape: who imports whom, what is packaged, what an import loads, how long things are."""

import ast
import resource
import shutil
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.process import ROOT, run_python

# From the outside in: a package may import itself and those after it.
LAYERS = {"lsrl": ROOT / "lsrl", "lsrl.backends": ROOT / "backends", "lsrl.ir": ROOT / "ir"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
HEAVY = {"jax", "torch", "triton", "networkx", "matplotlib", "scipy", "sympy", "transformers"}

SOURCES = [path for folder in LAYERS.values() for path in sorted(folder.rglob("*.py"))]


def layer_of(module: str) -> str | None:
    """The layer that a dotted module name belongs to, None for a module that is not ours."""
    inner = ".".join(module.split(".")[:2])
    if inner in LAYERS:
        return inner
    return "lsrl" if module.split(".")[0] == "lsrl" else None


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported, wherever in the file; `from a import b` may name a.b."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=None):
                yield node.lineno, "."
            case ast.ImportFrom(module=str(module), names=names):
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)


def import_faults(layer: str, text: str) -> list[str]:
    """The imports that a module of `layer` must not have, as `line: name`."""
    order = list(LAYERS)
    allowed = order[order.index(layer) :]
    faults = []
    for line, module in imported_modules(ast.parse(text)):
        outward = layer_of(module) not in (None, *allowed)
        bare = module.split(".")[0] in ("ir", "backends", "")
        if outward or bare:
            faults.append(f"{line}: {module}")
    return faults


def layer_of_file(path: Path) -> str:
    return next(layer for layer, folder in LAYERS.items() if path.is_relative_to(folder))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_inward(path: Path) -> None:
    assert import_faults(layer_of_file(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("layer", "text", "faults"),
    [
        ("lsrl.ir", "import lsrl.backends.reference", ["1: lsrl.backends.reference"]),
        ("lsrl.ir", "def late():\n    from lsrl import backends", ["2: lsrl.backends"]),
        ("lsrl.ir", "from lsrl import load", ["1: lsrl.load"]),
        ("lsrl.backends", "from lsrl.parser import parse", ["1: lsrl.parser.parse"]),
        ("lsrl.backends", "from lsrl.ir.value import Value", []),
        ("lsrl", "import ir.value", ["1: ir.value"]),
        ("lsrl", "from backends import reference", ["1: backends.reference"]),
        ("lsrl", "from . import cli", ["1: ."]),
        ("lsrl", "import numpy\nfrom lsrl.ir import value\nfrom lsrl.backends import jax", []),
    ],
)
def test_import_faults_are_found(layer: str, text: str, faults: list[str]) -> None:
    assert import_faults(layer, text) == faults


def module_name(path: Path) -> str:
    layer = layer_of_file(path)
    parts = (layer, *path.relative_to(LAYERS[layer]).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


def test_no_import_cycle() -> None:
    """Modules can be ordered such that each imports only earlier ones; counts imports inside functions too."""
    modules = {module_name(path): path for path in SOURCES}
    imports = {}
    for name, path in modules.items():
        named = {target for _, target in imported_modules(ast.parse(path.read_text()))}
        # `from a import b` names the module a.b where there is one, else something inside the module a.
        found = {target if target in modules else target.rpartition(".")[0] for target in named}
        imports[name] = (found & modules.keys()) - {name}
    while free := [name for name, targets in imports.items() if not targets]:
        imports = {name: targets - set(free) for name, targets in imports.items() if name not in free}
    assert imports == {}, "these modules import each other, or import one that does"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_every_package_directory_is_declared() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {
        ".".join((layer, *folder.relative_to(top).parts)): str(folder.relative_to(ROOT))
        for layer, top in LAYERS.items()
        for folder in {path.parent for path in SOURCES if path.is_relative_to(top)}
    }
    assert set(settings["packages"]) == set(packages)
    mapped = settings["package-dir"]
    assert {layer: mapped[layer] for layer in LAYERS} == {layer: packages[layer] for layer in LAYERS}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel built from a copy, so that nothing a former build left is packed."""
    copy = tmp_path_factory.mktemp("wheel")
    for name in ("lsrl", "ir", "backends"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run_python("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=copy)
    (wheel,) = (copy / "dist").glob("lsrl-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_wheel_holds_every_file(wheel_names: set[str]) -> None:
    """Code under its package's name; beside it the grammar, the library with its catalogue, C text, typing marker."""
    expected = {
        f"{layer.replace('.', '/')}/{path.relative_to(folder)}"
        for layer, folder in LAYERS.items()
        for pattern in ("*.py", "*.lark", "*.lsrl", "std/catalog.json", "py.typed", "c/*.c")
        for path in folder.rglob(pattern)
    }
    assert {"lsrl/py.typed", "lsrl/grammar.lark", "lsrl/std/gru.lsrl", "lsrl/ir/value.py"} <= expected
    assert {name for name in wheel_names if ".dist-info/" not in name} == expected


CHECK = """
from lsrl.cli import main
try:
    main(["check", "std/gru"])
except SystemExit as end:
    assert not end.code, end.code
"""


def loaded_by(code: str, cwd: Path = ROOT) -> set[str]:
    """The top-level modules that are loaded after `code` ran in a fresh interpreter."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    return set(run_python("-c", f"{code}\n{report}", cwd=cwd).splitlines()[-1].split())


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_by("import lsrl", cwd=tmp_path) & HEAVY == set()


def test_check_loads_nothing_heavy() -> None:
    assert loaded_by(CHECK) & HEAVY == set()


def test_loaded_modules_are_seen() -> None:
    assert "networkx" in loaded_by("import networkx")


@pytest.mark.parametrize(("code", "seconds"), [("import lsrl", 0.3), (CHECK, 0.6)], ids=["import", "check"])
def test_start_is_quick(code: str, seconds: float) -> None:
    """Processor time, the best of three: other work on the machine does not count."""

    def start() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_python("-c", code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(start() for _ in range(3)) < seconds


def test_checkout_works_without_installation() -> None:
    """`-S -E` hides the installed package; only the directories of the checkout are on the path."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; import lsrl.ir, lsrl.backends; print(lsrl.ir.__file__)"
    assert run_python("-S", "-E", "-c", code).strip() == str(ROOT / "ir" / "__init__.py")
