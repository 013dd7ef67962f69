"""The catalogue beside the library's programs says what they and the table of their tests say."""

import pytest

from lsrl.catalog import FILE, catalog, to_text, unmeasured
from lsrl.loader import library, library_folder
from support.golden import Golden
from support.peers.catalogue import entries, measured


def test_catalog_is_current(golden: Golden) -> None:
    current = tuple(entries())
    if golden.update:
        golden.check(library_folder() / FILE, to_text(map(measured, current)))
    assert tuple(map(unmeasured, catalog())) == current


def test_every_program_is_in_the_catalog_once() -> None:
    assert sorted(entry.name for entry in catalog()) == sorted(library())


@pytest.mark.parametrize(
    ("words", "name", "other"),
    [
        ("torch.nn.LSTM", "std/lstm", "std/lru"),
        ("RETENTION sun", "std/retention", "std/lstm"),
        ("Orvieto diagonal scan", "std/lru", "std/retention"),
    ],
)
def test_entries_are_found_by_all_words(words: str, name: str, other: str) -> None:
    found = {entry.name for entry in catalog() if entry.matches(words)}
    assert name in found
    assert other not in found


def test_recorded_errors_are_within_bounds() -> None:
    checks = [check for entry in catalog() for check in entry.checks]
    assert max(check.values for check in checks) <= 1e-10
    assert max(check.gradients for check in checks) <= 1e-8
