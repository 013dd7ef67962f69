"""What must hold of every cell, checked anew: `verify` lists what does not, in words.

The builders make only cells for which it holds; passes that rewrite graphs, and text written by hand, are held to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from lsrl.ir.cell import DISTRIBUTIONS, GRAPH, Cell, Distribution
from lsrl.ir.dims import Dim, Shape, shape_text
from lsrl.ir.fault import Fault
from lsrl.ir.infer import Typing, literal_typing
from lsrl.ir.ops import LEAVES, OPS
from lsrl.ir.text import type_text
from lsrl.ir.value import Attr, Domain, Kind, Value, postorder

MOVING = ("input", "noise", "state")


class BrokenCell(AssertionError):
    """A cell that does not hold what every cell must: a bug of the compiler."""


def verify(cell: Cell) -> tuple[str, ...]:
    """Every problem of a cell, in words; none when it is well formed."""
    return (
        *_names(cell),
        *_axes(cell),
        *_domains(cell),
        *_leaves(cell),
        *_types(cell),
        *_states(cell),
        *_statics(cell),
        *_sizes(cell),
    )


def check(cell: Cell) -> Cell:
    """The cell itself; BrokenCell when it is not well formed."""
    problems = verify(cell)
    if problems:
        raise BrokenCell(f"{cell.name} is not well formed:\n" + "\n".join(f"- {problem}" for problem in problems))
    return cell


def dims_of(value: Value) -> Iterator[Dim]:
    """The sizes in a value's type and attributes."""
    yield from value.shape
    yield from _dims(attr for _, attr in value.attrs)


def _names(cell: Cell) -> Iterator[str]:
    arrays = [*(i.name for i in cell.inputs), *(n.name for n in cell.noises)]
    for sort, names in (
        ("input or noise", arrays),
        ("size", [s.name for s in cell.sizes]),
        ("param", [p.name for p in cell.params]),
        ("state", [s.name for s in cell.states]),
        ("output", [o.name for o in cell.outputs]),
    ):
        yield from (f"the {sort} {name} is declared {n} times" for name, n in Counter(names).items() if n > 1)
    if not cell.outputs:
        yield "there is no output"


def _axes(cell: Cell) -> Iterator[str]:
    if not cell.axes or len(set(cell.axes)) != len(cell.axes):
        yield f"the axes {cell.axes} are none or repeat"
    if GRAPH in cell.axes and len(cell.axes) > 1:
        yield f"a cell over a graph has no further axes: {cell.axes}"
    for state in cell.states:
        if not state.axes or not set(state.axes) <= set(cell.axes) or len(set(state.axes)) != len(state.axes):
            yield f"the state {state.name} travels along {state.axes}, the cell along {cell.axes}"


def _domains(cell: Cell) -> Iterator[str]:
    """Nodes, edges and turns exist in cells over graphs only."""
    if GRAPH in cell.axes:
        return
    places = [(_said(cell, value), value.domain) for value in postorder(cell.all_roots())]
    places += [(f"the input {i.name}", i.domain) for i in cell.inputs]
    places += [(f"the noise {n.name}", n.domain) for n in cell.noises]
    places += [(f"the state {s.name}", s.domain) for s in cell.states]
    yield from (f"{said} lives on each {domain}, but the cell is not over a graph" for said, domain in places if domain)


def _leaves(cell: Cell) -> Iterator[str]:
    """Leaves are declared, with the same type."""
    declared: dict[tuple[str, str], Typing] = {}
    declared |= {("input", i.name): Typing(i.shape, i.kind, i.domain) for i in cell.inputs}
    declared |= {("param", p.name): Typing(p.shape, p.kind) for p in cell.params}
    declared |= {("noise", n.name): Typing(n.shape, Kind.FLOAT, n.domain) for n in cell.noises}
    declared |= {("state", s.name): Typing(s.shape, s.kind, s.domain) for s in cell.states}
    travels = {state.name: state.axes for state in cell.states}
    for value in postorder(cell.all_roots()):
        if value.op not in ("input", "param", "noise", "state"):
            continue
        name = str(value.attr("name"))
        typing = declared.get((value.op, name))
        if typing is None:
            yield f"the {value.op} {name} is used but not declared"
        elif typing != _typing(value):
            yield f"the {value.op} {name} is declared {_type(typing)} but used as {_type(_typing(value))}"
        elif value.op == "state" and value.attr("axis") not in travels[name]:
            yield f"the state {name} is read along {value.attr('axis')}, but travels along {', '.join(travels[name])}"


def _types(cell: Cell) -> Iterator[str]:
    """Each operation has the type that its operands give it."""
    for value in postorder(cell.all_roots()):
        said = _said(cell, value)
        if value.op not in LEAVES and value.op not in OPS:
            yield f"{said}: there is no operation `{value.op}`"
            continue
        try:
            typing = _inferred(value)
        except Fault as fault:
            yield f"{said}: {fault}"
            continue
        if typing != _typing(value):
            yield f"{said} has type {_type(_typing(value))} but should have {_type(typing)}"


