"""A layer of torch.nn.TransformerEncoder, with the parameters of the library's layers."""

from __future__ import annotations

import torch

from support.peers.row import Given

LAYER = {
    "self_attn.in_proj_weight": "multihead_attention.W_in",
    "self_attn.in_proj_bias": "multihead_attention.b_in",
    "self_attn.out_proj.weight": "multihead_attention.W_out",
    "self_attn.out_proj.bias": "multihead_attention.b_out",
    **{f"linear{i}.{theirs}": f"{ours}{i}" for i in (1, 2) for theirs, ours in (("weight", "W"), ("bias", "b"))},
    **{f"norm{i}.{theirs}": f"{ours}{i}" for i in (1, 2) for theirs, ours in (("weight", "gamma"), ("bias", "beta"))},
}
"""Names of torch.nn.TransformerEncoderLayer and of the library's layers."""


def encoder_layer(
    given: Given, x: torch.Tensor, scope: str = "", pre: bool = False, causal: bool = False
) -> torch.Tensor:
    """torch.nn.TransformerEncoderLayer, of the sets [..., S, D] at all positions."""
    sizes = given.sizes
    module = torch.nn.TransformerEncoderLayer(
        *(sizes["D"], sizes["N"], sizes["F"]), dropout=0.0, batch_first=True, norm_first=pre, dtype=torch.float64
    )
    weights = {theirs: given.params[scope + ours] for theirs, ours in LAYER.items()}
    mask = torch.triu(torch.full((x.shape[-2],) * 2, -torch.inf, dtype=x.dtype), 1) if causal else None
    return torch.func.functional_call(module, weights, (x.reshape(-1, *x.shape[-2:]), mask)).view(x.shape)
