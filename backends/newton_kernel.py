"""A loop that Newton's method solves, as the text of a Triton kernel: a tile of positions is a window.

All states of a tile are unknown at once.  A turn computes the step of the states that arrive and its Jacobian, solves
for the change by one associative scan, and adds it.  A lane whose changes have become small is done.  Lanes that are
not after some turns take their step alone, position by position: each further turn makes at least one more position
exact, so after as many turns as there are positions the tile is what the loop would have made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from lsrl.backends.expressions import Code, call, infix, subscript
from lsrl.backends.kernel_place import KernelTypes
from lsrl.backends.kernel_tiles import Tiling
from lsrl.backends.kernel_writer import Kernel, check_operations
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.newton_kernel_form import NewtonKernelForm
from lsrl.backends.scan_kernel_algebra import affine
from lsrl.backends.scan_kernel_memory import Places
from lsrl.backends.scan_kernel_states import Carried, StateWriter
from lsrl.backends.scan_kernel_tiles import TIME
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.value import Kind, Value, depends_on, postorder

SMALL = {"tl.float32": "3.5e-4", "tl.float64": "1.5e-8"}
"""The square root of the precision: Newton's next change would be about the square of one that is so small."""
TOLD = ("turns", "fell", "residual")
"""What programs tell: the most turns of a tile by Newton's method, how many lanes of tiles fell back, and the largest
residual of the others."""


def write_newton_kernel(
    name: str,
    loop: LoopCell,
    newton: NewtonKernelForm,
    tiling: Tiling,
    iterations: int,
    numbers: Mapping[str, int],
    types: KernelTypes,
    narrow: frozenset[Value],
    reserved: Iterable[str],
) -> tuple[Kernel, str]:
    """The kernel `name`: what its launch needs to know, and its text.

    Args:
        iterations: turns by Newton's method, before those that take the step alone.
        numbers: the number of every size.
        narrow: values around the loop that are stored in 16 bits.
        reserved: identifiers of the module.

    Raises:
        NoKernel: an operation that kernels do not know.
    """
    check_operations(tiling.form)
    return _NewtonWriter(name, loop, newton, tiling, iterations, numbers, types, narrow, tuple(reserved)).write()


