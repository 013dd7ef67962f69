"""Drawing parameters and noise: seeded, and for each name on its own, so that adding one array changes no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.evaluation.evaluate import Env, evaluate
from lsrl.backends.evaluation.scope import Scope
from lsrl.ir import ops
from lsrl.ir.cell import Cell, Distribution
from lsrl.ir.value import Kind


def init_params(cell: Cell, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    """Every parameter by name, [*shape] in double precision, drawn as the program says.

    The same seed gives the same arrays.  Real and imaginary part of a complex parameter are drawn alike,
    independently.  An initial value may use parameters declared before.
    """
    scope = Scope(sizes)
    env: Env = {}
    drawn: dict[str, Array] = {}
    for param in cell.params:
        args = evaluate(param.init.args, env, scope)
        shape = scope.shape(param.shape)
        array = draw(param.init, args, shape, param.kind, _generator(seed, param.name))
        drawn[param.name] = array.astype(scope.dtype(param.kind))
        env[ops.leaf("param", param.name, param.shape, param.kind)] = drawn[param.name]
    return drawn


def draw_noise(
    cell: Cell,
    sizes: Mapping[str, int],
    numbers: Mapping[str, int],
    seed: int = 0,
    params: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Every noise by name, at every place of a run.

    Args:
        numbers: the size of the run, as `lsrl.backends.arrays.validate` returns it (`B` and `T`, say).
        params: needed where a distribution depends on parameters.
    """
    scope = Scope(sizes)
    env: Env = {ops.leaf("param", p.name, p.shape, p.kind): (params or {})[p.name] for p in cell.params if params}
    drawn: dict[str, Array] = {}
    for noise in cell.noises:
        shape = (*places_of(cell, noise.domain, numbers), *scope.shape(noise.shape))
        args = evaluate(noise.draw.args, env, scope)
        drawn[noise.name] = draw(noise.draw, args, shape, Kind.FLOAT, _generator(seed, noise.name))
    return drawn


def draw(
    distribution: Distribution,
    args: Sequence[Array],
    shape: tuple[int, ...],
    kind: Kind,
    generator: np.random.Generator,
) -> Array:
    """One array of the distribution.

    Raises:
        ValueError: there is no such distribution, or it needs a matrix and the shape is none.
    """
    if kind is Kind.COMPLEX and distribution.name in ("uniform", "normal", "bernoulli", "glorot", "log_uniform"):
        parts = [draw(distribution, args, shape, Kind.FLOAT, generator) for _ in range(2)]
        return np.asarray(parts[0] + 1j * parts[1])
    match distribution.name, list(args):
        case "value", [array]:
            return np.broadcast_to(array, shape)
        case "uniform", [bound]:
            return generator.uniform(-bound, bound, shape)
        case "uniform", [low, high]:
            return generator.uniform(low, high, shape)
        case "normal", deviation:
            mean, scale = (0.0, 1.0) if not deviation else (0.0, deviation[0]) if len(deviation) == 1 else deviation
            return generator.normal(mean, scale, shape)
        case "bernoulli", [probability]:
            return np.asarray(generator.random(shape) < probability, float)
        case "log_uniform", [low, high]:
            return np.exp(generator.uniform(np.log(low), np.log(high), shape))
        case "glorot", []:
            fan_out, fan_in = _matrix(distribution, shape)
            return np.asarray(generator.uniform(-1, 1, shape) * np.sqrt(6 / (fan_in + fan_out)))
        case "orthogonal", gain:
            return _orthogonal(distribution, shape, kind, generator) * (gain[0] if gain else 1.0)
        case "eye", scale:
            return np.broadcast_to(np.eye(*_matrix(distribution, shape)), shape) * (scale[0] if scale else 1.0)
    raise ValueError(f"there is no distribution {distribution.name} of {len(args)} arguments")


def places_of(cell: Cell, domain: str, numbers: Mapping[str, int]) -> tuple[int, ...]:
    """The leading axes of an array of a run: batch and lengths, or the number of nodes, edges or turns."""
    if "B" in numbers:
        return (numbers["B"], *(numbers[axis.upper()] for axis in cell.axes))
    return (numbers[f"{domain}s"],) if domain else ()


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def _matrix(distribution: Distribution, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2:
        raise ValueError(f"{distribution.name} draws matrices; the shape {list(shape)} has no two axes")
    return shape[-2], shape[-1]


def _orthogonal(
    distribution: Distribution, shape: tuple[int, ...], kind: Kind, generator: np.random.Generator
) -> Array:
    """Uniformly distributed matrices with orthonormal rows or columns, whichever are fewer (Mezzadri 2007)."""
    rows, columns = _matrix(distribution, shape)
    tall = (*shape[:-2], max(rows, columns), min(rows, columns))
    normal = generator.normal(size=tall)
    q, r = np.linalg.qr(normal + 1j * generator.normal(size=tall) if kind is Kind.COMPLEX else normal)
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    q = q * (diagonal / np.abs(diagonal))[..., None, :]
    return q if rows >= columns else np.swapaxes(q, -2, -1)
