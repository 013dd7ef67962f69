"""Linear recurrences with a diagonal transition that are attention: RWKV-4, Aaren, GateLoop, Mamba-2."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
import transformers.models.mamba2.modeling_mamba2 as hf_mamba2
import transformers.models.rwkv.modeling_rwkv as hf_rwkv
from transformers import RwkvConfig

from support.peers.double import in_double
from support.peers.row import Given, Row, T, Tensors, positive
from support.peers.unrolled import products

Wkv = tuple[torch.Tensor, ...]
SHIFTS = {"k": "key", "v": "value", "r": "receptance"}


def _config(width: int, attention: int, inner: int) -> RwkvConfig:
    return RwkvConfig(hidden_size=width, attention_hidden_size=attention, intermediate_size=inner, vocab_size=4)


class _TimeMix(hf_rwkv.RwkvSelfAttention):
    """The package's layer, whose own forward writes states over those that it was given: here they are results."""

    def forward(self, x: torch.Tensor, before: torch.Tensor, wkv: Wkv) -> tuple[torch.Tensor, Wkv]:
        r, k, v, _ = self.extract_key_value(x, [x, before.clone()[..., None]])
        read, last = hf_rwkv.rwkv_linear_attention(self.time_decay, self.time_first, k, v, wkv, return_state=True)
        return self.output(r * read), last


def _time_mix(
    p: Mapping[str, torch.Tensor], x: torch.Tensor, before: torch.Tensor, wkv: Wkv
) -> tuple[torch.Tensor, Wkv]:
    attention, width = p["W_k"].shape
    weights = {
        "time_decay": p["log_w"],
        "time_first": p["u"],
        "output.weight": p["W_o"],
        **{f"time_mix_{name}": p[f"mu_{letter}"][None, None] for letter, name in SHIFTS.items()},
        **{f"{name}.weight": p[f"W_{letter}"] for letter, name in SHIFTS.items()},
    }
    layer = _TimeMix(_config(width, attention, width)).double()
    with in_double(hf_rwkv):
        output, last = torch.func.functional_call(layer, weights, (x, before, wkv))
    return output, last


