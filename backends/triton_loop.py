"""The kernels of a loop with their launches: by its schedule, and as far as there are any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from lsrl.backends import torch_prelude
from lsrl.backends.kernel_form import NoKernel, kernel_form
from lsrl.backends.kernel_place import KERNEL_TYPES
from lsrl.backends.kernel_tiles import tiling
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.loop_steps import loop_steps
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_loop import PlainLoop
from lsrl.backends.torch_operator import LoopFunctions
from lsrl.backends.triton_autograd import programs, signature, write_constants
from lsrl.backends.triton_kernel import Kernel, write_kernel
from lsrl.backends.triton_launch import Launch, write_launch
from lsrl.backends.triton_newton import newton_kernel, write_newton_launch
from lsrl.backends.triton_scan import scan_kernels
from lsrl.backends.triton_scan_launch import ScanLaunch, write_scan_launch
from lsrl.backends.triton_steps import write_steps
from lsrl.backends.triton_wave_kernel import write_wave_kernel
from lsrl.backends.triton_waves import write_wave_launch
from lsrl.backends.writer import Writer
from lsrl.ir.lattice import is_grid
from lsrl.ir.schedules.how import Dag, Newton, Scan

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
    """

    sections: tuple[Section, ...]
    ahead: tuple[tuple[str, str, str], ...]
    schedule: str
    check: str = "runs_kernels"


def loop_kernels(functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str) -> Made:
    """The kernels by the loop's schedule; where a scan's cannot be, those of a loop over positions.

    Raises:
        NoKernel: there are none.
    """
    if is_grid(loop.cell):
        return _in_waves(functions, loop, plain, frame, dtype)
    if isinstance(loop.how, Newton):
        return _solved(functions, loop, loop.how, plain, frame, dtype)
    if not isinstance(loop.how, Scan):
        return _whole_or_in_steps(functions, loop, plain, frame, dtype)
    try:
        return _scanned(functions, loop, plain, frame, dtype)
    except NoKernel as reason:
        made = _whole_or_in_steps(functions, loop, plain, frame, dtype)
        return replace(made, schedule=f"{made.schedule}; no scan in tiles: {reason}")


def _scanned(functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str) -> Made:
    """A scan in tiles of positions."""
    first, second = (functions.kernel.removesuffix("_kernel") + f"_{part}" for part in ("pieces", "carry"))
    found = scan_kernels(
        (frame.names.fresh(f"{first}_kernel"), frame.names.fresh(f"{second}_kernel"), functions.kernel),
        loop,
        frame.numbers,
        dtype,
        BITS[dtype],
        frame.narrow,
        torch_prelude.reserved(),
    )
    names = [frame.names.fresh(f"{name}_constants") for name in (first, second)]
    constants = (*names, functions.constants)
    kernels = (found.pieces, found.carry, found.tiles)
    launches = [
        Launch(functions.launch, each, kernel, loop, plain.arguments, frame.names.sizes, frame.types)
        for kernel, each in zip(kernels, constants, strict=True)
    ]
    scan = ScanLaunch(launches[2], launches[0], launches[1], found.block)
    texts = [partial(_write_kernel, text, launch) for text, launch in zip(found.texts, launches, strict=True)]
    sections = (*texts, partial(write_scan_launch, scan))
    ahead = tuple(_ahead(k, frame, each) for k, each in zip(kernels, constants, strict=True))
    return Made(sections, ahead, f"a scan by Triton kernels, {programs(found.tiles)}")


def _in_waves(functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str) -> Made:
    """A step that is launched once for each wave of a grid, or for each place.

    Raises:
        NoKernel: there is no kernel of it.
    """
    step = replace(loop, saved=())  # states of all places lie in memory anyway
    kernel, text = _kernel(functions.kernel, step, frame, dtype, write_wave_kernel)
    sizes, types = frame.names.sizes, frame.types
    launch = Launch(functions.launch, functions.constants, kernel, loop, plain.arguments, sizes, types)
    sections = (partial(_write_kernel, text, launch), partial(write_wave_launch, launch))
    how = "one Triton kernel for each wave" if isinstance(loop.how, Dag) else "one Triton kernel for each place"
    ahead = _ahead(kernel, frame, functions.constants)
    return Made(sections, (ahead,), f"{how}, {programs(kernel)}")


def _solved(functions: LoopFunctions, loop: LoopCell, how: Newton, plain: PlainLoop, frame: Frame, dtype: str) -> Made:
    """Newton's method in windows of positions."""
    kernel, text, window = newton_kernel(
        functions.kernel,
        loop,
        how,
        frame.numbers,
        dtype,
        BITS[dtype],
        frame.narrow,
        torch_prelude.reserved(),
    )
    sizes, types = frame.names.sizes, frame.types
    launch = Launch(functions.launch, functions.constants, kernel, loop, plain.arguments, sizes, types)
    sections = (partial(_write_kernel, text, launch), partial(write_newton_launch, launch, window))
    ahead = _ahead(kernel, frame, functions.constants)
    schedule = f"Newton's method in a Triton kernel, windows of {window} positions, {programs(kernel)}"
    return Made(sections, (ahead,), schedule)


def _write_kernel(text: str, launch: Launch, writer: Writer) -> None:
    """A kernel and what it is compiled for."""
    writer.text(text)
    writer.blank(2)
    write_constants(launch, writer)


def _ahead(kernel: Kernel, frame: Frame, constants: str) -> tuple[str, str, str]:
    """What compiles a kernel ahead of time."""
    every = f' | {{"{kernel.every}": 1}}' if kernel.every else ""
    return kernel.name, signature(kernel, frame.types), constants + every


def _whole_or_in_steps(functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str) -> Made:
    """One kernel over time, or where that cannot be, products by PyTorch and a kernel at each position.

    Raises:
        NoKernel: neither can be; the message says why not the former.
    """

    def made(kernel: Kernel, text: str, write: Callable[[Launch, Writer], None], schedule: str) -> Made:
        launch = Launch(
            functions.launch, functions.constants, kernel, loop, plain.arguments, frame.names.sizes, frame.types
        )
        ahead = _ahead(kernel, frame, functions.constants)
        sections = (partial(_write_kernel, text, launch), partial(write, launch))
        return Made(sections, (ahead,), f"{schedule}, {programs(kernel)}")

    try:
        kernel, text = _kernel(functions.kernel, loop, frame, dtype)
        return made(kernel, text, write_launch, "one Triton kernel over time")
    except NoKernel as reason:
        try:
            steps = loop_steps(loop, plain.frame.names)
            narrow = frame.narrow | frozenset(steps.products) if frame.types.narrow else frame.narrow
            rest = replace(steps.rest, saved=())  # PyTorch keeps states between the positions
            kernel, text = _kernel(functions.kernel, rest, replace(frame, narrow=narrow), dtype)
        except NoKernel:
            raise reason from None
        inner = replace(plain.frame, narrow=plain.narrow_statics(frame.narrow))
        how = "position by position, products by PyTorch and then a Triton kernel"
        found = made(kernel, text, lambda launch, w: write_steps(launch, steps, inner, w), how)
        return replace(found, schedule=f"{found.schedule}, since {reason}")


def _kernel(
    name: str, loop: LoopCell, frame: Frame, dtype: str, write: KernelWriter = write_kernel
) -> tuple[Kernel, str]:
    form = kernel_form(loop, frame.numbers)
    tiles = tiling(form, frame.numbers, BITS[dtype])
    types = KERNEL_TYPES[dtype]
    return write(name, loop, tiles, frame.numbers, types, frame.narrow, torch_prelude.reserved())
