"""The architectures by name."""

from __future__ import annotations

from collections.abc import Mapping

from lsrl.backends.weights.architecture import Architecture
from lsrl.backends.weights.blocks import GATED, GRU, LINEAR, TANH
from lsrl.backends.weights.hawk import Hawk
from lsrl.backends.weights.lstm import Lstm
from lsrl.backends.weights.mamba import Mamba
from lsrl.backends.weights.rnn import Rnn

ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture for architecture in (LINEAR, GATED, Rnn(), TANH, Lstm(), GRU, Mamba(), Hawk())
}
