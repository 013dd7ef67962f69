"""The shape of a row of the table of diagnostic codes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One code.

    Attributes:
        code: `E0401`; W for warnings.
        title: what is wrong, in a few words.
        explanation: why it is wrong, and what to do.
        example: a whole program that provokes it.
    """

    code: str
    title: str
    explanation: str
    example: str
