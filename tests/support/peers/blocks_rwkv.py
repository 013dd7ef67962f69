"""Blocks of RWKV."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
import transformers.models.rwkv.modeling_rwkv as hf_rwkv
from fla.ops.generalized_delta_rule.dplr import naive as fla_dplr
from fla.ops.rwkv6 import recurrent_naive as fla_rwkv6
from fla.ops.rwkv7.channel_mixing import channel_mixing_rwkv7_torch
from fla.ops.rwkv7.fused_addcmul import torch_addcmul_rwkv7
from fla.ops.rwkv7.fused_k_update import k_update_ref
from fla.ops.rwkv7.gate_output_correction import gate_output_correction_ref

from support.peers.double import in_double
from support.peers.row import Given, Row, Tensors, positive


class Slot:
    """A layer's place in the state of a model that overwrites it: what was there stays, for gradients."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __getitem__(self, _: object) -> torch.Tensor:
        return self.tensor

    def __setitem__(self, _: object, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def _rwkv_config(sizes: Mapping[str, int]) -> hf_rwkv.RwkvConfig:
    return hf_rwkv.RwkvConfig(
        vocab_size=sizes.get("V", 2),
        hidden_size=sizes["D"],
        attention_hidden_size=sizes["A"],
        intermediate_size=sizes["I"],
        num_hidden_layers=2,
    )


def _rwkv_weights(params: Tensors) -> Tensors:
    """Parameters of blocks by the package's names."""
    weights = {}
    for name, tensor in params.items():
        path = name.replace("_weight", ".weight").replace("_bias", ".bias").replace("attention.out", "attention.output")
        weights[f"{path}.weight" if tensor.ndim == 2 else path] = tensor[None, None] if "time_mix" in name else tensor
    return weights


def rwkv4(given: Given) -> Tensors:
    block = hf_rwkv.RwkvBlock(_rwkv_config(given.sizes), layer_id=1).double()
    names = ("feed_forward.x[t-1]", "attention.x[t-1]", "attention.a", "attention.b", "attention.p")
    state = [Slot(given.state[name]) for name in names]
    with in_double(hf_rwkv):
        x, last, _ = torch.func.functional_call(block, _rwkv_weights(given.params), (given.inputs["x"], state, True))
    return {"x": x, **{f"state.{name}": slot.tensor for name, slot in zip(names, last)}}


def rwkv4_lm(given: Given) -> Tensors:
    """In training: for inference the package rescales its weights in place."""
    model = hf_rwkv.RwkvForCausalLM(_rwkv_config(given.sizes)).double().train()
    weights = {
        name if name.startswith("head") else "rwkv." + name.replace("pre_ln", "blocks.0.pre_ln"): tensor
        for name, tensor in _rwkv_weights(given.params).items()
    }
    with in_double(hf_rwkv):
        return {"logits": torch.func.functional_call(model, weights, (given.inputs["token"],)).logits}


def _time_mixing(p: Tensors, x: torch.Tensor, v_first: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The package's parts, in the order of its layer, with its plain recurrence."""
    delta = F.pad(x, (0, 0, 1, -1)) - x
    xr, xw, xk, xv, xa, xg = torch_addcmul_rwkv7(x, delta, *(p[f"x_{name}"] for name in "rwkvag"))
    r, k, v = (F.linear(y, p[name]) for y, name in ((xr, "receptance"), (xk, "key"), (xv, "value")))
    w = -0.5 - F.softplus(-(p["w0"] + (xw @ p["w1"]).tanh() @ p["w2"]))
    if "v0" in p:
        v = v.lerp(v_first, (p["v0"] + xv @ p["v1"] @ p["v2"]).sigmoid())
    a = (p["a0"] + xa @ p["a1"] @ p["a2"]).sigmoid()
    g = (xg @ p["g1"]).sigmoid() @ p["g2"]
    kk = F.normalize((k * p["k_k"]).unflatten(-1, (heads, -1)), dim=-1)
    k = k_update_ref(k, a, p["k_a"])
    r, w, k, values, a = (y.unflatten(-1, (heads, -1)) for y in (r, w, k, v, a))
    rows = (y.transpose(1, 2) for y in (r * r.shape[-1] ** 0.5, k, values, -kk, kk * a, -w.exp()))
    with in_double(fla_dplr):
        o = fla_dplr.dplr_recurrence(*rows)[0].transpose(1, 2)
    normed = F.group_norm(o.flatten(2).flatten(0, 1), heads, p["ln_x_weight"], p["ln_x_bias"], 64e-5).view_as(x)
    return F.linear(gate_output_correction_ref(normed, r, k, p["r_k"], values, g), p["out"]), v


def _below(params: Tensors, place: str) -> Tensors:
    return {name.removeprefix(place): tensor for name, tensor in params.items() if name.startswith(place)}


def _normed(p: Tensors, x: torch.Tensor, name: str) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], p[f"{name}_weight"], p[f"{name}_bias"])


