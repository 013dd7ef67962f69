"""The algebras in which states of a grid add up, in PyTorch.

Products of matrices over (max, +), (min, +) and (log-sum-exp, +) are sums over one axis more: there are no fast ones.
"""

import functools
import math
from typing import Any

import torch

from lsrl.backends.runtime.grid_algebra import Algebra
from lsrl.backends.runtime.torch_scan import LogAdd, share_of_first


def algebra_of(join):
    """The algebra whose sum is "add", "max", "min" or "logaddexp"."""
    if join == "add":
        eye = functools.partial(grid_eye, 0.0, 1.0)
        return Algebra(torch, torch.add, 0.0, torch.mul, 1.0, number_product, eye, None)
    joined: Any = {"max": torch.maximum, "min": torch.minimum, "logaddexp": torch.logaddexp}[join]
    plus = LogAdd.apply if join == "logaddexp" else joined
    over: Any = {"max": torch.amax, "min": torch.amin, "logaddexp": torch.logsumexp}[join]
    zero = math.inf if join == "min" else -math.inf

    def dot(a, b):
        terms = a[..., :, :, None] + b[..., None, :, :]
        return over(terms, -2) if terms.shape[-2] else terms.new_full((*terms.shape[:-2], terms.shape[-1]), zero)

    eye, share = functools.partial(grid_eye, zero, 0.0), functools.partial(share_of_first, joined)
    return Algebra(torch, plus, zero, torch.add, 0.0, dot, eye, share)


def number_product(a, b):
    """Products of matrices; those of whole numbers, for which a GPU has none, as sums."""
    return a @ b if a.is_floating_point() else (a[..., None] * b[..., None, :, :]).sum(-2)


def grid_eye(zero, one, like):
    """`one` on the diagonal and `zero` beside it, as large as a matrix [..., E, E]."""
    unit = torch.eye(like.shape[-1], dtype=torch.bool, device=like.device)
    return torch.where(unit, one, zero).to(like.dtype)
