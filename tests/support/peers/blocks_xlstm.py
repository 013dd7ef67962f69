"""Blocks of xLSTM."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import mlstm_kernels.torch.chunkwise.native.fw as xlstm_kernel
import torch
import transformers.models.xlstm.modeling_xlstm as hf_xlstm
import xlstm.xlstm_large.components as xlstm_components
from xlstm.blocks.mlstm.backends import parallel_stabilized_simple
from xlstm.blocks.mlstm.block import mLSTMBlock, mLSTMBlockConfig
from xlstm.blocks.mlstm.layer import mLSTMLayerConfig
from xlstm.blocks.slstm.block import sLSTMBlock, sLSTMBlockConfig
from xlstm.blocks.slstm.layer import sLSTMLayerConfig
from xlstm.components.feedforward import FeedForwardConfig

from support.peers.double import in_double
from support.peers.row import Given, Row, T, Tensors


def _xlstm_config(sizes: Mapping[str, int], value: str) -> hf_xlstm.xLSTMConfig:
    """The package takes widths as multiples of D, cut off to whole numbers."""
    d, heads = sizes["D"], sizes["N"]
    return hf_xlstm.xLSTMConfig(
        vocab_size=sizes.get("V", 5),
        hidden_size=d,
        num_hidden_layers=sizes.get("L", 1),
        num_heads=heads,
        qk_dim_factor=(heads * sizes["K"] + 0.5) / d,
        v_dim_factor=(heads * sizes[value] + 0.5) / d,
        ffn_proj_factor=(sizes["F"] + 0.5) / d,
        ffn_round_up_to_multiple_of=1,
        mode="train",
        chunk_size=T,
        autocast_kernel_dtype="float32",
    )


def _xlstm_weights(params: Tensors) -> Tensors:
    """Parameters by the package's names."""
    weights = {}
    for name, tensor in params.items():
        path = name.replace("_weight", ".weight").replace("_bias", ".bias")
        weights[path if path.endswith((".weight", ".bias")) else f"{path}.weight"] = tensor
    return weights


def mlstm(given: Given) -> Tensors:
    block = hf_xlstm.xLSTMBlock(_xlstm_config(given.sizes, "V").to_xlstm_block_config()).double()
    C, n, m = (given.state[f"mlstm_layer.memory.{name}"] for name in "Cnm")
    with in_double(xlstm_components, xlstm_kernel):
        x, (C, n, m) = torch.func.functional_call(
            block, _xlstm_weights(given.params), (given.inputs["x"], (C, n, m[..., None]))
        )
    last = {"C": C, "n": n, "m": m[..., 0]}
    return {"x": x, **{f"state.mlstm_layer.memory.{name}": tensor for name, tensor in last.items()}}


def _block_weights(params: Tensors) -> Tensors:
    """Parameters of the first paper's blocks by the package's names; those of the cells are given apart."""
    weights = {}
    for name, tensor in params.items():
        path = name.replace("igate_", "mlstm_cell.igate.").replace("fgate_", "mlstm_cell.fgate.")
        path = path.replace("outnorm", "mlstm_cell.outnorm").replace("conv1d", "conv1d.conv")
        bare = path.endswith((".weight", ".bias", "learnable_skip"))
        weights[path if bare else f"{path}.weight"] = tensor[:, None] if name.endswith("conv1d.weight") else tensor
    return weights


def slstm_2024(given: Given) -> Tensors:
    """The package's fgate feeds the input gate, its igate the forget gate."""
    n, p, f = (given.sizes[name] for name in "NPF")
    layer = sLSTMLayerConfig(embedding_dim=n * p, num_heads=n, backend="vanilla", dtype="float32")
    ffn = FeedForwardConfig(proj_factor=f / (n * p), round_proj_up_to_multiple_of=1)
    block = sLSTMBlock(sLSTMBlockConfig(slstm=layer, feedforward=ffn, _num_blocks=1, _block_idx=0)).double()
    cell = {name.rpartition(".")[2]: tensor for name, tensor in given.params.items() if "slstm_cell" in name}
    swapped = {"xlstm.igate": "xlstm.fgate", "xlstm.fgate": "xlstm.igate"}
    rest = {swapped.get(name, name): tensor for name, tensor in given.params.items() if "slstm_cell" not in name}
    weights = {
        **_block_weights(rest),
        "xlstm.slstm_cell._recurrent_kernel_": torch.cat([cell[f"R{gate}"] for gate in "ifzo"], 1),
        "xlstm.slstm_cell._bias_": torch.cat([cell[f"b{gate}"].flatten() for gate in "ifzo"]),
    }
    return {"x": torch.func.functional_call(block, weights, (given.inputs["x"],))}


def mlstm_2024(given: Given) -> Tensors:
    """Without the number that the package adds to divisors."""
    d, n, p, q = (given.sizes[name] for name in "DNPQ")
    layer = mLSTMLayerConfig(
        embedding_dim=d,
        num_heads=n,
        proj_factor=n * p / d,
        round_proj_up_to_multiple_of=1,
        qkv_proj_blocksize=q,
        context_length=T,
    )
    block = mLSTMBlock(mLSTMBlockConfig(mlstm=layer, _num_blocks=1, _block_idx=0)).double()
    block.xlstm.mlstm_cell.backend_fn = partial(parallel_stabilized_simple, eps=0.0)
    return {"y": torch.func.functional_call(block, _block_weights(given.params), (given.inputs["x"],))}


def xlstm_lm(given: Given) -> Tensors:
    model = hf_xlstm.xLSTMForCausalLM(_xlstm_config(given.sizes, "P")).double()
    params = {("lm_" if name == "head" else "backbone.") + name: tensor for name, tensor in given.params.items()}
    with in_double(xlstm_components, xlstm_kernel):
        outputs = torch.func.functional_call(
            model, _xlstm_weights(params), (given.inputs["token"],), {"use_cache": False}
        )
    return {"logits": outputs.logits}


ROWS: tuple[Row, ...] = (
    Row("blocks/mlstm", {"D": 6, "N": 2, "K": 3, "V": 5, "F": 7}, "transformers xLSTMBlock", mlstm),
    Row(
        "blocks/xlstm_lm",
        {"V": 7, "D": 6, "L": 2, "N": 2, "K": 2, "P": 3, "F": 5},
        "transformers xLSTMForCausalLM",
        xlstm_lm,
        starts=False,
    ),
    Row(
        "blocks/slstm",
        {"N": 2, "P": 3, "F": 5},
        "xlstm sLSTMBlock",
        slstm_2024,
        starts=False,
        flat=("xlstm.slstm_cell.bi",),
        slip="the package hands the projection that it calls fgate to the input gate, and igate to the forget gate",
    ),
    Row("blocks/mlstm_2024", {"D": 5, "N": 2, "P": 6, "Q": 4}, "xlstm mLSTMBlock", mlstm_2024, starts=False),
)
