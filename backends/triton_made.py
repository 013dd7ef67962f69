"""What a loop's kernels are made into, whatever their schedule: their text, their launch, what compiles them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lsrl.backends import torch_prelude
from lsrl.backends.kernel_form import kernel_form
from lsrl.backends.kernel_place import KERNEL_TYPES
from lsrl.backends.kernel_tiles import tiling
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_loop import PlainLoop
from lsrl.backends.torch_operator import LoopFunctions
from lsrl.backends.triton_autograd import signature, write_constants
from lsrl.backends.triton_kernel import Kernel, write_kernel
from lsrl.backends.triton_launch import Launch
from lsrl.backends.writer import Writer

BITS = {"float32": 32, "float64": 64, "bfloat16": 16, "float16": 16}
Section = Callable[[Writer], None]
KernelWriter = Callable[..., tuple[Kernel, str]]


@dataclass(frozen=True, slots=True)
class Made:
    """The kernels of a loop.

    Attributes:
        sections: what writes them, what they are compiled for, and the function that launches them.
        ahead: what compiles each ahead of time: its name, its signature, the name of its constants.
        schedule: how they run, in words.
        check: the function of the module that says whether they run where a tensor is.
        launch: the function that runs them.
    """

    sections: tuple[Section, ...]
    ahead: tuple[tuple[str, str, str], ...]
    schedule: str
    check: str = "runs_kernels"
    launch: str = ""


def one_program(
    name: str, loop: LoopCell, frame: Frame, dtype: str, write: KernelWriter = write_kernel
) -> tuple[Kernel, str]:
    """A kernel of which every program runs some of the loop's sequences by itself.

    Raises:
        NoKernel: there is none.
    """
    form = kernel_form(loop, frame.numbers)
    tiles = tiling(form, frame.numbers, BITS[dtype])
    types = KERNEL_TYPES[dtype]
    return write(name, loop, tiles, frame.numbers, types, frame.narrow, torch_prelude.reserved())


def launch_of(functions: LoopFunctions, kernel: Kernel, loop: LoopCell, plain: PlainLoop, frame: Frame) -> Launch:
    """What the kernel's launch function is written from."""
    sizes, types = frame.names.sizes, frame.types
    return Launch(functions.launch, functions.constants, kernel, loop, plain.arguments, sizes, types)


def write_kernel_section(text: str, launch: Launch, writer: Writer) -> None:
    """A kernel and what it is compiled for."""
    writer.text(text)
    writer.blank(2)
    write_constants(launch, writer)


def ahead_of(kernel: Kernel, frame: Frame, constants: str) -> tuple[str, str, str]:
    """What compiles a kernel ahead of time."""
    every = f' | {{"{kernel.every}": 1}}' if kernel.every else ""
    return kernel.name, signature(kernel, frame.types), constants + every
