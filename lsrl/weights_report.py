"""What is said of a compiled network: its size, and for every value the predicted and the measured error."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lsrl.backends.weights.architecture import Architecture, Emitted, Json, Precision
from lsrl.backends.weights.network import Kind, Network
from lsrl.backends.weights.predict import predict


@dataclass(frozen=True, slots=True)
class Setting:
    """What a network was compiled for, and the random sequences that its error was measured on.

    `rewritten` says of which states something else took the place.
    """

    architecture: Architecture
    precision: Precision
    sizes: Mapping[str, int]
    horizon: int
    batch: int
    length: int
    rewritten: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Error:
    """Of a value of the program: a bound (infinite where there is none) and the largest that was met."""

    name: str
    predicted: float
    measured: float


@dataclass(frozen=True)
class Report:
    """A compiled network in numbers.

    Attributes:
        parameters: numbers in its state dict.
        values: errors of the outputs, then of every named value in it.
    """

    program: str
    setting: Setting
    depth: int
    width: int
    units: Mapping[str, int]
    nonzeros: int
    parameters: int
    values: tuple[Error, ...]

    def data(self) -> dict[str, Json]:
        """For machines; an infinite bound is null."""
        setting = self.setting
        return {
            "program": self.program,
            "architecture": setting.architecture.name,
            "module": setting.architecture.title,
            "dtype": setting.precision.name,
            "sizes": dict(setting.sizes),
            "horizon": setting.horizon,
            "gate_scale": setting.precision.saturation if setting.precision.leak else None,
            "rewritten": list(setting.rewritten),
            "depth": self.depth,
            "width": self.width,
            "units": dict(self.units),
            "nonzeros": self.nonzeros,
            "parameters": self.parameters,
            "measured_on": {"batch": setting.batch, "length": setting.length},
            "errors": {
                error.name: {
                    "predicted": error.predicted if math.isfinite(error.predicted) else None,
                    "measured": error.measured,
                }
                for error in self.values
            },
        }

    def json(self) -> str:
        return json.dumps(self.data(), indent=2) + "\n"

    def config_json(self, config: Mapping[str, Json]) -> str:
        """What `load.py` reads."""
        return json.dumps({"dtype": self.setting.precision.name, **config}, indent=2) + "\n"

    def summary(self) -> str:
        """One line."""
        worst = max((error.measured for error in self.values), default=0.0)
        sizes = f"depth {self.depth}, width {self.width}, {self.parameters:,} parameters"
        return f"{self.setting.architecture.title}, {self.setting.precision.name}, {sizes}, error {worst:.2g}"

    def markdown(self) -> str:
        """For people."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        setting = self.setting
        sizes = ", ".join(f"{name}={number}" for name, number in setting.sizes.items())
        yield f"# {self.program} as {setting.architecture.title}"
        yield ""
        yield ", ".join(
            filter(None, [setting.precision.name, sizes, f"sequences of up to {setting.horizon:,} positions."])
        )
        yield ""
        if setting.precision.leak:
            yield f"Gates are sigmoid(±{setting.precision.saturation:g}), to be trained."
            yield ""
        yield f"Depth {self.depth}, width {self.width}: " + ", ".join(
            f"{count} {kind}" for kind, count in self.units.items() if count
        )
        yield f"units with {self.nonzeros:,} coefficients; {self.parameters:,} parameters."
        yield ""
        if setting.rewritten:
            yield from ("Rewritten:", "", *(f"* {note}" for note in setting.rewritten), "")
        yield f"Errors: a bound, and the largest on {setting.batch} random sequences of {setting.length} positions."
        yield ""
        yield "| value | predicted | measured |"
        yield "|---|---|---|"
        for error in self.values:
            yield f"| `{error.name}` | {_number(error.predicted)} | {_number(error.measured)} |"


def make_report(network: Network, setting: Setting, emitted: Emitted, measured: Mapping[str, float]) -> Report:
    """The report of a network whose named values were off by `measured` at most."""
    predicted = _predicted(network, setting)
    outputs = [port.name for port in network.outputs]
    names = [*outputs, *(name for name in measured if name not in outputs)]
    return Report(
        network.name,
        setting,
        network.depth,
        network.width,
        {kind.value: network.count(kind) for kind in Kind},
        network.nonzeros,
        sum(tensor.size for tensor in emitted.tensors.values()),
        tuple(Error(name, predicted[name], measured[name]) for name in names),
    )


def _predicted(network: Network, setting: Setting) -> dict[str, float]:
    """Bounds by name, of the worst element."""
    slots, readout = predict(network, setting.architecture, setting.precision, setting.horizon)
    found: dict[str, float] = {}
    for probe in network.probes:
        error = float(sum(abs(factor) * slots[layer][slot] for layer, slot, factor in probe.terms))
        found[probe.name] = max(found.get(probe.name, 0.0), error)
    begin = 0
    for port in network.outputs:
        found[port.name] = float(readout[begin : begin + port.size].max(initial=0.0))
        begin += port.size
    return found


def _number(error: float) -> str:
    if error == 0:
        return "0"
    return f"{error:.1e}" if math.isfinite(error) else "no bound"
