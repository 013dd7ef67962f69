"""How a recurrence runs, as data: printable, parseable, apart from the program."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lsrl.ir.fault import Refusal
from lsrl.ir.value import Value


class HowError(Refusal):
    """A text that is no schedule; the message says what schedules look like."""


class NotLegal(Refusal):
    """A recurrence that a schedule cannot serve.

    Attributes:
        reason: the failing fact, in words, as it continues after "since".
        value: the value of the graph whose operation it is, where there is one; its span tells the place.
    """

    def __init__(self, reason: str, value: Value | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.value = value


@dataclass(frozen=True, slots=True)
class Sequential:
    """One position after the other.

    Attributes:
        recompute: keep the states of every so many positions for the backward pass and compute those between anew;
            None leaves it to the rule.
        save: keep the states of every position.
    """

    recompute: int | None = None
    save: bool = False

    def __str__(self) -> str:
        if self.recompute is not None:
            return f"sequential(recompute={self.recompute})"
        return "sequential(save)" if self.save else "sequential"


@dataclass(frozen=True, slots=True)
class Scan:
    """An associative scan of the step's maps, in tiles."""

    def __str__(self) -> str:
        return "scan"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Matrix products within chunks of `size` positions (None: by the rule), the state carried between them.

    Raises:
        HowError: the size is not positive.
    """

    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise HowError(f"`chunk({self.size})`: a chunk has at least one position")

    def __str__(self) -> str:
        return "chunk" if self.size is None else f"chunk({self.size})"


@dataclass(frozen=True, slots=True)
class Newton:
    """Newton iterations over windows of positions, each solved by a scan of the Jacobians.

    Attributes:
        window: positions of a window; None by the rule.
        iterations: at most so many before a lane runs sequentially; None by the rule.
        quasi: the diagonal of the Jacobian in place of a dense one.
    """

    window: int | None = None
    iterations: int | None = None
    quasi: bool = False

    def __str__(self) -> str:
        options = [f"{name}={n}" for name, n in (("window", self.window), ("iterations", self.iterations)) if n]
        options += ["quasi"] if self.quasi else []
        return f"newton({', '.join(options)})" if options else "newton"


@dataclass(frozen=True, slots=True)
class Quadratic:
    """All pairs of positions at once: a single chunk as long as the sequence."""

    def __str__(self) -> str:
        return "parallel"


@dataclass(frozen=True, slots=True)
class Dag:
    """Over a grid wave by wave, all places at once whose coordinates have the same sum; over a graph level by level."""

    def __str__(self) -> str:
        return "dag"


@dataclass(frozen=True, slots=True)
class Tiles:
    """Over a grid: matrix products within tiles of `side` places along each axis (None: by the rule), tiles by waves.

    Raises:
        HowError: the side is not positive.
    """

    side: int | None = None

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 1:
            raise HowError(f"`dag({self.side})`: a tile has at least one place along each axis")

    def __str__(self) -> str:
        return "dag(tiles)" if self.side is None else f"dag({self.side})"


@dataclass(frozen=True, slots=True)
class Tree:
    """Over a grid: tiles as in `Tiles`, merged in pairs axis by axis, so that logarithmically many steps wait in turn.

    Raises:
        HowError: the side is not positive.
    """

    side: int | None = None

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 1:
            raise HowError(f"`{self}`: a tile has at least one place along each axis")

    def __str__(self) -> str:
        return "dag(parallel)" if self.side is None else f"dag(parallel, {self.side})"


@dataclass(frozen=True, slots=True)
class Rounds:
    """Over a graph, where states are affine: unknowns are eliminated in rounds, or by level where that is less."""

    def __str__(self) -> str:
        return "dag(rounds)"


How = Sequential | Scan | Chunk | Newton | Quadratic | Dag | Tiles | Tree | Rounds

_FORM = re.compile(r"\s*([a-z]+)\s*(?:\((.*)\))?\s*")


def parse_how(text: str) -> How:
    """The schedule that a text such as `chunk(64)` or `newton(window=128)` says; `str` of it reads back the same.

    Raises:
        HowError: there is no such schedule, or its arguments make no sense.
    """
    match = _FORM.fullmatch(text)
    reader = _READERS.get(match[1]) if match else None
    if match is None or reader is None:
        raise HowError(f"there is no schedule `{text.strip()}`; schedules are {', '.join(_READERS)}")
    given = [part.strip() for part in (match[2] or "").split(",") if part.strip()]
    return reader(_Given(match[1], given))


class _Given:
    """The arguments of a schedule while they are read."""

    def __init__(self, word: str, parts: Sequence[str]) -> None:
        self.word = word
        self.flags = [part for part in parts if "=" not in part]
        self.named = dict(_pair(part) for part in parts if "=" in part)

    def number(self, name: str) -> int | None:
        """A positive number that `name=` gives."""
        text = self.named.pop(name, None)
        return None if text is None else self.positive(text)

    def first(self) -> int | None:
        """A positive number given without a name."""
        return self.positive(self.flags.pop(0)) if self.flags else None

    def flag(self, name: str) -> bool:
        found = name in self.flags
        self.flags = [flag for flag in self.flags if flag != name]
        return found

    def positive(self, text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise HowError(f"`{self.word}` takes a positive number here, not `{text}`")
        return int(text)

    def done(self, how: How, takes: str) -> How:
        left = [*self.flags, *self.named]
        if left:
            raise HowError(f"`{self.word}` does not take `{left[0]}`; it takes {takes}")
        return how


def _pair(part: str) -> tuple[str, str]:
    name, _, text = part.partition("=")
    return name.strip(), text.strip()


def _sequential(given: _Given) -> How:
    how = Sequential(given.number("recompute"), given.flag("save"))
    if how.save and how.recompute is not None:
        raise HowError("`sequential` either saves all states or recomputes them, not both")
    return given.done(how, "`save` or `recompute=64`")


def _newton(given: _Given) -> How:
    how = Newton(given.number("window"), given.number("iterations"), given.flag("quasi"))
    return given.done(how, "`window=128`, `iterations=8` and `quasi`")


def _dag(given: _Given) -> How:
    if given.flag("rounds"):
        return given.done(Rounds(), "`rounds` alone")
    merged, by_rule = given.flag("parallel"), given.flag("tiles")
    side = None if by_rule else given.first()
    tiles = Tiles(side) if by_rule or side is not None else Dag()
    return given.done(
        Tree(side) if merged else tiles, "nothing, the side of a tile, `dag(8)`, `tiles`, `parallel` or `rounds`"
    )


_READERS: Mapping[str, Callable[[_Given], How]] = {
    "sequential": _sequential,
    "scan": lambda given: given.done(Scan(), "nothing"),
    "chunk": lambda given: given.done(Chunk(given.first()), "one number of positions, `chunk(64)`"),
    "newton": _newton,
    "dag": _dag,
    "parallel": lambda given: given.done(Quadratic(), "nothing"),
}
