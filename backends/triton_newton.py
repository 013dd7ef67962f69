"""A loop that Newton's method solves, in Triton: its kernel, and the launch of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lsrl.backends.expressions import shape_code
from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.kernel_place import KERNEL_TYPES
from lsrl.backends.kernel_writer import Kernel
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.newton_kernel import TOLD, write_newton_kernel
from lsrl.backends.newton_kernel_form import newton_kernel_form
from lsrl.backends.scan_kernel_tiles import newton_tiling
from lsrl.backends.torch_frame import SEQUENCE
from lsrl.backends.triton_launch import Launch, as_pairs, contiguous
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.pipeline import components
from lsrl.ir.schedules.how import Newton, NotLegal
from lsrl.ir.schedules.newton_form import NewtonForm, newton_form
from lsrl.ir.value import Value

ITERATIONS, LARGEST_WINDOW = 8, 1024


def newton_kernel(
    name: str,
    loop: LoopCell,
    how: Newton,
    numbers: Mapping[str, int],
    dtype: str,
    data_bits: int,
    narrow: frozenset[Value],
    reserved: Iterable[str],
) -> tuple[Kernel, str, int]:
    """The kernel `name`, its text, and the positions of a window.

    Args:
        numbers: the number of every size.
        narrow: values around the loop that are stored in 16 bits.
        reserved: identifiers of the module.

    Raises:
        NoKernel: Newton's method does not serve the loop, or no window of it fits a program.
    """
    form = newton_kernel_form(loop, _form(loop, numbers), numbers)
    states = len(form.names)
    operands = states * states + 4 * states
    tiles = newton_tiling(form.form, numbers, data_bits, operands, how.window or LARGEST_WINDOW)
    given = (numbers, KERNEL_TYPES[dtype], narrow, reserved)
    kernel, text = write_newton_kernel(name, loop, form, tiles, how.iterations or ITERATIONS, *given)
    return kernel, text, tiles.batch.block


def _form(loop: LoopCell, numbers: Mapping[str, int]) -> NewtonForm:
    parts = components(loop.cell)
    if len(parts) != 1:
        raise NoKernel(f"it holds {len(parts)} recurrences")
    try:
        return newton_form(loop.cell, parts[0], numbers)
    except NotLegal as refusal:
        raise NoKernel(refusal.reason) from refusal


def write_newton_launch(launch: Launch, window: int, writer: Writer) -> None:
    """The function that runs the kernel; behind the last states it tells of each sequence how the run went.

    Args:
        window: positions of a window.
    """
    results, first = launch.results, launch.arguments.starts[0]
    with writer.block(launch.header):
        saved = ", then arriving states" if launch.arguments.saved else ""
        writer.docstring(f"Run `{launch.kernel.name}`: what it keeps, the last states, statistics{saved}.")
        writer.line(launch.extent)
        for tensor in launch.written:
            writer.line(f"{results[tensor.role, tensor.of]} = {_new(launch, tensor)}")
        writer.line(f"programs = {' * '.join(launch.kernel.grid[1:]) or '1'}")
        for word in TOLD:
            type_ = launch.types.real if word == "residual" else "torch.int64"
            writer.line(f"{word} = {first}.new_empty((batch, programs), dtype={type_})")
        passed = [_passed(launch, tensor) for tensor in launch.kernel.tensors]
        writer.line(launch.grid)
        launch.write_call(writer, passed, "length")
        lanes = shape_code(launch.loop.cell.states[0].shape, launch.sizes)
        writer.line(f"solved = max(1, math.prod({lanes}) * triton.cdiv(length, {window}))", "lanes of windows")
        told = ["turns.amax(1)", f"fell.sum(1).to({launch.types.real}) / solved", "residual.amax(1)"]
        kept = [results[t.role, t.of] for t in launch.written if t.role is not Role.SAVED]
        states = [results[t.role, t.of] for t in launch.written if t.role is Role.SAVED]
        writer.line(f"return {', '.join([*kept, *told, *states])}")


def _passed(launch: Launch, tensor: Tensor) -> str:
    """A tensor as an argument of the kernel."""
    key = (tensor.role, tensor.of)
    if tensor.role is Role.TOLD:
        return tensor.of
    made = launch.results.get(key)
    return as_pairs(tensor, made if made else contiguous(tensor, launch.given[key]))


def _new(launch: Launch, tensor: Tensor) -> str:
    if tensor.role is Role.KEPT:
        return launch.kept(tensor, SEQUENCE)
    if tensor.role is Role.SAVED:
        return launch.kept(tensor, ("batch", "saves(length, every)"))
    return f"torch.empty_like({launch.given[Role.START, tensor.of]}, memory_format=torch.contiguous_format)"
