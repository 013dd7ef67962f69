"""The library's catalogue: what each program is, what kind of recurrence, how it runs, and whom it agrees with.

It is derived from the programs and the tests that hold them to implementations by others, and kept beside the programs
as `std/catalog.json`, so that looking something up computes nothing.  `make pages` writes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lsrl import stages
from lsrl.ir.schedules.legal import Possible
from lsrl.loader import library_folder
from lsrl.program import Program
from lsrl.syntax import Cell, Function

FILE = "catalog.json"
PARTS = "Parts for other programs"
SCHEDULED_ON = "jax"  # has every schedule


@dataclass(frozen=True, slots=True)
class Recurrence:
    """States that need each other.

    Attributes:
        kind: the algebra and what the transition or the Jacobian looks like, in words.
        schedules: those that are legal.
    """

    states: tuple[str, ...]
    kind: str
    schedules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """An implementation by others, and how far it is from ours in float64.

    Attributes:
        reference: its name.
        values, gradients: relative RMS errors, the largest of any array.
        slip: where it differs from its paper.
    """

    reference: str
    values: float
    gradients: float
    slip: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A program of the library.

    Attributes:
        name: `std/gru`.
        family: the kind of programs that it stands among.
        title: the first sentence of its docstring, which names its source.
        signature: sizes, inputs and outputs; of a file of parts, what it defines.
        sizes: small numbers for its sizes, those of its tests.
    """

    name: str
    family: str
    title: str
    signature: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    recurrences: tuple[Recurrence, ...] = ()
    checks: tuple[Check, ...] = ()

    def matches(self, words: str) -> bool:
        """Whether every word is somewhere in the entry, in any letters."""
        text = " ".join([self.name, self.family, self.title, self.signature, *map(_words, self.recurrences)])
        text = " ".join([text, *(check.reference for check in self.checks)]).lower()
        return all(word in text for word in words.lower().split())


def described(name: str, family: str, program: Program, sizes: Mapping[str, int]) -> Entry:
    """The entry of a program as far as it can be derived: all but the checks."""
    cell, numbers = program.bind(sizes)
    found = stages.made(cell, numbers, SCHEDULED_ON).recurrences
    return Entry(name, family, title(program.doc), _signature(program), dict(sizes), tuple(map(_recurrence, found)))


def parts(name: str, program: Program) -> Entry:
    """The entry of a file whose functions and cells are for other programs."""
    file = program.loaded.program
    defined = [item.name.id for item in file.items if isinstance(item, Function | Cell)]
    return Entry(name, PARTS, title(file.doc or ""), ", ".join(defined))


def title(doc: str) -> str:
    """The first sentence of a docstring, which may go over several lines."""
    return " ".join(doc.strip().partition("\n\n")[0].split())


def _signature(program: Program) -> str:
    inputs = ", ".join(f"{name}: {declared!r}" for name, declared in program.inputs.items())
    outputs = ", ".join(f"{name}: {declared!r}" for name, declared in program.outputs.items())
    return f"({', '.join(map(repr, program.sizes.values()))}) {inputs} -> {outputs}"


def _recurrence(found: Possible) -> Recurrence:
    values: dict[str, list[str]] = {}
    for fact in found.facts.facts:
        values.setdefault(fact.name, []).append(fact.value)
    nature = values.get("transition") or [f"{value} Jacobian" for value in values.get("jacobian", ())]
    kind = ", ".join([*values.get("algebra", ()), *dict.fromkeys(nature)])
    return Recurrence(found.names, kind, tuple(said.word for said in found.verdicts if said.legal))


def _words(recurrence: Recurrence) -> str:
    return " ".join([*recurrence.states, recurrence.kind, *recurrence.schedules])


def to_text(entries: Iterable[Entry]) -> str:
    """The catalogue's file."""
    return json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False) + "\n"


def catalog() -> tuple[Entry, ...]:
    """Every program of the library, family by family."""
    return from_text((library_folder() / FILE).read_text())


def from_text(text: str) -> tuple[Entry, ...]:
    """The entries of a catalogue's file."""
    return tuple(map(_entry, json.loads(text)))


def _entry(data: dict[str, Any]) -> Entry:
    recurrences = tuple(
        Recurrence(tuple(each["states"]), each["kind"], tuple(each["schedules"])) for each in data.pop("recurrences")
    )
    checks = tuple(Check(**each) for each in data.pop("checks"))
    return Entry(**data, recurrences=recurrences, checks=checks)


def unmeasured(entry: Entry) -> Entry:
    """The entry without the errors, which differ in their last digits from machine to machine."""
    return replace(entry, checks=tuple(replace(check, values=0.0, gradients=0.0) for check in entry.checks))