def _inferred(value: Value) -> Typing:
    attrs = dict(value.attrs)
    match value.op:
        case "const":
            return literal_typing(attrs["value"])
        case "size":
            return Typing((), Kind.INT)
        case "iota":
            return Typing(value.shape[:1] or (Dim.of(1),), Kind.INT)
        case "input" | "param" | "noise" | "state":
            return _typing(value)
    row = OPS[value.op]
    if tuple(attrs) != row.attrs or not value.args or row.arity not in (None, len(value.args)):
        raise Fault("verify", f"`{value.op}` takes {row.arity or 'some'} operands and the attributes {row.attrs}")
    return row.rule(value.args, attrs)


def _states(cell: Cell) -> Iterator[str]:
    for state in cell.states:
        own = Typing(state.shape, state.kind, state.domain)
        if not _fits(_typing(state.next), own):
            yield f"the state {state.name} is {_type(own)} but passes on {_type(_typing(state.next))}"
        if _typing(state.init) != Typing(state.shape, state.kind):
            yield f"the state {state.name} is {_type(own)} but starts as {_type(_typing(state.init))}"


def _fits(given: Typing, declared: Typing) -> bool:
    """Equal, but what is the same everywhere may stand where one for each node or edge is declared."""
    domains = (Domain.NONE, declared.domain)
    return (given.shape, given.kind) == (declared.shape, declared.kind) and given.domain in domains


def _statics(cell: Cell) -> Iterator[str]:
    """What is computed once, before the first step, reads nothing that changes from step to step."""
    for param in cell.params:
        yield from _distribution(f"the param {param.name}", param.shape, param.init)
    for noise in cell.noises:
        yield from _distribution(f"the noise {noise.name}", noise.shape, noise.draw)
    yield from (
        f"the initial value of the state {state.name} is not static: it reads {', '.join(read)}"
        for state in cell.states
        if (read := _moving([state.init]))
    )


def _distribution(said: str, shape: Shape, distribution: Distribution) -> Iterator[str]:
    counts = DISTRIBUTIONS.get(distribution.name)
    if counts is None:
        yield f"{said}: there is no distribution {distribution.name}"
    elif len(distribution.args) not in counts:
        yield f"{said}: {distribution.name} takes {counts} arguments, not {len(distribution.args)}"
    allowed = ((), shape) if distribution.name == "value" else ((),)
    yield from (
        f"{said}: an argument of {distribution.name} has the shape {shape_text(arg.shape)}"
        for arg in distribution.args
        if arg.shape not in allowed
    )
    if read := _moving(distribution.args):
        yield f"{said}: an argument of {distribution.name} is not static: it reads {', '.join(read)}"


def _moving(roots: Iterable[Value]) -> list[str]:
    """The inputs, noises and states that the roots depend on."""
    return sorted(str(value.attr("name")) for value in postorder(roots) if value.op in MOVING)


def _sizes(cell: Cell) -> Iterator[str]:
    """Every size that is used is declared; a default uses earlier sizes only."""
    known = {size.name for size in cell.sizes}
    for position, size in enumerate(cell.sizes):
        earlier = {other.name for other in cell.sizes[:position]}
        if size.default is not None and not size.default.names <= earlier:
            yield f"the default of the size {size.name} uses {', '.join(sorted(size.default.names - earlier))}"
    shapes = [(i.name, i.shape) for i in cell.inputs] + [(p.name, p.shape) for p in cell.params]
    shapes += [(n.name, n.shape) for n in cell.noises] + [(s.name, s.shape) for s in cell.states]
    for name, shape in shapes:
        yield from _unknown(f"the shape of {name}", shape, known)
    for value in postorder(cell.all_roots()):
        yield from _unknown(_said(cell, value), dims_of(value), known)
    yield from _unknown("the heads", [cell.heads] if cell.heads is not None else [], known)
    yield from _unknown("a requirement", (requirement.dim for requirement in cell.requires), known)


def _unknown(said: str, used: Iterable[Dim], known: set[str]) -> Iterator[str]:
    missing = {name for each in used for name in each.names} - known
    if missing:
        yield f"{said} uses the unknown size {', '.join(sorted(missing))}"


def _dims(attrs: Iterable[Attr]) -> Iterator[Dim]:
    for attr in attrs:
        match attr:
            case Dim():
                yield attr
            case tuple():
                yield from _dims(attr)


def _typing(value: Value) -> Typing:
    return Typing(value.shape, value.kind, value.domain)


def _type(typing: Typing) -> str:
    return type_text(typing.shape, typing.kind, typing.domain)


def _said(cell: Cell, value: Value) -> str:
    """How a problem names a value: by the user's name and place where it has them."""
    name = cell.names.get(value)
    spans = cell.spans.get(value, ())
    return (f"`{name}` ({value.op})" if name else f"the {value.op}") + (f" at {spans[0]}" if spans else "")
