"""What an architecture is to the compiler: what it holds, and how it holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lsrl.backends.arrays import Array
from lsrl.backends.weights.affine import Extent
from lsrl.backends.weights.encoding import Decoder
from lsrl.backends.weights.network import Layer, Network

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Precision:
    """What the constructions reckon with for a dtype.

    Attributes:
        name: of NumPy and torch.
        digits: bits of the significand.
        saturation: K such that sigmoid(K) is 1 and sigmoid(-K) is 0, exactly.
        scale: signals pass `tanh` scaled by this, where it is the identity up to half a unit in the last place.
        slope: of the sigmoid in a soft ReLU, v sigmoid(slope v).
        tilt: of the sigmoid in a general product, balancing truncation and rounding.
        steep: the argument of a threshold's tanh, a whole step away from it.
        leak: sigmoid(-K), 0 where gates are saturated; `softened` ones have gradients instead, and this error.
    """

    name: str
    digits: int
    saturation: float
    scale: float
    slope: float
    tilt: float
    steep: float = 128.0
    leak: float = 0.0

    @property
    def linear(self) -> float:
        """Up to here tanh(z) is z: z^3 / 3 is less than half a unit in the last place of z."""
        return 2.0 ** -(self.digits // 2 + 1)


PRECISIONS: Mapping[str, Precision] = {
    "float32": Precision("float32", 24, 110.0, 2.0**-40, 2.0**24, 2.0**-9),
    "float64": Precision("float64", 53, 800.0, 2.0**-60, 2.0**52, 2.0**-18),
}


def softened(precision: Precision, gate_scale: float) -> Precision:
    """Gates of sigmoid(±gate_scale), and signals and thresholds of which tanh makes errors of that size too."""
    return replace(precision, saturation=gate_scale, steep=gate_scale, leak=1 / (1 + math.exp(gate_scale)))


@dataclass(frozen=True)
class Emitted:
    """A network as a module of a library.

    Attributes:
        config: what `load.py` builds the module from.
        tensors: its state dict, in float64.
        decoders: the slots of every layer from what that layer of the module puts out.
    """

    config: Mapping[str, Json]
    tensors: Mapping[str, Array]
    decoders: tuple[Decoder, ...]


class Architecture(Protocol):
    """One target.

    Attributes:
        name: as `--arch` has it.
        title: what the module is, in words.
        template: the module beside this one that is copied as `load.py`.
        apart: whether states lie in layers of their own.
        diagonal: whether states read no last values but their own, so that periodic ones are rewritten (`periodic`).
        softens: whether its constructions hold for a `softened` precision.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def template(self) -> str: ...

    @property
    def apart(self) -> bool: ...

    @property
    def diagonal(self) -> bool: ...

    @property
    def softens(self) -> bool: ...

    def obstacle(self, layer: Layer, slot: int) -> str | None:
        """Why the architecture does not hold a unit of a layer; None where it does."""

    def deviation(
        self, layer: Layer, slot: int, below: Sequence[Extent], precision: Precision, horizon: int
    ) -> float:
        """A bound of how far a unit is from what it should compute from its operands, beside rounding, per step.

        `below` is what is known of the slots of the layer before.
        """

    def emit(self, network: Network, precision: Precision) -> Emitted:
        """The weights."""
