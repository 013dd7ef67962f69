"""Linear recurrences with structured transitions, each in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from support.peers.row import Given, Row, Tensors


def starting(given: Given, *names: str) -> list[torch.Tensor]:
    """Learned first weights, [B, …] as states are."""
    batch = next(iter(given.inputs.values())).shape[0]
    return [given.params[name].expand(batch, *given.params[name].shape) for name in names]


def along(outputs: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(outputs), 1)


def linear_states(transitions: torch.Tensor, drives: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """States [B, T, …, R, K] of `state = state @ transition + drive`: each is a sum over all earlier drives."""
    states = []
    for last in range(transitions.shape[1]):
        power = torch.eye(transitions.shape[-1], dtype=transitions.dtype).expand_as(transitions[:, 0])
        total = drives[:, last]
        for position in range(last, -1, -1):
            power = transitions[:, position] @ power
            total = total + (drives[:, position - 1] if position else start) @ power
        states.append(total)
    return along(states)


def warp(given: Given) -> Tensors:
    """Weights by convolving the changes with powers of A; the network is torch's."""
    p, sizes, x, tau = given.params, given.sizes, given.inputs["x"], given.inputs["tau"]
    change = torch.diff(x, dim=1, prepend=x[:, :1])
    powers = [torch.linalg.matrix_power(p["A"], n) for n in range(x.shape[1] + 1)]
    networks = torch.stack(
        [
            powers[t + 1] @ p["theta0"] + sum(change[:, t - n] @ (powers[n] @ p["B"]).T for n in range(t + 1))
            for t in range(x.shape[1])
        ],
        1,
    )
    network = torch.nn.Sequential(
        torch.nn.Linear(1, sizes["F"]), torch.nn.ReLU(), torch.nn.Linear(sizes["F"], sizes["O"])
    )
    shapes = {name: weight.shape for name, weight in network.named_parameters()}

    def run(theta: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        parts = theta.split([shape.numel() for shape in shapes.values()])
        weights = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}
        return torch.func.functional_call(network, weights, tau[None])

    return {"y": torch.vmap(torch.vmap(run))(networks, tau), "state.theta": networks[:, -1]}


def block_diagonal_rnn(given: Given) -> Tensors:
    """States as rows, so that transitions are transposed; one large product makes the transitions of all blocks."""
    p, x = given.params, given.inputs["x"]
    raw = torch.einsum("btd,nijd->btnij", x, p["Wa"]) + p["ba"]
    centred = raw - raw.mean(-2, keepdim=True)
    largest = torch.linalg.vector_norm(centred, 1.2, dim=-2).amax(-1)
    drive = torch.einsum("btd,npd->btnp", x, p["Wv"]) + p["bv"]
    transition = (centred / largest[..., None, None]).transpose(-1, -2)
    (start,) = starting(given, "h0")
    h = linear_states(transition, drive[..., None, :], start[..., None, :])[..., 0, :]
    return {"h": h, "state.h": h[:, -1]}


def unitary_rnn(given: Given) -> Tensors:
    """Generators made entry by entry; a state is the product of all rotations so far, times the first state."""
    p, size = given.params, given.sizes["H"]
    upper = torch.nn.functional.pad(p["E"], (0, 0, 0, size - given.sizes["K"])).triu(1)
    rotations = torch.linalg.matrix_exp(upper - upper.transpose(-1, -2))[given.inputs["token"]]
    product, states = torch.eye(size, dtype=upper.dtype), []
    for rotation in rotations.unbind(1):
        product = rotation @ product
        states.append(product @ p["h0"])
    return {"h": along(states), "state.h": states[-1]}


BLOCKS = {"N": 2, "P": 5, "D": 3}
ROWS: tuple[Row, ...] = (
    Row("warp", {"D": 3, "F": 5, "O": 2}, "closed form: convolution with powers of A", warp, starts=False),
    Row("block_diagonal_rnn", BLOCKS, "closed form: unrolled products", block_diagonal_rnn, starts=False),
    Row("unitary_rnn", {"V": 5, "H": 4, "K": 2}, "torch.linalg.matrix_exp", unitary_rnn, starts=False),
)
