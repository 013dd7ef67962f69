"""What users are told without a place in a program: graphs that make no sense, requests that cannot be met."""

from __future__ import annotations

from dataclasses import dataclass


class Refusal(ValueError):
    """A program or what it is to be run with is at fault; the message says what, for people.

    The command line prints the message and exits with status 1.  Anything else that escapes is an error of ours.
    """


@dataclass
class Fault(Exception):
    """A graph that makes no sense; whoever builds from text adds the span.

    Raised by the builders of `lsrl.ir.ops` when operands do not fit.

    Attributes:
        code: the diagnostic's code (`E0401`), a key of the table of codes.
        message: one sentence, without place.
        found, expected: what was there and what would have been right, where both can be said.
        remedy: what the author probably wants to write instead.
    """

    code: str
    message: str
    found: str | None = None
    expected: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        parts = [f"{self.code}: {self.message}"]
        parts += [f"{name}: {text}" for name, text in (("found", self.found), ("expected", self.expected)) if text]
        return "; ".join(parts)


SHAPES_DIFFER = "E0401"
KIND_MISMATCH = "E0402"
ARGUMENT_COUNT = "E0403"
AXIS_RANGE = "E0404"
EINSUM_SPEC = "E0405"
DOMAIN_MISMATCH = "E0406"
RANK_MISMATCH = "E0407"
SIZE_MEANINGLESS = "E0408"
NOT_DIFFERENTIABLE = "E0409"
