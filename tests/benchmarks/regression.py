"""Small rows measured again and compared with the results that are committed, in units of the machine's own speed.

    python tests/benchmarks/regression.py [--factor 1.5] [--family dense]

Each time is divided by that of the calibration loop (`calibration.py`) of the same run, so that another machine, or
another day, compares as far as its rates have the same proportions.  Exit status 1 if a row takes more than the factor
longer than it did, or is not among the results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import chunks
import dense
import diagonal
import diagonal_gru
import exact
from calibration import measure
from families import CPU, Family
from goals import RESULTS, seconds
from running import TARGETS, Bench, measured

FAMILIES = {module.FAMILY.name: module.FAMILY for module in (diagonal, dense, diagonal_gru, chunks, exact)}
Results = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """Ours in one row and pass, in goes of the calibration loop.

    Attributes:
        before: None where there is no result for it.
    """

    row: str
    each: str
    before: float | None
    now: float

    @property
    def factor(self) -> float:
        """How many times as long it takes; infinite where nobody knows."""
        return float("inf") if self.before is None else self.now / self.before


def changes(now: Results, before: Results) -> Iterator[Change]:
    """Each row of `now` beside the same one of `before`, if it was of the same target."""
    loop, old_loop = (found["rates"]["float32"]["whole"] for found in (now, before))
    old = {(r["row"], r["pass"], r["target"]): (seconds(r, "ours") or 0) / old_loop for r in before["rows"]}
    for record in now["rows"]:
        key = (record["row"], record["pass"], record["target"])
        yield Change(record["row"], record["pass"], old.get(key), (seconds(record, "ours") or 0) / loop)


def again(family: Family, target: str, time: float) -> Results:
    """The quick rows of a family, ours alone."""
    rates = measure(CPU)
    alone = replace(family, peers=lambda row: iter(()))
    bench = Bench(target, time, {"float32": rates}, beside=())
    rows = [row for row in family.rows if row.device == CPU and row.quick]
    found = [record for row in rows for record in measured(alone, row, bench)]
    return {"rows": found, "rates": {"float32": {"whole": rates.whole}}}


def main() -> None:
    """Measure, print the table, and tell by the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--factor", type=float, default=1.5, help="what counts as slower")
    parser.add_argument("--family", choices=tuple(FAMILIES), action="append", help="only this one")
    parser.add_argument("--target", default=TARGETS[CPU], help="what ours is")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row, about")
    given = parser.parse_args()
    slower = 0
    for name in given.family or FAMILIES:
        before = json.loads((RESULTS / f"{name}_{CPU}.json").read_text())
        for each in changes(again(FAMILIES[name], given.target, given.seconds), before):
            late = each.factor > given.factor
            slower += late
            old = "no result" if each.before is None else f"{each.before:.4g} loops"
            place = f"{name}: {each.row}, {each.each}"
            said = "slower" if late else ""
            print(f"{place:<70} {old:>16} -> {each.now:10.4g}  {each.factor:6.2f}  {said}", flush=True)
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
