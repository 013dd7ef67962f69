"""A loop in plain PyTorch: a function of whole sequences that runs position after position."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lsrl.backends.identifiers import identifiers
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.naming import Names
from lsrl.backends.places import loop_extent
from lsrl.backends.statements import Statements
from lsrl.backends.thin import constant_leaves, thin_values
from lsrl.backends.torch_frame import POSITION, SEQUENCE, Frame
from lsrl.backends.torch_place import Types
from lsrl.backends.writer import Writer
from lsrl.ir.dims import Shape
from lsrl.ir.lattice import is_grid
from lsrl.ir.pipeline import VARYING
from lsrl.ir.value import Kind, Value, depends_on, postorder


@dataclass(frozen=True, slots=True)
class LoopNames:
    """The arguments of a loop's functions in order: what it reads, what stays the same, where its states start.

    A loop that reads nothing takes the number of positions as one more argument, one over a grid that of places along
    each axis, and one with a backward pass how many positions lie between two of which it keeps the arriving states,
    `saved`; 0 keeps none.
    """

    reads: tuple[str, ...]
    statics: tuple[str, ...]
    starts: tuple[str, ...]
    saved: tuple[str, ...]
    extent: tuple[str, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        return (*self.reads, *self.statics, *self.starts)

    @property
    def options(self) -> tuple[str, ...]:
        """Arguments with defaults, behind the others."""
        return ("every=0",) if self.saved else ()


def write_plain_loop(name: str, plain: PlainLoop, writer: Writer) -> None:
    """The function `name`."""
    body = Writer(depth=1)
    plain.write_body(body)
    write_function(name, plain, plain.docstring(), body, writer)


def write_function(name: str, plain: PlainLoop, docstring: str, body: Writer, writer: Writer) -> None:
    """A function with the arguments of a loop: around its body, what that says of the starts."""
    used = identifiers(str(body))
    arguments = plain.arguments
    with writer.block(f"def {name}({', '.join((*arguments.tensors, *arguments.extent, *arguments.options))}):"):
        writer.docstring(docstring)
        first = arguments.starts[0]
        for variable, code in (("batch", f"{first}.shape[0]"), ("device", f"{first}.device")):
            if variable in used:
                writer.line(f"{variable} = {code}")
        writer.append(body)


@dataclass(frozen=True, slots=True)
class PlainLoop:
    """A loop in plain PyTorch.

    Attributes:
        frame: of one position, or of the places of one wave of a grid.
        leaves: inputs, params and states by operation and name.
        arguments: of its function.
    """

    loop: LoopCell
    frame: Frame
    leaves: Mapping[tuple[str, str], Value]
    arguments: LoopNames

    @classmethod
    def of(cls, loop: LoopCell, numbers: Mapping[str, int], types: Types, reserved: Iterable[str]) -> PlainLoop:
        """The loop.

        Args:
            numbers: the number of every size.
            reserved: identifiers that the module uses.
        """
        cell = loop.cell
        names = Names(cell, reserved)
        roots = tuple(cell.roots())
        found = [v for v in postorder(roots) if v.op in ("input", "param", "state")]
        leaves = {(v.op, str(v.attr("name"))): v for v in found}

        def named(op: str, declared: Iterable[str]) -> tuple[str, ...]:
            return tuple(names[leaves[op, n]] if (op, n) in leaves else names.fresh(n) for n in declared)

        arguments = LoopNames(
            named("input", (i.name for i in cell.inputs)),
            named("param", (p.name for p in cell.params)),
            named("state", (s.name for s in cell.states)),
            tuple(names.fresh(f"{name}_saved") for name in loop.saved),
            loop_extent(cell, bool(cell.inputs)),
        )
        varying = depends_on(roots, lambda value: value.op in VARYING)
        thin = thin_values(roots, roots)
        lead = SEQUENCE if is_grid(cell) else POSITION
        frame = Frame(cell, numbers, names, types, lead, varying, frozenset(), thin, Writer())
        return cls(loop, frame, leaves, arguments)

    def narrow_statics(self, narrow: frozenset[Value]) -> frozenset[Value]:
        """The params of the loop that are stored in 16 bits, given the values around it that are."""
        pairs = zip(self.loop.cell.params, self.loop.statics, strict=True)
        found = (self.leaves.get(("param", param.name)) for param, value in pairs if value in narrow)
        return frozenset(leaf for leaf in found if leaf is not None)

    def docstring(self, how: str = "over time", after: str = "the last states") -> str:
        states = ", ".join(state.name for state in self.loop.cell.states)
        end = ", from the end to the start" if self.loop.reverse else ""
        kept = ", ".join(output.name for output in self.loop.cell.outputs)
        results = f"{kept} of every position, then {after}" if kept else after
        results += ", then the arriving states of positions `every` apart" if self.arguments.saved else ""
        return textwrap.fill(f"{states} {how} in plain PyTorch{end}: {results}.", 100)

    def write_body(self, writer: Writer) -> None:
        cell, names, frame = self.loop.cell, self.frame.names, self.frame.to(writer)
        statements = frame.statements()
        self.widen(writer)
        for leaf in self.leaves.values():
            statements.bind(leaf)
        self.write_statics(frame, statements)
        outputs = {o.name: names.fresh(f"all_{names[o.value]}") for o in cell.outputs}
        for kept in (*outputs.values(), *self.arguments.saved):
            writer.line(f"{kept} = []")
        steps = [v for v in postorder(cell.roots()) if v in frame.varying and v.args]
        nexts = [state.next for state in cell.states]
        with writer.block(self._header()):
            self._save(writer)
            statements.write(steps, {*(o.value for o in cell.outputs), *nexts} & {*steps})
            for output in cell.outputs:
                writer.line(f"{outputs[output.name]}.append({frame.array(output.value, statements.codes).code})")
            following = [str(frame.array(value, statements.codes).code) for value in nexts]
            writer.line(f"{', '.join(self.arguments.starts)} = {', '.join(following)}")
        results = [self._over_time(frame, o.value, outputs[o.name]) for o in cell.outputs]
        results += self.arguments.starts
        results += [self._saved(frame, *each) for each in zip(self.loop.saved, self.arguments.saved, strict=True)]
        writer.line(f"return {', '.join(results)}{',' if len(results) == 1 else ''}")

    def widen(self, writer: Writer) -> None:
        """Arguments of 16 bits are computed with in 32."""
        if not self.frame.types.narrow:
            return
        cell, arguments = self.loop.cell, self.arguments
        kinds = [*(i.kind for i in cell.inputs), *(p.kind for p in cell.params)]
        wide = [n for n, kind in zip((*arguments.reads, *arguments.statics), kinds, strict=True) if kind is Kind.FLOAT]
        if wide:
            names = ", ".join(wide)
            writer.line(f"{names} = {names}.float()" if len(wide) == 1 else f"{names} = widened({names})")

    def write_statics(self, frame: Frame, statements: Statements) -> None:
        """What is the same at every position, once, before the loop."""
        order = list(postorder(self.loop.cell.roots()))
        static = [v for v in order if v not in frame.varying and (v.args or constant_leaves([v]))]
        used = [arg for v in order if v in frame.varying for arg in v.args if arg in static]
        ends = [root for root in self.loop.cell.roots() if root in static]
        statements.write(static, {v for v in used if not frame.is_light(v)}, [*used, *ends])

    def _header(self) -> str:
        reads, count = self.arguments.reads, "at" if self.arguments.saved else ""
        reverse = ", reverse=True" if self.loop.reverse else ""
        if not reads:
            return f"for {count or '_'} in range(length):"
        targets = f"{reads[0]}," if len(reads) == 1 else ", ".join(reads)
        steps = f"positions({', '.join(reads)}{reverse})"
        if count:
            return f"for {count}, ({targets}) in enumerate({steps}):"
        return f"for {targets if len(reads) > 1 else f'({targets})'} in {steps}:"

    def _save(self, writer: Writer) -> None:
        """Arriving states, now and then."""
        if not self.arguments.saved:
            return
        starts = dict(zip((state.name for state in self.loop.cell.states), self.arguments.starts, strict=True))
        with writer.block("if every and at % every == 0:"):
            for name, kept in zip(self.loop.saved, self.arguments.saved, strict=True):
                writer.line(f"{kept}.append({starts[name]})")

    def _saved(self, frame: Frame, name: str, kept: str) -> str:
        state = self.loop.cell.state(name)
        return self._stacked(frame, state.shape, state.kind, kept)

    def _over_time(self, frame: Frame, value: Value, kept: str) -> str:
        code = self._stacked(frame, value.shape, value.kind, kept)
        narrow = frame.types.narrow and value.kind is Kind.FLOAT
        return f"{code}.to({frame.types.data})" if narrow else code

    def _stacked(self, frame: Frame, shape: Shape, kind: Kind, kept: str) -> str:
        options = f", {frame.types.of(kind)}, {self.arguments.starts[0]}"
        reverse = ", reverse=True" if self.loop.reverse else ""
        return f"over_time({kept}, {frame.place.shape(shape, False)}{options}{reverse})"
