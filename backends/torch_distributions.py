"""How tensors are drawn with PyTorch: one row per distribution of the language.

All are drawn on the CPU by one generator and moved afterwards, so that a seed gives the same numbers on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lsrl.backends.expressions import Code, call, infix, method, prefix
from lsrl.backends.torch_place import Place
from lsrl.ir.cell import Distribution
from lsrl.ir.dims import Dim, Shape

Drawer = Callable[[Sequence[Code], Shape, Place, bool], Code]
GENERATOR = "generator"


def draw(distribution: Distribution, args: Sequence[Code], shape: Shape, place: Place, varies: bool) -> Code:
    """The expression that draws a tensor of `shape`, with leading axes where it varies, given its arguments' code."""
    return _DRAWERS[distribution.name](args, shape, place, varies)


def _uniform(args: Sequence[Code], shape: Shape, place: Place, varies: bool) -> Code:
    low, high = args if len(args) == 2 else (prefix("-", args[0]), args[0])
    return call("uniform", place.shape(shape, varies), low, high, GENERATOR)


def _normal(args: Sequence[Code], shape: Shape, place: Place, varies: bool) -> Code:
    standard = call("torch.randn", place.shape(shape, varies), generator=GENERATOR, dtype=place.types.real)
    scaled = _scaled(args[-1:], standard)
    return infix("+", args[0], scaled) if len(args) == 2 else scaled


def _bernoulli(args: Sequence[Code], shape: Shape, place: Place, varies: bool) -> Code:
    below = infix("<", call("torch.rand", place.shape(shape, varies), generator=GENERATOR), args[0])
    return method(below, "to", place.types.real)


def _glorot(args: Sequence[Code], shape: Shape, place: Place, varies: bool) -> Code:
    fans = infix("+", *(place.dim(dim) for dim in _matrix(shape)))
    return _uniform([call("math.sqrt", infix("/", Code("6"), fans))], shape, place, varies)


def _orthogonal(args: Sequence[Code], shape: Shape, place: Place, varies: bool) -> Code:
    return _scaled(args, call("orthogonal", place.shape(shape, varies), GENERATOR))


def _eye(args: Sequence[Code], shape: Shape, place: Place, varies: bool) -> Code:
    eye = call("torch.eye", *(place.dim(dim) for dim in _matrix(shape)), dtype=place.types.real)
    whole = method(eye, "expand", place.shape(shape, varies)) if len(shape) > 2 or varies else eye
    return _scaled(args, whole)


def _log_uniform(args: Sequence[Code], shape: Shape, place: Place, varies: bool) -> Code:
    return call("torch.exp", _uniform([call("math.log", end) for end in args], shape, place, varies))


def _scaled(args: Sequence[Code], tensor: Code) -> Code:
    return infix("*", args[0], tensor) if args else tensor


def _matrix(shape: Shape) -> tuple[Dim, Dim]:
    """Rows and columns; a vector is a matrix of one row."""
    return (shape[-2] if len(shape) > 1 else Dim.of(1), shape[-1])


_DRAWERS: Mapping[str, Drawer] = {
    "uniform": _uniform,
    "normal": _normal,
    "bernoulli": _bernoulli,
    "glorot": _glorot,
    "orthogonal": _orthogonal,
    "eye": _eye,
    "log_uniform": _log_uniform,
}
