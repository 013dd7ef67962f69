"""A loop as the functions that run it: its kernels, its plain form, the operator that chooses, and its derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lsrl.backends import torch_prelude
from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.loop_derivative import Derivative
from lsrl.backends.loop_memory import pieces
from lsrl.backends.naming import Names, identifier, joined
from lsrl.backends.torch_adjoint import derivative, write_derivative
from lsrl.backends.torch_autograd import write_autograd, write_guard
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_loop import PlainLoop, write_plain_loop
from lsrl.backends.torch_newton import write_newton_loop
from lsrl.backends.torch_operator import Around, LoopFunctions, write_operator, write_run
from lsrl.backends.torch_plain_scan import write_plain_scan
from lsrl.backends.torch_waves import write_waves
from lsrl.backends.triton_made import Made, Section
from lsrl.ir.lattice import is_grid
from lsrl.ir.loop_adjoint import differentiable
from lsrl.ir.schedules.how import Newton, Scan

Ahead = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class LoopKernels:
    """What the loops of a module run in.

    Attributes:
        make: makes the kernels of a loop, or raises NoKernel.
        saved_inside: kernels of derivatives take in what is computed from kept states, however large these are.
    """

    make: Callable[[LoopFunctions, LoopCell, PlainLoop, Frame, str], Made]
    saved_inside: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A loop that has been written.

    Attributes:
        run: the function that `apply` calls.
        kernels: what compiles each ahead of time: its name, its signature, its constants.
        schedule: how it runs, in words.
        backward: how its derivative does; empty where there is none.
        names: of the states that it carries, for people.
    """

    run: str
    loop: LoopCell
    kernels: tuple[Ahead, ...]
    schedule: str
    backward: str = ""
    names: str = ""


def write_loop(
    loop: LoopCell, frame: Frame, dtype: str, gradients: bool, kernels: LoopKernels, names: Sequence[Names] = ()
) -> Written:
    """Everything that runs one loop.

    Args:
        frame: of what surrounds the loop.
        gradients: whether it has a derivative.
        kernels: makes its kernels.
        names: identifiers of the module, from which its functions get theirs; those of the frame where there are none.
    """
    names = names or (frame.names,)
    functions = _functions(names, loop)
    guarded = not gradients and len(names) == 1 and _is_smooth(loop)
    smooth = gradients and _is_smooth(loop)
    derived = derivative(loop, frame.numbers, saved_inside=kernels.saved_inside) if smooth else None
    every = 1
    if derived is not None and derived.saved:
        found = pieces(loop, frame.numbers)
        every = 1 if found is None else found.size or 0
        states = tuple(state.name for state in loop.cell.states)
        loop = replace(loop, saved=derived.saved if every == 1 else states)
    plain = PlainLoop.of(loop, frame.numbers, frame.types, torch_prelude.reserved())
    made = _made(functions, loop, plain, frame, dtype, kernels)
    sizes, writer = frame.names.sizes, frame.writer
    check = made.check if isinstance(made, Made) else ""
    around = Around(functions, loop, plain.arguments, sizes, frame.types, check, every, derived, guarded)
    sections: list[Section] = [*(made.sections if isinstance(made, Made) else ()), partial(write_operator, around)]
    sections += [partial(write_run, around), *_plain(functions, plain)]
    sections += [partial(write_guard, around)] if guarded else []
    for section in sections:
        section(writer)
        writer.blank(2)
    ahead, schedule = (made.ahead, made.schedule) if isinstance(made, Made) else ((), made)
    if derived is None:
        return Written(functions.run, loop, ahead, schedule)
    inner = _write_derivative(around, derived, frame, dtype, kernels, names)
    ahead = (*ahead, *(kernel for each in inner for kernel in each.kernels))
    ways = [each.schedule for each in inner] or ["all positions at once"]
    return Written(functions.run, loop, ahead, schedule, f"{'; '.join(ways)}, from {_kept(around)}")


