"""States in a kernel over tiles of positions: how they start, arrive, follow, are kept, and end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import Code, call, infix, subscript
from lsrl.backends.kernel_place import lane_mask
from lsrl.backends.kernel_tiles import Tile
from lsrl.backends.scan_kernel_form import Step
from lsrl.backends.scan_kernel_tiles import TIME
from lsrl.backends.scan_kernel_writer import TileWriter
from lsrl.backends.triton_memory import Role
from lsrl.backends.writer import Writer
from lsrl.ir.value import Value


@dataclass(frozen=True, slots=True)
class Carried:
    """A real state that goes from tile to tile.

    Attributes:
        start: a stand-in for it at the start of a tile, which has no axis of positions.
        following: its values as they are passed on.
        block: the identifier of its value at the start of the tile.
    """

    name: str
    start: Value
    following: Value
    block: str


class StateWriter(TileWriter):
    """A kernel over tiles whose states are known by the values that follow each position."""

    def carried(self, names: Iterable[str], starts: Iterable[Value], following: Iterable[Value]) -> list[Carried]:
        return [
            Carried(name, start, after, f"b_{self.names.fresh(f'{name}_0')}")
            for name, start, after in zip(names, starts, following, strict=True)
        ]

    def write_starts(self, writer: Writer, states: Iterable[Carried], role: Role) -> None:
        """Loads of the states before the first position."""
        for state in states:
            tensor, part = self.of(role, state.name)
            address = self.memory.address(tensor, state.start, None, part)
            self.write_block(writer, state.block, self.memory.load(tensor, state.start, address), state.start)

    def beside_rows(self, state: Carried) -> Code:
        """`b_h_0[None, :]`: the state at the start of the tile, lined up with its positions."""
        lanes = self.tiling.axes(state.start)
        return subscript(Code(state.block), ", ".join(["None", *[":"] * len(lanes)])) if lanes else Code(state.block)

    def arriving(self, state: Carried) -> Code:
        """The state as it arrives at each position: what follows the one before."""
        first = infix("==", Code(self.rows(self.tiling.axes(state.following))), Code("0"))
        return call("tl.where", first, self.beside_rows(state), call("one_before", self.code(state.following)))

    def code(self, value: Value) -> Code:
        return self.operand(value, self.statements.codes).code

    def write_kept(self, pointers: Writer, tile: Writer, name: str, value: Value) -> None:
        """A store of one of the loop's outputs."""
        tensor, part = self.of(Role.KEPT, name)
        pointer = self.pointer(pointers, tensor, value, self.over_time.pointer(tensor, value, None, part))
        address = self.over_time.within(pointer, tensor, value, None, part)
        tile.line(self.memory.store(value, address, self.code(value)))

    def write_lasts(self, tile: Writer, states: Iterable[Carried]) -> None:
        """The states at the start of the next tile."""
        for state in states:
            axes = self.tiling.axes(state.following)
            tile.line(f"{state.block} = {self.last(self.code(state.following), axes)}")

    def write_ends(self, writer: Writer, states: Iterable[Carried]) -> None:
        """Stores of the last states."""
        for state in states:
            tensor, part = self.of(Role.END, state.name)
            address = self.memory.address(tensor, state.start, None, part)
            writer.line(self.memory.store(state.start, address, Code(state.block)))

    def saved(self, states: Iterable[Carried]) -> list[Carried]:
        """The states whose arriving values can be kept."""
        parts, tensors = self.form.parts, self.memory.tensors
        return [state for state in states if (Role.SAVED, parts.get(state.name, (state.name, 0))[0]) in tensors]

    def write_first_saves(self, starts: Writer, saved: Sequence[Carried], condition: str) -> None:
        """The states that arrive at the first position, where the condition holds."""
        with starts.block(f"if {self.every}:"):
            starts.line(f"{self.memory.saves} = tl.cdiv({self.length}, {self.every})")
            with starts.block(f"if {condition}:"):
                for state in saved:
                    tensor, part = self.of(Role.SAVED, state.name)
                    axes = self.tiling.axes(state.start)
                    address = self.over_time.saved(tensor, state.start, part, axes, Code("0"))
                    starts.line(self.memory.store(state.start, address, Code(state.block)))

    def write_saves(self, tile: Writer, saved: Sequence[Carried]) -> None:
        """Arriving states of positions some way apart: those that follow the position before."""
        after, kept = self.own.fresh("after"), self.own.fresh("m_saved")
        with tile.block(f"if {self.every}:"):
            tile.line(f"{after} = (i_{TIME} + o_{TIME} + 1).to(tl.int64)")
            inside = f"({after} <= {self.at.last}) & ({after} < {self.length})"
            tile.line(f"{kept} = ({after} % {self.every} == 0) & {inside}")
            for state in saved:
                tensor, part = self.of(Role.SAVED, state.name)
                axes = self.tiling.axes(state.following)
                index = f"[{', '.join([':', *['None'] * (len(axes) - 1)])}]" if len(axes) > 1 else ""
                place = Code(f"({after} // {self.every}){index}")
                address = self.over_time.saved(tensor, state.start, part, axes, place)
                lanes = lane_mask(axes).removeprefix(self.exists(axes)).removeprefix(" & ")
                mask = f"{kept}{index} & {lanes}" if lanes else f"{kept}{index}"
                tile.line(f"tl.store({address}, {self.code(state.following)}, mask={mask})")

    def step(self, step: Step, identity: str, axes: tuple[Tile, ...], like: Value) -> Code:
        """A coefficient for every element of the tile, that of the identity where there is no position."""
        shape = self.place.shape(axes)
        operand = None if step.value is None else self.operand(step.value, self.statements.codes)
        if operand is None or operand.host:
            text = step.number if operand is None else operand.code
            block = call("tl.full", shape, text, self.place.types.real)
            return block if str(text) == identity else call("tl.where", self.exists(axes), block, identity)
        lanes = [n for n, tile in enumerate(self.tiling.all_tiles(like)) if not tile.single]
        index = [":" if step.value in self.tiling.varying else "None"]
        index += [":" if axis in step.axes else "None" for axis in lanes]
        spread = subscript(operand.code, ", ".join(index)) if operand.axes and "None" in index else operand.code
        block = call("tl.where", self.exists(axes), spread, identity)
        return call("tl.broadcast_to", block, shape) if "None" in index[1:] else block
