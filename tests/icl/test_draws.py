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
from lsrl.icl_draws import copies

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


def test_copies_without_noise_are_the_network(network: Network, inputs: np.ndarray) -> None:
    expected, slots = execute(network, inputs)
    made = copies(network, 0.0, 2, 0)
    found, clean = made.run(torch.tensor(inputs[None]))
    np.testing.assert_allclose(found, np.stack([expected] * 2), rtol=1e-12)
    for below, layer in zip(slots[1:], clean):
        np.testing.assert_allclose(layer[0], below, rtol=1e-12)
    taught, _ = made.run(torch.tensor(inputs[None]), [layer[:1] for layer in clean])
    np.testing.assert_allclose(taught, found, rtol=1e-12)


def test_noise_is_on_what_is_stored_and_nowhere_else(network: Network) -> None:
    clean, noisy = copies(network, 0.0, 1, 0), copies(network, 1e-3, 4000, 0)
    for exact, drawn in zip(clean.layers, noisy.layers):
        for name in ("rows", "biases", "others", "shifts", "back"):
            if (before := getattr(exact, name)) is None:
                continue
            off = (getattr(drawn, name) - before).reshape(4000, -1)
            stored = before.reshape(-1) != 0
            assert (off[:, ~stored] == 0).all()
            np.testing.assert_allclose((off[:, stored] ** 2).mean(0), 1e-6, rtol=0.2)
        assert (exact.start == drawn.start).all()


def test_taught_states_forget_their_errors(network: Network, inputs: np.ndarray) -> None:
    """A noisy state that is taught is a x + b u with the clean x: as a loop over time says."""
    made = copies(network, 0.01, 1, 7)
    _, clean = copies(network, 0.0, 1, 0).run(torch.tensor(inputs[None]))
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
