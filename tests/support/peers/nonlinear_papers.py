"""Nonlinear cells in the forms of their papers, which packages do not have: built of parts of packages."""

from __future__ import annotations

import torch
import torchrecurrent as tr

from support.peers.row import Given, Row, T, Tensors
from support.peers.torchrecurrent_cell import SIZES, Cell, over_positions, stepper


def mgu(given: Given) -> Tensors:
    """The paper's matrices act on [h, x]."""
    width = given.sizes["H"]
    parts = {f"{side}{gate}": given.params[f"W{gate}"] for gate in "fh" for side in "WU"}
    cut = {name: part[:, :width] if name.startswith("U") else part[:, width:] for name, part in parts.items()}
    names = {"weight_ih": "Wf Wh", "weight_hh": "Uf Uh", "bias_ih": "bf bh"}
    params = {**cut, "bf": given.params["bf"], "bh": given.params["bh"]}
    return over_positions(Cell(tr.MGUCell, names, ("h",), "h"), Given(params, given.inputs, given.state, given.sizes))


def lem(given: Given) -> Tensors:
    """The package lets y read the memory that arrives; asked again with the new memory, it lets y read that one."""
    names = {"weight_ih": "V2 V1 Vz Vy", "weight_hh": "W2 W1 Wz", "weight_ch": "Wy", "bias_ih": "b2 b1 bz by"}
    step = stepper(Cell(tr.LEMCell, names, ("y", "z"), "y"), given)
    y, z = given.state["y"], given.state["z"]
    outputs = []
    for u in given.inputs["u"].unbind(1):
        _, (_, new) = step(u, (y, z))
        y, _ = step(u, (y, new))[1]
        z = new
        outputs.append(y)
    return {"y": torch.stack(outputs, 1), "state.y": y, "state.z": z}


def cornn_implicit(given: Given) -> Tensors:
    """The package without damping, whose new velocity is then damped."""
    names = {"weight_ih": "V", "weight_hh": "W", "weight_ch": "W_", "bias_ih": "b"}
    step = stepper(Cell(tr.coRNNCell, names, ("y", "z"), "y", {"epsilon": 0.0, "dt": 0.1}), given)
    y, z = given.state["y"], given.state["z"]
    outputs = []
    for u in given.inputs["u"].unbind(1):
        _, (_, undamped) = step(u, (y, z))
        z = undamped / (1 + 0.1)
        y = y + 0.1 * z
        outputs.append(y)
    return {"y": torch.stack(outputs, 1), "state.y": y, "state.z": z}


def nas(given: Given) -> Tensors:
    """The package adds the fourth pair: it is told that pair's product as a bias, and zeros for its matrices."""
    step = stepper(Cell(tr.NASCell, {"weight_ih": "W", "weight_hh": "U"}, ("h", "c"), "h"), given)
    fourth = torch.arange(8).repeat_interleave(given.sizes["H"]) == 3
    W, U, b = (given.params[name] for name in ("W", "U", "b"))
    others = {"weight_ih": torch.where(fourth[:, None], 0, W), "weight_hh": torch.where(fourth[:, None], 0, U)}
    state = given.state["h"], given.state["c"]
    outputs = []
    for x in given.inputs["x"].unbind(1):
        product = (x @ W.T) * (state[0] @ U.T + b)
        _, state = step(x, state, bias_ih=torch.where(fourth, product, b), **others)
        outputs.append(state[0])
    return {"h": torch.stack(outputs, 1), "state.h": state[0], "state.c": state[1]}


def scrn(given: Given) -> Tensors:
    """Slow units in closed form; then sigmoid(v) = (1 + tanh(v / 2)) / 2 makes the hidden layer one of torch.nn.RNN."""
    p, x, alpha = given.params, given.inputs["x"], 0.95
    place = torch.arange(T)
    weights = torch.tril(alpha ** (place[:, None] - place).clamp(min=0).double()) * (1 - alpha)
    slow = torch.einsum("ts,bsp->btp", weights, x @ p["B"].T)
    slow = slow + alpha ** (place + 1.0)[:, None].double() * given.state["s"][:, None]
    width = given.sizes["H"]
    layer = torch.nn.RNN(width, width, batch_first=True, dtype=torch.float64)
    hidden = {
        "weight_ih_l0": torch.eye(width, dtype=torch.float64) / 2,
        "weight_hh_l0": p["R"] / 4,
        "bias_ih_l0": p["R"].sum(1) / 4,
        "bias_hh_l0": torch.zeros(width, dtype=torch.float64),
    }
    drive = slow @ p["P"].T + x @ p["A"].T
    tanh, _ = torch.func.functional_call(layer, hidden, (drive, 2 * given.state["h"][None] - 1))
    h = (1 + tanh) / 2
    return {"y": h @ p["U"].T + slow @ p["V"].T, "state.h": h[:, -1], "state.s": slow[:, -1]}


