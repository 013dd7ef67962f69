"""What a picture of a cell shows: boxes with equations, arrows between them, recurrences as groups.

Only what has a name gets a box; the rest is part of the equation it feeds, so that a picture reads like the paper.
Parameters and constants appear in the equations alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lsrl.format_expression import expression as document
from lsrl.ir.cell import Cell, State
from lsrl.ir.dims import shape_text
from lsrl.ir.graphs import strong_components
from lsrl.ir.value import Value, postorder
from lsrl.pretty import layout
from lsrl.shorthand import without_reset
from lsrl.spelling import Spelling, spell
from lsrl.surface import Scope, declared_value, expression, written
from lsrl.syntax import Expr, Prime

WIDTH = 56  # characters in a line of an equation


@dataclass(frozen=True, slots=True)
class Box:
    """A named thing.

    Attributes:
        key: its identity in the picture, `input:x`.
        role: input, noise, state, value, next or output.
        text: the lines of its equation, or its name.
        note: its shape, and what else is declared of it.
        group: the number of the recurrence that it is part of, if any.
    """

    key: str
    role: str
    text: tuple[str, ...]
    note: str
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """From what is read to what reads it; `back` from what a state passes on to the state at the next position."""

    source: str
    target: str
    back: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes and arrows; `groups` names the recurrences, in the order of their numbers."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    groups: tuple[str, ...]


def picture(cell: Cell) -> Picture:
    """The picture of a cell; `reset when` is said in the title, so that the equations stay those of the paper."""
    bare, condition = without_reset(cell)
    painter = _Painter(bare, spell(bare, {}, exact=True))
    arrows = tuple(dict.fromkeys(painter.arrows()))
    said = {f"input:{v.attr('name')}" for v in postorder([condition] if condition else []) if v.op == "input"}
    told = said - {arrow.source for arrow in arrows}
    boxes = tuple(box for box in painter.boxes() if box.key not in told)
    members = _groups(boxes, arrows)
    number = {key: place for place, keys in enumerate(members) for key in keys}
    return Picture(
        cell.name
        + (f" over {', '.join(cell.axes)}" if cell.axes != ("t",) else "")
        + (f", reset when {_inline(expression(condition, painter.scope))}" if condition is not None else ""),
        tuple(Box(b.key, b.role, b.text, b.note, number.get(b.key)) for b in boxes),
        arrows,
        tuple(_group_name(boxes, keys) for keys in members),
    )


@dataclass(frozen=True)
class _Painter:
    cell: Cell
    spelling: Spelling

    @property
    def scope(self) -> Scope:
        return Scope(self.spelling.named, brief=True)

    def boxes(self) -> Iterator[Box]:
        for declared in self.cell.inputs:
            note = " ".join(filter(None, (declared.domain, _kind(str(declared.kind)), shape_text(declared.shape))))
            yield Box(f"input:{declared.name}", "input", (declared.name,), note)
        for noise in self.cell.noises:
            text = f"{noise.draw.name}({', '.join(_inline(expression(a, self.scope)) for a in noise.draw.args)})"
            yield Box(f"noise:{noise.name}", "noise", (f"{noise.name} ~ {text}",), shape_text(noise.shape))
        for state in self.cell.states:
            yield Box(f"state:{state.name}", "state", (state.name,), self._state_note(state))
        for value, name in self.spelling.assigned.items():
            yield Box(f"value:{name}", "value", self._equation(name, value), _type(value))
        for state in self._updated():
            yield Box(f"next:{state.name}", "next", self._equation(f"{state.name}'", state.next), _type(state.next))
        for output in self.cell.outputs:
            named = output.value in self.spelling.named
            lines = (output.name,) if named else self._equation(output.name, output.value)
            yield Box(f"output:{output.name}", "output", lines, _type(output.value))

    def arrows(self) -> Iterator[Arrow]:
        for value, name in self.spelling.assigned.items():
            yield from self._into(f"value:{name}", value.args)
        for state in self._updated():
            yield from self._into(f"next:{state.name}", state.next.args)
        for output in self.cell.outputs:
            yield from self._into(f"output:{output.name}", (output.value,))
        for state in self.cell.states:
            for source in self._keys([state.next]):
                yield Arrow(source, f"state:{state.name}", back=True)

    def _into(self, target: str, read: Iterable[Value]) -> Iterator[Arrow]:
        yield from (Arrow(source, target) for source in self._keys(read))

    def _keys(self, read: Iterable[Value]) -> Iterator[str]:
        """The boxes that the written-out parts of an equation read, in the order of reading."""
        stack = list(read)[::-1]
        while stack:
            value = stack.pop()
            spelled = self.spelling.named.get(value)
            if value in self.spelling.assigned:
                yield f"value:{self.spelling.assigned[value]}"
            elif value.op in ("input", "noise", "state"):
                yield f"{value.op}:{value.attr('name')}"
            elif isinstance(spelled, Prime):
                yield f"next:{self._state_of(spelled).name}"
            else:
                stack.extend(reversed(value.args))

    def _updated(self) -> list[State]:
        """The states whose next value is called `h'`; others pass on something that has a name of its own."""
        return [s for s in self.cell.states if self.spelling.named.get(s.next) == self._prime(s)]

    def _prime(self, state: State) -> Prime:
        return Prime(self.spelling.declared["state", state.name])

    def _state_of(self, prime: Prime) -> State:
        return next(state for state in self.cell.states if self._prime(state) == prime)

    def _equation(self, name: str, value: Value) -> tuple[str, ...]:
        text = layout((f"{name} = ", document(written(value, self.scope))), WIDTH)
        return tuple(text.split("\n"))

    def _state_note(self, state: State) -> str:
        start = _inline(declared_value(state.init, self.scope))
        along = f" along {', '.join(state.axes)}" if len(self.cell.axes) > 1 else ""
        turned = [axis for axis in state.axes if axis in state.reverse]
        way = " backwards" if turned else ""
        way += f" on {', '.join(turned)}" if 0 < len(turned) < len(state.axes) else ""
        typed = " ".join(filter(None, (state.domain, _kind(str(state.kind)), shape_text(state.shape))))
        return f"{typed} = {start}{along}{way}"


def _groups(boxes: Iterable[Box], arrows: Iterable[Arrow]) -> tuple[tuple[str, ...], ...]:
    """The boxes of each recurrence: those that feed back into themselves."""
    order = {box.key: place for place, box in enumerate(boxes)}
    targets: dict[str, list[str]] = {}
    for arrow in arrows:
        targets.setdefault(arrow.source, []).append(arrow.target)
    found = [tuple(sorted(part, key=order.__getitem__)) for part in strong_components(list(order), targets)]
    return tuple(sorted((part for part in found if len(part) > 1), key=lambda part: order[part[0]]))


def _group_name(boxes: Iterable[Box], keys: tuple[str, ...]) -> str:
    return ", ".join(box.text[0] for box in boxes if box.role == "state" and box.key in keys)


def _inline(expr: Expr) -> str:
    return layout(document(expr, tight=True), 10_000)


def _kind(kind: str) -> str:
    return "" if kind == "float" else kind


def _type(value: Value) -> str:
    return " ".join(filter(None, (value.domain, _kind(str(value.kind)), shape_text(value.shape))))
