"""Statements as canonical text: each function gives the document of one line, without its indentation."""

from __future__ import annotations

from lsrl.format_expression import UNARY, expression
from lsrl.pretty import Broken, Document, Group, Line, Nest, brackets, join
from lsrl.syntax import (
    Assign,
    Binary,
    Cell,
    Choice,
    Const,
    Declaration,
    Expr,
    FromImport,
    Function,
    Hold,
    Import,
    ImportedName,
    Name,
    Output,
    OutputItem,
    Parameter,
    Repeat,
    Reset,
    Return,
    Reverse,
    Statement,
    Target,
    Type,
    Unary,
)
from lsrl.syntax import Group as NameGroup


def statement(node: Statement | Return) -> Document:
    """One statement; of a block only its first line."""
    match node:
        case Declaration():
            return _declaration(node)
        case Assign(targets=targets, value=value):
            return (", ".join(_target(t) for t in targets), " = ", _value(value))
        case Output(items=items):
            return ("output ", join(", ", [_output_item(item) for item in items]))
        case Reset(condition=condition):
            return ("reset when ", _value(condition))
        case Hold(condition=condition):
            return ("hold when ", _value(condition))
        case Const():
            return const(node)
        case Repeat(count=count, shared=shared, name=name, counter=counter):
            turns = (f"{counter.id} in " if counter else "", _value(count, tight=True))
            return ("repeat ", turns, " shared" if shared else "", f" as {name}" if name else "", ":")
        case Choice(condition=condition):
            return ("if ", _value(condition), ":")
        case Return(values=values):
            return ("return ", join(", ", [_value(value) for value in values]))


def const(node: Const) -> Document:
    type_ = _type(node.type) if node.type else ""
    return (f"const {node.name.id}", type_, " = ", _value(node.value))


def cell_header(cell: Cell) -> Document:
    number = f"{cell.counter.id} in " if cell.counter else ""
    heads = (" heads ", number, expression(cell.heads, tight=True)) if cell.heads is not None else ""
    over = f" over {_names(cell.axes)}" if cell.axes else ""
    return (f"cell {cell.name.id}", _parameters(cell.sizes), heads, over, ":")


def function_header(function: Function) -> Document:
    """The whole of an inline function, the first line of any other."""
    end = (" = ", _value(function.result.values[0])) if function.inline else ":"
    return (f"def {function.name.id}", _parameters(function.parameters), end)


def import_line(node: Import | FromImport) -> str:
    match node:
        case Import(path=path, alias=alias):
            return f"import {'.'.join(path)}" + (f" as {alias}" if alias else "")
        case FromImport(path=path, names=names):
            return f"from {'.'.join(path)} import {', '.join(_imported(name) for name in names)}"


def _imported(name: ImportedName) -> str:
    return f"{name.name} as {name.alias}" if name.alias else name.name


def _names(names: tuple[Name, ...]) -> str:
    return ", ".join(name.id for name in names)


def _target(target: Target) -> str:
    return f"{target.id}'" if target.primed else target.id


def _output_item(item: OutputItem) -> Document:
    return (_target(item.target), " = ", _value(item.value)) if item.value is not None else _target(item.target)


def _parameters(parameters: tuple[Parameter, ...]) -> Document:
    return brackets("(", join((",", Line()), [_parameter(p) for p in parameters]), ")") if parameters else "()"


def _parameter(parameter: Parameter) -> Document:
    default = ("=", expression(parameter.default, tight=True)) if parameter.default is not None else ""
    return (parameter.name, default)


def _value(node: Expr, *, tight: bool = False) -> Document:
    """An expression that ends a line, or its head: when it does not fit, parentheses let it go on."""
    document = expression(node, tight=tight)
    match node:
        case Binary() | Unary() | Reverse():
            return Group((Broken("("), Nest((Line(""), document)), Line(""), Broken(")")))
        case _:
            return document


def _declaration(node: Declaration) -> Document:
    domain = f"{node.domain} " if node.domain else ""
    last = node.groups[-1]
    return (f"{domain}{node.role} ", join(", ", [_group(group, last=group is last) for group in node.groups]))


def _group(group: NameGroup, *, last: bool) -> Document:
    initial: Document = ""
    if group.init is not None:
        initial = (" = ", _value(group.init))
    elif group.draw is not None:
        initial = (" ~ ", _value(group.draw, tight=True))
    # Axes and further names are both separated by commas: parentheses say where the axes end.
    return (_names(group.names), _type(group.type, closed=not last and not initial), initial)


def _type(node: Type, *, closed: bool = False) -> Document:
    dims: list[Document] = [expression(dim, tight=True) for dim in node.shape]
    kind: Document = f" {node.kind}" if node.kind != "float" else ""
    if node.bound is not None:
        kind = (kind, "(", expression(node.bound, tight=True), ")")
    pad = (" pad ", expression(node.pad, UNARY, tight=True)) if node.pad is not None else ""
    axes = _names(node.along)
    along = f" along ({axes})" if closed and len(node.along) > 1 else f" along {axes}" if axes else ""
    shape = brackets("[", join((",", Line()), dims), "]") if dims else "[]"
    return (": ", shape, kind, " shared" if node.shared else "", pad, along)
