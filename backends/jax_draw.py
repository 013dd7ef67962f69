"""Random and initial arrays of an emitted JAX module: `init`, `initial_state`, and noise that is not given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import Code, call, infix, method, tupled
from lsrl.backends.jax_distributions import draw
from lsrl.backends.jax_layout import filled
from lsrl.backends.jax_module import ALONE, POSITION, SEQUENCE, Module
from lsrl.backends.places import inner_axes, lengths
from lsrl.backends.statements import Statements
from lsrl.backends.thin import constant_leaves, repeated
from lsrl.ir.cell import Cell, Distribution, Param, State
from lsrl.ir.dims import Shape, shape_of, shape_text
from lsrl.ir.lattice import is_grid
from lsrl.ir.value import Kind, Value, postorder

FIXED = ("value", "eye")


def write_init(module: Module) -> None:
    """`init(seed)`: parameters as the program declares them."""
    cell, writer = module.cell, module.writer
    init = _Init(module, module.statements(ALONE), _keys(cell.params))
    own = [p for p in cell.params if not _params_in(p.init.args)]
    later = [p for p in cell.params if p not in own]
    with writer.block("def init(seed):"):
        writer.docstring(f"Parameters by name{', drawn as the program says' if cell.params else ': there are none'}.")
        if init.keys:
            number = sum(map(len, init.keys.values()))
            writer.line(f"keys = jax.random.split(jax.random.key(seed), {number})")
        whole = init.dictionary(own)
        writer.line(f"params = {whole}" if later else f"return {whole}")
        for param in later:
            _bind_params(module, init.statements, param.init.args)
            _write_static(module, init.statements, param.init.args)
            writer.line(f'params["{param.name}"] = {init.expression(param)}')
        if later:
            writer.line("return params")


def write_initial_state(module: Module) -> None:
    """`initial_state(params, batch)`: every state before the first position."""
    cell, writer = module.cell, module.writer
    statements = module.statements(POSITION)
    with writer.block(f"def initial_state(params, batch{', extents' if is_grid(cell) else ''}):"):
        writer.docstring(_initial_docstring(cell))
        if is_grid(cell):
            writer.line(f"{tupled(lengths(cell.axes))} = extents")
        inits = [state.init for state in cell.states]
        _bind_params(module, statements, inits)
        _write_static(module, statements, inits)
        items = [f'"{s.name}": {module.array(s.init, statements.codes, _border(cell, s))}' for s in cell.states]
        writer.line(f"return {{{', '.join(items)}}}")


def _initial_docstring(cell: Cell) -> str:
    if not is_grid(cell):
        return "Every state before the first position, [B, ...] by name."
    return "Every state where it enters a grid, [B, extents of the other axes, ...] by name."


def _border(cell: Cell, state: State) -> tuple[str, ...]:
    """The leading axes of an initial state."""
    return (*POSITION, *lengths([axis for axis in cell.axes if axis not in state.axes])) if is_grid(cell) else POSITION


def in_a_row(module: Module, sort: str, code: str) -> str:
    """An array from outside with the places of a grid in a row."""
    return f"in_a_row({code}, {len(module.cell.axes)})" if is_grid(module.cell) and sort != "param" else code


def write_noise(module: Module, statements: Statements, leaves: Iterable[Value]) -> None:
    """Noises of all positions: those given, or drawn ones."""
    noises = {noise.name: (number, noise) for number, noise in enumerate(module.cell.noises)}
    for leaf in leaves:
        number, noise = noises[str(leaf.attr("name"))]
        _write_static(module, statements, noise.draw.args)
        key = call("noise_key", "key", f'"{noise.name}"', number)
        drawn = _drawn(module, statements, noise.draw, noise.shape, key, SEQUENCE)
        given = in_a_row(module, "noise", f'inputs["{noise.name}"]')
        either = f'{given} if "{noise.name}" in inputs else {drawn}'
        shape = shape_text((*shape_of(*inner_axes(module.cell)), *noise.shape))
        module.writer.line(f"{statements.bind(leaf)} = {module.converted(Kind.FLOAT, either)}", shape)


@dataclass(frozen=True, slots=True)
class _Init:
    """The body of `init` while it is written; `keys` numbers the random keys of each parameter that is drawn."""

    module: Module
    statements: Statements
    keys: dict[str, range]

    def dictionary(self, params: Sequence[Param]) -> str:
        _write_static(self.module, self.statements, [arg for p in params for arg in p.init.args])
        return f"{{{', '.join(f'{p.name!r}: {self.expression(p)}' for p in params)}}}".replace("'", '"')

    def expression(self, param: Param) -> Code:
        """The initial value of a parameter."""
        types = self.module.types
        type_ = types.data if param.kind is Kind.FLOAT else types.of(param.kind)
        if param.init.name == "value":
            return self.given(param, type_)
        keys = self.keys.get(param.name, range(1))
        parts = [
            _drawn(self.module, self.statements, param.init, param.shape, Code(f"keys[{key}]"), ALONE) for key in keys
        ]
        if len(parts) == 2:
            return infix("+", parts[0], infix("*", Code("1j"), parts[1]))
        return parts[0] if param.kind is Kind.FLOAT else method(parts[0], "astype", type_)

    def given(self, param: Param, type_: str) -> Code:
        """An array that the program gives, or a number repeated."""
        (value,) = param.init.args
        place = self.module.place(ALONE)
        scalar = repeated(value)
        if scalar is not None and self.module.is_number(scalar):
            shape = place.shape(param.shape, False)
            return filled(shape, self.module.operand(scalar, self.statements.codes, place), type_)
        code = self.module.operand(value, self.statements.codes, place).code
        if value.rank < len(param.shape):
            code = call("jnp.broadcast_to", code, place.shape(param.shape, False))
        return method(code, "astype", type_)


def _keys(params: Sequence[Param]) -> dict[str, range]:
    """The numbers of the random keys of each drawn parameter; a complex one has two parts."""
    keys: dict[str, range] = {}
    first = 0
    for param in params:
        if param.init.name not in FIXED:
            keys[param.name] = range(first, first + (2 if param.kind is Kind.COMPLEX else 1))
            first = keys[param.name].stop
    return keys


def _drawn(
    module: Module, statements: Statements, distribution: Distribution, shape: Shape, key: Code, lead: Sequence[str]
) -> Code:
    place = module.place(lead)
    args = [module.operand(arg, statements.codes, place).code for arg in distribution.args]
    return draw(distribution, args, shape, key, place, bool(lead))


def _write_static(module: Module, statements: Statements, roots: Sequence[Value]) -> None:
    """Statements for what the roots need of params and constants; a root used once stays an expression."""
    scalars = (repeated(root) for root in roots)
    filled = [r for r, scalar in zip(roots, scalars, strict=True) if scalar is not None and module.is_number(scalar)]
    used = [root for root in roots if root not in filled]
    cone = list(postorder(used))
    statements.write([*constant_leaves(cone), *(v for v in cone if v.args)], frozenset(), used)


def _bind_params(module: Module, statements: Statements, roots: Sequence[Value]) -> None:
    for leaf in _params_in(roots):
        if leaf not in statements.codes:
            code = module.converted(leaf.kind, f'params["{leaf.attr("name")}"]')
            module.writer.line(f"{statements.bind(leaf)} = {code}", shape_text(leaf.shape))


def _params_in(roots: Iterable[Value]) -> list[Value]:
    return [v for v in postorder(roots) if v.op == "param"]
