"""Whole files that a test's text is compared with; `pytest --update-golden` writes them anew, for review by eye."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Golden:
    """Compares texts with files, or writes the files where `update` says so."""

    update: bool

    def check(self, path: Path, text: str) -> None:
        """The text is that of the file at `path`, byte for byte."""
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.is_file(), f"{path} is missing: `pytest --update-golden` writes it"
        assert text == path.read_text(), f"{path} differs: look at the change, then `pytest --update-golden`"
