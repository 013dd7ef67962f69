"""The two tasks of the published noise study, for the published programs and for ours (Petrov et al., 2024, section 5).

A form is one way of writing a task's program: as published, with other constants, or ours with those that its ranges
give.  All of them become networks in normal form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from lsrl import icl_published
from lsrl.backends.arrays import Array
from lsrl.backends.given_ranges import Given
from lsrl.backends.weights.network import Network
from lsrl.backends.weights.normal_form import architecture_named, network_for, taken_apart
from lsrl.icl_functions import blend, random_words
from lsrl.icl_prompts import STEPS, Grid
from lsrl.program import Program, load


@dataclass(frozen=True, slots=True)
class Form:
    """A published program: its conditional, its step, the slope of its steps, and its large number."""

    conditional: str
    step: str
    slope: int
    large: int

    @property
    def constants(self) -> dict[str, int]:
        return {"K": self.slope, "BIG": self.large}


DERIVED = "derived"
"""The form that is not published: `std/exact`, whose constants come from ranges."""

PUBLISHED: Mapping[str, Form] = {
    f"published {conditional}": Form(conditional, "step", 1000, 10**10) for conditional in icl_published.CONDITIONALS
}
MILD: Mapping[str, Form] = {
    f"mild {conditional}": Form(conditional, "clamp_step", 128, 1024) for conditional in icl_published.CONDITIONALS
}
"""The published programs with a step that does not cancel and with constants that are just large enough."""

FORMS: Mapping[str, Form] = {**PUBLISHED, **MILD}

TRAINED: Mapping[str, float] = {f"trained at {noise:g}": noise for noise in (1e-3, 3e-3, 1e-2)}
"""The derived form, its numbers trained under noise of this standard deviation."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A program with its sizes and what its inputs are within."""

    program: Program
    sizes: Mapping[str, int]
    given: Mapping[str, Given]

    def network(self, horizon: int) -> Network:
        """The normal form, with states in layers of their own, for sequences of at most `horizon` positions."""
        cell, numbers = self.program.bind(self.sizes)
        scalars = taken_apart(cell, numbers, {}, self.given, horizon)
        return network_for(scalars, architecture_named("gated-linear-rnn"))


class Task(Protocol):
    """What is asked of a network."""

    @property
    def metric(self) -> str:
        """What `score` says, in words."""

    @property
    def length(self) -> int:
        """Positions of a prompt."""

    def posed(self, form: str) -> Posed:
        """The program in a form."""

    def inputs(self, form: str, seed: int) -> Array:
        """Prompts for the queries of a seed, [B, T, in]."""

    def wanted(self, seed: int) -> Array:
        """What the last n outputs for these prompts are to be, [B, n, out]."""

    def score(self, seed: int, outputs: Array) -> float:
        """How wrong the outputs [B, T, out] for these prompts are."""


@dataclass(frozen=True, slots=True)
class Translating:
    """Words by a table in the prompt: the share of tokens that are wrong."""

    tokens: int = 10
    pairs: int = 20
    vocabulary: int = 10
    queries: int = 5

    metric = "wrong outputs (%)"

    def __str__(self) -> str:
        return f"{self.pairs} words of {self.tokens} of {self.vocabulary} tokens"

    @property
    def length(self) -> int:
        return self.tokens * (1 + 2 * self.pairs)

    def posed(self, form: str) -> Posed:
        if form not in FORMS:
            within = Given(0, self.vocabulary - 1, Fraction(1))
            return Posed(load("std/exact/tok2tok"), {"T": self.tokens, "V": self.vocabulary}, {"x": within})
        published = FORMS[form]
        program = icl_published.tok2tok(published.conditional, published.step)
        return Posed(program, {"T": self.tokens, **published.constants}, {})

    def inputs(self, form: str, seed: int) -> Array:
        words = self.words(seed)
        prompts = [np.concatenate([key, words.ravel()]) for key in words[: self.queries, 0]]
        return np.stack(prompts)[..., None].astype(np.float64)

    def wanted(self, seed: int) -> Array:
        return self.words(seed)[: self.queries, 1, :, None].astype(np.float64)

    def score(self, seed: int, outputs: Array) -> float:
        return 100 * float((np.rint(outputs[:, -self.tokens :]) != self.wanted(seed)).mean())

    def words(self, seed: int) -> Array:
        """Keys and values, [pairs, 2, T]; the first keys are the queries."""
        return random_words(seed, self.pairs, self.tokens, self.vocabulary)


@dataclass(frozen=True, slots=True)
class Approximating:
    """A function of two numbers by its values on a grid: the mean distance from the function itself."""

    resolution: int = 8
    queries: int = 10

    metric = "mean distance"

    def __str__(self) -> str:
        return f"{self.resolution**2} cells"

    @property
    def length(self) -> int:
        return self._grid.length

    @property
    def _grid(self) -> Grid:
        return Grid(np.zeros(2), np.ones(2), self.resolution)

    def posed(self, form: str) -> Posed:
        if form not in FORMS:
            step = Fraction(1, STEPS)
            borders = Given(0, self.resolution + 1, step)
            within = {"low": Given(0, self.resolution, step), "high": borders, "value": Given(-3, 3)}
            return Posed(load("std/exact/vec2vec"), {"D": 2, "E": 2}, within)
        published = FORMS[form]
        program = icl_published.vec2vec(published.conditional, published.step)
        return Posed(program, {"D": 2, "E": 2, **published.constants}, {})

    def inputs(self, form: str, seed: int) -> Array:
        grid = self._grid
        prompts = grid.prompts(blend(seed)(grid.centres), self.points(seed))
        if form not in FORMS:
            return np.concatenate([prompts["low"], prompts["high"], prompts["value"]], -1)
        corners = np.concatenate([prompts["low"][:, :1] * 0, prompts["low"][:, 1:] / self.resolution], 1)
        corners[:, 0] = self.points(seed)
        width = np.full((*corners.shape[:2], 1), 1 / self.resolution)
        width[:, 0] = 0
        return np.concatenate([width, corners, prompts["value"]], -1)

    def wanted(self, seed: int) -> Array:
        return blend(seed)(self.points(seed))[:, None]

    def score(self, seed: int, outputs: Array) -> float:
        return float(np.linalg.norm(outputs[:, -1:] - self.wanted(seed), axis=-1).mean())

    def points(self, seed: int) -> Array:
        """The queries, [n, 2]."""
        return np.random.default_rng([seed, 1]).uniform(0, 1, (self.queries, 2))


TASKS: Mapping[str, Task] = {"tok2tok": Translating(), "vec2vec": Approximating()}

LEVELS = (0.0, 1e-9, 1e-7, 1e-5, 1e-3)
"""Standard deviations of the noise in the published study."""
