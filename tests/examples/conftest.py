"""The programs of examples/ import each other by their names, as Python does for a program that is run."""

import pytest

from support.process import ROOT


@pytest.fixture(autouse=True)
def examples_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
