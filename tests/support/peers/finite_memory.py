"""Convolutions over time: what reads a limited number of positions back, or ahead."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.func import functional_call
from torch.nn.functional import conv1d, glu, layer_norm, linear, pad, silu

from support.peers.row import B, Given, Row, T, Tensors, positive


def causal(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None, **options: int) -> torch.Tensor:
    """torch's convolution over a whole sequence [B, T, D], which sees nothing that comes later."""
    reach = (kernel.shape[-1] - 1) * options.get("dilation", 1)
    return conv1d(pad(x.mT, (reach, 0)), kernel, bias, **options).mT


def _depthwise(x: torch.Tensor, rows: torch.Tensor, back: int, ahead: int, **options: int) -> torch.Tensor:
    """Channel by channel, with the kernel's rows [positions, D] in the order of time."""
    return conv1d(pad(x.mT, (back, ahead)), rows.T[:, None], groups=x.shape[-1], **options).mT


def _of(given: Given, scope: str) -> Tensors:
    """The params of one use or turn, by their names there."""
    return {name.removeprefix(f"{scope}."): p for name, p in given.params.items() if name.startswith(f"{scope}.")}


def short_conv(given: Given) -> Tensors:
    p = given.params
    return {"y": causal(given.inputs["x"], p["W"][:, None], p["b"], groups=given.sizes["D"])}


def lookahead(given: Given) -> Tensors:
    return {"r": _depthwise(given.inputs["h"], given.params["behind.W"].T, 0, given.sizes["K"] - 1)}


def gated_conv(given: Given) -> Tensors:
    p = given.params
    both = causal(given.inputs["x"], torch.cat([p["W"], p["V"]]), torch.cat([p["b"], p["c"]]))
    return {"h": glu(both, -1)}


def wavenet(given: Given) -> Tensors:
    x, skip = given.inputs["x"], torch.zeros((), dtype=torch.float64)
    for i in range(given.sizes["L"]):
        p = _of(given, f"layers.{i}")
        content, gate = (causal(x, p[f"W{k}"], p[f"b{k}"], dilation=2**i) for k in "fg")
        z = glu(torch.cat([content.tanh(), gate], -1), -1)
        residual, passed = (linear(z, p[f"W{k}"], p[f"b{k}"]) for k in "rs")
        x, skip = x + residual, skip + passed
    return {"skip": skip, "x": x}


