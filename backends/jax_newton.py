"""A recurrence that Newton's method solves, where it stands in a JAX function.

Its step with the Jacobian becomes a function of all positions of a window; `newton` (`runtime/jax_newton.py`) calls it
in every iteration.  What depends on no state is computed before, once.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.backends import jax_prelude
from lsrl.backends.expressions import tupled
from lsrl.backends.identifiers import identifiers
from lsrl.backends.jax_module import SEQUENCE, Module
from lsrl.backends.jax_stages import Stages
from lsrl.backends.jax_steps import function_name, unpack, write_steps
from lsrl.backends.naming import Names
from lsrl.backends.newton_cell import NewtonStep, newton_step, options
from lsrl.backends.writer import Writer
from lsrl.ir.plan import Abreast, Loop, make_plan
from lsrl.ir.schedules.how import Newton
from lsrl.ir.value import Value, postorder


def write_recurrence(stages: Stages, beside: Abreast) -> None:
    """The loops where they stand, as their schedule says."""
    match beside.loops[0].how:
        case Newton() as how:
            _write_newton(stages, beside.loops[0], how)
        case _:
            write_steps(stages, beside)


def _write_newton(stages: Stages, loop: Loop, how: Newton) -> None:
    """The step as a function, the iterations, and what the loop keeps apart from its states."""
    module, codes, bind = stages.module, stages.statements.codes, stages.statements.bind
    step = newton_step(module.cell, loop.states, module.plan.sizes, how, module.names.__getitem__, module.is_number)
    _write_values(stages, (*step.reads, *step.statics))
    function = _write_step(stages, step)
    leaves, nexts = [stages.leaves["state", state.name] for state in loop.states], [s.next for s in loop.states]
    used = {*loop.emits, *(arg for value in _behind(stages, loop) for arg in value.args)}
    told = module.names.fresh(f"{function_name([state.name for state in loop.states])}_statistics")
    stages.statistics[", ".join(state.name for state in loop.states)] = told
    reads, starts = [str(codes[v]) for v in step.reads], [stages.starts[state.name] for state in loop.states]
    statics = [module.names[value] for value in step.statics]
    asked = options(step, how, bool(loop.reverse))
    arguments = [function, tupled(statics), tupled(reads), tupled(starts), "length", *asked]
    arriving = tupled([bind(leaf) if leaf in used else "_" for leaf in leaves])
    following = tupled([bind(v) if v in used and v not in leaves else "_" for v in nexts])
    lasts = tupled(stages.passed_on(loop.states))
    stages.writer.line(f"{arriving}, {following}, {lasts}, {told} = newton({', '.join(arguments)})")
    _write_values(stages, loop.emits)


def _behind(stages: Stages, loop: Loop) -> list[Value]:
    """What the loop keeps that is computed from its states, with what that needs."""
    known = {*stages.statements.codes, *(state.next for state in loop.states)}
    return [v for v in postorder(loop.emits, stop=known.__contains__) if v.args and v not in known]


def _write_values(stages: Stages, values: Sequence[Value]) -> None:
    """The values for all positions, each under a name."""
    codes = stages.statements.codes
    missing = [v for v in postorder(values, stop=codes.__contains__) if v.args and v not in codes]
    stages.statements.write([*stages.missing_statics(missing), *missing], {*values} & {*missing})
    for value in values:
        if value in codes and str(codes[value]) != stages.module.names[value]:
            stages.writer.line(f"{stages.module.names[value]} = {codes[value]}")
            stages.statements.bind(value)


def _write_step(stages: Stages, step: NewtonStep) -> str:
    """The function of reads and arriving states; its name."""
    outer, cell = stages.module, step.cell
    names, body = Names(cell, jax_prelude.reserved(outer.types)), Writer(depth=stages.writer.depth + 1)
    inner = Stages(Module.of(make_plan(cell, outer.plan.sizes), names, outer.types, body), {}, write_steps)
    given = {name: inner.statements.bind(leaf) for (_, name), leaf in inner.leaves.items()}
    inner.write()
    codes = inner.statements.codes
    values = [str(inner.module.array(output.value, codes, SEQUENCE)) for output in cell.outputs]
    arguments = [given.get(declared.name, "_") for declared in cell.inputs]
    reads, states = arguments[: len(step.reads)], arguments[len(step.reads) :]
    function = outer.names.fresh(f"{function_name([state.name for state in step.form.states])}_step")
    with stages.writer.block(f"def {function}(statics, reads, states):"):
        stages.writer.docstring("The next states at many positions, and the Jacobian of the step.")
        unpack(stages.writer, [given.get(param.name, "_") for param in cell.params], "statics")
        unpack(stages.writer, reads, "reads")
        unpack(stages.writer, states, "states")
        extent = [name for name in SEQUENCE if name in identifiers("\n".join([str(body), *values]))]
        if extent:
            state = next(state for state in states if state != "_")
            index = ":2" if len(extent) == 2 else str(SEQUENCE.index(extent[0]))
            stages.writer.line(f"{', '.join(extent)} = {state}.shape[{index}]")
        stages.writer.append(body)
        stages.writer.blank()
        stages.writer.line(f"return {tupled(values[: len(states)])}, {tupled(values[len(states) :])}")
    stages.writer.blank()
    return function
