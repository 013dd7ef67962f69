"""Cells as text: one line per declaration and per value, which `parse` reads back to the same graph.

    cell leaky over t:
        size H
        input x: float[H]
        state h: float[H] along t = %0 -> %3

        %0 = expand(%1, axes=(0,), shape=[H]) : float[H]
        ...
        %h' = add(%2, %x) : float[H]

        output h = %h'

A label is the user's name where that is a plain word and nobody took it before; another name follows as `as "x[t-1]"`.
Exact numbers are written `1/2` (a fraction; `1/1` is the float one), `1` (an int), `1.0` (a floating point number);
a size is `<H - 1>` and a shape `[H, 2]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from lsrl.ir.cell import Cell, Distribution, Input, Noise, Output, Param, Requirement, Size, State
from lsrl.ir.dims import Dim, Shape, shape_text
from lsrl.ir.span import Span
from lsrl.ir.text_line import TextError, parse_dim
from lsrl.ir.text_parse import parse
from lsrl.ir.value import Attr, Domain, Kind, Value, postorder

__all__ = ["TextError", "parse", "parse_dim", "show", "show_value"]

WORD = re.compile(r"[^\W\d][\w.']*")
INDENT = "    "


def show(cell: Cell, spans: bool = False) -> str:
    """The cell as text; `parse(show(cell))` equals it and has the same names (of values in use).

    With `spans`, each value is followed by the places of the program it stands for, which `parse` restores too.
    """
    values = tuple(postorder(cell.all_roots()))
    labels = _labels(values, cell.names)
    sections = (
        _declarations(cell, labels),
        (_value_line(value, labels, cell.names, cell.spans.get(value, ()) if spans else ()) for value in values),
        (_output(output, labels) for output in cell.outputs),
        (_requirement(requirement) for requirement in cell.requires),
    )
    blocks = ["".join(f"{INDENT}{line}\n" for line in section) for section in sections]
    return _header(cell) + "\n".join(block for block in blocks if block)


def show_value(root: Value, names: Mapping[Value, str] | None = None) -> str:
    """The lines of one value and everything it depends on, for error messages and debugging."""
    values = tuple(postorder([root]))
    labels = _labels(values, names or {})
    return "\n".join(_value_line(value, labels, names or {}, ()) for value in values)


def type_text(shape: Shape, kind: Kind, domain: Domain) -> str:
    """`float[H, D]`, with the domain in front where there is one: `edge float[]`."""
    return f"{domain} {kind}{shape_text(shape)}".strip()


def attr_text(attr: Attr) -> str:
    """An attribute, written so that each type reads back as itself."""
    match attr:
        case bool():
            return "true" if attr else "false"
        case str():
            return json.dumps(attr, ensure_ascii=False)
        case Fraction():
            return f"{attr.numerator}/{attr.denominator}"
        case Dim():
            return f"<{attr}>"
        case complex():
            return f"complex({attr.real!r}, {attr.imag!r})"
        case tuple() if attr and all(isinstance(item, Dim) for item in attr):
            return "[" + ", ".join(str(item) for item in attr) + "]"
        case tuple():
            inner = ", ".join(attr_text(item) for item in attr)
            return f"({inner},)" if len(attr) == 1 else f"({inner})"
        case _:
            return repr(attr)


def _labels(values: Iterable[Value], names: Mapping[Value, str]) -> dict[Value, str]:
    labels: dict[Value, str] = {}
    taken: set[str] = set()
    number = 0
    for value in values:
        name = names.get(value, "")
        if WORD.fullmatch(name) and name not in taken:
            labels[value] = f"%{name}"
            taken.add(name)
        else:
            labels[value] = f"%{number}"
            number += 1
    return labels


def _header(cell: Cell) -> str:
    heads = f" heads {cell.heads}" if cell.heads is not None else ""
    return f"cell {_name(cell.name)} over {', '.join(map(_name, cell.axes))}{heads}:\n"


def _declarations(cell: Cell, labels: Mapping[Value, str]) -> Iterator[str]:
    if cell.doc:
        yield f"doc {attr_text(cell.doc)}"
    yield from (_size(size) for size in cell.sizes)
    yield from (_input(declared) for declared in cell.inputs)
    yield from (_param(param, labels) for param in cell.params)
    yield from (_noise(noise, labels) for noise in cell.noises)
    yield from (_state(state, labels) for state in cell.states)


def _size(size: Size) -> str:
    return f"size {_name(size.name)}" + (f" = {size.default}" if size.default is not None else "")


def _input(declared: Input) -> str:
    bound = f" below {declared.bound}" if declared.bound is not None else ""
    return f"input {_name(declared.name)}: {type_text(declared.shape, declared.kind, declared.domain)}{bound}"


def _param(param: Param, labels: Mapping[Value, str]) -> str:
    return (
        f"param {_name(param.name)}: {type_text(param.shape, param.kind, Domain.NONE)} ~ {_drawn(param.init, labels)}"
    )


def _noise(noise: Noise, labels: Mapping[Value, str]) -> str:
    typed = type_text(noise.shape, Kind.FLOAT, noise.domain)
    return f"noise {_name(noise.name)}: {typed} ~ {_drawn(noise.draw, labels)}"


def _drawn(distribution: Distribution, labels: Mapping[Value, str]) -> str:
    return f"{_name(distribution.name)}({', '.join(labels[arg] for arg in distribution.args)})"


def _state(state: State, labels: Mapping[Value, str]) -> str:
    turned = f" reverse {', '.join(map(_name, sorted(state.reverse)))}" if state.reverse else ""
    marks = turned + (" hidden" if state.hidden else "")
    return (
        f"state {_name(state.name)}: {type_text(state.shape, state.kind, state.domain)}"
        f" along {', '.join(map(_name, state.axes))}{marks} = {labels[state.init]} -> {labels[state.next]}"
    )


def _output(output: Output, labels: Mapping[Value, str]) -> str:
    return f"output {_name(output.name)} = {labels[output.value]}"


def _requirement(requirement: Requirement) -> str:
    place = f" at {_span(requirement.span)}" if requirement.span is not None else ""
    return f"require <{requirement.dim}> {attr_text(requirement.message)}{place}"


def _value_line(value: Value, labels: Mapping[Value, str], names: Mapping[Value, str], spans: tuple[Span, ...]) -> str:
    label = labels[value]
    operands = [labels[arg] for arg in value.args]
    operands += [f"{name}={attr_text(attr)}" for name, attr in value.attrs]
    line = f"{label} = {value.op}({', '.join(operands)}) : {type_text(value.shape, value.kind, value.domain)}"
    if names.get(value, label[1:]) != label[1:]:
        line += f" as {attr_text(names[value])}"
    return line + (f" at {', '.join(map(_span, spans))}" if spans else "")


def _span(span: Span) -> str:
    return f"{attr_text(span.file)}:{span.line}:{span.column}-{span.end_line}:{span.end_column}"


def _name(name: str) -> str:
    return name if WORD.fullmatch(name) else attr_text(name)