def _rwkv7_block(p: Tensors, x: torch.Tensor, v: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    y, own = _time_mixing(_below(p, "att."), _normed(p, x, "ln1"), v, heads)
    x = x + y
    y, ffn = _normed(p, x, "ln2"), _below(p, "ffn.")
    z, _ = channel_mixing_rwkv7_torch(y, torch.zeros_like(y[:, 0]), ffn["x_k"], ffn["key"].T, ffn["value"].T)
    return x + z, own


def rwkv6(given: Given) -> Tensors:
    """The authors' steps around the package's plain recurrence, which takes logarithms of decays."""
    p, heads, x = given.params, given.sizes["N"], given.inputs["x"]
    a, y, ffn = _below(p, "att."), _normed(p, x, "ln1"), _below(p, "ffn.")
    delta = F.pad(y, (0, 0, 1, -1)) - y
    ranks = torch.addcmul(y, delta, a["time_maa_x"]).matmul(a["time_maa_w1"]).tanh().unflatten(-1, (5, -1))
    mixes = torch.matmul(ranks[..., None, :], a["time_maa_w2"])[..., 0, :].unbind(-2)
    xw, xk, xv, xr, xg = (y + delta * (a[f"time_maa_{name}"] + mix) for name, mix in zip("wkvrg", mixes))
    r, k, v = (F.linear(z, a[name]) for z, name in ((xr, "receptance"), (xk, "key"), (xv, "value")))
    decay = -(a["time_decay"] + (xw @ a["time_decay_w1"]).tanh() @ a["time_decay_w2"]).exp()
    rows = (z.unflatten(-1, (heads, -1)).transpose(1, 2) for z in (r, k, v, decay))
    with in_double(fla_rwkv6):
        o = fla_rwkv6.naive_recurrent_rwkv6(*rows, a["wkv.u"], scale=1.0)[0].transpose(1, 2)
    normed = F.group_norm(o.flatten(2).flatten(0, 1), heads, a["ln_x_weight"], a["ln_x_bias"], 64e-5).view_as(x)
    x = x + F.linear(normed * F.silu(F.linear(xg, a["gate"])), a["out"])
    y = _normed(p, x, "ln2")
    delta = F.pad(y, (0, 0, 1, -1)) - y
    key = F.linear(torch.addcmul(y, delta, ffn["time_maa_k"]), ffn["key"]).relu().square()
    gate = F.linear(torch.addcmul(y, delta, ffn["time_maa_r"]), ffn["receptance"]).sigmoid()
    return {"x": x + gate * F.linear(key, ffn["value"])}


def rwkv7(given: Given) -> Tensors:
    x, _ = _rwkv7_block(given.params, given.inputs["x"], given.inputs["v"], given.sizes["N"])
    return {"x": x, "first": given.inputs["v"]}


def rwkv7_lm(given: Given) -> Tensors:
    p = given.params
    x = _normed(p, F.embedding(given.inputs["token"], p["emb"]), "ln0")
    x, v = _rwkv7_block(_below(p, "blocks.0."), x, x, given.sizes["N"])
    x, _ = _rwkv7_block(_below(p, "blocks.1."), x, v, given.sizes["N"])
    return {"logits": F.linear(_normed(p, x, "ln_out"), p["head"])}


ROWS: tuple[Row, ...] = (
    Row("blocks/rwkv4", {"D": 3, "A": 5, "I": 7}, "transformers RwkvBlock", rwkv4, {"attention.b": positive}),
    Row(
        "blocks/rwkv4_lm",
        {"V": 7, "D": 3, "L": 2, "A": 4, "I": 5},
        "transformers RwkvForCausalLM",
        rwkv4_lm,
        starts=False,
    ),
    Row(
        "blocks/rwkv6",
        {"N": 2, "K": 3, "Rx": 4, "Rw": 5, "I": 7},
        "fla's naive_recurrent_rwkv6, between torch's parts",
        rwkv6,
        starts=False,
    ),
    Row(
        "blocks/rwkv7",
        {"N": 2, "K": 3, "Rw": 4, "Ra": 5, "Rv": 2, "Rg": 7, "I": 5},
        "fla's plain parts and dplr_recurrence, in the order of its layer",
        rwkv7,
        starts=False,
    ),
    Row(
        "blocks/rwkv7_lm",
        {"V": 7, "N": 2, "K": 3, "L": 2, "Rw": 4, "Ra": 5, "Rv": 2, "Rg": 6, "I": 5},
        "fla's plain parts and dplr_recurrence, in the order of its layers",
        rwkv7_lm,
        starts=False,
    ),
)
