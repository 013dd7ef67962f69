"""What machines can do, in the few numbers that decide between schedules.

A step of a loop costs latency however little it computes; work over all positions costs arithmetic and traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsrl.ir.fault import Refusal

MICRO, GIGA, TERA = 1e-6, 1e9, 1e12


class DeviceError(Refusal):
    """A device that is not described; the message says which are."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a framework adds to the hardware, in seconds.

    Attributes:
        launch: starting one operation over all positions.
        step: one turn of a loop over positions, before it computes anything.
        operation: every operation of a turn.
        product: every product of matrices in a turn, beyond its arithmetic.
        copies: how often a loop moves what it reads and keeps: JAX puts the axis of time first, and back.
        tree: an associative scan is a tree of operations over all positions; otherwise it is a loop.
        eager: nothing is fused: every operation of a scan is launched by itself.
        in_order: a scan is the loop itself, whose elements are computed side by side.
        vector, bandwidth: operations per second on elements within a loop, and bytes to and from memory, where they
            are not the device's.
    """

    launch: float
    step: float
    operation: float
    product: float
    copies: int = 1
    tree: bool = False
    eager: bool = False
    in_order: bool = False
    vector: float = 0.0
    bandwidth: float = 0.0


@dataclass(frozen=True, slots=True)
class Device:
    """A machine.

    Attributes:
        products: FLOP/s of matrix products of float32 data.
        products16: the same of 16-bit data.
        vector: operations per second on elements, float32; transcendental functions count `FUNCTION`.
        bandwidth: bytes per second to and from memory.
        cache: bytes that stay near the arithmetic, where traffic is `cached` times as fast.
        lanes: independent elements that it takes to keep it busy; with fewer, arithmetic slows in proportion.
        runtimes: by target.
    """

    name: str
    products: float
    products16: float
    vector: float
    bandwidth: float
    cache: float
    cached: float
    lanes: int
    runtimes: Mapping[str, Runtime]


# Measured on two x86-64 cores with AVX-512: the best of seven runs of the expressions named, JAX 0.10, PyTorch 2.13.
_CPU = Device(
    name="cpu",
    products=200 * GIGA,  # 128 products of 64 by 64; one of 1024 by 1024 reaches 230 to 510
    products16=60 * GIGA,  # widened and rounded again
    vector=4 * GIGA,  # h * x + x over 256 elements in `lax.scan`: 0.065 us
    bandwidth=8.5 * GIGA,  # x * 2 over 64 MB
    cache=4e6,
    cached=4.0,
    lanes=8,
    runtimes={
        # 4,096 turns of h' = a h + x for 8 by 4 elements: 0.07 ms; of a GRU without coupling for 2: 0.14 ms; of an
        # Elman network of 64 units, batch 8: 1.3 us each.
        "jax": Runtime(4 * MICRO, step=0.01 * MICRO, operation=0.002 * MICRO, product=0.5 * MICRO, copies=3),
        # PyTorch, operation by operation.
        "triton": Runtime(3 * MICRO, step=0.0, operation=1.6 * MICRO, product=4 * MICRO, eager=True),
        # C: h' = a h + x over arrays of 134 MB, of which it reads two and writes one into new pages, 13 ms; the gated
        # delta rule with 64 by 64 numbers in each of 4 heads, 2 by 1,024 positions, forward and backward, 32 ms.
        # What starting a loop, a turn and a product cost is estimated.
        "cpu": Runtime(
            launch=10 * MICRO,
            step=0.02 * MICRO,
            operation=0.0,
            product=0.1 * MICRO,
            in_order=True,
            vector=25 * GIGA,
            bandwidth=30 * GIGA,
        ),
    },
)
# A `lax.scan` on a GPU launches its fused kernels anew at each turn; a Triton kernel keeps the loop and waits for
# memory and barriers only: 0.5 to 1 us (Pöppel et al., 2024, FlashRNN; grid.sync on H100: 0.9 us).
_GPU = {
    "jax": Runtime(5 * MICRO, step=6 * MICRO, operation=0.0, product=5 * MICRO, copies=3, tree=True),
    "triton": Runtime(5 * MICRO, step=0.6 * MICRO, operation=0.005 * MICRO, product=0.3 * MICRO),
}
# Data sheets of the SXM parts: dense tensor cores (TF32, BF16), float32 outside of them, HBM; L2 size.
_A100 = Device("a100", 156 * TERA, 312 * TERA, 19.5 * TERA, 2.0e12, 40e6, 2.5, 108 * 1024, _GPU)
_H100 = Device("h100", 494 * TERA, 989 * TERA, 67 * TERA, 3.35e12, 50e6, 2.0, 132 * 1024, _GPU)
_H200 = Device("h200", 494 * TERA, 989 * TERA, 67 * TERA, 4.8e12, 50e6, 1.5, 132 * 1024, _GPU)

DEVICES: Mapping[str, Device] = {device.name: device for device in (_CPU, _A100, _H100, _H200)}
FUNCTION = 4  # exp, tanh and their like, in multiplications


def device(name: str) -> Device:
    """The description of a device.

    Raises:
        DeviceError: there is none of this name.
    """
    if name not in DEVICES:
        raise DeviceError(f"there is no description of the device `{name}`; there are {', '.join(DEVICES)}")
    return DEVICES[name]
