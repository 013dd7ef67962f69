"""Laws of products over graphs: what is read along edges and summed up stays small.

An outer product is read as its vectors, and a matrix that is summed up and then multiplied by a vector is multiplied
first, since matrices of all edges are what takes time: `q @ sum_in(m * C)` needs no array of all `m * C`.  Products and
sums are reassociated, hence results agree to rounding.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from lsrl.ir import build, ops
from lsrl.ir.cell import Cell
from lsrl.ir.infer import integers
from lsrl.ir.rewrite import Law, rewrite
from lsrl.ir.substitute import substitute
from lsrl.ir.value import Domain, Value, postorder, users


def small_products(cell: Cell) -> Cell:
    """The cell over a graph with smaller products at edges.

    Sums that are kept, that several values use or that states need stay as they are.
    """
    kept = {*postorder(state.next for state in cell.states), *(output.value for output in cell.outputs)}
    found = {value: each for value in postorder(cell.all_roots()) if (each := product_of_sum(value)) is not None}
    uses = users(cell.all_roots())
    moved = {v: each for v, each in found.items() if not any(_is_kept(arg, kept, uses) for arg in v.args)}
    return rewrite(substitute(cell, moved) if moved else cell, LAWS)


def _is_kept(value: Value, kept: Container[Value], uses: Mapping[Value, Sequence[Value]]) -> bool:
    return value.op == "sum_in" and (value in kept or len(uses[value]) > 1)


def product_of_sum(v: Value) -> Value | None:
    """`q @ sum_in(x)` -> `sum_in(q @ x)`, and `sum_in(x) @ q`, where that sums up less"""
    if v.op != "einsum" or len(v.args) != 2:
        return None
    one, two, result = _letters(v)
    for spec, (vector, total) in ((f"{one},{two}->{result}", v.args), (f"{two},{one}->{result}", v.args[::-1])):
        if total.op == "sum_in" and total.attr("via") == "edge.to" and vector.domain is Domain.NODE:
            (x,) = total.args
            if max(v.rank, vector.rank) < x.rank:
                product = build.einsum(spec, _read(vector, "edge.to"), x)
                return ops.apply("sum_in", product, via="edge.to")
    return None


def read_of_outer(v: Value) -> Value | None:
    """Both vectors are read, not their outer product; and what is repeated is repeated afterwards"""
    match v:
        case Value("read", (Value("einsum", (_, _)) as product,)) if _is_outer(product):
            via = str(v.attr("via"))
            return build.einsum(str(product.attr("spec")), *(_read(arg, via) for arg in product.args))
        case Value("read", (Value("expand", (x,)) as wide,)) if x.domain:
            return build.expand(_read(x, str(v.attr("via"))), v.shape, integers(wide.attr("axes")))
    return None


def scaled_outer(v: Value) -> Value | None:
    """`s * outer(k, v)` -> `outer(s * k, v)`"""
    match v:
        case Value("mul", (Value("einsum", (_, _)) as product, scale)) if _is_outer(product):
            return _scaled(product, scale, _letters(product)[2])
        case Value("mul", (scale, Value("einsum", (_, _)) as product)) if _is_outer(product):
            return _scaled(product, scale, _letters(product)[2])
    return None


def product_of_scaled(v: Value) -> Value | None:
    """`q @ (m * C)` -> `(m * q) @ C`"""
    match v:
        case Value("einsum", (vector, Value("mul", (scale, x)))) if scale.op == "expand" and vector.rank < x.rank:
            spec = str(v.attr("spec"))
            return _scaled(build.einsum(spec, vector, x), scale, _letters(v)[1], only_first=True)
    return None


LAWS: tuple[Law, ...] = (read_of_outer, scaled_outer, product_of_scaled)


def _read(value: Value, via: str) -> Value:
    return ops.apply("read", value, via=via) if value.domain else value


def _letters(product: Value) -> tuple[str, str, str]:
    left, result = str(product.attr("spec")).split("->")
    one, two = left.split(",")
    return one, two, result


def _is_outer(product: Value) -> bool:
    """Whether nothing is summed up, and each factor is smaller than the product."""
    one, two, result = _letters(product)
    return set(one + two) == set(result) and max(len(one), len(two)) < len(result)


def _scaled(product: Value, scale: Value, letters: str, *, only_first: bool = False) -> Value | None:
    """The product with one of its factors times a repeated scale, whose axes have these letters; None if none fits."""
    if scale.op != "expand" and scale.rank:
        return None
    inner = scale.args[0] if scale.op == "expand" else scale
    new = integers(scale.attr("axes")) if scale.op == "expand" else ()
    own = [letter for axis, letter in enumerate(letters) if axis not in new] if inner.rank else []
    sides = _letters(product)[: 1 if only_first else 2]
    fitting = [place for place, side in enumerate(sides) if [letter for letter in side if letter in own] == own]
    if not fitting:
        return None
    place = min(fitting, key=lambda place: len(sides[place]))
    repeated = [axis for axis, letter in enumerate(sides[place]) if letter not in own]
    factor = product.args[place]
    factors = list(product.args)
    factors[place] = build.mul(factor, build.expand(inner, factor.shape, repeated))
    return build.einsum(str(product.attr("spec")), *factors)
