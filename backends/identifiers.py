"""The names that emitted text mentions."""

from __future__ import annotations

import re
from functools import lru_cache

# Strings and comments are matched, so that they are passed over; a name behind a dot is an attribute.
_WORDS = re.compile(
    r"(?:\b[rRbBfFuU]{1,2})?"
    r"(?:\"\"\"(?s:\\.|[^\\])*?\"\"\"|'''(?s:\\.|[^\\])*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|#[^\n]*"
    r"|(?<![\w.])(?P<name>[^\W\d]\w*)"
)


@lru_cache(maxsize=1024)  # the functions that modules share are asked about again and again
def identifiers(text: str) -> frozenset[str]:
    """The names that Python text mentions, attributes, comments and strings aside."""
    return frozenset(found for match in _WORDS.finditer(text) if (found := match["name"]) is not None)
