"""Ways to compute the same function of named arrays, in PyTorch or JAX, ready to be called and timed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Function = Callable[[dict[str, Any]], Any]

PASSES = FORWARD, TRAINING = "forward", "forward and backward"


@dataclass(frozen=True)
class Way:
    """One implementation.

    Attributes:
        name: as in tables.
        framework: `torch` or `jax`.
        function: from arrays by name to the output.
        given: from the arrays of the benchmark to those that the function takes; not timed.
        back: the inverse, for its output and its gradients.
    """

    name: str
    framework: str
    function: Function
    given: Callable[[np.ndarray], np.ndarray] = np.asarray
    back: Callable[[np.ndarray], np.ndarray] = np.asarray


@dataclass(frozen=True)
class Calls:
    """A way on certain arrays: each call returns when its work is done.

    Attributes:
        forward: gives the output.
        training: gives the gradients by all arrays, by name, of the output weighted by a cotangent.
        numpy: what a call gave, as the benchmark's own arrays.
    """

    forward: Callable[[], Any]
    training: Callable[[], dict[str, Any]]
    numpy: Callable[[Any], np.ndarray]


def calls(way: Way, arrays: Arrays, cotangent: np.ndarray, device: str = "cpu") -> Calls:
    """A way with its arrays in place."""
    given = {name: way.given(array) for name, array in arrays.items()}
    make = _jax_calls if way.framework == "jax" else _torch_calls
    return make(way, given, way.given(cotangent), device)


def _torch_calls(way: Way, arrays: Arrays, cotangent: np.ndarray, device: str) -> Calls:
    import torch

    warnings.filterwarnings("ignore", message=".*no GPU, so each loop runs in its plain PyTorch form")
    given = {name: torch.tensor(array, device=device) for name, array in arrays.items()}
    weight = torch.tensor(cotangent, device=device)
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None

    def forward() -> torch.Tensor:
        with torch.no_grad():
            found = way.function(given)
        wait()
        return found

    def training() -> dict[str, torch.Tensor]:
        wanted = {name: tensor.detach().requires_grad_() for name, tensor in given.items()}
        found = torch.autograd.grad(way.function(wanted), [*wanted.values()], weight)
        wait()
        return dict(zip(wanted, found))

    return Calls(forward, training, lambda found: way.back(found.cpu().numpy()))


def _jax_calls(way: Way, arrays: Arrays, cotangent: np.ndarray, device: str) -> Calls:
    import jax

    given = {name: jax.numpy.asarray(array) for name, array in arrays.items()}
    weight = jax.numpy.asarray(cotangent)
    forward = jax.jit(way.function)
    training = jax.jit(lambda inputs, weight: jax.vjp(way.function, inputs)[1](weight)[0])
    return Calls(
        lambda: jax.block_until_ready(forward(given)),
        lambda: jax.block_until_ready(training(given, weight)),
        lambda found: way.back(np.asarray(found)),
    )


def prepare_process(device: str) -> Callable[[], float]:
    """One thread on the CPU; the clock to take times by.

    It is called before a framework is loaded, which would start a thread for each core.  Processor time of one thread
    does not count what else a machine does.
    """
    if device != "cpu":
        return perf_counter
    os.environ |= {"OMP_NUM_THREADS": "1", "PJRT_NPROC": "1"}
    return process_time
