"""A loop as a kernel scans it: coefficients of steps, states that arrive and that follow, and what is made of them.

The scan cuts the loop's graph in two.  Before it are the coefficients, which need no state; behind it is what the loop
keeps, which takes arriving and following states as given.  Both halves are put into one cell, so that they pass
together through the real form and the classes of axes of every kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from lsrl.backends.kernel_form import KernelForm, NoKernel, kernel_form
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.scan_kernel_algebra import COMPLEX, SEMIRINGS, Algebra, affine
from lsrl.ir import build, ops
from lsrl.ir.cell import Cell, Distribution, Output, Param, State
from lsrl.ir.infer import integers
from lsrl.ir.schedules.coefficients import Coefficient
from lsrl.ir.schedules.scan_form import ScanForm
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Kind, Value, postorder


@dataclass(frozen=True, slots=True)
class Step:
    """A coefficient of a step as a value of the kernel.

    Attributes:
        value: None where it is `number`.
        axes: for each axis of the value the axis of the states that it goes along, ascending.
        number: as Triton writes it.
    """

    value: Value | None
    axes: tuple[int, ...]
    number: str = ""


@dataclass(frozen=True, slots=True)
class Scanned:
    """Real states that one scan moves.

    Attributes:
        names: of the states; a complex one is two.
        arriving: their values as they arrive, where something needs them.
        following: their values as they are passed on.
        starts: stand-ins for the states at the start, which differ in no position.
        steps: the coefficients, in the order of the algebra.
    """

    algebra: Algebra
    names: tuple[str, ...]
    arriving: tuple[Value | None, ...]
    following: tuple[Value, ...]
    starts: tuple[Value, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class ScanKernelForm:
    """A loop that a kernel scans.

    Attributes:
        form: of a cell whose outputs are those of the loop and the coefficients.
        scans: the states by the scans that move them.
        kept: the values of the loop's outputs by name, complex ones by part.
        origins: the values of the loop's cell that the states become, for the lines that they come from.
    """

    form: KernelForm
    scans: tuple[Scanned, ...]
    kept: Mapping[str, Value]
    origins: tuple[Value, ...]

    @property
    def coefficients(self) -> tuple[Value, ...]:
        """Those that are values, each once."""
        found = (step.value for scan in self.scans for step in scan.steps)
        return tuple(dict.fromkeys(value for value in found if value is not None))

    @property
    def starts(self) -> dict[str, Value]:
        """The stand-in of every real state."""
        return {name: start for scan in self.scans for name, start in zip(scan.names, scan.starts, strict=True)}


def scan_kernel_form(loop: LoopCell, scan: ScanForm, numbers: Mapping[str, int]) -> ScanKernelForm:
    """The loop's form.

    Args:
        scan: of the loop's cell.
        numbers: the number of every size.

    Raises:
        NoKernel: steps that a tile does not compose, or operations that kernels do not know.
    """
    if scan.block is not None:
        raise NoKernel(f"its steps are matrices along an axis of {scan.states[0].shape[scan.block]}")
    first = scan.states[0]
    if first.kind is Kind.COMPLEX and len(scan.states) > 1:
        raise NoKernel("its steps are matrices of complex numbers")
    form = kernel_form(replace(loop, cell=_cut(loop.cell, scan)), numbers)
    found = _Found(form)
    scans = _complex(scan, found) if first.kind is Kind.COMPLEX else (_real(scan, found),)
    names = {output.name for output in loop.cell.outputs}
    kept = {name: value for name, value in found.outputs.items() if form.parts.get(name, (name, 0))[0] in names}
    return ScanKernelForm(form, scans, kept, tuple(state.next for state in scan.states))


# Names with a blank are no identifiers, so no name of a program is one of these.


def _start(name: str) -> str:
    return f"{name} start"


def _entry(to: str, source: str, join: str) -> str:
    if join != "add":
        return f"{to} shift"
    return f"{to} decay" if to == source else f"{to} from_{source}"


def _added(name: str) -> str:
    return f"{name} added"


def _cut(cell: Cell, scan: ScanForm) -> Cell:
    """The two halves as one cell.

    A state that arrives becomes the stand-in of its start, and one that follows the step of those that arrive: so all
    of them share their axes, and those of the coefficients.
    """
    following = [_leaf(f"{state.name}'", state) for state in scan.states]
    nexts = (state.next for state in scan.states)
    behind = substitute(replace(cell, states=()), dict(zip(nexts, following, strict=True)))
    arriving, passed = [], []
    for place, state in enumerate(scan.states):
        start = ops.leaf("param", _start(state.name), state.shape, state.kind)
        arriving.append(replace(state, next=start))
        passed.append(replace(state, name=f"{state.name}'", next=_step(scan, place)))
    starts = (Param(_start(s.name), s.shape, s.kind, Distribution("normal")) for s in scan.states)
    cut = replace(
        behind,
        params=(*cell.params, *starts),
        states=(*arriving, *passed),
        outputs=(*behind.outputs, *_coefficients(scan), *_outputs(following)),
    )
    alive = frozenset(postorder([output.value for output in cut.outputs]))
    spans = {**cell.spans, **behind.spans}
    names = {**{each.value: each.name for each in _coefficients(scan)}, **cell.names, **behind.names}
    return replace(
        cut,
        names={value: name for value, name in names.items() if value in alive and value.args},
        spans={value: places for value, places in spans.items() if value in alive and value.args},
    )


def _leaf(name: str, state: State) -> Value:
    return ops.state(name, state.axes[0], state.shape, state.kind)


def _coefficients(scan: ScanForm) -> list[Output]:
    found = []
    for state, row, added in zip(scan.states, scan.matrix, scan.rest, strict=True):
        for other, entry in zip(scan.states, row, strict=True):
            found += [] if entry is None else [Output(_entry(state.name, other.name, scan.join), entry.value)]
        found += [] if added is None else [Output(_added(state.name), added.value)]
    return found


def _outputs(following: Sequence[Value]) -> list[Output]:
    """States are needed at the end, if nowhere else."""
    return [Output(f"{leaf.attr('name')} following", leaf) for leaf in following]


def _step(scan: ScanForm, place: int) -> Value:
    """What a state becomes, from arriving states and coefficients."""
    state, added = scan.states[place], scan.rest[place]
    moved = []
    for leaf, entry in zip(scan.leaves, scan.matrix[place], strict=True):
        if entry is not None:
            whole = _whole(entry, state)
            moved.append(build.mul(whole, leaf) if scan.join == "add" else build.add(whole, leaf))
    terms = [*moved, *([] if added is None else [_whole(added, state)])]
    together = {"add": build.add}.get(scan.join, lambda x, y: build.binary(scan.join, x, y))
    return reduce(together, terms)


def _whole(coefficient: Coefficient, state: State) -> Value:
    new = [axis for axis in range(len(state.shape)) if axis not in coefficient.axes]
    return build.expand(coefficient.value, state.shape, new)


class _Found:
    """Values of the form by the names of what they are."""

    def __init__(self, form: KernelForm) -> None:
        self.outputs = {output.name: output.value for output in form.cell.outputs}
        self.leaves = form.arriving()
        self.nexts = {state.name: state.next for state in form.cell.states}

    def step(self, name: str, coefficient: Coefficient | None, neutral: str) -> Step:
        """A real coefficient."""
        if coefficient is None:
            return Step(None, (), neutral)
        value, axes = self.outputs[name], coefficient.axes
        if value.op == "expand":  # a part of a complex number can be repeated where the number is not
            new = integers(value.attr("axes"))
            value, axes = value.args[0], tuple(axis for place, axis in enumerate(axes) if place not in new)
        return Step(value, axes)

    def parts(self, name: str, coefficient: Coefficient | None) -> tuple[Step, Step]:
        """A complex coefficient; a real one has no imaginary part."""
        if coefficient is None or name in self.outputs:
            return self.step(name, coefficient, "0.0"), Step(None, (), "0.0")
        return self.step(f"{name}.re", coefficient, ""), self.step(f"{name}.im", coefficient, "")


def _real(scan: ScanForm, found: _Found) -> Scanned:
    """Real states over one algebra."""
    names = tuple(state.name for state in scan.states)
    algebra = SEMIRINGS[scan.join] if scan.join != "add" else affine(len(names))
    entries = [
        found.step(_entry(to, source, scan.join), entry, "0.0")
        for to, row in zip(names, scan.matrix, strict=True)
        for source, entry in zip(names, row, strict=True)
    ]
    neutral = algebra.identity[-1]
    rests = [found.step(_added(name), added, neutral) for name, added in zip(names, scan.rest, strict=True)]
    return _scanned(algebra, names, [f"{name}'" for name in names], found, [*entries, *rests])


def _complex(scan: ScanForm, found: _Found) -> tuple[Scanned, ...]:
    """A complex state; where its decay is real each part is a recurrence of its own."""
    (name,) = (state.name for state in scan.states)
    decay = found.parts(_entry(name, name, "add"), scan.matrix[0][0])
    added = found.parts(_added(name), scan.rest[0])
    names, passed = (f"{name}.re", f"{name}.im"), (f"{name}'.re", f"{name}'.im")
    if decay[1].value is None:
        parts = zip(names, passed, added, strict=True)
        return tuple(_scanned(affine(1), (part,), [new], found, [decay[0], b]) for part, new, b in parts)
    return (_scanned(COMPLEX, names, passed, found, [*decay, *added]),)


def _scanned(
    algebra: Algebra, names: tuple[str, ...], passed: Sequence[str], found: _Found, steps: Sequence[Step]
) -> Scanned:
    return Scanned(
        algebra,
        names,
        tuple(found.leaves.get(name) for name in names),
        tuple(found.leaves[name] for name in passed),
        tuple(found.nexts[name] for name in names),
        tuple(steps),
    )
