"""Benchmarks are scripts: they import each other as neighbours."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
