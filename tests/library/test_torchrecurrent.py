"""The library holds every cell of torchrecurrent."""

import re

import torchrecurrent

from support.peers.table import ROWS


def test_every_cell_of_torchrecurrent_has_a_program() -> None:
    theirs = {name for name in dir(torchrecurrent) if name.endswith("Cell")}
    told = {name for row in ROWS for name in re.findall(r"torchrecurrent\.(\w+Cell)", row.reference)}
    assert len(theirs) >= 41
    assert theirs <= told