def _normalised(p: Tensors, turn: str, dilation: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """torch's layer and torch's normalisation of its weight, with our params."""
    out, into, width = p[f"v{turn}"].shape
    layer = torch.nn.Conv1d(into, out, width, dilation=dilation, dtype=torch.float64)
    layer = torch.nn.utils.parametrizations.weight_norm(layer)
    weights = {"bias": p[f"b{turn}"], "parametrizations.weight.original1": p[f"v{turn}"]}
    weights["parametrizations.weight.original0"] = p[f"g{turn}"][:, None, None]
    return lambda x: functional_call(layer, weights, (pad(x.mT, ((width - 1) * dilation, 0)),)).mT


def tcn(given: Given) -> Tensors:
    x = given.inputs["x"]
    residual = linear(x, given.params["W"], given.params["b"])
    for i in range(given.sizes["L"]):
        p = _of(given, "temporal_block" if i == 0 else f"layers.{i - 1}")
        inner = _normalised(p, "1", 2**i)(x).relu()
        x = (_normalised(p, "2", 2**i)(inner).relu() + residual).relu()
        residual = x
    return {"y": x}


def bytenet(given: Given) -> Tensors:
    x = given.inputs["x"]
    for i in range(given.sizes["L"]):
        p = _of(given, f"layers.{i}")
        y = x
        for j, kernel in (("1", p["W1"][..., None]), ("2", p["W2"]), ("3", p["W3"][..., None])):
            y = layer_norm(y, y.shape[-1:], p[f"gain{j}"], p[f"bias{j}"]).relu()
            y = causal(y, kernel, p[f"b{j}"], dilation=2**i)
        x = x + y
    return {"y": x}


def fsmn(given: Given) -> Tensors:
    """Both sides of the memory as one convolution."""
    p, sizes = given.params, given.sizes
    h = linear(given.inputs["x"], p["W"], p["b"]).relu()
    memory = _depthwise(h, torch.cat([p["a"].flip(0), p["ahead.c"]]), sizes["N1"], sizes["N2"])
    return {"y": linear(torch.cat([h, memory], -1), torch.cat([p["V"], p["M"]], -1), p["d"]).relu()}


def dfsmn(given: Given) -> Tensors:
    sizes = given.sizes
    h, below = linear(given.inputs["x"], given.params["W"], given.params["b"]).relu(), 0
    for i in range(sizes["L"]):
        p = _of(given, f"layers.{i}")
        x = linear(h, p["V"], p["bp"])
        past = _depthwise(x, p["a"].flip(0), sizes["N1"] * sizes["S1"], 0, dilation=sizes["S1"])
        none = torch.zeros_like(p["a"][:1])
        coming = _depthwise(x, torch.cat([none, p["ahead.c"]]), 0, sizes["N2"] * sizes["S2"], dilation=sizes["S2"])
        below = below + x + past + coming
        h = linear(below, p["U"], p["bh"]).relu()
    return {"y": h}


def _memory(p: Tensors, x: torch.Tensor, end: str, ahead: torch.Tensor | None = None) -> torch.Tensor:
    """The memory layer of speech enhancers; its kernel in the order of time."""
    compact = linear(linear(x, p[f"W{end}"], p[f"b{end}"]).relu(), p[f"V{end}"])
    back = p[f"a{end}"].flip(0)
    rows = back if ahead is None else torch.cat([back, ahead])
    return x + compact + _depthwise(compact, rows, len(back) - 1, len(rows) - len(back))


def complex_fsmn(given: Given) -> Tensors:
    """Real and imaginary parts as one batch, for both layers."""
    z = given.inputs["z"]
    parts = torch.cat([z.real, z.imag])
    (rr, ri), (ir, ii) = (_memory(given.params, parts, end).split(B) for end in "ri")
    return {"y": torch.complex(rr - ii, ri + ir)}


def gated_fsmn(given: Given) -> Tensors:
    x, gates = given.inputs["x"], []
    for scope in ("conv_unit", "conv_unit_2"):
        p = _of(given, scope)
        y = silu(linear(layer_norm(x, x.shape[-1:], p["gain"], p["bias"]), p["W"], p["b"]))
        rows = torch.cat([p["a"].flip(0), p["ahead.c"]])
        gates.append(y + _depthwise(y, rows, given.sizes["M"], given.sizes["M"]))
    p = _of(given, "memory")
    return {"y": x + gates[1] * _memory(p, gates[0], "", p["ahead.c"])}


def _by_transform(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Causal convolution of [B, T, D] with [K, H, D] from the position at hand back, as a product of transforms."""
    length = x.shape[1] + kernel.shape[0]
    found = torch.fft.rfft(kernel, length, dim=0)
    return torch.fft.irfft(torch.einsum("fhd,bfd->bfh", found, torch.fft.rfft(x, length, dim=1)), length, dim=1)[:, :T]


def ckconv(given: Given) -> Tensors:
    p, sizes = given.params, given.sizes
    taps = torch.linspace(1, -1, sizes["K"], dtype=torch.float64)
    psi = torch.sin(30 * linear(taps[:, None], p["W1"][:, None], p["b1"]))
    psi = torch.sin(30 * linear(psi, p["W2"], p["b2"]))
    kernel = linear(psi, p["W3"], p["b3"]).unflatten(-1, (sizes["H"], sizes["D"]))
    return {"y": _by_transform(given.inputs["x"], kernel) + p["bias"]}


def hyena(given: Given) -> Tensors:
    p, k = given.params, given.sizes["K"]
    t = torch.linspace(0, 1, k, dtype=torch.float64)
    turns = torch.exp(-1e-4j * torch.arange(k, dtype=torch.float64) * 2 * torch.pi / k)
    y = linear(torch.stack([t, turns.real, turns.imag], -1), p["F1"], p["c1"])
    for layer in "23":
        y = linear(torch.sin(p["frequency"] * y), p[f"F{layer}"], p[f"c{layer}"])
    kernel = linear(torch.sin(p["frequency"] * y), p["F4"]) * torch.exp(-t[:, None] * p["fade"].abs())
    projected = linear(given.inputs["u"], p["W"], p["b"])
    x1, x2, v = (_depthwise(projected, p["short"].T, 2, 0) + p["short_bias"]).chunk(3, -1)
    mixed = _by_transform(x2 * v, torch.diag_embed(kernel)) + p["pass_by"] * x2 * v
    return {"y": linear(x1 * mixed, p["W_out"], p["b_out"])}


def trellis_net(given: Given) -> Tensors:
    """Level by level over whole sequences, as published."""
    weight, bias, x = given.params["level.W"], given.params["level.b"], given.inputs["x"]
    c = z = torch.zeros(B, T, given.sizes["H"], dtype=torch.float64)
    for _ in range(given.sizes["L"]):
        gates = causal(torch.cat([x, z], -1), weight, bias).unflatten(-1, (4, -1))
        i, o, f = gates[:, :, [0, 1, 3]].sigmoid().unbind(2)
        c = f * c.roll(1, 1).index_fill(1, torch.tensor([0]), 0) + i * gates[:, :, 2].tanh()
        z = o * c.tanh()
    return {"z": z}


OPEN = {f"layers.{i}.b2": positive for i in range(2)}  # so that ReLUs are not all shut
TCN = {"D": 3, "H": 5, "K": 2, "L": 3}
WAVENET = {"D": 3, "S": 5, "K": 2, "L": 3}
DFSMN = {"D": 3, "H": 5, "P": 4, "N1": 2, "N2": 1, "S1": 2, "S2": 3, "L": 2}

# The states of these programs are earlier inputs, of which the layers of torch are not told.
ROWS: tuple[Row, ...] = (
    Row("short_conv", {"D": 3, "K": 4}, "torch.nn.functional.conv1d(groups=D)", short_conv, starts=False),
    Row(
        "lookahead",
        {"D": 5, "K": 3},
        "torch.nn.functional.conv1d(groups=D), padded at the end",
        lookahead,
        starts=False,
    ),
    Row("gated_conv", {"D": 3, "H": 5, "K": 4}, "torch.nn.functional.conv1d and glu", gated_conv, starts=False),
    Row("wavenet", WAVENET, "torch.nn.functional.conv1d and glu", wavenet, starts=False),
    Row(
        "tcn",
        {"D": 3, "H": 5, "K": 2, "L": 3},
        "torch.nn.Conv1d with torch's weight_norm",
        tcn,
        starts=False,
        ranges=OPEN,
    ),
    Row("bytenet", {"D": 3, "K": 3, "L": 2}, "torch.nn.functional.layer_norm and conv1d", bytenet, starts=False),
    Row(
        "trellis_net", {"D": 3, "H": 5, "L": 3}, "torch.nn.functional.conv1d, level by level", trellis_net, starts=False
    ),
    Row("fsmn", {"D": 3, "H": 5, "O": 2, "N1": 3, "N2": 2}, "torch.nn.functional.conv1d(groups=H)", fsmn, starts=False),
    Row("dfsmn", DFSMN, "torch.nn.functional.conv1d(groups=P, dilation=S)", dfsmn, starts=False),
    Row("complex_fsmn", {"D": 3, "H": 5, "N": 4}, "torch.nn.functional.conv1d(groups=D)", complex_fsmn, starts=False),
    Row("gated_fsmn", {"D": 5, "N": 3, "M": 2}, "torch.nn.functional.conv1d(groups=D)", gated_fsmn, starts=False),
    Row("ckconv", {"D": 3, "H": 2, "E": 4, "K": 5}, "product of transforms: torch.fft", ckconv, starts=False),
    Row("hyena", {"D": 3, "E": 4, "K": 5}, "product of transforms: torch.fft", hyena, starts=False),
)
