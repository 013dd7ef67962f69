"""Noisy copies of networks: without noise they are the network, with it they are what a plain loop makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lsrl
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.backends.weights.execute import execute
from lsrl.backends.weights.network import Kind, Network
from lsrl.backends.weights.normal_form import network_for, taken_apart
from lsrl.icl_draws import Copies, exact_copy, joined

MIXED = """
cell mixed():
    input x, y: []
    state s, t: [] = 2
    s' = s / 2 + x
    t' = s + t / 4 + relu(y)
    output a = relu(s' - t') * (x + 1), b = t' + 3
"""


@pytest.fixture(scope="module")
def network() -> Network:
    cell, sizes = lsrl.parse(MIXED).bind({})
    return network_for(taken_apart(cell, sizes, {}, {}, 50), ARCHITECTURES["gated-linear-rnn"])


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 20, 2))


def drawn(network: Network, noise: float, count: int, seed: int) -> Copies:
    return exact_copy(network).noisy(noise, count, torch.Generator().manual_seed(seed))


def test_copies_without_noise_are_the_network(network: Network, inputs: np.ndarray) -> None:
    expected, slots = execute(network, inputs)
    made = drawn(network, 0.0, 2, 0)
    found, clean = made.run(torch.tensor(inputs[None]))
    np.testing.assert_allclose(found, np.stack([expected] * 2), rtol=1e-12)
    for below, layer in zip(slots[1:], clean):
        np.testing.assert_allclose(layer[0], below, rtol=1e-12)
    taught, _ = made.run(torch.tensor(inputs[None]), [layer[:1] for layer in clean])
    np.testing.assert_allclose(taught, found, rtol=1e-12)


def test_noise_is_on_what_is_stored_and_nowhere_else(network: Network) -> None:
    clean, noisy = exact_copy(network), drawn(network, 1e-3, 4000, 0)
    for exact, other in zip(clean.layers, noisy.layers):
        for name in ("rows", "biases", "others", "shifts", "back"):
            if (before := getattr(exact, name)) is None:
                continue
            off = (getattr(other, name) - before).reshape(4000, -1)
            stored = before.reshape(-1) != 0
            assert (off[:, ~stored] == 0).all()
            np.testing.assert_allclose((off[:, stored] ** 2).mean(0), 1e-6, rtol=0.2)
        assert (exact.start == other.start).all()


def test_taught_states_forget_their_errors(network: Network, inputs: np.ndarray) -> None:
    """A noisy state that is taught is a x + b u with the clean x: as a loop over time says."""
    made = drawn(network, 0.01, 1, 7)
    _, clean = exact_copy(network).run(torch.tensor(inputs[None]))
    _, taught = made.run(torch.tensor(inputs[None]), clean)
    number = next(i for i, layer in enumerate(network.layers) if any(unit.kind is Kind.STATE for unit in layer))
    layer = made.layers[number]
    below = torch.tensor(inputs) if number == 0 else taught[number - 1][0]
    states = [slot for slot, unit in enumerate(network.layers[number]) if unit.kind is Kind.STATE]
    last = layer.start.expand(3, -1)
    for t in range(20):
        now = below[:, t] @ layer.rows[0].T + layer.biases[0] + last @ layer.back[0].T
        np.testing.assert_allclose(taught[number][0, :, t, states], now[:, states], rtol=1e-12)
        last = clean[number][0, :, t]


def test_joined_copies_are_each_what_they_were(network: Network, inputs: np.ndarray) -> None:
    parts = [drawn(network, 0.01, 2, seed) for seed in (0, 1)]
    both, _ = joined(parts).run(torch.tensor(inputs[None]))
    np.testing.assert_array_equal(both, torch.cat([part.run(torch.tensor(inputs[None]))[0] for part in parts]))


def test_numbers_are_rounded_to_a_type(network: Network, inputs: np.ndarray) -> None:
    """To bfloat16 relatively by at most 2^-9: 1/3 becomes 0.333984375, as by hand."""
    narrow = exact_copy(network).to(torch.bfloat16)
    for exact, rounded in zip(exact_copy(network).numbers(), narrow.numbers()):
        np.testing.assert_allclose(rounded.double(), exact, rtol=2**-9)
    third = narrow.with_numbers([torch.full_like(tensor, 1 / 3) for tensor in narrow.numbers()])
    assert {tensor.unique().item() for tensor in third.numbers() if tensor.numel()} == {0.333984375}
    assert narrow.run(torch.tensor(inputs[None]).bfloat16())[0].dtype == torch.bfloat16
