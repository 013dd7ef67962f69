"""The kernels of a loop that no single program holds: for a group of programs, and for one position."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from lsrl.backends import torch_prelude
from lsrl.backends.group_form import group_form
from lsrl.backends.group_kernel import write_group_kernel
from lsrl.backends.group_tiles import GroupTiling, group_tiling
from lsrl.backends.kernel_form import NoKernel, kernel_form
from lsrl.backends.kernel_place import KERNEL_TYPES
from lsrl.backends.kernel_writer import check_operations
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.loop_steps import LoopSteps, loop_steps
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_loop import PlainLoop
from lsrl.backends.torch_operator import LoopFunctions
from lsrl.backends.triton_autograd import programs
from lsrl.backends.triton_group import GroupLaunch, write_group_launch
from lsrl.backends.triton_kernel import Kernel
from lsrl.backends.triton_made import BITS, Made, Section, ahead_of, launch_of, one_program, write_kernel_section
from lsrl.backends.triton_steps import write_steps
from lsrl.backends.writer import Writer


@dataclass(frozen=True, slots=True)
class _Group:
    """A kernel for groups of programs, its text and tiles."""

    kernel: Kernel
    text: str
    tiles: GroupTiling


def beyond_one_program(
    functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str, reason: NoKernel
) -> Made:
    """A group of programs over time, or products by PyTorch and a kernel at each position.

    Args:
        reason: why a single program does not run the loop.

    Raises:
        NoKernel: `reason`, where neither can be.
    """
    try:
        steps = loop_steps(loop, plain.frame.names)
    except NoKernel:
        steps = None
    try:
        group = _group(functions.kernel, loop, frame, dtype, steps)
    except NoKernel as no_group:
        if steps is None:
            raise reason from None
        try:
            alone = _in_steps(functions, steps, loop, plain, frame, dtype)
        except NoKernel:
            raise reason from None
        more = f", and no group of programs: {no_group}" if str(no_group) != str(reason) else ""
        return replace(alone, schedule=f"{alone.schedule}, since {reason}{more}")
    return _in_groups(functions, group, _beside(functions, steps, loop, plain, frame, dtype), loop, plain, frame)


def _group(name: str, loop: LoopCell, frame: Frame, dtype: str, steps: LoopSteps | None) -> _Group:
    """The kernel for groups of programs.

    Raises:
        NoKernel: an operation has no form in a kernel, or the loop none for groups, or launches at each position are
            faster.
    """
    narrow = frozenset(p.name for p, v in zip(loop.cell.params, loop.statics, strict=True) if v in frame.narrow)
    whole = kernel_form(loop, frame.numbers)
    check_operations(whole)
    form = group_form(whole, narrow)
    launches = 1 + steps.operations if steps else len(form.form.body)
    tiles = group_tiling(form, frame.numbers, BITS[dtype], launches)
    reserved = torch_prelude.reserved()
    kernel, text = write_group_kernel(
        name, loop, tiles, frame.numbers, KERNEL_TYPES[dtype], frame.narrow, reserved
    )
    return _Group(kernel, text, tiles)


def _beside(
    functions: LoopFunctions, steps: LoopSteps | None, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str
) -> Made | None:
    """What runs the loop position by position where a GPU does not run a group's programs at once, if kernels do."""
    if steps is None:
        return None
    base, fresh = functions.kernel.removesuffix("_kernel"), frame.names.fresh
    kernel, launch, constants = (fresh(f"{base}_{part}") for part in ("step_kernel", "steps", "step_constants"))
    apart = replace(functions, kernel=kernel, launch=launch, constants=constants)
    try:
        return _in_steps(apart, steps, loop, plain, frame, dtype)
    except NoKernel:
        return None


def _in_groups(
    functions: LoopFunctions, group: _Group, steps: Made | None, loop: LoopCell, plain: PlainLoop, frame: Frame
) -> Made:
    """The group's kernel, launched where its programs can wait for each other."""
    launch = launch_of(functions, group.kernel, loop, plain, frame)
    arguments = plain.arguments
    passed = ", ".join((*arguments.tensors, *arguments.extent, *(["every"] if arguments.saved else [])))
    instead = steps.launch if steps else functions.plain
    otherwise = f"{instead}({passed})" if steps else f"separate({instead}({passed}), [{', '.join(arguments.tensors)}])"
    sections: tuple[Section, ...] = (
        *(steps.sections if steps else ()),
        partial(write_kernel_section, group.text, launch),
        partial(write_group_launch, GroupLaunch(launch, group.tiles, otherwise, instead)),
    )
    ahead = (ahead_of(group.kernel, frame, functions.constants), *(steps.ahead if steps else ()))
    rest = steps.schedule if steps else "a loop in plain PyTorch"
    how = f"{_in_words(group)}; where a GPU does not run them at once, {rest}"
    return Made(sections, ahead, how)


def _in_words(group: _Group) -> str:
    """`one Triton kernel over time, ..., groups of 48 that meet once at each position and ...`"""
    tiles, meetings = group.tiles, group.tiles.group.meetings
    often = {1: "once", 2: "twice"}.get(meetings, f"{meetings} times")
    matrices = "keep their rows of the matrices" if tiles.resident else "read their rows of the matrices each time"
    together = f"groups of {tiles.units.programs} that meet {often} at each position and {matrices}"
    together += f", {tiles.microseconds:.1f} microseconds each by the model of an H100"
    return f"one Triton kernel over time, {programs(group.kernel)}, {together}"


def _in_steps(
    functions: LoopFunctions, steps: LoopSteps, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str
) -> Made:
    """Products by PyTorch and a kernel at each position.

    Raises:
        NoKernel: what remains beside the products has no kernel.
    """
    narrow = frame.narrow | frozenset(steps.products) if frame.types.narrow else frame.narrow
    rest = replace(steps.rest, saved=())  # PyTorch keeps states between the positions
    kernel, text = one_program(functions.kernel, rest, replace(frame, narrow=narrow), dtype)
    inner = replace(plain.frame, narrow=plain.narrow_statics(frame.narrow))
    launch = launch_of(functions, kernel, loop, plain, frame)

    def write(writer: Writer) -> None:
        write_steps(launch, steps, inner, writer)

    sections = (partial(write_kernel_section, text, launch), write)
    how = f"position by position, products by PyTorch and then a Triton kernel, {programs(kernel)}"
    return Made(sections, (ahead_of(kernel, frame, functions.constants),), how, launch=functions.launch)
