"""Small networks run faster in one thread than in several; the command line in this process."""

from collections.abc import Iterator

import pytest
import torch

from support.commands import run

__all__ = ["run"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
