"""A trace of a compiled network as a web page: rows are values of the program, columns are positions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from lsrl.backends.arrays import Array

STYLE = """
body { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; color: #0f172a; background: #ffffff }
p { max-width: 60em; font-family: system-ui, sans-serif }
table { border-collapse: separate; border-spacing: 1px }
th { font-weight: 400; text-align: right; padding: 0 8px; color: #64748b; white-space: nowrap }
tbody th { position: sticky; left: 0; background: #ffffff; color: #0f172a }
td { text-align: right; padding: 1px 5px; min-width: 3em }
td small { display: block; opacity: 0.6 }
td.off { outline: 2px solid #dc2626; outline-offset: -2px }
td.error { color: #64748b }
"""
LEGEND = (
    "Each cell has what is decoded from the network, and below it, smaller, what the reference computes. Colours run "
    "from the value's largest negative number (orange) over zero (white) to its largest positive one (blue). A red "
    "frame is around whatever differs; the last column has the largest difference of the row."
)
NEGATIVE, POSITIVE = (180, 102, 27), (37, 99, 168)
DARK = 0.55
"""From this share of the largest number on, digits are white."""


@dataclass(frozen=True)
class Row:
    """An element of a value: both [T], and the number that has the full colour."""

    label: str
    compiled: Array
    reference: Array
    full: float


def heat_map(title: str, rows: Sequence[Row]) -> str:
    """A page of HTML that needs nothing else; labels and title may have any characters."""
    page = Element("html", lang="en")
    head, body = SubElement(page, "head"), SubElement(page, "body")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "title").text = title
    SubElement(head, "style").text = STYLE
    SubElement(body, "h1").text = title
    SubElement(body, "p").text = LEGEND
    table = SubElement(body, "table")
    heading = SubElement(SubElement(table, "thead"), "tr")
    length = len(rows[0].compiled) if rows else 0
    for text in ("position", *map(str, range(length)), "error"):
        SubElement(heading, "th").text = text
    if rows:
        SubElement(table, "tbody").extend(_line(row) for row in rows)
    return f"<!doctype html>\n{tostring(page, encoding='unicode')}\n"  # without empty elements XML is HTML as well


def _line(row: Row) -> Element:
    line = Element("tr")
    SubElement(line, "th", scope="row").text = row.label
    for position, (compiled, reference) in enumerate(zip(row.compiled.tolist(), row.reference.tolist())):
        cell = SubElement(line, "td", dict(_attributes(row, position, compiled, reference)))
        cell.text = _number(compiled)
        SubElement(cell, "small").text = _number(reference)
    error = float(abs(row.compiled - row.reference).max(initial=0.0))
    SubElement(line, "td", {"class": "error"}).text = _number(error)
    return line


def _attributes(row: Row, position: int, compiled: float, reference: float) -> Iterator[tuple[str, str]]:
    off = compiled != reference  # also where either is not a number
    if off:
        yield "class", "off"
    yield "style", _colours(compiled / row.full if row.full else 0.0)
    difference = f"{compiled!r} for {reference!r}, off by {compiled - reference:.3g}" if off else repr(compiled)
    yield "title", f"{row.label} at {position}: {difference}"


def _colours(share: float) -> str:
    """Of the cell and its digits, for a number between -1 and 1; no colour for what is not finite."""
    strength = min(abs(share), 1.0) if math.isfinite(share) else 0.0
    ink = NEGATIVE if share < 0 else POSITIVE
    red, green, blue = (round(255 + strength * (part - 255)) for part in ink)
    return f"background:#{red:02x}{green:02x}{blue:02x};color:{'#ffffff' if strength > DARK else '#0f172a'}"


def _number(value: float) -> str:
    return f"{value + 0.0:.4g}"  # no negative zero
