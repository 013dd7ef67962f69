"""Many noisy copies of one network in normal form, run at once on torch.

Every stored number of a network is a coefficient of a row, a bias, or a factor by which a state reads its last value,
as far as it is not 0.  A copy has all of them with independent noise; where there is no connection there is no noise,
and where states start is left alone (the published protocol).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lsrl.backends.weights.execute import transition
from lsrl.backends.weights.network import Kind, Layer, Network, Row, dense

Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True, eq=False)
class Matrices:
    """One layer of n units over the m of the one below, for each of S copies.

    Attributes:
        rows, biases: [S, n, m], [S, n].
        others, shifts: the second factors of products, [S, n, m], [S, n]; None where there is no product.
        back: [S, n, n]; None where nothing reads last values.
        start: [n].
        rectified, products: which units are ReLUs, which products, [n].
    """

    rows: torch.Tensor
    biases: torch.Tensor
    others: torch.Tensor | None
    shifts: torch.Tensor | None
    back: torch.Tensor | None
    start: torch.Tensor
    rectified: torch.Tensor
    products: torch.Tensor


_NUMBERS = ("rows", "biases", "others", "shifts", "back")


@dataclass(frozen=True, eq=False)
class Copies:
    """S copies of a network; the matrix [S, out, m] and bias [S, out] of the read-out come last."""

    layers: tuple[Matrices, ...]
    readout: tuple[torch.Tensor, torch.Tensor]

    def run(self, inputs: torch.Tensor, taught: Tensors | None = None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Outputs [S, B, T, out] for inputs [S or 1, B, T, in], and the slots [S, B, T, n] of every layer.

        Args:
            taught: the slots [S or 1, B, T, n] of a network without noise, whose last values every state is given
                instead of its own (teacher forcing), so that errors do not add up over time.
        """
        below = inputs.expand(len(self.readout[0]), -1, -1, -1)
        slots = []
        for number, layer in enumerate(self.layers):
            below = _run_layer(layer, below, None if taught is None else taught[number])
            slots.append(below)
        return _affine(below, *self.readout), slots

    def numbers(self) -> list[torch.Tensor]:
        """All that is stored, [S, …] each."""
        found = [getattr(layer, name) for layer in self.layers for name in _NUMBERS]
        return [tensor for tensor in found if tensor is not None] + [*self.readout]

    def with_numbers(self, numbers: Tensors) -> Copies:
        """Others in place of `numbers()`."""
        left = iter(numbers)
        layers = [
            replace(layer, **{name: next(left) for name in _NUMBERS if getattr(layer, name) is not None})
            for layer in self.layers
        ]
        return Copies(tuple(layers), (next(left), next(left)))

    def to(self, dtype: torch.dtype) -> Copies:
        layers = tuple(replace(layer, start=layer.start.to(dtype)) for layer in self.layers)
        return Copies(layers, self.readout).with_numbers([tensor.to(dtype) for tensor in self.numbers()])

    def noisy(self, noise: float, count: int, generator: torch.Generator) -> Copies:
        """Copies of a single copy whose numbers have normal noise of the standard deviation `noise`."""
        return self.with_numbers([_noisy(tensor, noise, count, generator) for tensor in self.numbers()])


def _noisy(exact: torch.Tensor, noise: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """[S, …] of [1, …], with noise where it is not 0."""
    drawn = torch.randn((count, *exact.shape[1:]), generator=generator, dtype=exact.dtype)
    return exact + noise * drawn * (exact != 0)


def exact_copy(network: Network) -> Copies:
    """One copy without noise, in float64."""
    below = sum(port.size for port in network.inputs)
    layers = []
    for layer in network.layers:
        layers.append(_matrices(layer, below))
        below = len(layer)
    return Copies(tuple(layers), _tensors(network.readout, below))


def joined(parts: Sequence[Copies]) -> Copies:
    """The copies of several, one after the other."""
    numbers = zip(*(part.numbers() for part in parts))
    return parts[0].with_numbers([torch.cat(tensors) for tensors in numbers])


def _tensors(rows: Sequence[Row], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    matrix, bias = dense(tuple(rows), width)
    return torch.tensor(matrix, dtype=torch.float64)[None], torch.tensor(bias, dtype=torch.float64)[None]


def _matrices(layer: Layer, below: int) -> Matrices:
    kinds = np.array([unit.kind for unit in layer])
    products = kinds == Kind.PRODUCT
    rows, biases = _tensors([unit.rows[0] for unit in layer], below)
    others = shifts = back = None
    if products.any():
        others, shifts = _tensors([unit.rows[1] for unit in layer if unit.kind is Kind.PRODUCT], below)
    matrix, start = transition(layer)
    if matrix.any() or (kinds == Kind.STATE).any():
        back = torch.tensor(matrix, dtype=torch.float64)[None]
    first = torch.tensor(start, dtype=torch.float64)
    return Matrices(rows, biases, others, shifts, back, first, torch.tensor(kinds == Kind.RELU), torch.tensor(products))


def _run_layer(layer: Matrices, below: torch.Tensor, taught: torch.Tensor | None) -> torch.Tensor:
    """Slots [S, B, T, n] from those below, [S, B, T, m]."""
    found = _affine(below, layer.rows, layer.biases)
    if layer.others is not None and layer.shifts is not None:
        found[..., layer.products] *= _affine(below, layer.others, layer.shifts)
    if layer.back is not None and taught is None:
        return _recur(layer, layer.back, found)
    if layer.back is not None and taught is not None:
        first = layer.start.expand(*taught.shape[:2], 1, -1)
        arriving = torch.cat([first, taught[:, :, :-1]], dim=2).expand(len(found), -1, -1, -1)
        found = found + _affine(arriving, layer.back, None)
    return torch.where(layer.rectified, found.clamp(min=0), found)


def _recur(layer: Matrices, back: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """The slots over time, from what enters them."""
    arriving = layer.start.expand(*found.shape[:2], -1)
    slots = []
    for entering in found.unbind(2):
        arriving = torch.baddbmm(entering, arriving, back.mT)
        arriving = torch.where(layer.rectified, arriving.clamp(min=0), arriving)
        slots.append(arriving)
    return torch.stack(slots, 2)


def _affine(below: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[S, B, T, n] from [S, B, T, m] by [S, n, m] and [S, n]."""
    flat = below.reshape(len(matrix), -1, below.shape[-1])
    found = torch.bmm(flat, matrix.mT) if bias is None else torch.baddbmm(bias[:, None], flat, matrix.mT)
    return found.reshape(len(matrix), *below.shape[1:3], -1)
