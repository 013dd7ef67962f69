"""Reading the text that `lsrl.ir.text` prints.

The text is taken at its word: types are not inferred again, so that a broken graph can be written down and shown to
the verifier (`lsrl.ir.verify`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from lsrl.ir.cell import Cell, Distribution, Input, Noise, Output, Param, Requirement, Size, State
from lsrl.ir.dims import Dim, Shape
from lsrl.ir.span import Source, Span
from lsrl.ir.text_line import Line, TextError, line_of, size_of
from lsrl.ir.value import Attr, Attrs, Domain, Kind, Value, intern


@dataclass
class Draft:
    """What has been read of a cell; declarations name values that come later, so they wait for the end."""

    name: str
    axes: tuple[str, ...]
    heads: Dim | None
    doc: str = ""
    sizes: list[Size] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    params: list[Callable[[], Param]] = field(default_factory=list)
    noises: list[Callable[[], Noise]] = field(default_factory=list)
    states: list[Callable[[], State]] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    requires: list[Requirement] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    names: dict[Value, str] = field(default_factory=dict)
    spans: dict[Value, tuple[Span, ...]] = field(default_factory=dict)

    def value(self, label: str, line: int) -> Value:
        if label not in self.values:
            raise TextError(f"line {line}: there is no value {label}")
        return self.values[label]

    def cell(self) -> Cell:
        return Cell(
            name=self.name,
            doc=self.doc,
            sizes=tuple(self.sizes),
            axes=self.axes,
            inputs=tuple(self.inputs),
            params=tuple(param() for param in self.params),
            noises=tuple(noise() for noise in self.noises),
            states=tuple(state() for state in self.states),
            outputs=tuple(self.outputs),
            heads=self.heads,
            requires=tuple(self.requires),
            names=self.names,
            spans=self.spans,
        )


def parse(text: str) -> Cell:
    """The cell that `show` printed; TextError when the text is none."""
    lines = [line_of(number, content) for number, content in enumerate(text.split("\n"), 1) if content.strip()]
    if not lines:
        raise TextError("line 1: expected a cell, found nothing")
    draft = _header(lines[0])
    for line in lines[1:]:
        _statement(line, draft)
        if line.kind != "end":
            raise line.fail("the end of the line")
    return draft.cell()


def _header(line: Line) -> Draft:
    line.need("cell")
    name = line.name()
    line.need("over")
    axes = line.listed(Line.name)
    heads = size_of(line) if line.accept("heads") else None
    line.need(":")
    return Draft(name, axes, heads)


def _statement(line: Line, draft: Draft) -> None:
    if line.kind == "label":
        _value(line, draft)
        return
    match line.take("word"):
        case "doc":
            draft.doc = line.string()
        case "size":
            draft.sizes.append(Size(line.name(), size_of(line) if line.accept("=") else None))
        case "input":
            draft.inputs.append(_input(line))
        case "param":
            draft.params.append(_param(line, draft))
        case "noise":
            draft.noises.append(_noise(line, draft))
        case "state":
            draft.states.append(_state(line, draft))
        case "output":
            name = line.name()
            line.need("=")
            draft.outputs.append(Output(name, draft.value(line.take("label"), line.number)))
        case "require":
            draft.requires.append(_requirement(line))
        case other:
            raise TextError(f"line {line.number}: no statement begins with `{other}`")


def _value(line: Line, draft: Draft) -> None:
    label = line.take("label")
    line.need("=")
    op = line.take("word")
    line.need("(")
    parts = line.listed(lambda item: _operand(item, draft), close=")")
    line.need(":")
    shape, kind, domain = _type(line)
    args = tuple(part for part in parts if isinstance(part, Value))
    attrs: Attrs = tuple(part for part in parts if not isinstance(part, Value))
    value = intern(op, args, attrs, shape, kind, domain)
    if label in draft.values:
        raise TextError(f"line {line.number}: {label} is given twice")
    draft.values[label] = value
    if line.accept("as"):
        draft.names[value] = line.string()
    elif not label[1:].isdigit():
        draft.names[value] = label[1:]
    if line.accept("at"):
        draft.spans[value] = line.listed(_span)


def _operand(line: Line, draft: Draft) -> Value | tuple[str, Attr]:
    if line.kind == "label":
        return draft.value(line.next(), line.number)
    name = line.take("word")
    line.need("=")
    return name, _attr(line)


def _attr(line: Line) -> Attr:
    if line.kind == "string":
        return line.string()
    if line.accept("<"):
        dim = size_of(line)
        line.need(">")
        return dim
    if line.accept("["):
        return line.listed(size_of, close="]")
    if line.accept("("):
        return line.listed(_attr, close=")")
    if line.accept("complex"):
        line.need("(")
        real, imaginary = line.listed(_number, close=")")
        return complex(real, imaginary)
    word = line.accept("true", "false")
    return word == "true" if word else _number(line)


def _number(line: Line) -> int | float | Fraction:
    sign = -1 if line.accept("-") else 1
    if line.kind == "word":
        return sign * float(line.next())
    text = line.take("number")
    if line.accept("/"):
        return Fraction(sign * int(text), line.integer())
    return sign * int(text) if text.isdigit() else sign * float(text)


def _type(line: Line) -> tuple[Shape, Kind, Domain]:
    word = line.accept("node", "edge", "turn")
    kind = line.take("word")
    if kind not in tuple(Kind):
        raise TextError(f"line {line.number}: there is no kind `{kind}`")
    line.need("[")
    return line.listed(size_of, close="]"), Kind(kind), Domain(word or "")


def _input(line: Line) -> Input:
    name = line.name()
    line.need(":")
    shape, kind, domain = _type(line)
    return Input(name, shape, kind, size_of(line) if line.accept("below") else None, domain)


def _param(line: Line, draft: Draft) -> Callable[[], Param]:
    name = line.name()
    line.need(":")
    shape, kind, _ = _type(line)
    drawn = _drawn(line, draft)
    return lambda: Param(name, shape, kind, drawn())


def _noise(line: Line, draft: Draft) -> Callable[[], Noise]:
    name = line.name()
    line.need(":")
    shape, _, domain = _type(line)
    drawn = _drawn(line, draft)
    return lambda: Noise(name, shape, drawn(), domain)


def _drawn(line: Line, draft: Draft) -> Callable[[], Distribution]:
    line.need("~")
    name = line.name()
    line.need("(")
    labels = line.listed(lambda item: item.take("label"), close=")")
    return lambda: Distribution(name, tuple(draft.value(label, line.number) for label in labels))


def _state(line: Line, draft: Draft) -> Callable[[], State]:
    name = line.name()
    line.need(":")
    shape, kind, domain = _type(line)
    line.need("along")
    axes = line.listed(Line.name)
    reverse = frozenset(line.listed(Line.name) if line.accept("reverse") else ())
    hidden = line.accept("hidden") is not None
    line.need("=")
    init = line.take("label")
    line.need("->")
    after = line.take("label")

    def state() -> State:
        start, end = draft.value(init, line.number), draft.value(after, line.number)
        return State(name, shape, kind, axes, start, end, reverse, domain, hidden)

    return state


def _requirement(line: Line) -> Requirement:
    line.need("<")
    dim = size_of(line)
    line.need(">")
    return Requirement(dim, line.string(), _span(line) if line.accept("at") else None)


def _span(line: Line) -> Span:
    file = line.string()
    line.need(":")
    start_line = line.integer()
    line.need(":")
    start_column = line.integer()
    line.need("-")
    end_line = line.integer()
    line.need(":")
    return Span(Source(file, ""), start_line, start_column, end_line, line.integer())
