"""A plan as a PyTorch module with Triton kernels: text that imports torch and triton and nothing of ours.

What depends on no state is computed for all positions at once by PyTorch; each recurrence is one kernel that loops
over time, where a kernel can hold it, and a loop in plain PyTorch where not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lsrl.backends import torch_prelude
from lsrl.backends.loop_cell import LoopCell, loop_cell
from lsrl.backends.naming import Names, joined
from lsrl.backends.torch_apply import write_apply
from lsrl.backends.torch_draw import write_init, write_initial_state
from lsrl.backends.torch_frame import ALONE, POSITION, SEQUENCE, Frame, narrow_values, thin_values
from lsrl.backends.torch_loop import write_plain_loop
from lsrl.backends.torch_place import TYPES, Types
from lsrl.backends.writer import Writer
from lsrl.ir.plan import VARYING, Loop, Plan
from lsrl.ir.value import depends_on


def emit_triton(
    plan: Plan, dtype: str = "float32", source_name: str = "", command: str = "", *, gradients: bool = True
) -> str:
    types = TYPES[dtype]
    names = Names(plan.cell, torch_prelude.reserved())
    frame = _frame(plan, names, types)
    loops = {
        place: loop_cell(plan, stage, names, frame.is_number)
        for place, stage in enumerate(plan.stages)
        if isinstance(stage, Loop)
    }
    stored = [value for loop in loops.values() for value in loop.emits]
    if types.narrow:
        narrow = narrow_values(tuple(plan.cell.all_roots()), frame.varying, stored)
        frame = replace(frame, narrow=narrow)
    functions: dict[int, tuple[str, LoopCell]] = {}
    writer = frame.writer
    for place, loop in loops.items():
        name = names.fresh(f"{joined([s.name for s in loop.cell.states])}_plain")
        write_plain_loop(name, loop, plan.sizes, types, torch_prelude.reserved(), writer)
        functions[place] = (name, loop)
        writer.blank(2)
    write_init(replace(frame, lead=ALONE))
    writer.blank(2)
    if plan.cell.states:
        write_initial_state(replace(frame, lead=POSITION))
        writer.blank(2)
    write_apply(plan, frame, functions)
    return _assembled(frame, "doc")


def _frame(plan: Plan, names: Names, types: Types) -> Frame:
    cell = plan.cell
    roots = tuple(cell.all_roots())
    varying = depends_on(roots, lambda value: value.op in VARYING)
    crossing = {v for stage in plan.stages if isinstance(stage, Loop) for v in (*stage.reads, *stage.emits)}
    return Frame(
        cell, plan.sizes, names, types, SEQUENCE, varying, frozenset(), thin_values(roots, crossing), Writer()
    )


def _assembled(frame: Frame, docstring: str) -> str:
    """The functions preceded by what they need."""
    text = str(frame.writer)
    functions = torch_prelude.definitions(text, torch_prelude.FUNCTIONS)
    whole = Writer()
    whole.docstring(docstring)
    whole.blank()
    whole.text(torch_prelude.imports("\n".join([text, *functions])))
    sizes: Mapping[str, int] = {frame.names.sizes[s.name]: frame.numbers[s.name] for s in frame.cell.sizes}
    if sizes:
        whole.blank()
        whole.text(f"{', '.join(sizes)} = {', '.join(map(str, sizes.values()))}")
    for block in (*functions, text):
        whole.blank(2)
        whole.text(block)
    return str(whole)
