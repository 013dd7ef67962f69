"""The kernels of a loop with their launches: by its schedule, and as far as there are any."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from lsrl.backends import torch_prelude
from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_loop import PlainLoop
from lsrl.backends.torch_operator import LoopFunctions
from lsrl.backends.triton_autograd import programs
from lsrl.backends.triton_beyond import beyond_one_program
from lsrl.backends.triton_launch import Launch, write_launch
from lsrl.backends.triton_made import BITS, Made, ahead_of, launch_of, one_program, write_kernel_section
from lsrl.backends.triton_newton import newton_kernel, write_newton_launch
from lsrl.backends.triton_scan import scan_kernels
from lsrl.backends.triton_scan_launch import ScanLaunch, write_scan_launch
from lsrl.backends.triton_wave_kernel import write_wave_kernel
from lsrl.backends.triton_waves import write_wave_launch
from lsrl.ir.lattice import is_grid
from lsrl.ir.schedules.how import Dag, Newton, Scan


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
    texts = [partial(write_kernel_section, text, launch) for text, launch in zip(found.texts, launches, strict=True)]
    sections = (*texts, partial(write_scan_launch, scan))
    ahead = tuple(ahead_of(k, frame, each) for k, each in zip(kernels, constants, strict=True))
    return Made(sections, ahead, f"a scan by Triton kernels, {programs(found.tiles)}")


def _in_waves(functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str) -> Made:
    """A step that is launched once for each wave of a grid, or for each place.

    Raises:
        NoKernel: there is no kernel of it.
    """
    step = replace(loop, saved=())  # states of all places lie in memory anyway
    kernel, text = one_program(functions.kernel, step, frame, dtype, write_wave_kernel)
    sizes, types = frame.names.sizes, frame.types
    launch = Launch(functions.launch, functions.constants, kernel, loop, plain.arguments, sizes, types)
    sections = (partial(write_kernel_section, text, launch), partial(write_wave_launch, launch))
    how = "one Triton kernel for each wave" if isinstance(loop.how, Dag) else "one Triton kernel for each place"
    ahead = ahead_of(kernel, frame, functions.constants)
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
    sections = (partial(write_kernel_section, text, launch), partial(write_newton_launch, launch, window))
    ahead = ahead_of(kernel, frame, functions.constants)
    schedule = f"Newton's method in a Triton kernel, windows of {window} positions, {programs(kernel)}"
    return Made(sections, (ahead,), schedule)


def _whole_or_in_steps(functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str) -> Made:
    """One program over time, or a group of them, or products by PyTorch and a kernel at each position.

    Raises:
        NoKernel: none of these can be; the message says why not the first.
    """
    try:
        kernel, text = one_program(functions.kernel, loop, frame, dtype)
    except NoKernel as reason:
        return beyond_one_program(functions, loop, plain, frame, dtype, reason)
    launch = launch_of(functions, kernel, loop, plain, frame)
    sections = (partial(write_kernel_section, text, launch), partial(write_launch, launch))
    ahead = ahead_of(kernel, frame, functions.constants)
    return Made(sections, (ahead,), f"one Triton kernel over time, {programs(kernel)}")
