"""What a table of names says: which of our parameters is made of which of a checkpoint's tensors.

A module of this package for each architecture holds such a table and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]
"""The contents of a `config.json`, completed by the architecture's defaults."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a parameter comes from, when there is more to say than a name.

    Attributes:
        tensor: the name of the tensor that it is.
        reshape: whether the elements come in another shape, `[C, 1, K]` for `[C, K]`.
        absent: what fills the parameter where the checkpoint has no such tensor; None where that is a mistake.
    """

    tensor: str
    reshape: bool = False
    absent: float | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """The parameters below one place of the model.

    Attributes:
        ours: the place in our names, with `*` for the number of a turn: `layers.*`; empty for the model itself.
        theirs: the same place in the checkpoint, with `{}` for the number: `backbone.layers.{}`.
        params: by our name below the place, their name below theirs.
        number: the checkpoint's number for the numbers in ours, where it counts layers otherwise.
    """

    ours: str
    theirs: str
    params: Mapping[str, str | Source]
    number: Callable[..., int] = lambda config, turn=0: turn


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family of checkpoints, and the program that computes what they compute.

    Attributes:
        model_type: how a `config.json` names it.
        program: our model, `std/blocks/mamba_lm`.
        sizes: each size that the program is given: an entry of the configuration, or a function of it.
        scopes: where its parameters come from.
        defaults: what the configuration means where it is silent.
        fixed: what the program does, a value or a function of the configuration; those that say otherwise are refused.
        ignored: tensors that are no parameters, or repeat one: patterns such as `*.inv_freq`.
        computed: parameters that no tensor holds, made of the configuration.
    """

    model_type: str
    program: str
    sizes: Mapping[str, str | Callable[[Config], float]]
    scopes: tuple[Scope, ...]
    defaults: Config = field(default_factory=dict)
    fixed: Config = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    computed: Mapping[str, Callable[[Config], float]] = field(default_factory=dict)
