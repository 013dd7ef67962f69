"""Tensors in a kernel: their names, where a program's part of them lies, loads and stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lsrl.backends.expressions import Code, call, infix, method, subscript
from lsrl.backends.kernel_form import View
from lsrl.backends.kernel_place import KernelPlace, lane_mask
from lsrl.backends.kernel_tiles import Tile
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.naming import identifier
from lsrl.ir.dims import Dim, DimLike, Shape, count, shape_text
from lsrl.ir.value import Kind, Value


class Role(StrEnum):
    """What a tensor of a kernel is, in the words of its remark."""

    READ = ""
    STATIC = "the same at all positions"
    START = "at the start"
    BEGIN = "at the start of each piece"
    PIECE = "of each piece"
    KEPT = "written"
    END = "at the end, written"
    SAVED = "now and then, written"
    TOLD = "of each program, written"
    TABLE = "which row arrives at each place"
    SHARED = "by all programs, written"
    ARRIVED = "programs at each meeting, counted"


WRITTEN = (Role.KEPT, Role.END, Role.SAVED)
"""What a kernel of a whole loop writes."""

_LEADS: Mapping[Role, tuple[str, ...]] = {
    Role.READ: ("B", "T"),
    Role.KEPT: ("B", "T"),
    Role.STATIC: (),
    Role.BEGIN: ("B", "pieces"),
    Role.SAVED: ("B", "P"),
    Role.PIECE: ("B", "pieces"),
    Role.TOLD: ("B", "programs"),
    Role.SHARED: ("B", "T"),
    Role.ARRIVED: ("groups", "T"),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor argument of a kernel.

    Attributes:
        name: of the argument.
        of: the input, param, state or output that it holds.
        narrow: it is stored in 16 bits.
    """

    name: str
    of: str
    role: Role
    shape: Shape
    kind: Kind
    narrow: bool

    @property
    def row(self) -> Dim:
        """Elements of one position, or of one sequence."""
        return count(self.shape) * (2 if self.kind is Kind.COMPLEX else 1)

    @property
    def remark(self) -> str:
        """`[B, T, H], written`: its shape and role."""
        return self.described(_LEADS.get(self.role, ("B",)), str(self.role))

    def described(self, lead: Sequence[str], role: str) -> str:
        """Its shape, behind these leading axes, and role."""
        text = shape_text((*(Dim.of(axis) for axis in lead), *self.shape))
        pairs = "as pairs of numbers" if self.kind is Kind.COMPLEX else ""
        return ", ".join(part for part in (text, pairs, role) if part)


