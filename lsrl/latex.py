"""The equations of a program as LaTeX, the way its paper sets them.

A state that arrives is written with the position before, one that is passed on with the position itself; parameters
have none.  Used cells and functions stay names: their equations are those of their own file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lsrl.latex_expression import formula
from lsrl.latex_names import name as named
from lsrl.latex_scope import Scope, rank
from lsrl.syntax import (
    Assign,
    Binary,
    Cell,
    Choice,
    Const,
    Declaration,
    Expr,
    Group,
    Hold,
    Name,
    Num,
    Output,
    Repeat,
    Reset,
    Statement,
    Target,
)
from lsrl.tree_walk import names_read

TIME = ("t",)


def equations(cell: Cell) -> str:
    """The step of a cell, one equation in each row of an `aligned`."""
    rows = " \\\\\n".join(_rows(cell.body, _scope(cell)))
    return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}\n"


def _scope(cell: Cell) -> Scope:
    """What moves: inputs, noises, and what is computed of them or of states."""
    axes = tuple(axis.id for axis in cell.axes) or TIME
    axes = () if axes == ("graph",) else axes
    groups = [(each.role, group) for each in _declarations(cell.body) for group in each.groups]
    states = {name.id: _arrives(group, axes) for role, group in groups if role == "state" for name in group.names}
    given = {name.id for role, group in groups if role in ("input", "noise") for name in group.names}
    ranks = {name.id: len(group.type.shape) for _, group in groups for name in group.names}
    sizes = {size.name: 0 for size in cell.sizes}
    return _extended(Scope(axes, states, frozenset(given), ranks | sizes), cell.body)


def _arrives(group: Group, axes: tuple[str, ...]) -> tuple[str, ...]:
    """A state along one axis comes from the neighbour on it; one along several is always read with its neighbour."""
    along = tuple(axis.id for axis in group.type.along) or axes
    return tuple(f"{axis}-1" if (axis,) == along else axis for axis in axes)


def _declarations(body: tuple[Statement, ...]) -> Iterator[Declaration]:
    for statement in body:
        match statement:
            case Declaration():
                yield statement
            case Repeat(body=inner):
                yield from _declarations(inner)
            case Choice(body=inner, otherwise=other):
                yield from _declarations((*inner, *(other.body if other else ())))


def _extended(scope: Scope, body: tuple[Statement, ...]) -> Scope:
    """The scope with the names that a body defines."""
    for statement in body:
        match statement:
            case Assign(targets=targets, value=value):
                scope = _defined(scope, targets, value)
            case Output(items=items):
                for item in items:
                    scope = scope if item.value is None else _defined(scope, (item.target,), item.value)
            case Repeat(body=inner, counter=counter):
                turn = {} if counter is None else {counter.id: 0}
                scope = _extended(replace(scope, ranks={**scope.ranks, **turn}), inner)
            case Choice(body=inner, otherwise=other):
                scope = _extended(scope, (*inner, *(other.body if other else ())))
    return scope


def _defined(scope: Scope, targets: tuple[Target, ...], value: Expr) -> Scope:
    moves = any(name in scope.moving or name in scope.arriving for name in names_read(value))
    new = frozenset(target.id for target in targets if not target.primed)
    found = rank(value, scope)
    known = {each: number for each, number in scope.ranks.items() if each not in new}
    return replace(
        scope,
        moving=scope.moving | new if moves else scope.moving - new,
        ranks=known if found is None else {**known, **dict.fromkeys(new, found)},
    )


def _rows(body: tuple[Statement, ...], scope: Scope, indent: str = "") -> Iterator[str]:
    for statement in body:
        match statement:
            case Assign(targets=targets, value=value):
                yield f"{indent}{_targets(targets, scope)} {_sign(targets, value)} {formula(value, scope)}"
            case Const(name=Name(id=text), value=value):
                yield f"{indent}{named(text)} &= {formula(value, scope)}"
            case Output(items=items):
                computed = [item for item in items if item.value is not None]
                yield from (f"{_targets((i.target,), scope)} &= {formula(i.value, scope)}" for i in computed if i.value)
            case Reset(condition=condition):
                yield f"&\\text{{start anew where }} {formula(condition, scope)}"
            case Hold(condition=condition):
                yield f"&\\text{{states stay where }} {formula(condition, scope)}"
            case Repeat(body=inner):
                yield f"{indent}&{_turns(statement, scope)}"
                yield from _rows(inner, scope, f"{indent}\\quad ")
            case Choice(condition=condition, body=inner, otherwise=other):
                yield f"{indent}&\\text{{if }} {formula(condition, scope)} \\text{{:}}"
                yield from _rows(inner, scope, f"{indent}\\quad ")
                if other is not None:
                    yield f"{indent}&\\text{{else:}}"
                    yield from _rows(other.body, scope, f"{indent}\\quad ")


def _turns(node: Repeat, scope: Scope) -> str:
    """The first line of a block that is repeated."""
    same = " with the same parameters" if node.shared else ""
    if node.counter is None:
        return f"\\text{{repeat }} {formula(node.count, scope)} \\text{{ times{same}:}}"
    last = formula(Binary("-", node.count, Num(1)), scope)
    return f"\\text{{for }} {named(node.counter.id)} = 0, \\ldots, {last} \\text{{{same}:}}"


def _sign(targets: tuple[Target, ...], value: Expr) -> str:
    """A name that is computed from itself takes a new value."""
    anew = {target.id for target in targets if not target.primed} & set(names_read(value))
    return r"&\leftarrow" if anew else "&="


def _targets(targets: tuple[Target, ...], scope: Scope) -> str:
    return ",\\; ".join(_target(target, scope) for target in targets)


def _target(target: Target, scope: Scope) -> str:
    moves = target.primed or target.id in scope.moving
    return named(target.id, scope.axes if moves else ())
