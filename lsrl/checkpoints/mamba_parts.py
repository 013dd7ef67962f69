"""What checkpoints of Mamba and of Mamba-2 have in common."""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.checkpoints.table import Scope, Source

WHOLE = Scope(
    ours="",
    theirs="",
    params={
        "embeddings": "backbone.embeddings.weight",
        "norm_f_weight": "backbone.norm_f.weight",
        "lm_head": "lm_head.weight",
    },
)
MIXER: Mapping[str, str | Source] = {
    "norm_weight": "norm.weight",
    "mixer.in_proj": "mixer.in_proj.weight",
    "mixer.in_proj_bias": "mixer.in_proj.bias",
    "mixer.conv1d.weight": Source("mixer.conv1d.weight", reshape=True),
    "mixer.conv1d.bias": Source("mixer.conv1d.bias", absent=0),
    "mixer.A_log": "mixer.A_log",
    "mixer.D": "mixer.D",
    "mixer.out_proj": "mixer.out_proj.weight",
    "mixer.out_proj_bias": "mixer.out_proj.bias",
}
