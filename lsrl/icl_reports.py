"""What comes of experiments: a page with tables and figures, in Markdown and in HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsrl.explain_text import table
from lsrl.files import write_text
from lsrl.icl_figures import Curves, curves_figure, save
from lsrl.icl_paper import Middle, middle, published_results
from lsrl.icl_sweeps import Entry, Row, grouped, number
from lsrl.icl_tasks import TASKS


@dataclass(frozen=True)
class Picture:
    """Curves by panel to be drawn; see `curves_figure`."""

    name: str
    title: str
    x: str
    y: str
    panels: Mapping[str, Curves]
    dashed: Curves = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A page: a sentence of what was measured, a table, pictures."""

    title: str
    says: str
    header: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    pictures: tuple[Picture, ...]

    def markdown(self) -> str:
        lines = [f"# {self.title}", "", self.says, "", _cells(self.header), "|---" * len(self.header) + "|"]
        lines += map(_cells, self.table)
        for picture in self.pictures:
            lines += ["", f"![{picture.title}]({picture.name}.svg)"]
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """The table for a terminal."""
        return "\n".join(table([self.header, *self.table]))

    def html(self) -> str:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n" for row in self.table)
        pictures = [f'<p><img src="{each.name}.svg" alt="{html.escape(each.title)}"></p>\n' for each in self.pictures]
        return _PAGE.format(
            title=html.escape(self.title),
            style=_STYLE,
            says=html.escape(self.says),
            table=f"<tr>{head}</tr>\n{rows}",
            pictures="".join(pictures),
        )


