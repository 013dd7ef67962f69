"""The cells that everybody knows, against the packages that everybody uses."""

from __future__ import annotations

import fla.ops.gated_delta_rule.naive as fla_gated_delta
import fla.ops.gla.naive as fla_gla
import torch
import transformers.models.mamba.modeling_mamba as hf_mamba
import transformers.models.recurrent_gemma.modeling_recurrent_gemma as hf_gemma
from minGRU_pytorch.minGRU import heinsen_associative_scan_log
from torch.nn.functional import softplus
from xlstm.blocks.mlstm.backends import recurrent_step_stabilized_simple
from xlstm.blocks.slstm.src.vanilla.slstm import slstm_forward_pointwise

from support.peers.double import in_double
from support.peers.row import B, Given, Row, T, Tensors, negative, soft, unit

HEADS = {"N": 2, "K": 3, "V": 5}


def _torch_cell(module: type[torch.nn.RNNBase], given: Given) -> Tensors:
    """RNN, LSTM and GRU of torch.nn, whose parameters have the same layout."""
    layer = module(given.sizes["D"], given.sizes["H"], batch_first=True, dtype=torch.float64)
    names = {name: name.removesuffix("_l0").replace("weight_", "W_").replace("bias_", "b_") for name in layer.state_dict()}
    start = tuple(given.state[name][None] for name in ("h", "c") if name in given.state)
    weights = {theirs: given.params[ours] for theirs, ours in names.items()}
    arguments = (given.inputs["x"], start if len(start) > 1 else start[0])
    outputs, last = torch.func.functional_call(layer, weights, arguments)
    finals = last if isinstance(last, tuple) else (last,)
    return {"h": outputs, **{f"state.{name}": final[0] for name, final in zip(("h", "c"), finals)}}


def rnn(given: Given) -> Tensors:
    return _torch_cell(torch.nn.RNN, given)


def lstm(given: Given) -> Tensors:
    return _torch_cell(torch.nn.LSTM, given)


def gru(given: Given) -> Tensors:
    return _torch_cell(torch.nn.GRU, given)


def mingru(given: Given) -> Tensors:
    """In log space, which takes positive candidates."""
    p, x = given.params, given.inputs["x"]
    gate, candidate = x @ p["Wz"].T + p["bz"], x @ p["Wh"].T + p["bh"]
    return {"h": heinsen_associative_scan_log(-softplus(gate), -softplus(-gate) + candidate.log())}


def minlstm(given: Given) -> Tensors:
    """In log space, which takes positive candidates."""
    p, x = given.params, given.inputs["x"]
    forget, write, candidate = (x @ p[f"W{g}"].T + p[f"b{g}"] for g in "fih")
    difference = softplus(-forget) - softplus(-write)
    return {"h": heinsen_associative_scan_log(-softplus(difference), -softplus(-difference) + candidate.log())}


def rg_lru(given: Given) -> Tensors:
    """A document starts at position 0 and wherever `start` says; the package is told by positions."""
    n, width = given.sizes["N"], given.sizes["N"] * given.sizes["P"]
    config = hf_gemma.RecurrentGemmaConfig(num_attention_heads=n, lru_width=width, hidden_size=width)
    layer = hf_gemma.RecurrentGemmaRglru(config).double()
    p, start = given.params, given.inputs["start"]
    weights = {
        "recurrent_param": p["lambda_"].reshape(-1),
        "recurrent_gate_weight": p["Wa"],
        "recurrent_gate_bias": p["ba"],
        "input_gate_weight": p["Wx"],
        "input_gate_bias": p["bx"],
    }
    positions = (~start).long()  # 0 where a document starts, which is all that the layer looks at
    with in_double(hf_gemma):
        h = torch.func.functional_call(layer, weights, (given.inputs["x"].reshape(B, T, -1), positions))
    return {"h": h.reshape(given.inputs["x"].shape)}
