"""The text of runtime functions, read from their files without importing what they import."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "runtime"


@cache
def runtime(file: str) -> Mapping[str, str]:
    """The definitions of `backends/runtime/FILE.py` by name, in an order in which they can be executed.

    What is done to a definition afterwards belongs to it: `name.defvjp(forward, backward)`, or a function `_` that
    one of its methods decorates (`@name.register_fake`).  Imports and the file's docstring are left out.
    """
    text = (_DIRECTORY / f"{file}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, str] = {}
    for node in ast.parse(text).body:
        name = _owner(node)
        if name:
            before = f"{found.pop(name)}\n\n\n" if name in found else ""
            found[name] = before + _source(node, lines)
    return found


def _owner(node: ast.stmt) -> str:
    """The name that a statement defines, or belongs to; empty for imports and docstrings."""
    match node:
        case ast.FunctionDef(name="_", decorator_list=[decorator, *_]):
            return _root(decorator)
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case ast.Expr(value=ast.Call() as call):
            return _root(call)
    return ""


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Call, ast.Attribute)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _source(node: ast.stmt, lines: list[str]) -> str:
    """A statement with its decorators and the comment right above it."""
    decorators = getattr(node, "decorator_list", [])
    start = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return "\n".join(lines[start : node.end_lineno])
