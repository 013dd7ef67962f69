"""The function `apply` of an emitted PyTorch module: one section for each stage of the plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from lsrl.backends.expressions import call, method
from lsrl.backends.identifiers import identifiers
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.torch_draw import write_noise
from lsrl.backends.torch_frame import SEQUENCE, Frame, constant_leaves
from lsrl.backends.writer import Writer
from lsrl.ir.cell import State
from lsrl.ir.dims import Dim, shape_text
from lsrl.ir.plan import Loop, Parallel, Plan, Shift, Stage
from lsrl.ir.value import Kind, Value, postorder, users

Functions = Mapping[int, tuple[str, LoopCell]]


def write_apply(plan: Plan, frame: Frame, functions: Functions) -> None:
    """`apply(params, inputs, state=None)`: whole sequences.

    Args:
        frame: of all positions.
        functions: for each loop, by its place among the stages, the function that runs it.
    """
    cell, writer = frame.cell, frame.writer
    options = ["state=None"] if cell.inputs else ["state=None", "*", "length", "batch=1"]
    options += ["generator=None"] if cell.noises else []
    body = Writer(depth=1)
    _Apply(plan, frame.to(body), functions).write()
    with writer.block(f"def apply(params, inputs, {', '.join(options)}):"):
        writer.docstring(_docstring(frame))
        _write_extent(frame, identifiers(str(body)))
        writer.append(body)


def _write_extent(frame: Frame, used: Collection[str]) -> None:
    """The numbers of sequences and positions, and the device, as the first input tells them."""
    names = [name for name in SEQUENCE if name in used]
    first = f'inputs["{frame.cell.inputs[0].name}"]' if frame.cell.inputs else ""
    if first and names:
        index = ":2" if len(names) > 1 else str(SEQUENCE.index(names[0]))
        frame.writer.line(f"{', '.join(names)} = {first}.shape[{index}]")
    if "device" not in used:
        return
    if first:
        frame.writer.line(f"device = {first}.device")
    elif frame.cell.params:
        frame.writer.line(f'device = params["{frame.cell.params[0].name}"].device')
    else:
        frame.writer.line("device = next((start.device for start in (state or {}).values()), None)")


def _docstring(frame: Frame) -> str:
    cell = frame.cell
    lines = ["Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.", ""]
    if not cell.inputs:
        lines.append("There is no input to tell the length, so it is given.")
    if cell.states:
        lines.append("`state` holds initial states by name; those it lacks start as the program says.")
    if cell.noises:
        lines.append("Noise is an input that may be left out: it is then drawn with `generator`.")
    return "\n".join(lines)


class _Apply:
    """The body of `apply` while it is written."""

    def __init__(self, plan: Plan, frame: Frame, functions: Functions) -> None:
        self.plan, self.frame, self.functions = plan, frame, functions
        self.cell, self.writer = frame.cell, frame.writer
        self.order = tuple(postorder(self.cell.roots()))
        self.users = users(self.cell.roots())
        self.statements = frame.statements()
        self.final: dict[str, str] = {}
        arguments = [v for _, loop in functions.values() for v in (*loop.reads, *loop.statics)]
        shifted = [state.next for state in self.shifts()]
        self.wanted = frozenset([*(o.value for o in self.cell.outputs), *arguments, *shifted])
        kept = {v for _, loop in functions.values() for v in loop.emits}
        self.needed = frozenset(postorder(self.wanted, stop=kept.__contains__))

    def write(self) -> None:
        self.unpack()
        for place, stage in enumerate(self.plan.stages):
            self.writer.blank()
            self.writer.forget_origins()
            self.stage(place, stage)
        for state in self.shifts():
            if state.name not in self.final:
                self.shift(state)
        statics = self.missing_statics([output.value for output in self.cell.outputs])
        self.statements.write(statics, {*statics})
        self.writer.blank()
        outputs = [f'"{o.name}": {self.output(o.value)}' for o in self.cell.outputs]
        final = [f'"{s.name}": {self.final[s.name]}' for s in self.cell.states]
        self.writer.line(f"return {{{', '.join(outputs)}}}, {{{', '.join(final)}}}")

    def shifts(self) -> list[State]:
        """States that no loop carries."""
        carried = {s.name for stage in self.plan.stages if isinstance(stage, Loop) for s in stage.states}
        return [state for state in self.cell.states if state.name not in carried]

    def unpack(self) -> None:
        """Tensors from outside get names and types."""
        used = {(v.op, str(v.attr("name"))): v for v in self.order if v.op in ("param", "input")}
        for op, collection, names in (
            ("param", "params", [p.name for p in self.cell.params]),
            ("input", "inputs", [i.name for i in self.cell.inputs]),
        ):
            for leaf in (used[op, name] for name in names if (op, name) in used):
                shape = self.frame.place.shape(leaf.shape, leaf in self.frame.varying)
                type_ = self.frame.types.data if leaf.kind is Kind.FLOAT else self.frame.types.of(leaf.kind)
                code = call("taken", collection, f'"{leaf.attr("name")}"', shape, type_)
                self.writer.line(f"{self.statements.bind(leaf)} = {code}")
        write_noise(self.frame, self.statements, [v for v in self.order if v.op == "noise"])
        if self.cell.states:
            self.writer.line("state = starting(params, state, batch, device)")

    def stage(self, place: int, stage: Stage) -> None:
        match stage:
            case Parallel(values):
                self.parallel([value for value in values if value in self.needed])
            case Shift(state):
                self.shift(state)
            case Loop():
                self.loop(*self.functions[place], stage)

    def parallel(self, values: Sequence[Value]) -> None:
        """Values for all positions, with what they need that is the same at every position."""
        own = [*self.missing_statics(values), *values]
        self.statements.write(own, self.wanted_elsewhere(own))

    def missing_statics(self, values: Iterable[Value]) -> list[Value]:
        """What the values need of constants and operations on params that is not written yet."""
        known = self.statements.codes
        cone = list(postorder(values, stop=lambda v: v in known))
        leaves = constant_leaves(cone)
        static = [v for v in cone if v not in self.frame.varying and (v.args or v in leaves)]
        return [v for v in static if v not in known]

    def wanted_elsewhere(self, values: Sequence[Value]) -> frozenset[Value]:
        """Those of the values that something else than these values uses."""
        own = frozenset(values)
        constants = frozenset(constant_leaves(values))

        def leaves(value: Value) -> bool:
            return any(user not in own and user in self.needed for user in self.users.get(value, ()))

        return frozenset(v for v in values if v not in constants and (v in self.wanted or leaves(v)))

    def shift(self, state: State) -> None:
        """A lag: the sequence of `next` one position later."""
        statics = self.missing_statics([state.next])
        self.statements.write(statics, {*statics})
        leaf = next((v for v in self.order if v.op == "state" and v.attr("name") == state.name), None)
        name = "_" if leaf is None else self.statements.bind(leaf)
        last = self.frame.names.fresh(f"{state.name}_last" if leaf is None else f"{name}_last")
        following = self.frame.array(state.next, self.statements.codes).wide()
        function = "earlier" if state.reverse else "later"
        shape = shape_text((Dim.of("B"), Dim.of("T"), *state.shape))
        self.writer.line(f'{name}, {last} = {function}(state["{state.name}"], {following.code})', shape)
        self.final[state.name] = last

    def loop(self, function: str, loop: LoopCell, stage: Loop) -> None:
        """A recurrence: a call of the function that runs it."""
        statics = self.missing_statics(loop.statics)
        self.statements.write(statics, {*loop.statics} & {*statics})
        names = self.frame.names
        arguments = [str(self.statements.codes[v]) for v in (*loop.reads, *self.static_arguments(loop))]
        arguments += [f'state["{state.name}"]' for state in stage.states]
        arguments += [] if loop.reads else ["length"]
        last = [names.fresh(f"{state.name}_last") for state in stage.states]
        results = [*(names[v] for v in loop.emits), *last]
        comma = "," if len(results) == 1 else ""
        self.writer.line(f"{', '.join(results)}{comma} = {function}({', '.join(arguments)})")
        for value in loop.emits:
            self.statements.bind(value)
        self.final |= {state.name: name for state, name in zip(stage.states, last, strict=True)}

    def static_arguments(self, loop: LoopCell) -> list[Value]:
        for value in loop.statics:
            if value not in self.statements.codes:
                self.statements.codes[value] = self.frame.operand(value, self.statements.codes).code
        return list(loop.statics)

    def output(self, value: Value) -> str:
        operand = self.frame.array(value, self.statements.codes)
        types = self.frame.types
        narrowed = types.narrow and value.kind is Kind.FLOAT and not operand.narrow
        return str(method(operand.code, "to", types.data) if narrowed else operand.code)
