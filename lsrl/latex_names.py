"""Names of a program as mathematics writes them: `Wz` is W with the index z, `theta` a Greek letter."""

from __future__ import annotations

import re
from collections.abc import Sequence

GREEK = frozenset(
    (
        *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
        *("xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
        *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
    )
)
# `Wz`, `b0`: a letter with an index; two small letters are a word, and so is `dt`.
_INDEXED = re.compile(r"([A-Z])([a-z]{1,2}|[0-9]+)|([a-zA-Z])([0-9]+)|(b)([a-z])")


def name(text: str, positions: Sequence[str] = ()) -> str:
    """A name with its own indices and the positions it is read at: `W_{ih}`, `h_{t-1}`, `z_{k,t}`."""
    head, *indices = text.strip("_").split("_")
    if head == "log" and indices:
        return f"{{\\log {name('_'.join(indices), positions)}}}"
    if len(head) > 2 and head not in GREEK:
        head, indices = text.strip("_").replace("_", r"\_"), []
    split = _INDEXED.fullmatch(head)
    if split is not None:
        head, first = (part for part in split.groups() if part is not None)
        indices = [first, *indices]
    parts = [*(_index(index) for index in indices), *positions]
    return f"{_base(head)}_{{{', '.join(parts)}}}" if parts else _base(head)


def _base(word: str) -> str:
    if word in GREEK:
        return f"\\{word}"
    return word if len(word) == 1 else f"\\mathit{{{word}}}"


def _index(word: str) -> str:
    if word in GREEK:
        return f"\\{word}"
    return word if len(word) <= 2 else f"\\mathrm{{{word}}}"


def operator(text: str) -> str:
    """A function or a cell."""
    words = text.replace("_", r"\_")
    return f"\\operatorname{{{words}}}"