def _channel_mix(p: Mapping[str, torch.Tensor], x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    inner, width = p["W_k"].shape
    layer = hf_rwkv.RwkvFeedForward(_config(width, width, inner)).double()
    weights = {
        **{f"time_mix_{SHIFTS[letter]}": p[f"mu_{letter}"][None, None] for letter in "kr"},
        **{f"{SHIFTS[letter]}.weight": p[f"W_{letter}"] for letter in "kvr"},
    }
    result, _ = torch.func.functional_call(layer, weights, (x, [before.clone()[..., None]]))
    assert isinstance(result, torch.Tensor)
    return result


def rwkv4(given: Given) -> Tensors:
    state = given.state
    output, last = _time_mix(given.params, given.inputs["x"], state["x[t-1]"], (state["a"], state["b"], state["p"]))
    return {"o": output, **{f"state.{name}": value for name, value in zip("abp", last)}}


def rwkv4_channel(given: Given) -> Tensors:
    return {"o": _channel_mix(given.params, given.inputs["x"], given.state["x[t-1]"])}


def rwkv4_perspectives(given: Given) -> Tensors:
    """Each perspective is run alone, with all layers."""
    width, every = given.sizes["D"], range(given.sizes["P"])
    seen = [_one_perspective(given, number) for number in every]
    normed = [F.layer_norm(x, (width,), given.params["norm.weight"], given.params["norm.bias"]) for x in seen]
    weights = (sum(normed) / len(normed) @ given.params["W_c"].T).softmax(-1)
    logits = [weights[..., number, None] * (x @ given.params["W_head"].T) for number, x in zip(every, normed)]
    return {"logits": torch.stack(logits).sum(0)}


def _one_perspective(given: Given, number: int) -> torch.Tensor:
    x, width = given.inputs["x"], given.sizes["D"]
    nothing = x.new_zeros(x.shape[0], width)
    for layer in range(given.sizes["L"]):
        scope = f"layers.{layer}."
        own = {name.removeprefix(scope): value for name, value in given.params.items() if name.startswith(scope)}
        own |= {name: value[number] for name, value in own.items() if name.startswith("mu_")}
        wkv = tuple(x.new_full((x.shape[0], own["u"].shape[0]), start) for start in (0, 0, -torch.inf))
        mixed, _ = _time_mix(own, F.layer_norm(x, (width,), own["ln1_weight"], own["ln1_bias"]), nothing, wkv)
        x = x + mixed
        inner = {name.replace("_c", "_"): value for name, value in own.items() if "_c" in name}
        x = x + _channel_mix(inner, F.layer_norm(x, (width,), own["ln2_weight"], own["ln2_bias"]), nothing)
    return x


def aaren(given: Given) -> Tensors:
    """A causal softmax over scores; what was before the start is one more token, of the score m + log u."""
    k, v, q, state = given.inputs["k"], given.inputs["v"], given.params["q"], given.state
    scores = (k * q).sum(-1) / k.shape[-1] ** 0.5
    scores = torch.cat([(state["m"] + state["u"].log())[:, None], scores], 1).mT
    values = torch.cat([(state["w"] / state["u"][..., None])[:, None], v], 1).transpose(1, 2)
    seen = torch.ones(T, T + 1, dtype=torch.bool).tril(1)
    weights = torch.where(seen, scores[:, :, None], -torch.inf).softmax(-1)
    last = torch.cat([state["m"][..., None], scores[..., 1:]], -1).amax(-1)
    return {"o": (weights @ values).transpose(1, 2), "state.m": last}


def gateloop(given: Given) -> Tensors:
    """Attention with the products of decays between each pair of positions."""
    i, start = given.inputs, given.state["S"]
    a = torch.polar(torch.sigmoid(i["alpha"]), i["beta"])
    decays = products(a)
    scores = torch.einsum("btnk,btsnk,bsnk->bnts", i["q"] + 0j, decays, i["k"] + 0j)
    read = torch.einsum("bnts,bsnv->btnv", scores, i["v"] + 0j)
    read = read + torch.einsum("btnk,btnk,bnkv->btnv", i["q"] + 0j, a.cumprod(1), start)
    last = torch.einsum("bsnk,bsnk,bsnv->bnkv", decays[:, -1], i["k"] + 0j, i["v"] + 0j)
    return {"y": read.real, "state.S": last + a.prod(1)[..., None] * start}


def ssd(given: Given) -> Tensors:
    i, p, start = given.inputs, given.params, given.state["head.h"]
    options = {"D": p["head.D"], "dt_bias": p["head.dt_bias"], "dt_softplus": True, "initial_states": start}
    with in_double(hf_mamba2):
        y, last = hf_mamba2.mamba2_chunk_scan(
            i["x"], i["dt"], -p["head.A_log"].exp(), i["B"], i["C"], 4, **options, return_final_states=True
        )
    return {"y": y, "state.head.h": last}


RWKV = "transformers.models.rwkv.modeling_rwkv"
ROWS: tuple[Row, ...] = (
    Row("rwkv4", {"D": 5, "A": 3}, f"{RWKV}.RwkvSelfAttention", rwkv4, {"b": positive}),
    Row("rwkv4_channel", {"D": 3, "I": 5}, f"{RWKV}.RwkvFeedForward", rwkv4_channel),
    Row(
        "rwkv4_perspectives",
        {"P": 2, "D": 5, "V": 4, "L": 1, "A": 3, "I": 7},
        f"{RWKV}: RwkvSelfAttention and RwkvFeedForward, once for each perspective",
        rwkv4_perspectives,
        starts=False,
    ),
    Row(
        "aaren",
        {"N": 2, "K": 3, "V": 5},
        "closed form: causal softmax attention",
        aaren,
        {"u": positive},
    ),
    Row("gateloop", {"N": 2, "K": 3, "V": 5}, "closed form: attention over all pairs of positions", gateloop),
    Row("ssd", {"H": 4, "P": 3, "N": 5, "G": 2}, "transformers.models.mamba2.modeling_mamba2.mamba2_chunk_scan", ssd),
)
