"""A loop as an operator: its text, and that of the function that runs it.

A loop is one operator of `torch.library`, opaque to the compiler, that chooses the kernel or the plain form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import shape_code, tupled
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.loop_derivative import Derivative
from lsrl.backends.places import extent_name
from lsrl.backends.torch_loop import LoopNames
from lsrl.backends.torch_place import Types
from lsrl.backends.writer import Writer
from lsrl.ir.cell import Input, Param, State
from lsrl.ir.lattice import is_grid
from lsrl.ir.loop_adjoint import differentiable
from lsrl.ir.schedules.how import Newton
from lsrl.ir.value import Kind

NAMESPACE = "lsrl_module"
"""Stands for that namespace in the runtime functions; the module's text decides what it is."""


@dataclass(frozen=True, slots=True)
class LoopFunctions:
    """The names of what a module defines for one loop.

    Attributes:
        run: runs it; what `apply` calls.
        plain, kernel, launch, constants: its plain form, its kernel, what runs that, and what it is compiled for.
        forward: what runs it without a kernel; another than the plain form where derivatives do not go through it.
        operator: chooses between the two.
        autograd, derivative: the operator and its derivative as functions that autograd knows.
        adjoint: the derivative, of the arriving states of every position.
        pieces: the derivative, of the arriving states of some positions.
    """

    run: str
    plain: str
    forward: str
    kernel: str
    launch: str
    constants: str
    operator: str
    autograd: str
    derivative: str
    adjoint: str
    pieces: str


@dataclass(frozen=True, slots=True)
class Around:
    """What the functions around a loop are written from.

    Attributes:
        arguments: of the plain form.
        sizes: the identifier of every size.
        kernel: the function that says whether the kernel runs where a tensor is; empty where there is no kernel.
        pieces: how many positions lie between two of which the arriving states are kept; 0 for a number that depends
            on the length.
        derivative: None where there is none.
        guarded: whether the loop is a Function of autograd without a derivative, so that forward mode is refused.
    """

    names: LoopFunctions
    loop: LoopCell
    arguments: LoopNames
    sizes: Mapping[str, str]
    types: Types
    kernel: str
    pieces: int
    derivative: Derivative | None
    guarded: bool

    @property
    def first(self) -> str:
        return self.arguments.starts[0]

    @property
    def given(self) -> str:
        return ", ".join(self.arguments.tensors)

    @property
    def extent(self) -> str:
        """What functions call the number of positions, or over a grid that of places along each axis."""
        return extent_name(self.loop.cell)

    @property
    def known_extent(self) -> str:
        """That, as the arguments of the plain form tell it."""
        return self.extent if self.arguments.extent else f"{self.arguments.reads[0]}.shape[1]"

    @property
    def positions(self) -> str:
        """The number of positions, told the extent."""
        return "math.prod(extents)" if is_grid(self.loop.cell) else "length"

    @property
    def operands(self) -> str:
        """What the operators take."""
        extent = "extents: list[int]" if is_grid(self.loop.cell) else "length: int"
        return f"tensors: list[torch.Tensor], {extent}, every: int"

    @property
    def in_pieces(self) -> bool:
        return self.pieces != 1

    @property
    def smooth(self) -> tuple[list[bool], list[bool]]:
        """Which of the arguments, and which of the results without what is saved, can have gradients."""
        cell = self.loop.cell
        declared: tuple[Input | Param | State, ...] = (*cell.inputs, *cell.params, *cell.states)
        taken = [each.kind for each in declared]
        given = [*(output.value.kind for output in cell.outputs), *(state.kind for state in cell.states)]
        return [differentiable(kind) for kind in taken], [differentiable(kind) for kind in given]

    @property
    def told(self) -> tuple[str, ...]:
        """The types of what is told of each sequence about the run; it follows the last states."""
        return ("torch.int64", *[self.types.real] * 2) if isinstance(self.loop.how, Newton) else ()

    def kept(self) -> list[tuple[str, str]]:
        """Shape and type of what the loop keeps of every position."""
        found = []
        for output in self.loop.cell.outputs:
            narrow = self.types.narrow and output.value.kind is Kind.FLOAT
            type_ = self.types.data if narrow else self.types.of(output.value.kind)
            found.append((shape_code(output.value.shape, self.sizes, ("batch", "length")), type_))
        return found