class _NewtonWriter(StateWriter):
    """The kernel while it is written."""

    def __init__(
        self,
        name: str,
        loop: LoopCell,
        newton: NewtonKernelForm,
        tiling: Tiling,
        iterations: int,
        numbers: Mapping[str, int],
        types: KernelTypes,
        narrow: frozenset[Value],
        reserved: tuple[str, ...],
    ) -> None:
        super().__init__(name, loop, tiling, numbers, types, narrow, reserved)
        self.newton, self.iterations = newton, iterations
        self.algebra = affine(len(newton.names))
        self.states = self.carried(newton.names, newton.starts, newton.following)
        self.axes = tiling.axes(newton.following[0])
        self.shape = self.place.shape(self.axes)
        self.lanes = self.place.shape(self.axes[1:]) if len(self.axes) > 1 else "()"
        leaves = frozenset((*newton.arriving, *newton.following))
        self.entries = [step.value for step in newton.jacobian if step.value is not None]
        self.tied = depends_on([*newton.stepped, *self.entries, *newton.kept.values()], leaves.__contains__)
        words = ("turn", "left", "b_done", "b_fell", "b_small", "n_turns", "n_fell", "b_residual", "b_worst")
        self.local = {word: self.own.fresh(word) for word in words}

    def grid(self) -> tuple[str, ...]:
        return ("batch", *super().grid()[1:])

    def new_places(self) -> Places:
        return Places(self.own.fresh("i_b"), "", "0", self.length, "", "")

    def all_tensors(self) -> tuple[Tensor, ...]:
        kinds = (Kind.INT, Kind.INT, Kind.FLOAT)
        pairs = zip(TOLD, kinds, strict=True)
        told = [Tensor(self.own.fresh(word), word, Role.TOLD, (), kind, False) for word, kind in pairs]
        return (*self.tensors, *told)

    def write_places(self, writer: Writer, used: frozenset[str]) -> None:
        writer.line(f"{self.at.sequence} = tl.program_id(0).to(tl.int64)")
        writer.lines(self.program_lines(self.tiling.cut()))
        writer.line(f"o_{TIME} = tl.arange(0, {self.block})")
        self.write_lanes(writer, used)
        writer.lines(self.over_time.fixed_masks())

    def write(self) -> tuple[Kernel, str]:
        newton, local = self.newton, self.local
        starts, pointers, tile, ends = (Writer(depth=depth) for depth in (1, 1, 2, 1))
        kept = list(newton.kept.values())
        roots = [*newton.stepped, *self.entries, *kept]
        self.write_statics(starts, roots)
        self.write_starts(starts, self.states, Role.START)
        starts.line(f"{local['n_turns']}, {local['n_fell']} = 0, 0")
        starts.line(f"{local['b_worst']} = {call('tl.full', self.lanes, '0.0', self.place.types.real)}")
        self.write_reads(pointers, tile, roots)
        cone = [v for v in postorder(roots, stop=self.form.views.__contains__) if v in self.body]
        self.write_known(tile, cone)
        self.write_turns(tile, [v for v in cone if v in self.tied])
        self.write_solution(pointers, tile, kept)
        saved = self.saved(self.states)
        if saved:
            self.write_first_saves(starts, saved, f"{self.length} > 0")
            self.write_saves(tile, saved)
        self.write_lasts(tile, self.states)
        self.write_moves(tile)
        self.write_ends(ends, self.states)
        self.write_told(ends)
        return self.framed(starts, pointers, tile, ends)

    def write_known(self, tile: Writer, cone: Sequence[Value]) -> None:
        """What needs no state, once for all turns."""
        self.statements.writer = tile
        known = [v for v in cone if v not in self.tied]
        used = [arg for v in cone if v in self.tied for arg in v.args if arg in known]
        self.statements.write(known, {*used}, used)

    def write_turns(self, tile: Writer, cone: Sequence[Value]) -> None:
        """Turns until every lane is done."""
        newton, local = self.newton, self.local
        for state in self.states:
            block = call("tl.broadcast_to", self.beside_rows(state), self.shape)
            tile.line(f"{self.statements.bind(state.following)} = {block}", "to begin with, the states stay")
        mask = self.lane_mask()
        done = f"(~{mask}).to(tl.int32)" if mask.isidentifier() else f"tl.full({self.lanes}, 0, tl.int32)"
        tile.line(f"{local['b_done']} = {done}", "lanes")
        tile.line(f"{local['b_fell']} = {local['b_done']} * 0")
        tile.line(f"{local['turn']}, {local['left']} = 0, 1")
        before = dict(self.statements.codes)
        limit = f"{self.iterations} + {self.block}"
        with tile.block(f"while ({local['left']} > 0) & ({local['turn']} < {limit}):"):
            for leaf, state in zip(newton.arriving, self.states, strict=True):
                tile.line(f"{self.names[leaf]} = {self.arriving(state)}")
                self.statements.bind(leaf)
            wanted = [*newton.stepped, *self.entries]
            needed = set(postorder(wanted, stop=before.__contains__))
            self.statements.write([v for v in cone if v in needed], (), wanted)
            self.write_change(tile)
        self.statements.codes.clear()
        self.statements.codes.update(before)

    def write_change(self, tile: Writer) -> None:
        """One turn, from the step and its Jacobian on."""
        newton, local = self.newton, self.local
        exists, names = self.exists(self.axes), newton.names
        steps = [f"b_{self.names.fresh(f'{name}_step')}" for name in names]
        for step, value, leaf in zip(steps, newton.stepped, newton.arriving, strict=True):
            tile.line(f"{step} = {call('tl.where', exists, self.code(value), self.code(leaf))}")
        like, ones = newton.following[0], self.algebra.identity
        entries = [self.step(entry, one, self.axes, like) for entry, one in zip(newton.jacobian, ones, strict=False)]
        rests = [infix("-", Code(step), self.code(state.following)) for step, state in zip(steps, self.states)]
        composed = [f"b_{self.names.fresh(letter)}" for letter in self.algebra.coefficients]
        given = ", ".join(map(str, [*entries, *rests]))
        tile.line(f"{', '.join(composed)} = tl.associative_scan(({given}), 0, {self.algebra.function})")
        changes = composed[len(newton.jacobian) :]
        small = SMALL[self.place.types.real]
        sizes = [f"{small} * (1 + tl.abs({self.code(state.following)}))" for state in self.states]
        limits = [f"(tl.abs({change}) <= {size})" for change, size in zip(changes, sizes, strict=True)]
        alone = [f"({rest} == 0)" for rest in rests]
        newtons = f"{local['turn']} < {self.iterations}"
        tile.line(f"{local['b_small']} = tl.where({newtons}, {' & '.join(limits)}, {' & '.join(alone)})")
        for change, step, state, bounds in zip(changes, steps, self.states, newton.bounds, strict=True):
            moved = f"b_{self.names.fresh(f'{state.name}_moved')}"
            following = str(self.code(state.following))
            tile.line(f"{moved} = {following} + {change}")
            if bounds is not None:
                self.write_bounds(tile, moved, state, bounds.low, bounds.high)
            finite = f'(tl.abs({moved}) < float("inf")) & ({newtons})'
            tile.line(f"{moved} = tl.where({finite}, {moved}, {step})")
            tile.line(f"{following} = tl.where({self.beside(local['b_done'])} > 0, {following}, {moved})")
        tile.line(f"{local['turn']} += 1")
        done = f"tl.min({local['b_small']}.to(tl.int32), axis=0)"
        tile.line(f"{local['b_done']} = tl.maximum({local['b_done']}, {done})")
        fell = f"tl.where({local['turn']} == {self.iterations}, 1 - {local['b_done']}, {local['b_fell']})"
        tile.line(f"{local['b_fell']} = {fell}")
        tile.line(f"{local['left']} = 1 - {self.over_lanes('tl.min', local['b_done'])}")

    def write_bounds(self, tile: Writer, moved: str, state: Carried, low: float, high: float) -> None:
        """A state that starts within its bounds never leaves them."""
        start, ends = str(self.beside_rows(state)), []
        if isfinite(low):
            ends.append(f"({start} >= {low!r})")
        if isfinite(high):
            ends.append(f"({start} <= {high!r})")
        inside = moved
        inside = f"tl.maximum({inside}, {low!r})" if isfinite(low) else inside
        inside = f"tl.minimum({inside}, {high!r})" if isfinite(high) else inside
        tile.line(f"{moved} = tl.where({' & '.join(ends)}, {inside}, {moved})")

    def write_solution(self, pointers: Writer, tile: Writer, kept: Sequence[Value]) -> None:
        """What is kept, from the states found, and how far these are from the step of each other."""
        newton, local = self.newton, self.local
        for leaf, state in zip(newton.arriving, self.states, strict=True):
            tile.line(f"{self.statements.bind(leaf)} = {self.arriving(state)}")
        roots = [*newton.stepped, *kept]
        late = [v for v in postorder(roots, stop=self.statements.codes.__contains__) if v in self.body]
        self.statements.writer = tile
        self.statements.write(late, {value for value in kept if value in late}, newton.stepped)
        for name, value in newton.kept.items():
            self.write_kept(pointers, tile, name, value)
        for value, state in zip(newton.stepped, self.states, strict=True):
            after = str(self.code(state.following))
            gap = f"tl.abs({infix('-', self.code(value), Code(after))}) / (1 + tl.abs({after}))"
            valid = f"{self.exists(self.axes)} & ({self.beside(local['b_fell'])} == 0)"
            tile.line(f"{local['b_residual']} = tl.max(tl.where({valid}, {gap}, 0.0), axis=0)")
            tile.line(f"{local['b_worst']} = tl.maximum({local['b_worst']}, {local['b_residual']})")
        turns = f"tl.minimum({local['turn']}, {self.iterations})"
        tile.line(f"{local['n_turns']} = tl.maximum({local['n_turns']}, {turns})")
        mask = self.lane_mask()
        fell = f"tl.where({mask}, {local['b_fell']}, 0)" if mask else local["b_fell"]
        tile.line(f"{local['n_fell']} += {self.over_lanes('tl.sum', fell)}")

    def write_told(self, ends: Writer) -> None:
        """What the program tells of its run."""
        program = "tl.program_id(1) * tl.num_programs(2) + tl.program_id(2)"
        local, tensors = self.local, [self.memory.tensors[Role.TOLD, word] for word in TOLD]
        mask = self.lane_mask()
        worst = f"tl.where({mask}, {local['b_worst']}, 0.0)" if mask else local["b_worst"]
        values = (local["n_turns"], local["n_fell"], self.over_lanes("tl.max", worst))
        ends.line(f"i_program = ({self.at.sequence} * tl.num_programs(1) * tl.num_programs(2)) + {program}")
        for tensor, value in zip(tensors, values, strict=True):
            ends.line(f"tl.store({tensor.name} + i_program, {value})")

    def beside(self, block: str) -> str:
        """A block of lanes lined up with positions."""
        index = ["None", *[":"] * (len(self.axes) - 1)]
        return str(subscript(Code(block), ", ".join(index))) if len(self.axes) > 1 else block

    def over_lanes(self, function: str, block: str) -> str:
        """A reduction over all lanes."""
        for axis in reversed(range(len(self.axes) - 1)):
            block = f"{function}({block}, axis={axis})"
        return block

    def lane_mask(self) -> str:
        return self.memory.mask(self.newton.starts[0])
