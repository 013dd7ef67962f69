"""What the functions of one emitted JAX module share: the plan, names, types, and how single values are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.expressions import Code, call
from lsrl.backends.host_numbers import host_number
from lsrl.backends.jax_layout import filled, iota, literal, thinly
from lsrl.backends.jax_ops import PRINTERS
from lsrl.backends.jax_place import Operand, Place, Types
from lsrl.backends.naming import Names
from lsrl.backends.places import inner_axes
from lsrl.backends.statements import Statements, Target
from lsrl.backends.thin import repeated, thin_values
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim, shape_text
from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import VARYING
from lsrl.ir.plan import Loop, Plan, Primitive
from lsrl.ir.value import Kind, Value, depends_on

SEQUENCE = ("batch", "length")
POSITION = ("batch",)
ALONE = ()


@dataclass(frozen=True, slots=True)
class Module:
    """A module while it is written.

    Attributes:
        plan: what it runs.
        names: identifiers of values and sizes.
        types: its types.
        varying: the values that have leading axes outside of `init` and `initial_state`.
        thin: repeated arrays that need not be repeated, because broadcasting does it where they are used.
        writer: where its text goes.
        wide: values that are computed from operands in full where others may round theirs to 16 bits.
    """

    plan: Plan
    names: Names
    types: Types
    varying: frozenset[Value]
    thin: frozenset[Value]
    writer: Writer
    wide: frozenset[Value] = frozenset()

    @classmethod
    def of(cls, plan: Plan, names: Names, types: Types, writer: Writer) -> Module:
        """A module that runs `plan`."""
        roots = [*plan.roots, *plan.cell.all_roots()]
        varying = depends_on(roots, lambda value: value.op in VARYING)
        return cls(plan, names, types, varying, thin_values(roots, _crossing(plan)), writer)

    @property
    def cell(self) -> Cell:
        return self.plan.cell

    def place(self, lead: Sequence[str]) -> Place:
        """Where values have the leading axes `lead`."""
        return Place(self.types, self.names.sizes, tuple(lead))

    def target(self, lead: Sequence[str]) -> Target:
        """How values are written where they have the leading axes `lead`."""
        place = self.place(lead)

        def express(value: Value, codes: Mapping[Value, Code]) -> Code:
            if not value.args:
                return self.operand(value, codes, place).code
            if value in self.thin:
                return thinly(value, self.operand(value.args[0], codes, place))
            own = replace(place, types=self.types.widened) if value in self.wide else place
            return PRINTERS[value.op](value, [self.operand(arg, codes, own) for arg in value.args], own)

        def split(value: Value, code: Code, axis: int, sizes: Sequence[Dim]) -> Code:
            return _split(value, code, axis, sizes, place)

        return Target(self.is_number, self.is_light, express, lambda value: self._remark(value, lead), split)

    def statements(self, lead: Sequence[str], names: Names | None = None) -> Statements:
        """A function's statements, under the module's names or its own."""
        return Statements(self.cell, names or self.names, self.writer, self.target(lead))

    def is_number(self, value: Value) -> bool:
        """Whether the value is a Python number in the emitted text."""
        return host_number(value, self.plan.sizes, self.names.sizes) is not None

    def is_light(self, value: Value) -> bool:
        """Whether the value is only another view of its operand's elements."""
        return value in self.thin or (value.op == "transpose" and value.rank == 2)

    def operand(self, value: Value, codes: Mapping[Value, Code], place: Place) -> Operand:
        """A value as an operand: what was written before, or a leaf that needs no statement."""
        host = host_number(value, self.plan.sizes, self.names.sizes)
        if host is not None:
            return Operand(value, host.code, varies=False, host=True)
        if value in codes:
            return Operand(value, codes[value], varies=value in self.varying)
        return Operand(value, iota(value, place) if value.op == "iota" else literal(value, place), varies=False)

    def array(self, value: Value, codes: Mapping[Value, Code], lead: Sequence[str]) -> Code:
        """The value with all leading axes: what does not vary is repeated."""
        place = self.place(lead)
        if value in self.varying:
            return codes[value]
        shape = place.shape(value.shape, True)
        number = repeated(value)
        if number is not None and self.is_number(number):
            return filled(shape, self.operand(number, codes, place), self.types.of(value.kind))
        return call("jnp.broadcast_to", self.operand(value, codes, place).code, shape)

    def converted(self, kind: Kind, code: object) -> Code:
        """An array from outside in the type that its kind has here."""
        return call(CONVERTERS[kind], code)

    def _remark(self, value: Value, lead: Sequence[str]) -> str:
        """The shape, where it is not that of the operands."""
        if family(value.op) is Family.ELEMENTWISE:
            return ""
        axes = [axis for axis in inner_axes(self.cell)[: len(lead)] if value in self.varying]
        return shape_text((*(Dim.of(axis) for axis in axes), *value.shape))


CONVERTERS: Mapping[Kind, str] = {
    Kind.BOOL: "bools",
    Kind.INT: "ints",
    Kind.FLOAT: "floats",
    Kind.COMPLEX: "complexes",
}


def _crossing(plan: Plan) -> Iterator[Value]:
    """What loops and primitives take and give whole."""
    for stage in plan.stages:
        match stage:
            case Loop():
                yield from (*stage.reads, *stage.emits)
            case Primitive():
                yield from (*stage.form.operands, *stage.form.results)


def _split(value: Value, code: Code, axis: int, sizes: Sequence[Dim], place: Place) -> Code:
    if all(size == sizes[0] for size in sizes):
        return call("jnp.split", code, len(sizes), axis=axis - value.rank)
    ends = [sum(sizes[:n], Dim.of(0)) for n in range(1, len(sizes))]
    return call("jnp.split", code, f"[{', '.join(str(place.dim(end)) for end in ends)}]", axis=axis - value.rank)
