"""The call that runs a recurrence over a grid in tiles in an emitted module, whatever the framework."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import Code, infix, method, subscript
from lsrl.backends.primitive_scan import coefficient_code
from lsrl.backends.primitive_site import Site
from lsrl.ir.plan import Primitive
from lsrl.ir.schedules.grid_form import tile_side
from lsrl.ir.schedules.grid_form_elements import ElementForm
from lsrl.ir.schedules.grid_form_parts import GridForm, GridRead, LayeredForm, Row
from lsrl.ir.schedules.how import How, Tiles, Tree

FEW = 8
"""Places of a tile along each axis where states are numbers."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a framework calls the method that puts axes in another order, and the functions that stack and bind."""

    permute: str
    stack: str
    partial: str


def write_grid_call(stages: Sequence[Primitive], site: Site, words: Words) -> dict[str, str]:
    """Write the call that runs recurrences over a grid in tiles; the code of the last value of each of their states.

    Args:
        stages: one recurrence, or several that run in the same tiles at once.
    """
    calls = [_Call(stage.form, stage.how, site, words) for stage in stages if isinstance(stage.form, GridForm)]
    if len(calls) == 1:
        return calls[0].write()
    results = ", ".join(f"({call.results})" for call in calls)
    runs = _bracketed(_tuple([*call.given()]) for call in calls)
    reverse = _tuple([_tuple(list(map(str, call.form.reverse))) if call.form.reverse else "()" for call in calls])
    arguments = ", ".join([calls[0].function, reverse, runs, *calls[0].options()])
    site.writer.line(f"{results} = tiled_in_directions({arguments})")
    return {name: last for call in calls for name, last in call.passed_on().items()}


def write_elements_call(form: ElementForm, how: How, site: Site) -> dict[str, str]:
    """Write the call that runs a recurrence element by element in tiles; the code of the last value of each state."""
    scan = form.scan
    rows = [_bracketed(coefficient_code(scan, entry, site) for entry in row) for row in scan.matrix]
    rests = ["None" if rest is None else str(site.whole(rest.value)) for rest in scan.rest]
    asked = how.side if isinstance(how, Tiles | Tree) else None
    arguments = [f'"{scan.join}"', _bracketed(rows), _bracketed(rests)]
    arguments += [_tuple([site.starts[state.name] for state in scan.states]), "extents=extents"]
    arguments += [f"axes={_tuple(list(map(str, form.axes)))}", f"sides={_tuple([str(asked or FEW)] * form.rank)}"]
    arguments += [f"reverse={_tuple(list(map(str, form.reverse)))}"] if form.reverse else []
    arguments += ["tree=True"] if isinstance(how, Tree) else []
    nexts = [state.next for state in scan.states]
    arriving = [site.bind(leaf) if site.needs(leaf) else "_" for leaf in scan.leaves]
    following = [site.bind(value) if value not in nexts[:at] else "_" for at, value in enumerate(nexts)]
    lasts = [site.names.fresh(f"{state.name}_last") for state in scan.states]
    targets = ", ".join((_bracketed(arriving), _bracketed(following), _bracketed(lasts)))
    site.writer.line(f"{targets} = tiled_elements({', '.join(arguments)})")
    return {state.name: last for state, last in zip(scan.states, lasts, strict=True)}


class _Call:
    """The call while it is written."""

    def __init__(self, form: GridForm, how: How, site: Site, words: Words) -> None:
        self.form, self.site, self.words, self.rank = form, site, words, form.rank
        asked = how.side if isinstance(how, Tiles | Tree) else None
        self.tree = isinstance(how, Tree)
        self.side = asked or tile_side(form.states, site.numbers)
        self.terms = [(read, *term) for read in form.reads for term in read.terms]
        self.lasts = [site.names.fresh(f"{state.name}_last") for state in form.states]
        self.found = [site.names.fresh(f"{form.states[0].name}_read") for _ in self.terms]

    def write(self) -> dict[str, str]:
        layers = isinstance(self.form, LayeredForm)
        call = f"tiled_layers(tiled, {self.words.stack}, " if layers else "tiled("
        reverse = [f"reverse={_tuple(list(map(str, self.form.reverse)))}"] if self.form.reverse else []
        arguments = ", ".join([*self.given(), *self.options(), *reverse])
        self.site.writer.line(f"{self.results} = {call}{arguments})")
        return self.passed_on()

    @property
    def results(self) -> str:
        return f"{_bracketed(self.found)}, {_tuple(self.lasts)}"

    @property
    def function(self) -> str:
        """What runs in tiles, as a function."""
        layers = isinstance(self.form, LayeredForm)
        return f"{self.words.partial}(tiled_layers, tiled, {self.words.stack})" if layers else "tiled"

    def passed_on(self) -> dict[str, str]:
        """Write what is read as the program has it; the code of the last states."""
        for read in self.form.reads:
            own = [Code(each) for (of, *_), each in zip(self.terms, self.found, strict=True) if of is read]
            self.site.writer.line(f"{self.site.bind(read.result)} = {self.result(read, own)}")
        names = (state.name for state in self.form.states)
        return {name: str(self.program_order(Code(last))) for name, last in zip(names, self.lasts, strict=True)}

    def given(self) -> Iterable[str]:
        """The arrays that the call takes, in order."""
        yield _tuple([str(self.matrix(Code(self.site.starts[state.name]))) for state in self.form.states])
        yield self.table(self.form.transition)
        yield self.table(self.form.gates)
        yield _bracketed(str(self.site.whole(each)) for each in self.form.keys)
        yield _bracketed(str(self.site.whole(each)) for each in self.form.values)
        yield _bracketed(f"({self.site.whole(vector)}, {self.row(row)})" for _, vector, row in self.terms)

    def options(self) -> Iterable[str]:
        """What else it takes."""
        yield "extents=extents"
        yield f"axes={_tuple(list(map(str, self.form.axes)))}"
        yield f"sides={_tuple([str(self.side)] * self.rank)}"
        if self.tree:
            yield "tree=True"

    def table(self, rows: Sequence[Row]) -> str:
        return _bracketed(map(self.row, rows))

    def row(self, row: Row) -> str:
        return _bracketed("None" if each is None else str(self.site.whole(each)) for each in row)

    def matrix(self, code: Code) -> Code:
        """A state of the program, [B, *others, *shape], as [B, *others, *lanes, K, V]."""
        return self.permuted(code, self.form.perm, self.rank)

    def program_order(self, code: Code) -> Code:
        """The inverse of `matrix`."""
        return self.permuted(code, tuple(map(self.form.perm.index, range(len(self.form.perm)))), self.rank)

    def result(self, read: GridRead, terms: Sequence[Code]) -> Code:
        """The sum of the terms and the rest, as the program has it."""
        total = terms[0]
        for term in terms[1:]:
            total = infix("+", total, term)
        if isinstance(self.form, LayeredForm) and len(read.perm) == len(self.form.perm) - 2:
            total = subscript(total, "..., 0, :")  # of layers of what is read, where there are none
        total = self.permuted(total, read.perm, 2)
        return total if read.rest is None else infix("+", total, self.site.code(read.rest))

    def permuted(self, code: Code, perm: Sequence[int], before: int) -> Code:
        """The axes after the first ones in another order."""
        if tuple(perm) == tuple(range(len(perm))):
            return code
        return method(code, self.words.permute, *range(before), *(axis + before for axis in perm))


def _bracketed(parts: Iterable[str]) -> str:
    return f"[{', '.join(parts)}]"


def _tuple(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)},)"
