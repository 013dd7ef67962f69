"""The command line in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lsrl.cli import main

DECAY = '''"""A sum that forgets, at a rate that the input sets."""

cell decay(D, H=4):
    input x: [D]
    param Wa, Wb: [H, D]
    state h: [H] = 0

    a = sigmoid(Wa @ x)
    h' = a * h + (1 - a) * (Wb @ x)

    output h'
'''


@dataclass(frozen=True)
class Done:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs `lsrl WORDS…` in a folder with the program decay.lsrl; what is computed later has JAX's own precision."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("decay.lsrl").write_text(DECAY)

    def command(*words: object) -> Done:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Done(int(left.value.code or 0), captured.out, captured.err)

    yield command
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)
