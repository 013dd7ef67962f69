"""A loop's place in autograd: the text of two Functions.

The loop's derivative is that of `lsrl.backends.torch_adjoint`, in a Function of its own whose derivative in turn is
that of the plain form: so derivatives of any order exist.  Forward mode is refused.  Names of tensors are explicit,
as the compiler of PyTorch wants them.
"""

from __future__ import annotations

from lsrl.backends.loop_derivative import Derivative
from lsrl.backends.torch_adjoint import extent_argument
from lsrl.backends.torch_operator import Around, write_pieces
from lsrl.backends.triton_memory import Identifiers
from lsrl.backends.writer import Writer

RESERVED = ("ctx", "length", "extents", "every", "batch", "inputs", "output", "found", "cotangents", "plain", "tensors")


def write_autograd(around: Around, writer: Writer) -> None:
    """The `autograd.Function` of the loop, and that of its derivative."""
    assert around.derivative is not None
    if around.in_pieces:
        write_pieces(around, around.derivative, writer)
        writer.blank(2)
    writing = _Functions(around, around.derivative)
    writing.write_derivative(writer)
    writer.blank(2)
    writing.write_loop(writer)


def write_guard(around: Around, writer: Writer) -> None:
    """The loop as a Function without a derivative, which forward mode does not pass by in silence."""
    names = around.names
    with writer.block(f"class {names.autograd}(torch.autograd.Function):"):
        writer.docstring(f"`{names.operator}`, without a derivative.")
        writer.blank()
        writer.line("generate_vmap_rule = True")
        writer.blank()
        _write_forward(around, writer)
        writer.blank()
        writer.line("@staticmethod")
        with writer.block("def setup_context(ctx, inputs, output):"):
            writer.line("pass")


def _write_forward(around: Around, writer: Writer) -> None:
    writer.line("@staticmethod")
    extent = around.extent
    with writer.block(f"def forward({extent}, every, {around.given}):"):
        writer.line(f"return tuple({around.names.operator}([{around.given}], {extent}, every))")


