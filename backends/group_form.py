"""A loop whose units are spread over a group of programs: what the programs tell each other at every position.

A product with a matrix of parameters sums over units of all programs.  Its operand becomes an array in memory to which
every program writes its part and of which, once all have, it reads the whole.  What remains of the loop sums over units
nowhere else, so that each program can own some of them: all gates of a unit, its states and its rows of the matrices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsrl.backends.kernel_form import KernelForm, NoKernel, View
from lsrl.backends.kernel_tiles import einsum_axes
from lsrl.ir import ops
from lsrl.ir.axes import AxisClasses, axis_classes
from lsrl.ir.cell import Cell, Output
from lsrl.ir.dims import Dim
from lsrl.ir.pipeline import VARYING
from lsrl.ir.plan_groups import is_static_product
from lsrl.ir.substitute import substitute, with_args
from lsrl.ir.value import Value, depends_on, postorder

MOST_PRODUCTS = 4  # that one panel holds


@dataclass(frozen=True, slots=True)
class Exchange:
    """A value that every program needs whole.

    Attributes:
        source: what is computed, each program its own units.
        whole: the leaf that products take in its place.
        summed: the axis of both that lies across programs.
        level: how many exchanges of the same position come before it.
    """

    source: Value
    whole: Value
    summed: int
    level: int


@dataclass(frozen=True, slots=True)
class Panel:
    """Products of one exchanged value, computed as one: a matrix whose columns are theirs in turn.

    Attributes:
        products: at most `MOST_PRODUCTS`.
        matrices: the array of each.
        rows, columns: the axes of these arrays along what is summed, and along units.
    """

    exchange: Exchange
    products: tuple[Value, ...]
    matrices: tuple[Value, ...]
    rows: int
    columns: int

    @property
    def width(self) -> int:
        """Columns for each unit, a power of two."""
        return 1 << (len(self.products) - 1).bit_length()


@dataclass(frozen=True, slots=True)
class GroupForm:
    """A loop for groups of programs.

    Attributes:
        form: what each program computes; the wholes are inputs without a view, what is exchanged its last outputs.
        exchanges, panels: in the order of their levels.
        levels: how many exchanges come before each value of the loop.
        units: the class of axes that is spread over the programs.
        summed: that of the wholes.
    """

    form: KernelForm
    exchanges: tuple[Exchange, ...]
    panels: tuple[Panel, ...]
    levels: Mapping[Value, int]
    units: int
    summed: int

    @property
    def kept(self) -> tuple[Output, ...]:
        """What the loop keeps of every position."""
        return self.form.cell.outputs[: -len(self.exchanges)]

    @property
    def meetings(self) -> int:
        """How often the programs wait for each other at every position."""
        return 1 + max(exchange.level for exchange in self.exchanges)

    def at(self, level: int) -> tuple[Exchange, ...]:
        """What is exchanged together."""
        return tuple(exchange for exchange in self.exchanges if exchange.level == level)

    def panels_of(self, exchange: Exchange) -> tuple[Panel, ...]:
        """The products of an exchanged value."""
        return tuple(panel for panel in self.panels if panel.exchange is exchange)


@dataclass(frozen=True, slots=True)
class _Product:
    """A product of a matrix and a varying value; axes of the matrix along what is summed and along units."""

    value: Value
    matrix: Value
    operand: Value
    rows: int
    columns: int
    summed: int


def group_form(form: KernelForm, narrow: frozenset[str]) -> GroupForm:
    """The loop's form for groups of programs.

    Args:
        narrow: the params of the loop that are stored in 16 bits.

    Raises:
        NoKernel: units of different programs would meet in other ways than by products with matrices of parameters.
    """
    found = _products(form)
    wholes = _wholes(form, found)
    table = {p.value: with_args(p.value, [_placed(arg, p, wholes) for arg in p.value.args]) for p in found}
    told = tuple(Output(str(whole.attr("name")), source) for source, whole in wholes.items())
    cell = substitute(replace(form.cell, outputs=(*form.cell.outputs, *told)), table)
    sources = {whole: out.value for whole, out in zip(wholes.values(), cell.outputs[-len(told) :], strict=True)}
    mine = _spread(form, cell, tuple(sources.values()), tuple(wholes.values()))
    after = [replace(p, value=table[p.value]) for p in found]
    levels = _levels(mine, {p.value: sources[wholes[p.operand]] for p in after})
    exchanges = {
        whole: Exchange(source, whole, next(p.summed for p in found if wholes[p.operand] is whole), levels[source])
        for whole, source in sources.items()
    }
    ordered = tuple(sorted(exchanges.values(), key=lambda exchange: exchange.level))
    own = {p.value: exchanges[wholes[p.operand]] for p in after}
    panels = [panel for exchange in ordered for panel in _panels(exchange, after, own, mine.views, narrow)]
    return _checked(GroupForm(mine, ordered, tuple(panels), levels, *_axes(mine, ordered)))


def _products(form: KernelForm) -> list[_Product]:
    varying = depends_on(form.cell.roots(), lambda value: value.op in VARYING)
    found = [_product(v, form) for v in form.body if v in varying and is_static_product(v, varying)]
    if not found:
        raise NoKernel("it has no product with a matrix of parameters")
    return found


def _product(value: Value, form: KernelForm) -> _Product:
    """A product of one matrix of parameters with rows along units."""
    matrices = [arg for arg in value.args if form.is_static(arg)]
    if value.op != "einsum" or len(value.args) != 2 or len(matrices) != 1:
        raise NoKernel(f"`{value.op}` is no product of one array of parameters with one value")
    (matrix,) = matrices
    place = value.args.index(matrix)
    operands, result = einsum_axes(value)
    own, other = operands[place], operands[1 - place]
    summed = [letter for letter in own if letter in other and letter not in result]
    columns = [letter for letter in own if letter not in other]
    if len(summed) != 1 or len(columns) != 1 or len(set(own)) != len(own) or len(set(other)) != len(other):
        raise NoKernel("one of its products with parameters is not that of a matrix and a vector")
    row, column = summed[0], columns[0]
    return _Product(value, matrix, value.args[1 - place], own.index(row), own.index(column), other.index(row))


def _wholes(form: KernelForm, products: Iterable[_Product]) -> dict[Value, Value]:
    """For every operand of a product the leaf that stands for it."""
    names = {output.value: output.name for output in reversed(form.cell.outputs)}
    taken = {*(i.name for i in form.cell.inputs), *(p.name for p in form.cell.params)}
    wholes: dict[Value, Value] = {}
    for product in products:
        source = product.operand
        if source in wholes:
            continue
        told = names.get(source, form.cell.names.get(source, "operand"))
        own = str(source.attr("name")) if source.op == "state" else told
        name, number = f"{own} all", 2
        while name in taken:
            name, number = f"{own} all {number}", number + 1
        taken.add(name)
        wholes[source] = ops.leaf("input", name, source.shape, source.kind)
    return wholes


def _placed(arg: Value, product: _Product, wholes: Mapping[Value, Value]) -> Value:
    return wholes[arg] if arg is product.operand else arg


def _spread(form: KernelForm, cell: Cell, sources: Sequence[Value], wholes: Sequence[Value]) -> KernelForm:
    """The form of the loop in which products take wholes.

    Units of several kinds that are as many are spread alike: a program owns the same ones of each.
    """
    order = dict.fromkeys(postorder(cell.roots(), stop=form.views.__contains__))
    body = tuple(v for v in order if v.args and v not in form.views)
    views = {v: view for v, view in form.views.items() if v in order}
    leaves = {str(v.attr("name")): v for v in order if v.op == "state"}
    tied = [(leaves[state.name], state.next) for state in cell.states if state.name in leaves]
    tied += [(alike[0], value) for alike in (sources, wholes) for value in alike[1:] if value.shape == alike[0].shape]
    names = {v: name for v, name in cell.names.items() if v in order}
    classes = axis_classes(body, tied, [*views, *wholes])
    return replace(form, cell=replace(cell, names=names), views=views, body=body, classes=classes)


def _levels(form: KernelForm, sources: Mapping[Value, Value]) -> dict[Value, int]:
    """How many exchanges come before each value; a product comes after that of its operand.

    Args:
        sources: what is exchanged for each product.
    """
    levels: dict[Value, int] = {}
    stack = [*sources.values(), *form.body]
    while stack:
        value = stack[-1]
        needed = (sources[value],) if value in sources else value.args
        waiting = [arg for arg in needed if arg not in levels]
        if value in levels or not waiting:
            stack.pop()
            levels[value] = max((levels[arg] for arg in needed), default=0) + (value in sources)
        else:
            stack.extend(waiting)
    return levels


def _panels(
    exchange: Exchange,
    products: Iterable[_Product],
    own: Mapping[Value, Exchange],
    views: Mapping[Value, View],
    narrow: frozenset[str],
) -> list[Panel]:
    """Products of an exchanged value whose matrices lie alike, a few together."""
    alike: dict[tuple[int, int, Dim, bool], list[_Product]] = {}
    for product in products:
        if own[product.value] is exchange:
            view = views[product.matrix]
            stored = str(view.base.attr("name")) in narrow
            key = (product.rows, product.columns, view.strides[product.rows], stored)
            alike.setdefault(key, []).append(product)
    return [
        Panel(exchange, tuple(p.value for p in some), tuple(p.matrix for p in some), rows, columns)
        for (rows, columns, _, _), every in alike.items()
        for some in (every[first : first + MOST_PRODUCTS] for first in range(0, len(every), MOST_PRODUCTS))
    ]


def _axes(form: KernelForm, exchanges: Sequence[Exchange]) -> tuple[int, int]:
    """The classes of units and of wholes.

    Raises:
        NoKernel: there are several of either.
    """
    classes = form.classes
    units = {classes.numbers[exchange.source, exchange.summed] for exchange in exchanges}
    summed = {classes.numbers[exchange.whole, exchange.summed] for exchange in exchanges}
    if len(units) != 1 or len(summed) != 1:
        raise NoKernel("its products sum over several kinds of units")
    return units.pop(), summed.pop()


def _checked(group: GroupForm) -> GroupForm:
    """The form, if what its programs hold never meets.

    Raises:
        NoKernel: it does.
    """
    classes: AxisClasses = group.form.classes
    columns = {classes.numbers[matrix, panel.columns] for panel in group.panels for matrix in panel.matrices}
    if columns != {group.units}:
        raise NoKernel("a product with a matrix gives something else than one number for each unit")
    if classes.mixed - {group.summed} or group.units == group.summed:
        raise NoKernel("its units meet in other ways than by products with matrices of parameters")
    inside = {arg for v in group.form.body for arg in v.args if v not in _all_products(group)}
    if any(panel.exchange.whole in inside or inside & {*panel.matrices} for panel in group.panels):
        raise NoKernel("a matrix of parameters has a use beside its products")
    return group


def _all_products(group: GroupForm) -> frozenset[Value]:
    return frozenset(product for panel in group.panels for product in panel.products)
