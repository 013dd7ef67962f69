"""Ways to compute a function of named arrays, in PyTorch or JAX, ready to be called and timed."""

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
        differentiable: whether it has a backward pass.
        same: whether it computes the function of the others; a yardstick does not.
    """

    name: str
    framework: str
    function: Function
    given: Callable[[np.ndarray], np.ndarray] = np.asarray
    back: Callable[[np.ndarray], np.ndarray] = np.asarray
    differentiable: bool = True
    same: bool = True


@dataclass(frozen=True)
class Layer:
    """One implementation that is a module of PyTorch with parameters of its own, a function of the array `x`.

    Attributes:
        make: the module, its parameters set from the arrays of the benchmark.
        function: from the module and x [B, T, D] to the output [B, T, H].
        The others are as for a `Way`.
    """

    name: str
    make: Callable[[Arrays], Any]
    function: Callable[[Any, Any], Any]
    differentiable: bool = True
    same: bool = True
    framework: str = "torch"


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


def calls(
    way: Way | Layer, arrays: Arrays, cotangent: np.ndarray, device: str = "cpu", dtype: str | None = None
) -> Calls:
    """A way with its arrays in place.

    Args:
        dtype: of tensors of PyTorch that are floats; None for that of the arrays.
    """
    if isinstance(way, Layer):
        return _layer_calls(way, arrays, cotangent, device, dtype)
    given = {name: way.given(array) for name, array in arrays.items()}
    if way.framework == "jax":
        return _jax_calls(way, given, way.given(cotangent))
    return _torch_calls(way, given, way.given(cotangent), device, dtype)


def _tensor(array: np.ndarray, device: str, dtype: str | None) -> Any:
    """A tensor, on a CPU of the same memory."""
    import torch

    tensor = torch.as_tensor(array, device=device)
    return tensor.to(getattr(torch, dtype)) if dtype and tensor.is_floating_point() else tensor


def _waiting(device: str) -> Callable[[], None]:
    import torch

    return torch.cuda.synchronize if device == "cuda" else lambda: None


def _torch_calls(way: Way, arrays: Arrays, cotangent: np.ndarray, device: str, dtype: str | None) -> Calls:
    import torch

    warnings.filterwarnings("ignore", message=".*no GPU, so each loop runs in its plain PyTorch form")
    given = {name: _tensor(array, device, dtype) for name, array in arrays.items()}
    weight = _tensor(cotangent, device, dtype)
    wait = _waiting(device)

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

    return Calls(forward, training, lambda found: way.back(_numbers(found)))


def _numbers(tensor: Any) -> np.ndarray:
    """NumPy has no bfloat16."""
    found: np.ndarray = (tensor.float() if tensor.dtype.itemsize == 2 else tensor).cpu().numpy()
    return found


def _layer_calls(layer: Layer, arrays: Arrays, cotangent: np.ndarray, device: str, dtype: str | None) -> Calls:
    import torch

    weight, x = _tensor(cotangent, device, dtype), _tensor(arrays["x"], device, dtype)
    module = layer.make(arrays).to(device=device, dtype=x.dtype)
    wait = _waiting(device)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            found = layer.function(module, x)
        wait()
        return found

    def training() -> dict[str, torch.Tensor]:
        wanted = {"x": x.detach().requires_grad_(), **{f"own {n}": p for n, p in module.named_parameters()}}
        found = torch.autograd.grad(layer.function(module, wanted["x"]), [*wanted.values()], weight)
        wait()
        return dict(zip(wanted, found))

    return Calls(forward, training, _numbers)


def _jax_calls(way: Way, arrays: Arrays, cotangent: np.ndarray) -> Calls:
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
