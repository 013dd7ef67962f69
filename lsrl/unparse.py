"""Cells as `.lsrl` text: the way back from the graph.

The text is flat: cells used inside cells, heads and repetition are part of the graph already, so they are written out.
Elaborating it gives the same graph.  Names that are no identifiers become some (`gru.Wz` is `gru_Wz`), and values that
are used more than once, or would make an expression too long to read, are called `v1`, `v2`, ... where the user gave
no name.  Resets and lags come back as `reset when r` and `x[t-1]`, a recurrence that runs backwards as a cell of its
own, used with `reverse`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from lsrl import syntax
from lsrl.format import format_program
from lsrl.ir.cell import TIME, Cell, Distribution, Input, Noise, Param, State
from lsrl.ir.dims import Shape
from lsrl.ir.span import Source, Span
from lsrl.ir.value import Value
from lsrl.reversal import USE, Reversal, split_reversed
from lsrl.shorthand import Lag, lags, without_lags, without_reset
from lsrl.spelling import Spelling, spell
from lsrl.surface import Scope, declared_value, expression, size, written
from lsrl.syntax import Assign, Declaration, Expr, Group, Name, Output, OutputItem, Prime, Statement, Target, Type

T = TypeVar("T")
BLANKS = Source("<unparsed>", "x\n\nx")  # a text with an empty line to stand below


def unparse(cell: Cell) -> str:
    """The text of a cell; elaborated, it gives the same graph (see the module's docstring for the names)."""
    bare, condition = without_reset(cell)
    main, reversals = split_reversed(bare)
    cells = (*(_cell(reversal.cell, (), None) for reversal in reversals), _cell(main, reversals, condition))
    return format_program(syntax.Program(None, cells, BLANKS))


def _cell(cell: Cell, reversals: Sequence[Reversal], condition: Value | None) -> syntax.Cell:
    found = lags(cell)
    shown = without_lags(cell, found)
    spelling = spell(shown, found)
    for reversal in reversals:
        for place, use in enumerate(reversal.uses, start=1):
            if use not in spelling.assigned:
                spelling.assign(use, f"{reversal.cell.name}_{place}")
    steps = _steps(shown, reversals, spelling, found)
    reset = (syntax.Reset(expression(condition, Scope(spelling.named))),) if condition is not None else ()
    parts = (_declarations(shown, spelling, _pads(found)), (*steps, *reset), _outputs(shown, spelling))
    return syntax.Cell(
        Name(cell.name),
        tuple(syntax.Parameter(s.name, size(s.default) if s.default is not None else None) for s in cell.sizes),
        heads=None,
        axes=tuple(Name(axis) for axis in cell.axes) if cell.axes != (TIME,) else (),
        doc=cell.doc or None,
        body=tuple(_apart(parts)),
    )


def _apart(parts: Iterable[Iterable[Statement]]) -> Iterator[Statement]:
    """The statements, each part after an empty line: the first of a part stands below one in `BLANKS`."""
    for number, part in enumerate(parts):
        for place, statement in enumerate(part):
            line = 3 if number and not place else 1
            yield replace(statement, span=Span(BLANKS, line, 1, line, 1))


def _pads(found: Mapping[Value, Lag]) -> dict[str, Value]:
    return {str(lag.source.attr("name")): lag.pad for lag in found.values() if lag.pad is not None}


# Declarations


def _declarations(cell: Cell, spelling: Spelling, pads: Mapping[str, Value]) -> Iterator[Statement]:
    """One line for neighbours that are declared alike."""
    static = Scope(spelling.named)
    for inputs in _alike(cell.inputs, lambda i: (i.shape, i.kind, i.bound, i.domain, pads.get(i.name))):
        first, pad = inputs[0], pads.get(inputs[0].name)
        bound = size(first.bound) if first.bound is not None else None
        typed = Type(_shape(first.shape), str(first.kind), bound, pad=declared_value(pad, static) if pad else None)
        yield Declaration("input", (Group(_names("input", inputs, spelling), typed),), str(first.domain))
    for params in _alike(cell.params, lambda p: (p.shape, p.kind, p.init)):
        init, draw = _drawn(params[0].init, static)
        typed = Type(_shape(params[0].shape), str(params[0].kind))
        yield Declaration("param", (Group(_names("param", params, spelling), typed, init, draw),))
    for noises in _alike(cell.noises, lambda n: (n.shape, n.draw, n.domain)):
        _, draw = _drawn(noises[0].draw, static)
        group = Group(_names("noise", noises, spelling), Type(_shape(noises[0].shape)), None, draw)
        yield Declaration("noise", (group,), str(noises[0].domain))
    for states in _alike(cell.states, lambda s: (s.shape, s.kind, s.axes, s.init, s.domain)):
        state = states[0]
        along = tuple(Name(axis) for axis in state.axes) if len(cell.axes) > 1 else ()
        typed = Type(_shape(state.shape), str(state.kind), along=along)
        group = Group(_names("state", states, spelling), typed, declared_value(state.init, static))
        yield Declaration("state", (group,), str(state.domain))


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


def _steps(
    cell: Cell, reversals: Sequence[Reversal], spelling: Spelling, found: Mapping[Value, Lag]
) -> Iterator[Statement]:
    """The statements of a step, operands before users, and what is read from earlier positions before its readers."""
    scope = Scope(spelling.named)
    uses = {use: reversal for reversal in reversals for use in reversal.uses}
    nexts: dict[Value, list[State]] = {}
    for state in cell.states:
        nexts.setdefault(state.next, []).append(state)
    used: set[str] = set()
    for value in _ordered(cell, found):
        if value.op == USE:
            reversal = uses[value]
            if reversal.cell.name not in used:
                used.add(reversal.cell.name)
                yield _use(reversal, spelling)
        elif value in spelling.assigned:
            yield Assign((Target(spelling.assigned[value], False),), written(value, scope))
        for state in nexts.get(value, ()):
            yield _update(state, spelling, scope)


def _ordered(cell: Cell, found: Mapping[Value, Lag]) -> Iterator[Value]:
    """Every value of a step after its operands, those of lags after what they hold."""
    seen: set[Value] = set()
    stack = [(root, False) for root in reversed([*(s.next for s in cell.states), *(o.value for o in cell.outputs)])]
    while stack:
        value, expanded = stack.pop()
        if expanded:
            yield value
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            operands = (found[value].source,) if value in found else value.args
            stack.extend((operand, False) for operand in reversed(operands))


def _update(state: State, spelling: Spelling, scope: Scope) -> Statement:
    """`h' = ...`: written out where the value is called `h'`, else by the name that it has."""
    own = Prime(spelling.declared["state", state.name])
    spelled = spelling.named.get(state.next)
    value = written(state.next, scope) if spelled == own else expression(state.next, scope)
    return Assign((Target(own.id, True),), value)


def _use(reversal: Reversal, spelling: Spelling) -> Statement:
    """`a, b = reverse cell(H, D)(x, y)`, with the axes where they are not all of the program's."""
    scope = Scope(spelling.named)
    sizes = tuple(Name(each.name) for each in reversal.cell.sizes)
    function = syntax.Call(Name(reversal.cell.name), sizes, ())
    call = syntax.Call(function, tuple(expression(arg, scope) for arg in reversal.args), ())
    axes = () if len(reversal.axes) == len(reversal.cell.axes) else reversal.axes
    return Assign(tuple(Target(spelling.assigned[use], False) for use in reversal.uses), syntax.Reverse(call, axes))


def _outputs(cell: Cell, spelling: Spelling) -> Iterator[Statement]:
    scope = Scope(spelling.named)
    nexts = {spelling.declared["state", state.name]: state.next for state in cell.states}
    for output in cell.outputs:
        match spelling.named.get(output.value):
            case _ if nexts.get(output.name) == output.value:  # whatever else the value is called
                item = OutputItem(Target(output.name, True), None)
            case Name(name) if name == output.name:
                item = OutputItem(Target(name, False), None)
            case Prime(name) if name == output.name:
                item = OutputItem(Target(name, True), None)
            case _:
                item = OutputItem(Target(output.name, False), expression(output.value, scope))
        yield Output((item,))
