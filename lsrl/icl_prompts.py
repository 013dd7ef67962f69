"""Prompts of the two programs that stand for any function (Petrov et al., 2024, listings 1 and 2)."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lsrl.backends.arrays import Array, Arrays
from lsrl.ir.fault import Refusal

STEPS = 64
"""How many points of each cell a compiled network tells apart along each dimension; a power of two."""

LONGEST = 1 + (1 << 20)
"""Positions of a prompt."""


class PromptError(Refusal):
    """A function, table or query that cannot be put into a prompt."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A box, cut into `resolution` cells along each of its D dimensions.

    Prompts count in cells from the lower corner on, so that every border is a whole number whatever the box is.

    Attributes:
        lower, upper: its corners, [D].
    """

    lower: Array
    upper: Array
    resolution: int

    def __post_init__(self) -> None:
        if self.lower.ndim != 1 or self.lower.shape != self.upper.shape:
            raise PromptError(f"corners of a box have one shape [D], not {self.lower.shape} and {self.upper.shape}")
        if not np.isfinite(self.upper - self.lower).all() or (self.lower >= self.upper).any():
            raise PromptError(f"the box from {self.lower.tolist()} to {self.upper.tolist()} has no inside")
        if self.resolution < 1:
            raise PromptError(f"a box has at least 1 cell along each dimension, not {self.resolution}")
        if self.length > LONGEST:
            raise PromptError(f"a prompt has at most {LONGEST - 1} cells, not {self.resolution}^{self.dimension}")

    @property
    def dimension(self) -> int:
        return len(self.lower)

    @property
    def length(self) -> int:
        """Positions of a prompt: the query and every cell."""
        return 1 + int(self.resolution**self.dimension)

    @property
    def radius(self) -> float:
        """From the centre of a cell to its corner."""
        return float(np.linalg.norm(self.upper - self.lower)) / (2 * self.resolution)

    @cached_property
    def cells(self) -> Array:
        """The number of every cell, [cells, D], the last dimension fastest."""
        numbers = itertools.product(range(self.resolution), repeat=self.dimension)
        return np.array(list(numbers), np.float64)

    @property
    def centres(self) -> Array:
        """[cells, D]"""
        return self.point(self.cells + 0.5)

    def point(self, counted: Array) -> Array:
        """Points [n, D] of the box from numbers of cells."""
        return np.asarray(self.lower + counted / self.resolution * (self.upper - self.lower))

    def counted(self, points: Array) -> Array:
        """Points [n, D] in numbers of cells; the inverse of `point`.

        Raises:
            PromptError: one is outside the box.
        """
        outside = ((points < self.lower) | (points > self.upper) | np.isnan(points)).any(-1)
        if outside.any():
            box = f"{self.lower.tolist()} to {self.upper.tolist()}"
            raise PromptError(f"{points[outside.argmax()].tolist()} is outside the box from {box}")
        shares = (points - self.lower) / (self.upper - self.lower)
        return np.asarray(np.minimum(shares, 1.0) * self.resolution)

    def prompts(self, values: Array, points: Array) -> dict[str, Array]:
        """What `std/exact/vec2vec` takes, [n, length, D or E], for each query.

        Queries are rounded down to the points between which a network can tell; that never leaves a cell.

        Args:
            values: of the function in the cells, [cells, E].
            points: the queries, [n, D].
        """
        query = np.floor(self.counted(points) * STEPS) / STEPS
        # The upper border of the box belongs to its last cells, which are open above like all others.
        high = np.where(self.cells == self.resolution - 1, self.resolution + 1, self.cells + 1)
        nothing = np.zeros((len(points), values.shape[1]))
        return {
            "low": _preceded(query, self.cells),
            "high": _preceded(query, high),
            "value": _preceded(nothing, values),
        }

    def as_published(self, inputs: Arrays) -> dict[str, Array]:
        """What the published program takes in place of `prompts`: it counts along the unit cube, with one width."""
        low = np.asarray(inputs["low"], np.float64)
        width = np.full(low.shape[:2], 1 / self.resolution)
        width[:, 0] = 0
        return {"width": width, "low": low / self.resolution, "value": np.asarray(inputs["value"])}

    def lookup(self, values: Array, points: Array) -> Array:
        """What the program is to answer, [n, E]: the value of the cell that each query [n, D] is in."""
        numbers = np.minimum(np.floor(self.counted(points)), self.resolution - 1).astype(np.int64)
        places = numbers @ self.resolution ** np.arange(self.dimension - 1, -1, -1)
        return np.asarray(values[places])


def _preceded(first: Array, rest: Array) -> Array:
    """For each of n first positions [n, k] the sequence that goes on with `rest` [m, k]: [n, m + 1, k]."""
    return np.concatenate([first[:, None], np.broadcast_to(rest, (len(first), *rest.shape))], axis=1)


Word = Sequence[Hashable]


@dataclass(frozen=True, eq=False)
class Table:
    """A map of words to words of one length, for `std/exact/tok2tok`.

    Attributes:
        words: keys and their values.
    """

    words: Mapping[Word, Word]

    def __post_init__(self) -> None:
        lengths = {len(word) for pair in self.words.items() for word in pair}
        if len(lengths) != 1 or lengths == {0}:
            raise PromptError(f"all words of a table have one length; these have {sorted(lengths) or 'none'}")

    @cached_property
    def length(self) -> int:
        """Tokens of a word."""
        return len(next(iter(self.words)))

    @cached_property
    def alphabet(self) -> tuple[Hashable, ...]:
        """The tokens by their codes, of which the first is 1: the program says 0 where a word is unknown."""
        met = dict.fromkeys(token for pair in self.words.items() for word in pair for token in word)
        return tuple(sorted(met, key=repr))

    @property
    def vocabulary(self) -> int:
        """Codes, with 0."""
        return len(self.alphabet) + 1

    @cached_property
    def pairs(self) -> Array:
        """The codes of keys and values, [pairs, 2, T]."""
        return np.array([[self.encode(word) for word in pair] for pair in self.words.items()])

    def encode(self, word: Word) -> Array:
        """The codes [T] of a word.

        Raises:
            PromptError: it has another length, or a token that no word of the table has.
        """
        if len(word) != self.length:
            raise PromptError(f"words of the table have {self.length} tokens, {word!r} has {len(word)}")
        unknown = [token for token in word if token not in self._codes]
        if unknown:
            raise PromptError(f"no word of the table has the token {unknown[0]!r}")
        return np.array([self._codes[token] for token in word], np.int64)

    @cached_property
    def _codes(self) -> Mapping[Hashable, int]:
        return {token: code for code, token in enumerate(self.alphabet, 1)}

    def decode(self, codes: Array) -> Word | None:
        """The word of codes [T], as text where the table has text; None where a code is of no token."""
        if not ((codes >= 1) & (codes < self.vocabulary)).all():
            return None
        tokens = tuple(self.alphabet[int(code) - 1] for code in codes)
        return "".join(map(str, tokens)) if isinstance(next(iter(self.words)), str) else tokens

    @staticmethod
    def as_published(inputs: Arrays) -> dict[str, Array]:
        """What the published program takes in place of `prompts`: the codes, as numbers."""
        return {"x": np.asarray(inputs["x"], np.float64)}

    def prompts(self, queries: Array) -> dict[str, Array]:
        """What the program takes, [n, T + 2 T pairs], for queries [n, T]."""
        rest = np.broadcast_to(self.pairs.ravel(), (len(queries), self.pairs.size))
        return {"x": np.concatenate([queries, rest], axis=1)}
