"""The launches of a loop that runs position by position: products by PyTorch, the rest by a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Set

from lsrl.backends.expressions import Code
from lsrl.backends.identifiers import identifiers
from lsrl.backends.loop_steps import LoopSteps
from lsrl.backends.statements import Statements
from lsrl.backends.thin import constant_leaves
from lsrl.backends.torch_frame import Frame
from lsrl.backends.triton_launch import Launch, as_pairs, contiguous
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.value import postorder


def write_steps(launch: Launch, steps: LoopSteps, frame: Frame, writer: Writer) -> None:
    """The function that runs a loop which is taken apart.

    Args:
        frame: of one position of the whole loop.
    """
    _Steps(launch, steps, frame).write(writer)


class _Steps:
    """A launch function while it is written; sequences in it lead with time, `[T, B, ...]`."""

    def __init__(self, launch: Launch, steps: LoopSteps, frame: Frame) -> None:
        self.launch, self.steps, self.frame = launch, steps, frame
        self.given = launch.given
        self.products = dict(zip((i.name for i in steps.rest.cell.inputs[-len(steps.products) :]), steps.products))
        self.cone = list(postorder(steps.products))
        computed = {frame.names[value] for value in self.cone if value.args}
        self.results = {key: _apart_from(computed, name) for key, name in launch.results.items()}

    def write(self, writer: Writer) -> None:
        body = Writer(depth=1)
        self._body(body)
        with writer.block(self.launch.header):
            name = self.launch.kernel.name
            writer.docstring(f"Products, then `{name}`, at each position: what is kept of all, then the last states.")
            writer.line(self.launch.extent)
            if "device" in identifiers(str(body)):
                writer.line(f"device = {self.launch.arguments.starts[0]}.device")
            writer.append(body)

    def _body(self, writer: Writer) -> None:
        launch, frame = self.launch, self.frame.to(writer)
        statements = frame.statements()
        for read in launch.arguments.reads:
            writer.line(f"{read} = {read}.transpose(0, 1).contiguous()", "[T, B, ...]")
        for start in launch.arguments.starts:
            writer.line(f"{start} = {start}.clone(memory_format=torch.contiguous_format)")
        self._bind(statements)
        static = [v for v in self.cone if v not in frame.varying and (v.args or constant_leaves([v]))]
        used = [arg for v in self.cone if v in frame.varying for arg in v.args if arg in static]
        statements.write(static, {v for v in used if not frame.is_light(v)}, used)
        for tensor in self._with_role(Role.KEPT):
            writer.line(f"{self.results[Role.KEPT, tensor.of]} = {launch.kept(tensor, ('length', 'batch'))}")
        writer.line(launch.grid)
        saved = dict(zip(launch.loop.saved, launch.arguments.saved, strict=True))
        writer.lines(f"{kept} = []" for kept in saved.values())
        places = "reversed(range(length))" if launch.loop.reverse else "range(length)"
        with writer.block(f"for at, t in enumerate({places}):" if saved else f"for t in {places}:"):
            self._save(writer, saved)
            steps = [v for v in self.cone if v in frame.varying and v.args]
            statements.write(steps, {*self.steps.products})
            self._step(writer, statements)
        kept = [f"{self.results[Role.KEPT, t.of]}.transpose(0, 1)" for t in self._with_role(Role.KEPT)]
        results = [*kept, *launch.arguments.starts, *(self._saved(name, kept) for name, kept in saved.items())]
        writer.line(f"return {', '.join(results)}{',' if len(results) == 1 else ''}")

    def _save(self, writer: Writer, saved: Mapping[str, str]) -> None:
        """Arriving states, now and then."""
        if saved:
            with writer.block("if every and at % every == 0:"):
                writer.lines(f"{kept}.append({self.given[Role.START, name]})" for name, kept in saved.items())

    def _saved(self, name: str, kept: str) -> str:
        state, first = self.launch.loop.cell.state(name), self.launch.arguments.starts[0]
        shape, type_ = self.frame.place.shape(state.shape, False), self.frame.types.of(state.kind)
        reverse = ", reverse=True" if self.launch.loop.reverse else ""
        return f"over_time({kept}, {shape}, {type_}, {first}{reverse})"

    def _bind(self, statements: Statements) -> None:
        """Leaves by the names of the arguments; what is read at every position by its place."""
        roles = {"input": Role.READ, "param": Role.STATIC, "state": Role.START}
        for leaf in (v for v in self.cone if v.op in roles):
            name = self.given[roles[leaf.op], str(leaf.attr("name"))]
            statements.bind(leaf, Code(f"{name}[t]" if leaf.op == "input" else name))

    def _with_role(self, role: Role) -> list[Tensor]:
        return [tensor for tensor in self.launch.kernel.tensors if tensor.role is role]

    def _step(self, writer: Writer, statements: Statements) -> None:
        """The kernel at one position, and the states it leaves."""
        ends = self._with_role(Role.END)
        for tensor in ends:
            name = self.results[Role.END, tensor.of]
            writer.line(f"{name} = torch.empty_like({self.given[Role.START, tensor.of]})")
        passed = [as_pairs(tensor, self._operand(tensor, statements)) for tensor in self.launch.kernel.tensors]
        self.launch.write_call(writer, passed, "1")
        starts = [self.given[Role.START, tensor.of] for tensor in ends]
        writer.line(f"{', '.join(starts)} = {', '.join(self.results[Role.END, tensor.of] for tensor in ends)}")

    def _operand(self, tensor: Tensor, statements: Statements) -> str:
        match tensor.role:
            case Role.READ if tensor.of in self.products:
                return contiguous(tensor, str(statements.codes[self.products[tensor.of]]))
            case Role.READ:
                return f"{self.given[Role.READ, tensor.of]}[t]"
            case Role.KEPT:
                return f"{self.results[Role.KEPT, tensor.of]}[t]"
            case Role.STATIC:
                return contiguous(tensor, self.given[Role.STATIC, tensor.of])
            case Role.START:
                return self.given[Role.START, tensor.of]
            case _:
                return self.results[Role.END, tensor.of]


def _apart_from(computed: Set[str], name: str) -> str:
    """A variable for what is kept of all positions, beside one that each position computes."""
    while name in computed:
        name = f"{name}_out"
    return name
