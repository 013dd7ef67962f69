"""The function `apply` of an emitted JAX module: one section for each stage of the plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from lsrl.backends.expressions import method
from lsrl.backends.identifiers import identifiers
from lsrl.backends.jax_draw import write_noise
from lsrl.backends.jax_module import POSITION, SEQUENCE, Module, constant_leaves
from lsrl.backends.writer import Writer
from lsrl.ir.cell import State
from lsrl.ir.dims import Shape, shape_of, shape_text
from lsrl.ir.plan import Loop, Parallel, Shift, Stage
from lsrl.ir.value import Kind, Value, postorder, users


def write_apply(module: Module) -> None:
    """`apply(params, inputs, state=None)`: whole sequences."""
    cell = module.cell
    options = ["state=None"] if cell.inputs else ["state=None", "*", "length", "batch=1"]
    options += ["key=None"] if cell.noises else []
    writer = module.writer
    body = Writer(depth=1)
    results = _Apply(replace(module, writer=body)).write()
    with writer.block(f"def apply(params, inputs, {', '.join(options)}):"):
        writer.docstring(_docstring(module))
        _write_extent(module, identifiers(f"{body}\n{results}"))
        writer.append(body)
        writer.line(results)


def _write_extent(module: Module, used: Collection[str]) -> None:
    """The numbers of sequences and positions, as the first input tells them."""
    names = [name for name in SEQUENCE if name in used]
    if module.cell.inputs and names:
        index = ":2" if len(names) > 1 else str(SEQUENCE.index(names[0]))
        first = module.cell.inputs[0].name
        module.writer.line(f'{", ".join(names)} = jnp.shape(inputs["{first}"])[{index}]')


def _docstring(module: Module) -> str:
    cell = module.cell
    lines = ["Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.", ""]
    if not cell.inputs:
        lines.append("There is no input to tell the length, so it is given.")
    if cell.states:
        lines.append("`state` holds initial states by name; those it lacks start as the program says.")
    if cell.noises:
        lines.append("Noise is an input that may be left out: it is then drawn with `key`.")
    return "\n".join(lines)


class _Apply:
    """The body of `apply` while it is written."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.cell = module.cell
        self.writer = module.writer
        roots = [*self.cell.roots(), *(arg for noise in self.cell.noises for arg in noise.draw.args)]
        leaves = [v for v in postorder(roots) if v.op in ("input", "param", "noise", "state")]
        self.leaves = {(v.op, str(v.attr("name"))): v for v in leaves}
        self.users = users(roots)
        self.statements = module.statements(SEQUENCE)
        self.final: dict[str, str] = {}

    def write(self) -> str:
        """All of the body but its last statement, which is returned."""
        self.unpack()
        before: Stage | None = None
        for stage in self.module.plan.stages:
            if not (isinstance(stage, Shift) and isinstance(before, Shift)):
                self.writer.blank()
            self.writer.forget_origins()
            self.stage(stage)
            before = stage
        unread = [s for s in self.cell.states if s.name not in self.final]
        if unread:
            self.writer.blank()
        for state in unread:
            self.shift(state)  # nothing reads it, but it is passed on
        statics = self.missing_statics([output.value for output in self.cell.outputs])
        self.statements.write(statics, statics)
        self.writer.blank()
        outputs = [f'"{o.name}": {self.output(o.value)}' for o in self.cell.outputs]
        final = [f'"{s.name}": {self.final[s.name]}' for s in self.cell.states]
        return f"return {{{', '.join(outputs)}}}, {{{', '.join(final)}}}"

    def unpack(self) -> None:
        """Arrays from outside get names and types."""
        places: list[tuple[str, str, Shape]] = [("param", param.name, ()) for param in self.cell.params]
        places += [("input", declared.name, shape_of("B", "T")) for declared in self.cell.inputs]
        for sort, name, lead in places:
            leaf = self.leaves.get((sort, name))
            if leaf is not None:
                code = self.module.converted(leaf.kind, f'{sort}s["{name}"]')
                self.writer.line(f"{self.statements.bind(leaf)} = {code}", shape_text((*lead, *leaf.shape)))
        write_noise(self.module, self.statements, [v for v in self.leaves.values() if v.op == "noise"])
        if self.cell.states:
            self.writer.line("state = starting(params, state, batch)")

    def stage(self, stage: Stage) -> None:
        match stage:
            case Parallel(values):
                self.parallel(values)
            case Shift(state):
                self.shift(state)
            case Loop():
                self.loop(stage)

    def parallel(self, values: Sequence[Value]) -> None:
        """Values for all positions, with what they need that is the same at every position."""
        own = [*self.missing_statics(values), *values]
        self.statements.write(own, self.wanted_elsewhere(own))

    def missing_statics(self, values: Iterable[Value]) -> list[Value]:
        """What the values need of constants and operations on params that is not written yet."""
        static = frozenset(self.module.plan.statics)
        known = self.statements.codes
        cone = list(postorder(values, stop=lambda v: v in known))
        leaves = constant_leaves(cone)
        return [v for v in cone if (v in static or v in leaves) and v not in known]

    def wanted_elsewhere(self, values: Sequence[Value]) -> frozenset[Value]:
        """Those of the values that something else than these values uses."""
        own = frozenset(values)
        roots = {*self.cell.roots(), *(r for s in self.module.plan.stages for r in _crossing(s))}
        light = frozenset(constant_leaves(values))

        def goes_on(value: Value) -> bool:
            beyond = any(user not in own for user in self.users.get(value, ()))
            return beyond and value not in light and not self.statements.pieces(value)

        return frozenset(value for value in values if value in roots or goes_on(value))

    def shift(self, state: State) -> None:
        """A lag: the sequence of `next` one position later, and its end."""
        statics = self.missing_statics([state.next])
        self.statements.write(statics, statics)
        leaf = self.leaves.get(("state", state.name))
        arriving = "_" if leaf is None else self.statements.bind(leaf)
        last = self.module.names.fresh(f"{state.name if leaf is None else arriving}_last")
        following = self.module.array(state.next, self.statements.codes, SEQUENCE)
        function = "earlier" if state.reverse else "later"
        remark = shape_text((*shape_of("B", "T"), *state.shape))
        self.writer.line(f'{arriving}, {last} = {function}(state["{state.name}"], {following})', remark)
        self.final[state.name] = last

    def loop(self, loop: Loop) -> None:
        """A recurrence: its step as a function, and the scan."""
        names = self.module.names
        outside = self.missing_statics([*loop.statics, *loop.body])
        self.statements.write(outside, self.wanted_elsewhere(outside))
        self.writer.blank()
        leaves = [self.leaves["state", state.name] for state in loop.states]
        last = [names.fresh(f"{names[leaf]}_last") for leaf in leaves]
        function = self.step(loop, leaves)
        reads = [str(self.statements.codes[v]) for v in loop.reads]
        options = ["reverse=True"] if loop.reverse else []
        options += [] if reads else ["length=length"]
        start = [f'state["{state.name}"]' for state in loop.states]
        emits = [names[v] for v in loop.emits]
        scan = ", ".join([function, _tuple(start), _tuple(reads, "None"), *options])
        self.writer.line(f"{_tuple(last)}, {_tuple(emits, '_')} = over_time({scan})")
        for value in loop.emits:
            self.statements.bind(value)
        self.final |= {state.name: name for state, name in zip(loop.states, last, strict=True)}

    def step(self, loop: Loop, leaves: Sequence[Value]) -> str:
        """The function that `lax.scan` runs: from state and what is read at a position to state and what is kept.

        Returns its name.
        """
        static = {v: c for v, c in self.statements.codes.items() if v not in self.module.varying}
        named = [v for v in static if str(static[v]).isidentifier()]
        scope = _scope([state.name for state in loop.states])
        names = self.module.names.inside([*leaves, *loop.reads, *loop.body], named, scope)
        own = [names[leaf] for leaf in leaves[: 1 if len(leaves) > 3 else None]]
        function = self.module.names.fresh("_".join(["advance", *scope.split(".")[:-1], *own]))
        inner = self.module.statements(POSITION, names)
        inner.codes = static
        state, reads = _tuple([names[leaf] for leaf in leaves]), _tuple([names[v] for v in loop.reads], "_")
        parameters = ["state" if len(leaves) > 1 else state, "at" if len(loop.reads) > 1 else reads]
        with self.writer.block(f"def {function}({', '.join(parameters)}):"):
            for leaf in (*leaves, *loop.reads):
                inner.bind(leaf)
            if len(leaves) > 1:
                self.writer.line(f"{state[1:-1]} = state")
            if len(loop.reads) > 1:
                self.writer.line(f"{reads[1:-1]} = at")
            nexts = [s.next for s in loop.states]
            inner.write(loop.body, {*loop.emits, *nexts})
            following = [str(self.module.array(v, inner.codes, POSITION)) for v in nexts]
            kept = [str(self.module.array(v, inner.codes, POSITION)) for v in loop.emits]
            self.writer.line(f"return {_tuple(following)}, {_tuple(kept, 'None')}")
        self.writer.blank()
        return function

    def output(self, value: Value) -> str:
        """An output for every position, in the type of data."""
        code = self.module.array(value, self.statements.codes, SEQUENCE)
        types = self.module.types
        return str(method(code, "astype", types.data) if types.narrow and value.kind is Kind.FLOAT else code)


def _scope(names: Sequence[str]) -> str:
    """The dotted prefix that all names share: `layers.0.`"""
    parts = [name.split(".")[:-1] for name in names]
    shared = takewhile(lambda here: len(set(here)) == 1, zip(*parts, strict=False))
    return "".join(f"{here[0]}." for here in shared)


def _crossing(stage: Stage) -> Iterable[Value]:
    match stage:
        case Loop():
            return (*stage.reads, *stage.statics)
        case Shift(state):
            return (state.next,)
        case _:
            return ()


def _tuple(parts: Sequence[str], empty: str = "()") -> str:
    """One thing itself, several in brackets."""
    if len(parts) == 1:
        return parts[0]
    return f"({', '.join(parts)})" if parts else empty
