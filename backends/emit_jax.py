"""A plan as a JAX module: text that imports jax and nothing else, with `init`, `initial_state`, `apply` and `step`.

What depends on no state is computed for all positions at once; each recurrence is one `lax.scan` over time.
"""

from __future__ import annotations

from dataclasses import replace

from lsrl.backends import jax_prelude
from lsrl.backends.jax_apply import write_apply
from lsrl.backends.jax_draw import write_init, write_initial_state
from lsrl.backends.jax_header import header
from lsrl.backends.jax_loop import LoopFunctions
from lsrl.backends.jax_module import Module
from lsrl.backends.jax_newton import write_recurrence
from lsrl.backends.jax_place import TYPES, Types
from lsrl.backends.naming import Names
from lsrl.backends.writer import Writer
from lsrl.ir.cell import TIME
from lsrl.ir.plan import Plan

NEEDS_DOUBLE = '''
if not jax.config.jax_enable_x64:
    raise RuntimeError('this module computes in float64: call jax.config.update("jax_enable_x64", True) before')
'''


def emit_jax(
    plan: Plan, dtype: str = "float32", source_name: str = "", command: str = "", *, gradients: bool = True
) -> str:
    """The text of a module that runs a plan.

    Args:
        dtype: "float32", "float64", "bfloat16" or "float16".  With 16 bits inputs, params and outputs have that
            type; states, sums and everything else computed are float32.
        source_name, command: where the program is from and how to make the module again, for its docstring.
        gradients: loops have a backward pass of their own; otherwise JAX, when asked, derives one that keeps all that
            every step computes.

    The module's functions take and return dicts of batch-first arrays by name:

        init(seed) -> params
        initial_state(params, batch) -> state, [B, *shape] each
        apply(params, inputs, state=None) -> (outputs, final state); inputs and outputs are [B, T, *shape] each
        step(params, inputs, state) -> (outputs, state) at one position, without the time axis

    A program without inputs takes `length` (and `batch`) by keyword, one with noises `key`.  A program with reversed
    states has no `step`.

    Raises:
        KeyError: `dtype` is none of these.
    """
    types = TYPES[dtype]
    plan = plan if gradients else replace(plan, abreast=())  # where loops stand in `apply`, each stands for itself
    writer = Writer()
    reserved = jax_prelude.reserved(types)
    names = Names(plan.cell, reserved)
    module = Module.of(plan, names, types, writer)
    write_init(module)
    if plan.cell.states:
        writer.blank(2)
        write_initial_state(module)
    writer.blank(2)
    loops = LoopFunctions(writer, reserved)
    write_apply(module, loops if gradients else write_recurrence)
    if plan.cell.axes == (TIME,) and not any(state.reverse for state in plan.cell.states):
        writer.blank(2)
        _write_step(module)
    return assembled(module, types, header(plan, types, loops.kept, source_name, command))


def assembled(module: Module, types: Types, docstring: str) -> str:
    """The functions preceded by what they need."""
    text = str(module.writer)
    lines, functions = jax_prelude.definitions(text, types)
    check = NEEDS_DOUBLE.strip() if types.real == "jnp.float64" else ""
    whole = Writer()
    whole.docstring(docstring)
    whole.blank()
    whole.text(jax_prelude.imports("\n".join([text, check, *lines, *functions])))
    for block in (check, _sizes(module), "\n".join(lines)):
        if block:
            whole.blank()
            whole.text(block)
    for block in (*functions, text):
        whole.blank(2)
        whole.text(block)
    return str(whole)


def _sizes(module: Module) -> str:
    """`D, H = 64, 128`"""
    sizes = {module.names.sizes[size.name]: module.plan.sizes[size.name] for size in module.cell.sizes}
    return f"{', '.join(sizes)} = {', '.join(map(str, sizes.values()))}" if sizes else ""


def _write_step(module: Module) -> None:
    cell, writer = module.cell, module.writer
    options = [] if cell.inputs else ["batch=1"]
    passed = [] if cell.inputs else ["length=1", "batch=batch"]
    if cell.noises:
        options, passed = [*options, "key=None"], [*passed, "key=key"]
    with writer.block(f"def {_signature('step', ['params', 'inputs', 'state', *options])}:"):
        writer.docstring("One position: `apply` without the time axis.")
        writer.line("inputs = {name: jnp.asarray(array)[:, None] for name, array in inputs.items()}")
        writer.line(f"outputs, state = {_signature('apply', ['params', 'inputs', 'state', *passed])}")
        writer.line("return {name: array[:, 0] for name, array in outputs.items()}, state")


def _signature(name: str, parameters: list[str]) -> str:
    return f"{name}({', '.join(parameters)})"
