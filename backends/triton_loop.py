"""A loop as the functions that run it: its kernel with what surrounds it, and its plain form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lsrl.backends import torch_prelude
from lsrl.backends.kernel_form import NoKernel, kernel_form
from lsrl.backends.kernel_place import KERNEL_TYPES
from lsrl.backends.kernel_tiles import tiling
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.loop_steps import LoopSteps, loop_steps
from lsrl.backends.naming import Names, identifier, joined
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_loop import PlainLoop, write_plain_loop
from lsrl.backends.triton_autograd import programs, signature, write_autograd, write_choice, write_constants
from lsrl.backends.triton_kernel import Kernel, write_kernel
from lsrl.backends.triton_launch import Launch, write_launch
from lsrl.backends.triton_steps import write_steps
from lsrl.backends.writer import Writer

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


def write_loop(loop: LoopCell, frame: Frame, dtype: str, gradients: bool) -> Written:
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