def write_operator(around: Around, writer: Writer) -> None:
    """The loop as an operator, with what it gives without being run, and its rule for `torch.vmap`."""
    name, arguments = around.names.operator, around.arguments
    options = [*arguments.extent, *(["every"] if arguments.saved else [])]
    passed = ", ".join(["*tensors", *options])
    writer.line("@Operator")
    with writer.block(f"def {name}({around.operands}) -> list[torch.Tensor]:"):
        saved = ", then the arriving states of positions `every` apart" if arguments.saved else ""
        writer.docstring(f"What the loop keeps of every position, its last states{saved}.")
        if around.kernel:
            with writer.block(f"if {around.kernel}(tensors[0]):"):
                writer.line(f"return list({around.names.launch}({passed}))")
        writer.line(f"return separate({around.names.forward}({passed}), tensors)")
    writer.blank(2)
    writer.line(f"@{name}.register_fake")
    with writer.block(f"def _(tensors, {around.extent}, every):"):
        starts = len(arguments.starts)
        own = f"[-{starts}:]" if starts > 1 else "[-1]"
        writer.line(f"{', '.join(arguments.starts)} = tensors{own}")
        _write_fake(around, writer)
    writer.blank(2)
    reads, statics, starts = map(len, (arguments.reads, arguments.statics, arguments.starts))
    _write_vmap(name, [*["True"] * reads, *["False"] * statics, *["True"] * starts], writer)


def _write_vmap(name: str, sequences: Sequence[str], writer: Writer) -> None:
    writer.line(f"{name}.register_vmap(folded({name}, {tupled(sequences)}))")


def _write_fake(around: Around, writer: Writer) -> None:
    """Empty tensors such as the loop gives."""
    first, loop = around.first, around.loop
    made = [f"{first}.new_empty({shape}, dtype={type_})" for shape, type_ in around.kept()]
    made += [f"torch.empty_like({start}, memory_format=torch.contiguous_format)" for start in around.arguments.starts]
    made += [f"{first}.new_empty((batch,), dtype={type_})" for type_ in around.told]
    for state in (loop.cell.state(name) for name in loop.saved):
        shape = shape_code(state.shape, around.sizes, ("batch", "saves(length, every)"))
        made.append(f"{first}.new_empty({shape}, dtype={around.types.of(state.kind)})")
    if is_grid(loop.cell) and any("length" in each for each in made):
        writer.line(f"length = {around.positions}")
    if any("batch" in each for each in made):
        writer.line(f"batch = {first}.shape[0]")
    writer.line(f"return [{', '.join(made)}]")


def write_run(around: Around, writer: Writer) -> None:
    """The function that runs the loop, as one that can be differentiated unless that makes no sense."""
    arguments, extent = around.arguments, around.known_extent
    with writer.block(f"def {around.names.run}({', '.join((*arguments.tensors, *arguments.extent))}):"):
        writer.docstring("The loop by its kernel where that runs, else in plain PyTorch.")
        every = "0"
        if arguments.saved:
            size = around.pieces or f"piece_size({extent})"
            writer.line(f"every = {size} if wants_gradients({around.given}) else 0")
            every = "every"
        if around.derivative is None and not around.guarded:
            writer.line(f"return {around.names.operator}([{around.given}], {extent}, {every})")
            return
        cut = f"[:{len(around.smooth[1]) + len(around.told)}]" if arguments.saved else ""
        writer.line(f"return {around.names.autograd}.apply({extent}, {every}, {around.given}){cut}")


def write_pieces(around: Around, derivative: Derivative, writer: Writer) -> None:
    """The derivative of a loop that kept few states, as an operator."""
    names, loop, arguments = around.names, around.loop, around.arguments
    taken, given = around.smooth
    reads, statics = len(arguments.reads), len(arguments.statics)
    counts = (reads, statics, len(loop.saved), len(derivative.adjoint.seeds), len(derivative.adjoint.states))
    first, second = sum(taken[:reads]), sum(taken[: reads + statics])
    writer.line("@Operator")
    with writer.block(f"def {names.pieces}({around.operands}) -> list[torch.Tensor]:"):
        writer.docstring("The derivative of the loop, from the states that it kept at the start of each piece.")
        writer.blank()
        with writer.block("def run(reads, statics, starts, length):"):
            writer.line(f"return {names.operator}([*reads, *statics, *starts], length, 1)[{len(given)}:]")
        writer.blank()
        with writer.block("def adjoint(reads, statics, arriving, seeds, lasts):"):
            needed = [f"arriving[{loop.saved.index(name)}]" for name in derivative.saved]
            passed = ", ".join(["*reads", "*statics", *needed, "*seeds", "*lasts"])
            writer.line(f"found = {names.adjoint}({passed})")
            writer.line(f"return found[:{first}], found[{first}:{second}], found[{second}:]")
        writer.blank()
        writer.line(f"found = in_pieces(run, adjoint, tensors, {counts}, length, every, {loop.reverse})")
        writer.line("return separate(found, tensors)")
    writer.blank(2)
    writer.line(f"@{names.pieces}.register_fake")
    with writer.block("def _(tensors, length, every):"):
        states = [place for place, own in enumerate(taken) if own and place >= reads + statics]
        moving = [f"tensors[{place}]" for place, own in enumerate(taken[: reads + statics]) if own]
        cotangents = len(states)
        likes = [*moving, *([f"*tensors[-{cotangents}:]"] if cotangents else [])]
        like = "torch.empty_like(x, memory_format=torch.contiguous_format)"
        writer.line(f"return [{like} for x in ({', '.join(likes)},)]")
    writer.blank(2)
    _write_vmap(names.pieces, ["False"] * sum(counts), writer)
