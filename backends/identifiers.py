"""The names that emitted text mentions."""

from __future__ import annotations

import io
import textwrap
import tokenize


def identifiers(text: str) -> set[str]:
    """The names that Python text mentions, attributes, comments and strings aside."""
    found, before = set(), ""
    for token in tokenize.generate_tokens(io.StringIO(textwrap.dedent(text).strip()).readline):
        if token.type == tokenize.NAME and before != ".":
            found.add(token.string)
        before = token.string
    return found
