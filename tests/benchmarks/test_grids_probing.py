"""A way in a process of its own: what it takes is counted, and it is ended when that is too much."""

from functools import partial
from time import process_time
from typing import Any

import numpy as np
import pytest


def probed(forward: Any, training: Any, seconds: int = 30, memory: int = 10**9) -> tuple[dict[str, Any], str]:
    from probing import Limits, probe
    from ways import Calls

    return probe(partial(Calls, forward, training, None), "cpu", process_time, Limits(seconds, memory))


def test_memory_is_that_of_the_second_call() -> None:
    numbers = 10**7
    found, fate = probed(partial(np.ones, numbers), partial(np.ones, 2 * numbers))
    assert fate == ""
    assert found["forward"].memory == pytest.approx(8 * numbers, rel=0.05)
    assert found["forward and backward"].memory == pytest.approx(16 * numbers, rel=0.05)


def test_what_takes_too_much_is_ended() -> None:
    endless = partial(pow, 3, 10**9)  # digits for minutes
    found, fate = probed(dict, endless, seconds=1)
    assert (list(found), fate) == (["forward"], "over 1 s")
    found, fate = probed(partial(np.ones, 10**9), dict, memory=10**9)
    assert (found, fate) == ({}, "over 1 GB")


def test_what_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="exit status 1"):
        probed(partial(int, "no number"), dict)