def _kept(around: Around) -> str:
    """What is kept for the backward pass, in words."""
    if not around.loop.saved:
        return "nothing but what went in"
    states = ", ".join(around.loop.saved)
    match around.pieces:
        case 1:
            return f"{states} kept at every position"
        case 0:
            return f"{states} kept at the start of about as many pieces as a piece has positions"
        case size:
            return f"{states} kept at the start of every {size} positions"


def _plain(functions: LoopFunctions, plain: PlainLoop) -> Iterator[Section]:
    """What runs without a kernel."""
    match plain.loop.how:
        case _ if is_grid(plain.loop.cell):
            yield partial(write_waves, functions.plain, plain)
        case Scan():
            yield partial(write_plain_scan, functions.plain, plain)
        case Newton() as how:
            yield partial(write_newton_loop, functions.forward, plain, how)
            yield partial(write_plain_loop, functions.plain, plain)
        case _:
            yield partial(write_plain_loop, functions.plain, plain)


def _is_smooth(loop: LoopCell) -> bool:
    """Whether there is anything to differentiate."""
    cell = loop.cell
    states = [state.kind for state in cell.states]
    taken = [*(each.kind for each in cell.inputs), *(each.kind for each in cell.params), *states]
    given = [*(output.value.kind for output in cell.outputs), *states]
    return any(map(differentiable, taken)) and any(map(differentiable, given))


def _made(
    functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str, kernels: LoopKernels
) -> Made | str:
    """The loop's kernels, or how it runs without any."""
    try:
        return kernels.make(functions, loop, plain, frame, dtype)
    except NoKernel as reason:
        if is_grid(loop.cell):
            return f"waves in plain PyTorch: {reason}"
        if isinstance(loop.how, Newton):
            return f"Newton's method in plain PyTorch, windows of positions at once: {reason}"
        return f"a loop in plain PyTorch: {reason}"


def _write_derivative(
    around: Around, derived: Derivative, frame: Frame, dtype: str, kernels: LoopKernels, names: Sequence[Names]
) -> list[Written]:
    """The derivative's functions; its loops."""
    inner: list[Written] = []

    def write_inner(loop: LoopCell, own: Frame) -> str:
        inner.append(write_loop(loop, own.to(frame.writer), dtype, False, kernels, (*names, own.names)))
        return inner[-1].run

    write_derivative(
        around.names.adjoint, derived, frame.narrow, frame.types, torch_prelude.reserved(), write_inner, frame.writer
    )
    frame.writer.blank(2)
    write_autograd(around, frame.writer)
    frame.writer.blank(2)
    return inner


def _functions(names: Sequence[Names], loop: LoopCell) -> LoopFunctions:
    states = [state.name for state in loop.cell.states]
    base = identifier(joined(states) if len(states) < 4 else f"{states[0]}_to_{states[-1]}")
    title = "".join(part[:1].upper() + part[1:] for part in base.split("_"))
    suffixes = ("loop", "plain", "kernel", "launch", "constants", "operator")
    run, plain, kernel, launch, constants, operator = (_fresh(names, f"{base}_{suffix}") for suffix in suffixes)
    forward = _fresh(names, f"{base}_newton") if isinstance(loop.how, Newton) else plain
    autograd, derived = (_fresh(names, f"{title}{suffix}") for suffix in ("Loop", "Derivative"))
    adjoint, in_pieces = (_fresh(names, f"{base}_{suffix}") for suffix in ("adjoint", "pieces"))
    return LoopFunctions(
        run, plain, forward, kernel, launch, constants, operator, autograd, derived, adjoint, in_pieces
    )


def _fresh(names: Sequence[Names], wanted: str) -> str:
    """An identifier that is new to all of these."""
    found = names[0].fresh(wanted)
    while any(each.fresh(found) != found for each in names[1:]):
        found = names[0].fresh(wanted)
    return found