def tau_gru(given: Given) -> Tensors:
    """The package's layer starts its delayed states at 0; its cell is told them."""
    names = {"weight_ih": "U1 U2 U3 U4", "weight_hh": "W1 W2 W3 W4", "bias_ih": "b1 b2 b3 b4"}
    earlier = [f"h[t-{distance}]" for distance in range(given.sizes["L"], 1, -1)]
    past = [given.state[name] for name in (*earlier, "h")]
    module = tr.tauGRUCell(given.sizes["D"], given.sizes["H"], dtype=torch.float64)
    weights = {name: torch.cat([given.params[part] for part in parts.split()]) for name, parts in names.items()}
    outputs = []
    for x in given.inputs["x"].unbind(1):
        h = torch.func.functional_call(module, weights, (x, past[-1], past[0]))
        past = [*past[1:], h]
        outputs.append(h)
    finals = {f"state.{name}": value for name, value in zip((*earlier, "h"), past)}
    return {"h": torch.stack(outputs, 1), **finals}


def rhn(given: Given, carry: str = "t") -> Tensors:
    """A highway layer is the cell of an LSTM, h and c being s; gates i, f, g, o.  1 - sigmoid(v) is sigmoid(-v)."""
    p, x = given.params, given.inputs["x"]
    sign = -1 if carry == "t" else 1
    zeros = torch.zeros(given.sizes["H"], dtype=torch.float64)
    s = given.state["s"]
    outputs = []
    for place in range(T):
        for layer in range(given.sizes["L"]):
            inner = {name: p[f"layers.{layer}.{name}"] for name in (f"R{carry}", f"b{carry}", "Rt", "bt", "Rh", "bh")}
            R = torch.cat([inner["Rt"], sign * inner[f"R{carry}"], inner["Rh"], inner["Rh"]])
            b = torch.cat([inner["bt"], sign * inner[f"b{carry}"], inner["bh"], zeros])
            W = torch.cat([p["Wt"], sign * p[f"W{carry}"], p["Wh"], p["Wh"]]) * (layer == 0)
            _, s = torch.lstm_cell(x[:, place], (s, s), W, R, b, torch.zeros_like(b))
        outputs.append(s)
    return {"s": torch.stack(outputs, 1), "state.s": s}


def rhn_uncoupled(given: Given) -> Tensors:
    return rhn(given, carry="c")


def clockwork_rnn(given: Given) -> Tensors:
    """Module by module: those whose turn it is compute, from blocks of the matrix, the others are left alone."""
    p, count = given.params, given.sizes["G"]
    W, U, b = (p[name].chunk(count) for name in ("W", "U", "b"))
    modules = list(given.state["h"].chunk(count, -1))
    outputs = []
    for place, x in enumerate(given.inputs["x"].unbind(1)):
        before = list(modules)
        for i in (i for i in range(count) if place % 2**i == 0):
            seen = torch.cat(before[i:], -1)
            modules[i] = torch.tanh(x @ W[i].T + seen @ U[i][:, -seen.shape[-1] :].T + b[i])
        outputs.append(torch.cat(modules, -1))
    return {"h": torch.stack(outputs, 1), "state.h": outputs[-1]}


ROWS: tuple[Row, ...] = (
    Row("mgu", SIZES, "torchrecurrent.MGUCell", mgu),
    Row(
        "lem",
        SIZES,
        "torchrecurrent.LEMCell: asked twice at each position, so that y reads the new memory",
        lem,
        slip="the package's own form, in which y reads the old memory, is std/lem_simultaneous",
    ),
    Row("cornn_implicit", SIZES, "torchrecurrent.coRNNCell: without damping, which then divides", cornn_implicit),
    Row(
        "nas",
        SIZES,
        "torchrecurrent.NASCell: the product of the fourth pair as a bias",
        nas,
        slip="the package's own form adds the fourth pair: std/nas_sum",
    ),
    Row(
        "scrn",
        {"D": 3, "H": 5, "S": 4, "O": 6},
        "closed form: decayed sums for slow units, torch.nn.RNN for hidden ones",
        scrn,
        slip="torchrecurrent.SCRN recurs through its output: std/scrn_output",
    ),
    Row("tau_gru", {**SIZES, "L": 3}, "torchrecurrent.tauGRUCell", tau_gru),
    Row("rhn", {**SIZES, "L": 3}, "torch.lstm_cell: one per layer, with s for h and c", rhn),
    Row("rhn_uncoupled", {**SIZES, "L": 2}, "torch.lstm_cell: one per layer, with s for h and c", rhn_uncoupled),
    Row(
        "clockwork_rnn",
        {"D": 4, "G": 3, "P": 2},
        "brute force: module by module",
        clockwork_rnn,
        ranges={"position": lambda position: 0 * position},
    ),
)
