"""What the published noise study found, to stand beside what is found here.

Means and medians over 25 seeds of the results that are published with the code of Petrov et al. (2024,
noise_robustness_tok2tok.csv and noise_robustness_vec2vec.csv in github.com/AleksandarPetrov/LSRL), rounded to three
digits: 20 pairs of words of 10 tokens, or 64 cells, in float64 with teacher forcing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from lsrl.icl_tasks import LEVELS, TASKS


@dataclass(frozen=True, slots=True)
class Middle:
    """Of the results of several seeds."""

    mean: float
    median: float

    def __str__(self) -> str:
        return "no number" if math.isnan(self.mean) else f"{self.mean:.3g} ({self.median:.3g})"


def middle(results: Sequence[float]) -> Middle:
    return Middle(fmean(results), median(results))


def published_results(
    program: str, of: str, taught: str, dtype: str, levels: Sequence[float]
) -> dict[str, dict[float, Middle]]:
    """Results by form and level; none where the study measured nothing of the kind."""
    if program not in TASKS or (of, taught, dtype, tuple(levels)) != (str(TASKS[program]), "yes", "float64", LEVELS):
        return {}
    return {
        f"published {conditional}": dict(zip(LEVELS, (Middle(*each) for each in results)))
        for conditional, results in _RESULTS[program].items()
    }


_RESULTS: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]] = {
    "tok2tok": {
        "direct": ((89.2, 92), (89.8, 92), (90.9, 92), (99.5, 100), (99.5, 100)),
        "optimized": ((0, 0), (0.24, 0), (69.7, 70), (99.4, 100), (99.6, 100)),
        "step_optimized": ((0, 0), (98, 98), (98.9, 100), (100, 100), (96.7, 98)),
        "multiplicative": ((0, 0), (0, 0), (68.8, 70), (99.8, 100), (98.9, 100)),
        "multiplicative_optimized": ((0, 0), (0, 0), (71.8, 76), (99.4, 100), (99.2, 100)),
    },
    "vec2vec": {
        "direct": ((0.0357, 0.0251), (0.0384, 0.0251), (0.57, 0.0705), (154000, 5110), (7.74e10, 0.042)),
        "optimized": ((0.0334, 0.0251), (0.0334, 0.0251), (0.503, 0.245), (0.531, 0.25), (1.69e9, 0.763)),
        "step_optimized": (
            (0.073, 0.0446),
            (23800, 0.045),
            (2.9e9, 8.96e8),
            (2.12e12, 0.0558),
            (8.35e15, 0.0494),
        ),
        "multiplicative": ((0.0334, 0.0251), (0.0334, 0.0251), (0.392, 0.0409), (1.82, 0.0409), (1450, 0.0374)),
        "multiplicative_optimized": (
            (0.0334, 0.0251),
            (0.0334, 0.0251),
            (0.36, 0.0422),
            (1.79, 0.0705),
            (2650, 0.0374),
        ),
    },
}
"""Mean and median of each conditional at each of `LEVELS`."""
