"""How arrays are drawn: one row per distribution of the language.

`uniform` and `normal` are `jax.random`'s with the module's type filled in (`lsrl.backends.jax_prelude`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lsrl.backends.expressions import Code, call, infix, method, prefix
from lsrl.backends.jax_place import Place
from lsrl.ir.cell import Distribution
from lsrl.ir.dims import Dim, Shape, shape_text

Drawer = Callable[[Sequence[Code], Shape, Code, Place, bool], Code]


def draw(distribution: Distribution, args: Sequence[Code], shape: Shape, key: Code, place: Place, varies: bool) -> Code:
    """The expression that draws an array of `shape`, with leading axes where it varies, given its arguments' code."""
    return _DRAWERS[distribution.name](args, shape, key, place, varies)


def _uniform(args: Sequence[Code], shape: Shape, key: Code, place: Place, varies: bool) -> Code:
    low, high = args if len(args) == 2 else (prefix("-", args[0]), args[0])
    return call("uniform", key, place.shape(shape, varies), minval=low, maxval=high)


def _normal(args: Sequence[Code], shape: Shape, key: Code, place: Place, varies: bool) -> Code:
    standard = call("normal", key, place.shape(shape, varies))
    scaled = _scaled(args[-1:], standard)
    return infix("+", args[0], scaled) if len(args) == 2 else scaled


def _bernoulli(args: Sequence[Code], shape: Shape, key: Code, place: Place, varies: bool) -> Code:
    return method(call("jax.random.bernoulli", key, args[0], place.shape(shape, varies)), "astype", place.types.data)


def _glorot(args: Sequence[Code], shape: Shape, key: Code, place: Place, varies: bool) -> Code:
    fans = infix("+", *(place.dim(dim) for dim in _matrix(shape)))
    bound = call("math.sqrt", infix("/", Code("6"), fans))
    return _uniform([bound], shape, key, place, varies)


def _orthogonal(args: Sequence[Code], shape: Shape, key: Code, place: Place, varies: bool) -> Code:
    rows, columns = _matrix(shape)
    options = {"dtype": place.types.real, "m": place.dim(columns)}
    lead = place.shape(shape[:-2], varies)
    drawn = call("jax.random.orthogonal", key, place.dim(rows), lead, **options)
    return _scaled(args, method(drawn, "astype", place.types.data) if place.types.narrow else drawn)


def _eye(args: Sequence[Code], shape: Shape, key: Code, place: Place, varies: bool) -> Code:
    eye = _scaled(args, call("jnp.eye", *(place.dim(dim) for dim in _matrix(shape)), dtype=place.types.data))
    return call("jnp.broadcast_to", eye, place.shape(shape, varies)) if len(shape) > 2 or varies else eye


def _log_uniform(args: Sequence[Code], shape: Shape, key: Code, place: Place, varies: bool) -> Code:
    ends = [call("math.log", end) for end in args]
    return call("jnp.exp", _uniform(ends, shape, key, place, varies))


def _scaled(args: Sequence[Code], array: Code) -> Code:
    return infix("*", args[0], array) if args and args[0].text not in ("1", "1.0") else array


def _matrix(shape: Shape) -> tuple[Dim, Dim]:
    """Rows and columns."""
    if len(shape) < 2:
        raise ValueError(f"this distribution draws matrices; the shape {shape_text(shape)} has no two axes")
    return shape[-2], shape[-1]


_DRAWERS: Mapping[str, Drawer] = {
    "uniform": _uniform,
    "normal": _normal,
    "bernoulli": _bernoulli,
    "glorot": _glorot,
    "orthogonal": _orthogonal,
    "eye": _eye,
    "log_uniform": _log_uniform,
}
