"""Cells as `.lsrl` text: the way back from the graph.

The text is flat: cells used inside cells, heads and repetition are part of the graph already, so they are written out.
Elaborating it gives the same graph.  Names that are no identifiers become some (`gru.Wz` is `gru_Wz`), and values that
are used more than once, or would make an expression too long to read, are called `v1`, `v2`, ... where the user gave
no name.  A recurrence that runs backwards comes back as a cell of its own, used with `reverse`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from lsrl import syntax
from lsrl.format import format_program
from lsrl.ir.cell import TIME, Cell, Distribution, Input, Noise, Param, State
from lsrl.ir.dims import Shape
from lsrl.ir.value import Value, postorder
from lsrl.reversal import USE, Reversal, split_reversed
from lsrl.spelling import BARE, Spelling, spell
from lsrl.surface import Scope, declared_value, expression, size, written
from lsrl.syntax import Assign, Declaration, Expr, Group, Name, Output, OutputItem, Prime, Statement, Target, Type

T = TypeVar("T")


def unparse(cell: Cell) -> str:
    """The text of a cell; elaborated, it gives the same graph (see the module's docstring for the names)."""
    main, reversals = split_reversed(cell)
    cells = (*(_cell(reversal.cell, ()) for reversal in reversals), _cell(main, reversals))
    return format_program(syntax.Program(None, cells))


def _cell(cell: Cell, reversals: Sequence[Reversal]) -> syntax.Cell:
    spelling = spell(cell)
    parts = (_declarations(cell, spelling), _steps(cell, reversals, spelling), _outputs(cell, spelling))
    return syntax.Cell(
        Name(cell.name),
        tuple(syntax.Parameter(s.name, size(s.default) if s.default is not None else None) for s in cell.sizes),
        heads=None,
        axes=tuple(Name(axis) for axis in cell.axes) if cell.axes != (TIME,) else (),
        doc=cell.doc or None,
        body=tuple(statement for part in parts for statement in part),
    )


# Declarations


def _declarations(cell: Cell, spelling: Spelling) -> Iterator[Statement]:
    """One line for neighbours that are declared alike."""
    for inputs in _alike(cell.inputs, lambda i: (i.shape, i.kind, i.bound, i.domain)):
        bound = size(inputs[0].bound) if inputs[0].bound is not None else None
        typed = Type(_shape(inputs[0].shape), str(inputs[0].kind), bound)
        yield Declaration("input", (Group(_names("input", inputs, spelling), typed),), str(inputs[0].domain))
    static = Scope(spelling.named)
    for params in _alike(cell.params, lambda p: (p.shape, p.kind, p.init)):
        init, draw = _drawn(params[0].init, static)
        typed = Type(_shape(params[0].shape), str(params[0].kind))
        yield Declaration("param", (Group(_names("param", params, spelling), typed, init, draw),))
    for noises in _alike(cell.noises, lambda n: (n.shape, n.draw, n.domain)):
        _, draw = _drawn(noises[0].draw, static)
        group = Group(_names("noise", noises, spelling), Type(_shape(noises[0].shape)), None, draw)
        yield Declaration("noise", (group,), str(noises[0].domain))
    for states in _alike(cell.states, lambda s: (s.shape, s.kind, s.axes, s.init, s.domain)):
        first = states[0]
        along = tuple(Name(axis) for axis in first.axes) if len(cell.axes) > 1 else ()
        typed = Type(_shape(first.shape), str(first.kind), along=along)
        group = Group(_names("state", states, spelling), typed, declared_value(first.init, static))
        yield Declaration("state", (group,), str(first.domain))


def _alike(declared: Iterable[T], key: Callable[[T], object]) -> Iterator[list[T]]:
    for _, group in groupby(declared, key):
        yield list(group)


def _names(role: str, declared: Iterable[Input | Param | Noise | State], spelling: Spelling) -> tuple[Name, ...]:
    return tuple(Name(spelling.declared[role, each.name]) for each in declared)


def _shape(shape: Shape) -> tuple[Expr, ...]:
    return tuple(size(dim) for dim in shape)


def _drawn(distribution: Distribution, scope: Scope) -> tuple[Expr | None, Expr | None]:
    """What stands after `=` and after `~`."""
    if distribution.name == "value":
        return declared_value(distribution.args[0], scope), None
    args = tuple(expression(arg, scope) for arg in distribution.args)
    return None, syntax.Call(Name(distribution.name), args, ())


# Statements


def _steps(cell: Cell, reversals: Sequence[Reversal], spelling: Spelling) -> Iterator[Statement]:
    """The statements of a step, operands before users."""
    uses = {use: reversal for reversal in reversals for use in reversal.uses}
    for use, reversal in uses.items():
        spelling.assign(use, f"{reversal.cell.name}_{reversal.uses.index(use) + 1}")
    scope = Scope(spelling.named)
    nexts: dict[Value, list[State]] = {}
    for state in cell.states:
        nexts.setdefault(state.next, []).append(state)
    used: set[str] = set()
    for value in postorder(cell.roots()):
        if value.op == USE:
            reversal = uses[value]
            if reversal.cell.name not in used:
                used.add(reversal.cell.name)
                yield _use(reversal, spelling)
        elif value in spelling.assigned:
            yield Assign((Target(spelling.assigned[value], False),), written(value, scope))
        for state in nexts.get(value, ()):
            yield _update(state, spelling, scope)


def _update(state: State, spelling: Spelling, scope: Scope) -> Statement:
    """`h' = ...`: written out where the value is called `h'`, else by the name that it has."""
    own = Prime(spelling.declared["state", state.name])
    spelled = spelling.named.get(state.next)
    value = written(state.next, scope) if spelled == own else expression(state.next, scope)
    return Assign((Target(own.id, True),), value)


def _use(reversal: Reversal, spelling: Spelling) -> Statement:
    """`a, b = reverse cell(H, D)(x, y)`"""
    scope = Scope(spelling.named)
    sizes = tuple(Name(each.name) for each in reversal.cell.sizes)
    function = syntax.Call(Name(reversal.cell.name), sizes, ())
    call = syntax.Call(function, tuple(expression(arg, scope) for arg in reversal.args), ())
    return Assign(tuple(Target(spelling.assigned[use], False) for use in reversal.uses), syntax.Reverse(call))


def _outputs(cell: Cell, spelling: Spelling) -> Iterator[Statement]:
    scope = Scope(spelling.named)
    for output in cell.outputs:
        match spelling.named.get(output.value):
            case Name(name) if name == output.name and output.value.op not in BARE:
                item = OutputItem(Target(name, False), None)
            case Prime(name) if name == output.name:
                item = OutputItem(Target(name, True), None)
            case _:
                item = OutputItem(Target(output.name, False), expression(output.value, scope))
        yield Output((item,))
