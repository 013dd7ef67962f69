"""A plan as a PyTorch module with Triton kernels: text that imports torch and triton and nothing of ours.

What depends on no state is computed for all positions at once by PyTorch; each recurrence is one kernel that loops
over time, where a kernel can hold it, and a loop in plain PyTorch where not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lsrl.backends import torch_prelude
from lsrl.backends.kernel_form import NoKernel, kernel_form
from lsrl.backends.kernel_functions import KERNEL_FUNCTIONS
from lsrl.backends.kernel_place import KERNEL_TYPES
from lsrl.backends.kernel_tiles import tiling
from lsrl.backends.loop_cell import LoopCell, loop_cell
from lsrl.backends.loop_steps import LoopSteps, loop_steps
from lsrl.backends.naming import Names, identifier, joined
from lsrl.backends.torch_apply import write_apply
from lsrl.backends.torch_draw import write_init, write_initial_state
from lsrl.backends.torch_frame import ALONE, POSITION, SEQUENCE, Frame, narrow_values, thin_values
from lsrl.backends.torch_header import header
from lsrl.backends.torch_loop import PlainLoop, write_plain_loop
from lsrl.backends.torch_place import TYPES, Types
from lsrl.backends.triton_autograd import programs, signature, write_autograd, write_choice, write_constants
from lsrl.backends.triton_kernel import Kernel, write_kernel
from lsrl.backends.triton_launch import Launch, write_launch
from lsrl.backends.triton_steps import write_steps
from lsrl.backends.writer import WIDTH, Writer
from lsrl.ir.pipeline import VARYING
from lsrl.ir.plan import Loop, Plan
from lsrl.ir.value import depends_on

BITS = {"float32": 32, "float64": 64, "bfloat16": 16, "float16": 16}


@dataclass(frozen=True, slots=True)
class LoopFunctions:
    """The names of what a module defines for one loop."""

    run: str
    plain: str
    kernel: str
    launch: str
    constants: str
    autograd: str


@dataclass(frozen=True, slots=True)
class MadeKernel:
    """A kernel, its text, how it was taken out of its loop if it is not all of it, and how it runs in words."""

    kernel: Kernel
    text: str
    steps: LoopSteps | None
    schedule: str


@dataclass(frozen=True, slots=True)
class Written:
    """A loop that has been written.

    Attributes:
        run: the function that `apply` calls.
        kernel: what compiles it ahead of time: the kernel's name, its signature, its constants; None without a kernel.
        schedule: how it runs, in words.
    """

    run: str
    loop: LoopCell
    kernel: tuple[str, str, str] | None
    schedule: str


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
    frame = _frame(plan, TYPES[dtype])
    loops = {
        place: loop_cell(plan, stage, frame.names, frame.is_number)
        for place, stage in enumerate(plan.stages)
        if isinstance(stage, Loop)
    }
    if frame.types.narrow:
        stored = [value for loop in loops.values() for value in loop.emits]
        frame = replace(frame, narrow=narrow_values(tuple(plan.cell.all_roots()), frame.varying, stored))
    written = {place: _write_loop(loop, frame, dtype, gradients) for place, loop in loops.items()}
    _write_functions(plan, frame, written, gradients)
    schedule = {", ".join(s.name for s in w.loop.cell.states): w.schedule for w in written.values()}
    _write_tables(frame, schedule, list(written.values()))
    return _assembled(frame, header(plan, frame.types, schedule, source_name, command, gradients))


def _frame(plan: Plan, types: Types) -> Frame:
    cell = plan.cell
    names = Names(cell, torch_prelude.reserved())
    roots = tuple(cell.all_roots())
    varying = depends_on(roots, lambda value: value.op in VARYING)
    crossing = {v for stage in plan.stages if isinstance(stage, Loop) for v in (*stage.reads, *stage.emits)}
    thin = thin_values(roots, crossing)
    return Frame(cell, plan.sizes, names, types, SEQUENCE, varying, frozenset(), thin, Writer())


def _write_loop(loop: LoopCell, frame: Frame, dtype: str, gradients: bool) -> Written:
    """Everything that runs one loop: its kernel and what surrounds it, and its plain form."""
    names = [state.name for state in loop.cell.states]
    base = identifier(joined(names) if len(names) < 4 else f"{names[0]}_to_{names[-1]}")
    functions = _functions(frame.names, base)
    plain = PlainLoop.of(loop, frame.numbers, frame.types, torch_prelude.reserved())
    try:
        made = _whole_or_in_steps(functions, loop, plain, frame, dtype)
    except NoKernel as reason:
        write_plain_loop(functions.plain, plain, frame.writer)
        frame.writer.blank(2)
        return Written(functions.plain, loop, None, f"a loop in plain PyTorch: {reason}")
    launch = Launch(
        functions.launch, functions.constants, made.kernel, loop, plain.arguments, frame.names.sizes, frame.types
    )
    sections: list[Callable[[Writer], None]] = [lambda w: w.text(made.text), lambda w: write_constants(launch, w)]
    if made.steps is None:
        sections.append(lambda w: write_launch(launch, w))
    else:
        steps, inner = made.steps, replace(plain.frame, narrow=plain.narrow_statics(frame.narrow))
        sections.append(lambda w: write_steps(launch, steps, inner, w))
    if gradients:
        sections.append(lambda w: write_autograd(functions.autograd, functions.plain, launch, w))
    run = f"{functions.autograd}.apply" if gradients else functions.launch
    sections.append(lambda w: write_choice(functions.run, run, functions.plain, launch, w))
    sections.append(lambda w: write_plain_loop(functions.plain, plain, w))
    for section in sections:
        section(frame.writer)
        frame.writer.blank(2)
    ahead = (made.kernel.name, signature(made.kernel, frame.types), functions.constants)
    return Written(functions.run, loop, ahead, made.schedule)


def _functions(names: Names, base: str) -> LoopFunctions:
    title = "".join(part[:1].upper() + part[1:] for part in base.split("_"))
    run, plain, kernel, launch, constants = (
        names.fresh(f"{base}_{suffix}") for suffix in ("loop", "plain", "kernel", "launch", "constants")
    )
    return LoopFunctions(run, plain, kernel, launch, constants, names.fresh(f"{title}Loop"))


def _whole_or_in_steps(
    functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str
) -> MadeKernel:
    """One kernel over time, or where that cannot be, products by PyTorch and a kernel at each position.

    Raises:
        NoKernel: neither can be; the message says why not the former.
    """
    try:
        kernel, text = _kernel(functions.kernel, loop, frame, dtype)
        return MadeKernel(kernel, text, None, f"one Triton kernel over time, {programs(kernel)}")
    except NoKernel as reason:
        try:
            steps = loop_steps(loop, plain.frame.names)
            narrow = frame.narrow | frozenset(steps.products) if frame.types.narrow else frame.narrow
            kernel, text = _kernel(functions.kernel, steps.rest, replace(frame, narrow=narrow), dtype)
        except NoKernel:
            raise reason from None
        how = f"position by position, products by PyTorch and then a Triton kernel, {programs(kernel)}"
        return MadeKernel(kernel, text, steps, f"{how}, since {reason}")


def _kernel(name: str, loop: LoopCell, frame: Frame, dtype: str) -> tuple[Kernel, str]:
    form = kernel_form(loop, frame.numbers)
    tiles = tiling(form, frame.numbers, BITS[dtype])
    types = KERNEL_TYPES[dtype]
    return write_kernel(name, loop, tiles, frame.numbers, types, frame.narrow, torch_prelude.reserved())


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
    if not any(state.reverse for state in cell.states):
        writer.blank(2)
        _write_step(frame)
    writer.blank(2)
    _write_module(frame)


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
        writer.docstring("`apply` and `step` with parameters of their own.")
        writer.blank()
        with writer.block("def __init__(self, seed=0, device=None):"):
            writer.line("super().__init__()")
            with writer.block("for name, param in init(seed, device).items():"):
                writer.line("register(self, name, param)")
        writer.blank()
        with writer.block("def forward(self, inputs, state=None, **options):"):
            writer.line("return apply(dict(self.named_parameters()), inputs, state, **options)")
        if not any(state.reverse for state in cell.states):
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
    kernels = [f"({', '.join(each.kernel)})" for each in written if each.kernel]
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


def _assembled(frame: Frame, docstring: str) -> str:
    """The functions preceded by what they need."""
    text = str(frame.writer)
    functions = torch_prelude.definitions(text, {**torch_prelude.functions(frame.types), **KERNEL_FUNCTIONS})
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