class _Functions:
    """The two Functions while they are written; names of tensors are explicit, as the compiler wants them."""

    def __init__(self, around: Around, derivative: Derivative) -> None:
        self.around, self.derivative = around, derivative
        self.names, arguments = around.names, around.arguments
        own = Identifiers([*arguments.tensors, *RESERVED])
        cell, (self.taken, given) = around.loop.cell, around.smooth
        self.tensors = list(arguments.tensors)
        self.results = [*(o.name for o in cell.outputs), *(f"{state.name}_last" for state in cell.states)]
        self.saved = [own.fresh(f"{name}_saved") for name in around.loop.saved]
        self.seeds = [own.fresh(f"d_{name}") for name, smooth in zip(self.results, given, strict=True) if smooth]

    def write_derivative(self, writer: Writer) -> None:
        around, names = self.around, self.names
        given = [*self.tensors, *self.saved, *self.seeds]
        with writer.block(f"class {names.derivative}(torch.autograd.Function):"):
            what = names.pieces if around.in_pieces else names.adjoint
            writer.docstring(f"`{what}`, whose own derivative goes through `{names.plain}`.")
            writer.blank()
            writer.line("generate_vmap_rule = True")
            writer.blank()
            writer.line("@staticmethod")
            with writer.block(f"def forward({around.extent}, every, {', '.join(given)}):"):
                self._write_saved(writer)
                writer.line(f"return {self._derivative()}")
            writer.blank()
            writer.line("@staticmethod")
            with writer.block("def setup_context(ctx, inputs, output):"):
                taken, skipped = len(self.tensors), len(self.tensors) + len(self.saved)
                writer.line(f"ctx.{around.extent}, _, *tensors = inputs")
                kept = f"*tensors[:{taken}], *tensors[{skipped}:]" if self.saved else "*tensors"
                writer.line(f"ctx.save_for_backward({kept})")
            writer.blank()
            writer.line("@staticmethod")
            with writer.block("def backward(ctx, *cotangents):"):
                self._write_second(writer)

    def _write_saved(self, writer: Writer) -> None:
        """States that were not kept, since nothing said that there would be a backward pass."""
        if not self.saved:
            return
        around = self.around
        with writer.block("if not every:"):
            writer.line(f"every = {around.pieces or 'piece_size(length)'}")
            left = ", ".join([f"*_, {self.saved[0]}", *self.saved[1:]])
            writer.line(f"{left} = {self.names.operator}([{around.given}], {around.extent}, every)")

    def _derivative(self) -> str:
        arguments = self.around.arguments
        moving = [*arguments.reads, *arguments.statics]
        if self.around.in_pieces:
            return f"tuple({self.names.pieces}([{', '.join([*moving, *self.saved, *self.seeds])}], length, every))"
        needed = [name for name, state in zip(self.saved, self.around.loop.saved) if state in self.derivative.saved]
        extent = extent_argument(self.derivative)
        return f"{self.names.adjoint}({', '.join([*moving, *needed, *self.seeds, *extent])})"

    def _write_second(self, writer: Writer) -> None:
        plain, count = self.names.plain, len(self.tensors)
        if self.around.arguments.extent:
            extent = self.around.extent
            writer.line(f"plain = functools.partial({plain}, {extent}=ctx.{extent})")
            plain = "plain"
        writer.blank()
        with writer.block("def derivative(*tensors):"):
            writer.line(f"return pulled_back({plain}, tensors[:{count}], tensors[{count}:])")
        writer.blank()
        writer.line("found = pulled_back(derivative, ctx.saved_tensors, cotangents)")
        none = "None, " * len(self.saved)
        found = f"*found[:{count}], {none}*found[{count}:]" if none else "*found"
        writer.line(f"return None, None, {found}")

    def write_loop(self, writer: Writer) -> None:
        around, names = self.around, self.names
        with writer.block(f"class {names.autograd}(torch.autograd.Function):"):
            writer.docstring(f"`{names.operator}`, whose derivative is `{names.derivative}`.")
            writer.blank()
            writer.line("generate_vmap_rule = True")
            writer.blank()
            _write_forward(around, writer)
            writer.blank()
            writer.line("@staticmethod")
            with writer.block("def setup_context(ctx, inputs, output):"):
                self._write_context(writer)
            writer.blank()
            writer.line("@staticmethod")
            with writer.block("def backward(ctx, *cotangents):"):
                self._write_backward(writer)

    def _write_context(self, writer: Writer) -> None:
        _, given = self.around.smooth
        results, told = len(self.results), len(self.around.told)
        writer.line(f"ctx.{self.around.extent}, ctx.every, *tensors = inputs")
        writer.line(f"ctx.save_for_backward(*tensors{f', *output[{results + told}:]' if self.saved else ''})")
        fixed = [f"output[{place}]" for place, smooth in enumerate(given) if not smooth]
        fixed += [f"*output[{results}:]"] if self.saved or told else []
        if fixed:
            writer.line(f"ctx.mark_non_differentiable({', '.join(fixed)})")
        writer.line("ctx.set_materialize_grads(False)")

    def _write_backward(self, writer: Writer) -> None:
        """Zeros where a result has no cotangent, and None for ints and bools."""
        around = self.around
        taken, given = around.smooth
        starts, count = around.arguments.starts, len(self.tensors)
        own = f"[{count - len(starts)}:{count}]" if len(starts) > 1 else f"[{count - 1}]"
        writer.line("tensors = ctx.saved_tensors")
        writer.line(f"{', '.join(starts)} = tensors{own}")
        shapes = [*around.kept(), *((f"{start}.shape", f"{start}.dtype") for start in starts)]
        if any("batch" in shape for shape, _ in shapes):
            length = around.positions.replace(around.extent, f"ctx.{around.extent}")
            writer.line(f"batch, length = {around.first}.shape[0], {length}")
        pairs = [(place, *shapes[place]) for place, smooth in enumerate(given) if smooth]
        with writer.block("cotangents = ["):
            for place, shape, type_ in pairs:
                writer.line(f"filled(cotangents[{place}], {around.first}, {shape}, {type_}),")
        writer.line("]")
        passed = f"ctx.{around.extent}, ctx.every, *tensors, *cotangents"
        if all(taken):
            writer.line(f"return None, None, *{self.names.derivative}.apply({passed})")
            return
        writer.line(f"found = iter({self.names.derivative}.apply({passed}))")
        writer.line(f"return None, None, *(next(found) if own else None for own in {tuple(taken)})")
