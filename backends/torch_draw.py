"""Random and initial tensors of an emitted PyTorch module: `init`, `initial_state`, and noise that is not given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lsrl.backends.expressions import Code, call, method, shape_code, tupled
from lsrl.backends.identifiers import identifiers
from lsrl.backends.places import lengths, outer_lead
from lsrl.backends.statements import Statements
from lsrl.backends.thin import constant_leaves, repeated
from lsrl.backends.torch_distributions import draw
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_layout import filled
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Distribution, Param, State
from lsrl.ir.dims import Shape, shape_text
from lsrl.ir.lattice import is_grid
from lsrl.ir.value import Kind, Value, postorder


def write_init(frame: Frame) -> None:
    """`init(seed)`: parameters as the program declares them."""
    cell = frame.cell
    body = Writer(depth=1)
    inner = frame.to(body)
    statements = inner.statements()
    own = [p for p in cell.params if not _params_in(p.init.args)]
    later = [p for p in cell.params if p not in own]
    write_static(inner, statements, [arg for p in own for arg in p.init.args])
    items = [f'"{param.name}": {_initial(inner, statements, param)}' for param in own]
    body.line(f"params = {{{', '.join(items)}}}")
    for param in later:
        _bind_params(inner, statements, param.init.args)
        write_static(inner, statements, param.init.args)
        body.line(f'params["{param.name}"] = {_initial(inner, statements, param)}')
    with frame.writer.block("def init(seed=0, device=None):"):
        frame.writer.docstring("Parameters by name, drawn as the program says.")
        if "generator" in identifiers(str(body)):
            frame.writer.line("generator = torch.Generator().manual_seed(seed)")
        frame.writer.append(body)
        frame.writer.line("return {name: param.to(device) for name, param in params.items()}")


def write_initial_state(frame: Frame) -> None:
    """`initial_state(params, batch)`: every state before the first position."""
    cell, writer = frame.cell, frame.writer
    statements = frame.statements()
    extents = "extents, " if is_grid(cell) else ""
    with writer.block(f"def initial_state(params, batch, {extents}device=None):"):
        if is_grid(cell):
            writer.docstring("Every state where it enters a grid, [B, extents of the other axes, ...] by name.")
            writer.line(f"{tupled(lengths(cell.axes))} = extents")
        else:
            writer.docstring("Every state before the first position, [B, ...] by name.")
        inits = [state.init for state in cell.states]
        _bind_params(frame, statements, inits)
        write_static(frame, statements, inits)
        items = [f'"{s.name}": {_start(frame, statements, s)}' for s in cell.states]
        writer.line(f"return {{{', '.join(items)}}}")


def _start(frame: Frame, statements: Statements, state: State) -> Code:
    others = [axis for axis in frame.cell.axes if axis not in state.axes] if is_grid(frame.cell) else []
    border = replace(frame, lead=(*frame.lead, *lengths(others)))
    return border.array(state.init, statements.codes).wide().code


def given_tensor(frame: Frame, collection: str, name: str, shape: Shape, type_: str) -> Code:
    """A tensor from outside; over a grid one of the inputs has its places in a row by wave."""
    if collection == "params":
        return call("taken", collection, f'"{name}"', frame.place.shape(shape, False), type_)
    code = call("taken", collection, f'"{name}"', shape_code(shape, frame.names.sizes, outer_lead(frame.cell)), type_)
    return call("in_waves", code, len(frame.cell.axes)) if is_grid(frame.cell) else code


def write_noise(frame: Frame, statements: Statements, leaves: Iterable[Value]) -> None:
    """Noises of all positions: those given, or drawn ones."""
    noises = {noise.name: noise for noise in frame.cell.noises}
    for leaf in leaves:
        noise = noises[str(leaf.attr("name"))]
        _bind_params(frame, statements, noise.draw.args)
        write_static(frame, statements, noise.draw.args)
        drawn = method(_drawn(frame, statements, noise.draw, noise.shape, True), "to", "device", frame.types.data)
        given = given_tensor(frame, "inputs", noise.name, noise.shape, frame.types.data)
        frame.writer.line(f'{statements.bind(leaf)} = {given} if "{noise.name}" in inputs else {drawn}')


def _initial(frame: Frame, statements: Statements, param: Param) -> Code:
    """The initial value of a parameter."""
    types = frame.types
    type_ = types.data if param.kind is Kind.FLOAT else types.of(param.kind)
    if param.init.name == "value":
        return _given(frame, statements, param, type_)
    if param.kind is Kind.COMPLEX and param.init.name not in ("eye", "orthogonal"):
        parts = [_drawn(frame, statements, param.init, param.shape, False) for _ in range(2)]
        return call("torch.complex", *parts)
    drawn = _drawn(frame, statements, param.init, param.shape, False)
    return method(drawn, "to", type_) if type_ != types.real else drawn


def _given(frame: Frame, statements: Statements, param: Param, type_: str) -> Code:
    """A tensor that the program gives, or a number repeated."""
    (value,) = param.init.args
    shape = frame.place.shape(param.shape, False)
    scalar = repeated(value)
    if scalar is not None and frame.is_number(scalar):
        return filled(shape, frame.operand(scalar, statements.codes), type_)
    code = frame.operand(value, statements.codes).code
    if value.rank < len(param.shape):
        code = method(code, "expand", shape)
    return method(code, "to", type_)


def _drawn(frame: Frame, statements: Statements, distribution: Distribution, shape: Shape, varies: bool) -> Code:
    args = [frame.operand(arg, statements.codes).wide().code for arg in distribution.args]
    return draw(distribution, args, shape, frame.place, varies)


def write_static(frame: Frame, statements: Statements, roots: Sequence[Value]) -> None:
    """Statements for what the roots need of params and constants; a root used once stays an expression."""
    scalars = (repeated(root) for root in roots)
    numbers = [r for r, scalar in zip(roots, scalars, strict=True) if scalar is not None and frame.is_number(scalar)]
    used = [root for root in roots if root not in numbers]
    cone = list(postorder(used))
    statements.write([*constant_leaves(cone), *(v for v in cone if v.args)], frozenset(), used)


def _bind_params(frame: Frame, statements: Statements, roots: Sequence[Value]) -> None:
    for leaf in _params_in(roots):
        if leaf not in statements.codes:
            code = frame.converted(leaf.kind, f'params["{leaf.attr("name")}"]')
            frame.writer.line(f"{statements.bind(leaf)} = {code}", shape_text(leaf.shape))


def _params_in(roots: Iterable[Value]) -> list[Value]:
    return [v for v in postorder(roots) if v.op == "param"]
