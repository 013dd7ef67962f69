"""A plan as a PyTorch module with Triton kernels: text that imports torch and triton and nothing of ours.

What depends on no state is computed for all positions at once by PyTorch; each recurrence is one kernel that loops
over time, where a kernel can hold it, and a loop in plain PyTorch where not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from lsrl.backends import torch_prelude
from lsrl.backends.identifiers import reached
from lsrl.backends.kernel_functions import KERNEL_FUNCTIONS
from lsrl.backends.module_header import in_words
from lsrl.backends.naming import Names, identifier
from lsrl.backends.thin import thin_values
from lsrl.backends.torch_apply import write_apply
from lsrl.backends.torch_directions import run_cells, runs
from lsrl.backends.torch_draw import write_init, write_initial_state
from lsrl.backends.torch_frame import ALONE, POSITION, SEQUENCE, Frame, narrow_values
from lsrl.backends.torch_header import Ways, header
from lsrl.backends.torch_loops import LoopKernels, Written, write_loop
from lsrl.backends.torch_operator import NAMESPACE
from lsrl.backends.torch_place import TYPES, Types
from lsrl.backends.torch_primitive_chunk import without_kernels
from lsrl.backends.torch_primitive_grid import elements_in_words, tiles_in_words
from lsrl.backends.triton_loop import loop_kernels
from lsrl.backends.writer import WIDTH, Writer
from lsrl.ir.cell import TIME, Cell
from lsrl.ir.lattice import is_grid
from lsrl.ir.pipeline import VARYING
from lsrl.ir.plan import Loop, Plan, Primitive
from lsrl.ir.plan_stages import as_one_in_words
from lsrl.ir.schedules.chunk_form_parts import ChunkForm
from lsrl.ir.schedules.forms import Form
from lsrl.ir.schedules.grid_form_elements import ElementForm
from lsrl.ir.schedules.grid_form_parts import GridForm
from lsrl.ir.schedules.how import How
from lsrl.ir.schedules.line_form import LineForm
from lsrl.ir.schedules.scan_form import ScanForm
from lsrl.ir.value import depends_on


def emit_triton(
    plan: Plan, dtype: str = "float32", source_name: str = "", command: str = "", *, gradients: bool = True
) -> str:
    """The text of a module that runs a plan.

    Args:
        dtype: "float32", "float64", "bfloat16" or "float16".  With 16 bits inputs, params and outputs have that
            type; states, sums and everything else computed in loops are float32.
        source_name, command: where the program is from and how to make the module again, for its docstring.
        gradients: whether it has a backward pass.

    The module's functions take and return dicts of batch-first tensors by name:

        init(seed, device) -> params
        initial_state(params, batch, device) -> state, [B, *shape] each
        apply(params, inputs, state=None) -> (outputs, final state); inputs and outputs are [B, T, *shape] each
        step(params, inputs, state) -> (outputs, state) at one position, without the time axis

    and an `nn.Module` holds the parameters.  `SCHEDULE` says how each recurrence runs, `KERNELS` what each kernel is
    compiled for.  A program without inputs takes `length` (and `batch`) by keyword, one with noises `generator`.  A
    program with reversed states has no `step`.

    Raises:
        KeyError: `dtype` is none of these.
    """
    return emit_torch(plan, TRITON, dtype, source_name, command, gradients=gradients)


def _nothing(text: str) -> str:
    """What a module of this text carries for its kernels, where they are part of it."""
    return ""


@dataclass(frozen=True, slots=True)
class Target:
    """What the loops of a PyTorch module run in.

    Attributes:
        loops: makes the kernels of a loop.
        needs: what a machine has to have for the module, in words.
        native: they are C functions, and there are no Triton kernels.
        carried: what the module of a text carries for them, once they are written.
    """

    loops: LoopKernels
    needs: str
    native: bool = False
    carried: Callable[[str], str] = _nothing


TRITON = Target(LoopKernels(loop_kernels), "torch and triton")


def emit_torch(
    plan: Plan, target: Target, dtype: str, source_name: str, command: str, *, gradients: bool = True
) -> str:
    """The text of a PyTorch module whose loops run in the kernels of a target; see `emit_triton`."""
    types = TYPES[dtype]
    frame = _frame(plan, replace(types, native=target.native and not types.narrow))
    beside = runs(plan)
    loops = run_cells(plan, beside, frame.names, frame.is_number)
    if frame.types.narrow:
        stored = [v for place, loop in loops.items() for own in beside[place].played(loop.emits) for v in own]
        frame = replace(frame, narrow=narrow_values((*plan.roots, *plan.cell.all_roots()), frame.varying, stored))
    written = {
        place: replace(write_loop(loop, frame, dtype, gradients, target.loops), names=beside[place].names)
        for place, loop in loops.items()
    }
    _write_functions(plan, frame, written, gradients)
    schedule = dict(_schedule(plan, written, dtype, target))
    _write_tables(frame, schedule, list(written.values()))
    backward = {each.names: each.backward for each in written.values() if each.backward}
    ways = Ways(schedule, backward)
    told = header(plan, frame.types, ways, source_name, command, gradients, target.needs)
    return assembled(frame, told, target)


def _schedule(
    plan: Plan, written: Mapping[int, Written], dtype: str, target: Target
) -> Iterator[tuple[str, str]]:
    """How each recurrence runs, in words, by the names of its states."""
    for place, stage in enumerate(plan.stages):
        match stage:
            case Loop() if place in written:
                told = runs(plan)[place].in_words
                yield written[place].names, ", ".join(filter(None, (written[place].schedule, told)))
            case Primitive(states, form=form):
                native = f"{in_words(stage.how)}, by products of PyTorch"
                how = native if target.native else _operation(form, plan, stage.how, dtype)
                told = as_one_in_words(plan.tiled_with(stage))
                yield ", ".join(state.name for state in states), ", ".join(filter(None, (how, told)))


def _operation(form: Form, plan: Plan, how: How, dtype: str) -> str:
    """How an operation on whole sequences runs, in words."""
    match form:
        case ChunkForm():
            reason = without_kernels(form, how, plan.sizes, dtype)
            return f"{in_words(how)} in plain PyTorch: {reason}" if reason else in_words(how)
        case GridForm():
            return tiles_in_words(form, how, plan.sizes, dtype)
        case ElementForm():
            return elements_in_words(form, how, dtype)
        case LineForm(along=ScanForm(), axis=axis):
            return f"{in_words(how, plan.cell.axes[axis])} in plain PyTorch: kernels scan over time"
        case LineForm(along=along, axis=axis):
            return f"along {plan.cell.axes[axis]}, {_operation(along, plan, how, dtype)}"
        case _:
            return in_words(how)


def _frame(plan: Plan, types: Types) -> Frame:
    cell = plan.cell
    names = Names(cell, torch_prelude.reserved())
    roots = (*plan.roots, *cell.all_roots())
    varying = depends_on(roots, lambda value: value.op in VARYING)
    crossing = {v for stage in plan.stages if isinstance(stage, Loop) for v in (*stage.reads, *stage.emits)}
    crossing |= {v for stage in plan.stages if isinstance(stage, Primitive) for v in stage.form.results}
    thin = thin_values(roots, crossing)
    return Frame(cell, plan.sizes, names, types, SEQUENCE, varying, frozenset(), thin, Writer())


def _write_functions(plan: Plan, frame: Frame, written: Mapping[int, Written], gradients: bool) -> None:
    cell, writer = plan.cell, frame.writer
    write_init(replace(frame, lead=ALONE))
    writer.blank(2)
    if cell.states:
        write_initial_state(replace(frame, lead=POSITION))
        writer.blank(2)
    if not gradients:
        writer.line("@torch.no_grad()")
    write_apply(plan, frame, {place: (each.run, each.loop) for place, each in written.items()})
    if _has_step(cell):
        writer.blank(2)
        _write_step(frame)
    writer.blank(2)
    _write_module(frame)


def _has_step(cell: Cell) -> bool:
    """Whether one position can follow the other as they come."""
    return cell.axes == (TIME,) and not any(state.reverse for state in cell.states)


def _write_step(frame: Frame) -> None:
    cell, writer = frame.cell, frame.writer
    options = [] if cell.inputs else ["batch=1"]
    passed = [] if cell.inputs else ["length=1", "batch=batch"]
    if cell.noises:
        options, passed = [*options, "generator=None"], [*passed, "generator=generator"]
    with writer.block(f"def step({', '.join(['params', 'inputs', 'state', *options])}):"):
        writer.docstring("One position: `apply` without the time axis.")
        writer.line("inputs = {name: tensor[:, None] for name, tensor in inputs.items()}")
        writer.line(f"outputs, state = apply({', '.join(['params', 'inputs', 'state', *passed])})")
        writer.line("return {name: tensor[:, 0] for name, tensor in outputs.items()}, state")


def _write_module(frame: Frame) -> None:
    """An `nn.Module` with the parameters, ready to use."""
    cell, writer = frame.cell, frame.writer
    words = identifier(cell.name).split("_")
    title = frame.names.fresh("".join(part[:1].upper() + part[1:] for part in words))
    with writer.block(f"class {title}(torch.nn.Module):"):
        step = " and `step`" if _has_step(cell) else ""
        writer.docstring(f"`apply`{step} with parameters of their own.")
        writer.blank()
        with writer.block("def __init__(self, seed=0, device=None):"):
            writer.line("super().__init__()")
            with writer.block("for name, param in init(seed, device).items():"):
                writer.line("register(self, name, param)")
        writer.blank()
        with writer.block("def forward(self, inputs, state=None, **options):"):
            writer.line("return apply(dict(self.named_parameters()), inputs, state, **options)")
        if _has_step(cell):
            writer.blank()
            with writer.block("def step(self, inputs, state=None, **options):"):
                writer.line("return step(dict(self.named_parameters()), inputs, state, **options)")


def _write_tables(frame: Frame, schedule: Mapping[str, str], written: list[Written]) -> None:
    writer = frame.writer
    writer.blank(2)
    with writer.block("SCHEDULE = {"):
        for states, how in schedule.items():
            _write_entry(writer, states, how)
    writer.line("}")
    kernels = [f"({', '.join(kernel)})" for each in written for kernel in each.kernels]
    writer.line(f"KERNELS = ({', '.join(kernels)}{',' if len(kernels) == 1 else ''})")


def _write_entry(writer: Writer, states: str, how: str) -> None:
    """One recurrence and how it runs, in several strings where it is long."""
    lines = textwrap.wrap(how, WIDTH - 12, drop_whitespace=False)
    if len(lines) == 1 and len(states) + len(how) < WIDTH - 12:
        writer.text(f'"{states}": "{how}",')
        return
    with writer.block(f'"{states}": ('):
        writer.lines(f'"{line}"' for line in lines)
    writer.text("),")


def assembled(frame: Frame, docstring: str, target: Target = TRITON) -> str:
    """The functions preceded by what they need."""
    text = str(frame.writer)
    functions = _definitions(text, docstring, frame, target)
    carried = target.carried("\n".join(functions))
    functions += [carried] if carried else []
    whole = Writer()
    whole.docstring(docstring)
    whole.blank()
    whole.text(torch_prelude.imports("\n".join([text, *functions])))
    sizes = {frame.names.sizes[size.name]: frame.numbers[size.name] for size in frame.cell.sizes}
    if sizes:
        whole.blank()
        whole.text(f"{', '.join(sizes)} = {', '.join(map(str, sizes.values()))}")
    lines = [each for each in functions if "\n" not in each]
    for each in lines:
        whole.blank()
        whole.text(each)
    for block in (*(each for each in functions if each not in lines), text):
        whole.blank(2)
        whole.text(block)
    return str(whole)


def _definitions(text: str, docstring: str, frame: Frame, target: Target) -> list[str]:
    """What the text uses; operators are registered where those of modules of other text are not."""
    own = sha256((docstring + text).encode()).hexdigest()[:12]
    extent = "batch, extents" if is_grid(frame.cell) else "batch"
    known = {**torch_prelude.functions(frame.types, extent, native=target.native), **KERNEL_FUNCTIONS}
    return [each.replace(NAMESPACE, f"lsrl_{own}") for each in reached(text, known)]