_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
<p>{says}</p>
<table>
{table}</table>
{pictures}</html>
"""
_STYLE = (
    "body{font:15px system-ui,sans-serif;max-width:60em;margin:2em auto}"
    "table{border-collapse:collapse}td,th{padding:.2em .7em;border-bottom:1px solid #ccc;text-align:right}"
    "td:first-child,th:first-child{text-align:left}"
)


def write_report(report: Report, folder: Path) -> None:
    """Write `report.md`, `report.html` and the figures."""
    for picture in report.pictures:
        figure = curves_figure(picture.panels, picture.x, picture.y, picture.title, line=picture.dashed)
        save(figure, folder / f"{picture.name}.svg")
    write_text(folder / "report.md", report.markdown())
    write_text(folder / "report.html", report.html())


def _cells(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def approximate_report(rows: Sequence[Row]) -> Report:
    """Errors by the length of the prompt, and the bound."""
    pictures = []
    for (function,), own in grouped(rows, "function"):
        curves = {
            f"{arch}, {dtype}": [(number(row, "positions"), number(row, "largest")) for row in each]
            for (arch, dtype), each in grouped(own, "arch", "dtype")
        }
        # What networks add differs: the smallest is next to what the function's slopes alone give.
        bound = [
            (float(length), min(number(row, "bound") for row in each))
            for (length,), each in grouped([row for row in own if number(row, "bound") > 0], "positions")
        ]
        dashed = {"bound": bound} if bound else {}
        pictures.append(Picture(f"error_{function}", f"{function}", "positions", "largest error", {"": curves}, dashed))
    says = "The largest and the mean distance from the function at random points, and the bound that its slopes give."
    columns = ("function", "resolution", "arch", "dtype", "seed", "positions", "largest", "mean", "bound")
    return Report("Functions approximated in context", says, columns, _table(rows, columns), tuple(pictures))


def tokens_report(rows: Sequence[Row]) -> Report:
    says = "How many tokens were translated wrong, in percent."
    columns = ("table", "arch", "dtype", "seed", "positions", "wrong")
    return Report("Tables of words in context", says, columns, _table(rows, columns), ())


def precision_report(rows: Sequence[Row]) -> Report:
    """A column for each type of floats, of the worst seed."""
    says = (
        "vec2vec: the largest distance from the value of the cell that a query is in. "
        "tok2tok: how many tokens are wrong, in percent."
    )
    dtypes = [dtype for (dtype,), _ in grouped(rows, "dtype")]
    lines = []
    for key, own in grouped(rows, "task", "of", "arch"):
        worst = {dtype: _worst([number(row, "off") for row in each]) for (dtype,), each in grouped(own, "dtype")}
        lines.append((*map(str, key), *(worst.get(dtype, "–") for dtype in dtypes)))
    return Report("Precision", says, ("task", "of", "arch", *map(str, dtypes)), tuple(lines), ())


def _worst(errors: Sequence[float]) -> str:
    return "no number" if any(map(math.isnan, errors)) else f"{max(errors):.3g}"


def scaling_report(rows: Sequence[Row]) -> Report:
    columns = (
        "tokens",
        "batch",
        "arch",
        "dtype",
        "positions",
        "depth",
        "width",
        "parameters",
        "compile_seconds",
        "positions_per_second",
    )
    curves = {
        f"{arch}, {dtype}": [(number(row, "tokens"), number(row, "positions_per_second")) for row in each]
        for (arch, dtype), each in grouped(rows, "arch", "dtype")
    }
    picture = Picture("speed", "token matching", "tokens of a word", "positions per second", {"": curves})
    says = "Token matching as networks: how large they are, how long they take to compile, and how fast they are."
    return Report("Speed and size", says, columns, _table(rows, columns), (picture,))


def noise_report(rows: Sequence[Row]) -> Report:
    """Means and medians over seeds, by level, and what was published of the same; a figure for each program."""
    levels = tuple(number(by_level[0], "noise") for _, by_level in grouped(rows, "noise"))
    telling = tuple(name for name in ("taught", "dtype") if len(dict(grouped(rows, name))) > 1)
    lines: list[tuple[str, ...]] = []
    pictures = []
    for key, own in grouped(rows, "program", "of", "taught", "dtype"):
        program, of, taught, dtype = map(str, key)
        found = {str(form): _by_level(by_form) for (form,), by_form in grouped(own, "form")}
        known = published_results(program, of, taught, dtype, levels)
        known = {form: known[form] for form in found if form in known}
        theirs = {f"Petrov et al.: {form.removeprefix('published ')}": by_level for form, by_level in known.items()}
        how = tuple(str(own[0][name]) for name in telling)
        lines += [(program, form, *how, *map(str, by_level.values())) for form, by_level in (theirs | found).items()]
        panels = {"Petrov et al.": _means(known), "here": _means(found)} if known else {"": _means(found)}
        forced = "with" if taught == "yes" else "without"
        pictures.append(
            Picture(
                f"noise_{program}_{'taught' if taught == 'yes' else 'alone'}_{dtype}",
                f"{program}, {of}, {dtype}, {forced} teacher forcing: means over seeds",
                "noise",
                TASKS[program].metric,
                panels,
            )
        )
    asked = [f"{program}: {of}" for (program, of), _ in grouped(rows, "program", "of")]
    same = [f"{name}: {rows[0][name]}" for name in ("taught", "dtype") if name not in telling]
    says = (
        "Noise on every stored number: how wrong the outputs are, by the standard deviation of the noise; means over "
        f"seeds, medians in parentheses. {', '.join((*asked, *same))}."
    )
    header = ("program", "form", *telling, *(f"{level:g}" for level in levels))
    return Report("Noise", says, header, tuple(lines), tuple(pictures))


def _by_level(rows: Sequence[Row]) -> dict[float, Middle]:
    return {number(own[0], "noise"): middle([number(row, "wrong") for row in own]) for _, own in grouped(rows, "noise")}


def _means(results: Mapping[str, Mapping[float, Middle]]) -> Curves:
    return {form: [(level, found.mean) for level, found in by_level.items()] for form, by_level in results.items()}


def _table(rows: Sequence[Row], columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(_shown(row[name]) for name in columns) for row in rows)


def _shown(entry: Entry) -> str:
    if isinstance(entry, float):
        return "–" if math.isnan(entry) else f"{entry:.3g}"
    return f"{entry:,}" if isinstance(entry, int) else entry


REPORTS: Mapping[str, Callable[[Sequence[Row]], Report]] = {
    "approximate": approximate_report,
    "tokens": tokens_report,
    "noise": noise_report,
    "precision": precision_report,
    "scaling": scaling_report,
}
"""What makes a page of the rows of each experiment."""
