"""Chunks in JAX against the plain PyTorch references of flash-linear-attention, run in double precision.

Outputs, the last state, and the gradients by every input and the initial state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType

import fla.ops.comba.naive as comba
import fla.ops.delta_rule.naive as delta_rule
import fla.ops.gated_delta_product.naive as delta_product
import fla.ops.generalized_delta_rule.dplr.naive as dplr
import fla.ops.kda.naive as kda
import fla.ops.simple_gla.naive as simple_gla
import jax
import numpy as np
import pytest
import torch

import lsrl
from support.chunk_programs import CHUNKED
from support.peers.double import in_double

BATCH, LENGTH = 2, 11
SIZES = {"N": 2, "K": 4, "V": 3}
Tensors = Mapping[str, torch.Tensor]
Results = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def heads_first(function: Callable[..., Results], *names: str) -> Callable[[Tensors, torch.Tensor], Results]:
    """A function whose arrays have heads before positions, its arguments by name, in order."""

    def call(given: Tensors, start: torch.Tensor) -> Results:
        found, last = function(*(given[name].transpose(1, 2) for name in names), initial_state=start)
        return found.transpose(1, 2), last

    return call


def positions_first(function: Callable[..., Results]) -> Callable[[Tensors, torch.Tensor], Results]:
    return lambda given, start: function(**given, initial_state=start, output_final_state=True)


def factors_in_turn(given: Tensors, start: torch.Tensor) -> Results:
    """Three factors of a step as three rows of one array."""
    rows = {name: torch.stack([given[f"{name}{i}"] for i in (1, 2, 3)], 2).flatten(1, 2) for name in "kvb"}
    q, k, v, beta = given["q"], rows["k"], rows["v"], rows["b"]
    options = {"initial_state": start, "output_final_state": True, "num_householder": 3}
    return delta_product.naive_recurrent_gated_delta_product(q, k, v, given["g"], beta, SIZES["K"] ** -0.5, **options)


PEERS: Mapping[str, tuple[ModuleType, Callable[[Tensors, torch.Tensor], Results]]] = {
    "simple_gla": (simple_gla, positions_first(simple_gla.naive_recurrent_simple_gla)),
    "delta_rule": (delta_rule, heads_first(delta_rule.delta_rule_recurrence, "q", "k", "v", "beta")),
    "comba": (comba, positions_first(comba.naive_recurrent_comba)),
    "kda": (kda, positions_first(kda.naive_recurrent_kda)),
    "dplr": (dplr, heads_first(dplr.dplr_recurrence, "q", "k", "v", "alpha", "beta", "gk")),
    "delta_product": (delta_product, factors_in_turn),
}


def drawn(program: lsrl.Program) -> dict[str, torch.Tensor]:
    """Inputs by name and the state under its own: logarithms of gates below zero, keys shorter than one."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for declared in program.graph.inputs:
        shape = [dim.evaluate(SIZES) for dim in declared.shape]
        array = rng.normal(size=(BATCH, LENGTH, *shape)) / 2
        arrays[declared.name] = -np.abs(4 * array) if declared.name in ("g", "gk") else array
    arrays["S"] = rng.normal(size=(BATCH, SIZES["N"], SIZES["K"], SIZES["V"]))
    return {name: torch.from_numpy(array).requires_grad_() for name, array in arrays.items()}


def agree(found: object, wanted: torch.Tensor, what: str) -> None:
    np.testing.assert_allclose(np.asarray(found), wanted.detach().numpy(), rtol=1e-10, atol=1e-10, err_msg=what)


@pytest.mark.parametrize("name", PEERS)
def test_peers(name: str) -> None:
    module, peer = PEERS[name]
    program = lsrl.parse(CHUNKED[name])
    given = drawn(program)
    inputs = {key: tensor for key, tensor in given.items() if key != "S"}
    with in_double(module):
        wanted = dict(zip(("o", "state.S"), peer(inputs, given["S"]), strict=True))
    weights = {key: torch.from_numpy(np.random.default_rng(1).normal(size=tuple(t.shape))) for key, t in wanted.items()}
    total = sum((tensor * weights[key]).sum() for key, tensor in wanted.items())
    gradients = dict(zip(given, torch.autograd.grad(total, list(given.values())), strict=True))

    compiled = lsrl.compile(program, target="jax", sizes=SIZES, schedule="chunk(4)", dtype="float64")
    arrays = {key: tensor.detach().numpy() for key, tensor in given.items()}
    state = {"S": arrays.pop("S")}
    result = compiled({}, arrays, state)
    agree(result.outputs["o"], wanted["o"], "o")
    agree(result.state["S"], wanted["state.S"], "last state")
    found = compiled.gradients({}, arrays, state, {key: tensor.numpy() for key, tensor in weights.items()})
    for key, gradient in gradients.items():
        agree(found.state["S"] if key == "S" else found.inputs[key], gradient, f"gradient by {key}")