class Identifiers:
    """Identifiers that differ from each other and from `taken`."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def fresh(self, wanted: str) -> str:
        base = identifier(wanted)
        found, number = base, 2
        while found in self._taken:
            found, number = f"{base}_{number}", number + 1
        self._taken.add(found)
        return found


def tensors_of(
    loop: LoopCell, bases: Iterable[Value], narrow: frozenset[Value], few_bits: bool, names: Identifiers
) -> tuple[Tensor, ...]:
    """The tensors of a loop's kernel in order: what it reads, what stays the same, where it starts, what it writes.

    Args:
        bases: the inputs and params of the loop that the kernel reads; others are left out.
        narrow: values of the surrounding cell that are stored in 16 bits.
        few_bits: whether what the loop keeps is.
    """
    cell = loop.cell
    states = {state.name for state in cell.states}
    used = {(v.op, str(v.attr("name"))) for v in bases}
    found: list[Tensor] = []
    for declared, value in zip(cell.inputs, loop.reads, strict=True):
        if ("input", declared.name) in used:
            name = names.fresh(declared.name)
            found.append(Tensor(name, declared.name, Role.READ, declared.shape, declared.kind, value in narrow))
    for param, value in zip(cell.params, loop.statics, strict=True):
        if ("param", param.name) in used:
            name = names.fresh(param.name)
            found.append(Tensor(name, param.name, Role.STATIC, param.shape, param.kind, value in narrow))
    for state in cell.states:
        found.append(Tensor(names.fresh(f"{state.name}_0"), state.name, Role.START, state.shape, state.kind, False))
    for output in cell.outputs:
        shape, kind = output.value.shape, output.value.kind
        kept = few_bits and kind is Kind.FLOAT
        if output.name not in loop.saved or output.name in states:
            found.append(Tensor(names.fresh(output.name), output.name, Role.KEPT, shape, kind, kept))
    for state in cell.states:
        found.append(Tensor(names.fresh(f"{state.name}_T"), state.name, Role.END, state.shape, state.kind, False))
    saved = {**{o.name: o.value for o in cell.outputs}, **{s.name: s.init for s in cell.states}}
    for name, like in ((name, saved[name]) for name in loop.saved):
        found.append(Tensor(names.fresh(f"{name}_P"), name, Role.SAVED, like.shape, like.kind, False))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Memory:
    """Addresses, loads and stores of one kernel.

    Attributes:
        tensors: by role and by what they hold.
        masks: names of masks of several axes, made from `names` when first used.
        length, saves: the identifiers of the numbers of positions, and of those whose arriving states are kept.
        reverse: whether the loop starts at the last position.
    """

    place: KernelPlace
    tensors: Mapping[tuple[Role, str], Tensor]
    masks: dict[tuple[str, ...], str]
    names: Identifiers
    length: str
    reverse: bool
    saves: str = ""

    def address(self, tensor: Tensor, value: Value, view: View | None, part: DimLike = 0) -> Code:
        """Where a program's block of a value lies at the first position.

        Args:
            view: how the value lies in the tensor; None for one that is the tensor.
            part: the offset of its first element, where it is a part of the tensor.
        """
        strides, offset = self.strides(tensor, view, part)
        code = Code(tensor.name)
        for term in (self.lead(tensor, value), *self._terms(value, strides)):
            code = infix("+", code, term) if term is not None else code
        return infix("+", code, self.place.dim(offset)) if offset != Dim.of(0) else code

    def strides(self, tensor: Tensor, view: View | None, part: DimLike) -> tuple[tuple[Dim, ...], Dim]:
        if view is not None:
            return view.strides, view.offset
        pairs = 2 if tensor.kind is Kind.COMPLEX else 1
        shape = tensor.shape
        return tuple(count(shape[axis + 1 :]) * pairs for axis in range(len(shape))), Dim.of(part)

    def lead(self, tensor: Tensor, value: Value) -> Code | None:
        """The start of the program's sequence, or of its last position."""
        if tensor.role is Role.STATIC:
            return None
        batch = self.place.tiling.batch
        sequence = Code("i_b") if batch.single else self.lanes(self.place.tiling.axes(value), 0)
        if tensor.role in (Role.START, Role.END):
            return times(sequence, self.place.dim(tensor.row))
        positions = Code(self.saves if tensor.role is Role.SAVED else self.length)
        first = infix("*", sequence, positions)
        if self.reverse:
            first = infix("-", infix("+", first, positions), Code("1"))
        return times(first, self.place.dim(tensor.row))

    def _terms(self, value: Value, strides: Sequence[Dim]) -> Iterable[Code]:
        axes = self.place.tiling.axes(value)
        for axis, tile in enumerate(self.place.tiling.all_tiles(value)):
            stride = self.place.dim(strides[axis])
            if not tile.single:
                yield times(self.lanes(axes, self.place.block_axis(value, axis)), stride)
            elif tile.number > 1:
                yield times(Code(f"i_{tile.name}"), stride)

    def lanes(self, axes: Sequence[Tile], at: int) -> Code:
        lanes = Code(f"o_{axes[at].name}")
        if len(axes) == 1:
            return lanes
        return subscript(lanes, ", ".join(":" if place == at else "None" for place in range(len(axes))))

    def advance(self, tensor: Tensor) -> Code:
        """From one position to the next."""
        return self.place.dim(tensor.row)

    def load(self, tensor: Tensor, value: Value, pointer: Code) -> Code:
        """A block in the type that is computed in."""
        mask = self.mask(value)
        other = "0.0" if value.kind is Kind.FLOAT else "0"
        code = call("tl.load", pointer, **({"mask": mask, "other": other} if mask else {}))
        types = self.place.types
        if value.kind is not Kind.FLOAT:
            return code
        wanted = types.dot if value in self.place.raw else types.real
        stored = types.data if tensor.narrow else types.real
        return code if wanted == stored else method(code, "to", wanted)

    def store(self, value: Value, pointer: Code, block: Code) -> str:
        """A store of one block; of programs that hold the same one, the first writes it."""
        own = self.place.tiling.all_tiles(value)
        first = [f"(i_{tile.name} == 0)" for tile in self.place.tiling.cut() if tile not in own]
        mask = " & ".join([part for part in (self.mask(value), *first) if part])
        if mask.startswith("(") and len(first) == 1 and not self.mask(value):
            mask = mask[1:-1]
        return str(call("tl.store", pointer, block, **({"mask": mask} if mask else {})))

    def mask(self, value: Value) -> str:
        """The lanes of a value's block that exist, by the name of their mask; empty where all do."""
        axes = self.place.tiling.axes(value)
        padded = [tile for tile in axes if tile.padded]
        if not padded or len(axes) == 1:
            return lane_mask(axes)
        key = tuple(tile.name if tile.padded else "" for tile in axes)
        if key not in self.masks:
            self.masks[key] = self.names.fresh(f"m_{'_'.join(tile.name for tile in axes)}")
        return self.masks[key]

    def mask_lines(self) -> Iterable[str]:
        """The definitions of masks of several axes."""
        return (line for _, line in self.mask_table())

    def mask_table(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """Masks of several axes: the tiles of each, with nothing for those that need none, and its definition."""
        for key, name in self.masks.items():
            parts = []
            for at, tile in enumerate(key):
                index = ", ".join(":" if place == at else "None" for place in range(len(key)))
                parts += [f"m_{tile}[{index}]"] if tile else []
            yield key, f"{name} = {' & '.join(parts)}"


def times(left: Code, right: Code) -> Code:
    """The product, where one of the factors may be 0 or 1."""
    if right.text == "1":
        return left
    if right.text == "0":
        return Code("0")
    return infix("*", left, right)
