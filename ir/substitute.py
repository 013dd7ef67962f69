"""Replacing values in a cell, everywhere at once, keeping names and spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lsrl.ir.cell import Cell, Distribution
from lsrl.ir.span import Span
from lsrl.ir.value import Value, intern


def rebuild(roots: Iterable[Value], table: Mapping[Value, Value]) -> dict[Value, Value]:
    """For every value the roots depend on, what becomes of it when each key of `table` is replaced by its entry.

    Replacements are rebuilt in turn, so entries may contain other keys (but not lead back to their own).
    """
    done: dict[Value, Value] = {}
    stack = list(roots)
    while stack:
        value = stack[-1]
        operands = (table[value],) if value in table else value.args
        waiting = [operand for operand in operands if operand not in done]
        if waiting and value not in done:
            stack.extend(waiting)
            continue
        stack.pop()
        if value not in done:
            done[value] = done[operands[0]] if value in table else with_args(value, [done[arg] for arg in operands])
    return done


def with_args(value: Value, args: Sequence[Value]) -> Value:
    """The same operation on other operands of the same types."""
    if all(new is old for new, old in zip(args, value.args, strict=True)):
        return value
    return intern(value.op, tuple(args), value.attrs, value.shape, value.kind, value.domain)


def substitute(cell: Cell, table: Mapping[Value, Value]) -> Cell:
    """The cell with every key of `table` replaced by its entry; names and spans move to what replaces them."""
    done = rebuild(cell.all_roots(), table)

    def drawn(distribution: Distribution) -> Distribution:
        return replace(distribution, args=tuple(done[arg] for arg in distribution.args))

    return replace(
        cell,
        params=tuple(replace(p, init=drawn(p.init)) for p in cell.params),
        noises=tuple(replace(n, draw=drawn(n.draw)) for n in cell.noises),
        states=tuple(replace(s, init=done[s.init], next=done[s.next]) for s in cell.states),
        outputs=tuple(replace(o, value=done[o.value]) for o in cell.outputs),
        names=moved_names(cell.names, done),
        spans=moved_spans(cell.spans, done),
    )


def moved_names(names: Mapping[Value, str], table: Mapping[Value, Value]) -> dict[Value, str]:
    """The names under the values that replaced their owners; the first of several keeps its name."""
    moved: dict[Value, str] = {}
    for value, name in names.items():
        moved.setdefault(table.get(value, value), name)
    return moved


def moved_spans(spans: Mapping[Value, tuple[Span, ...]], table: Mapping[Value, Value]) -> dict[Value, tuple[Span, ...]]:
    """The spans under the values that replaced their owners; a value that replaced several keeps all places."""
    moved: dict[Value, tuple[Span, ...]] = {}
    for value, places in spans.items():
        target = table.get(value, value)
        before = moved.get(target)
        moved[target] = places if before is None else tuple(dict.fromkeys((*before, *places)))
    return moved
