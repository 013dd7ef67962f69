"""The noise study: how wrong networks get whose numbers are noisy, by the published protocol and beyond it.

Every stored number gets independent normal noise.  By the protocol every state is given its clean last value (teacher
forcing, `taught`); without it errors add up over time.  All seeds and levels of a network run at once.  The weights of
an architecture are perturbed in its state dict and run as the module that they are, which cannot be taught.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache

import numpy as np

from lsrl.backends.arrays import Array
from lsrl.backends.weights.architectures import ARCHITECTURES
from lsrl.backends.weights.faults import needed
from lsrl.icl_runners import compiled_network
from lsrl.icl_sweeps import Row, Sweep, SweepError
from lsrl.icl_tasks import DERIVED, LEVELS, TASKS, TRAINED, Task

with needed("the noise study", "lsrl[torch]"):
    import torch

    from lsrl.icl_draws import Copies, exact_copy, joined
    from lsrl.icl_training import Training, train

AT_ONCE = 32
"""How many noisy copies run at once."""


def noise_sweep(
    programs: Sequence[str],
    forms: Sequence[str],
    levels: Sequence[float] = LEVELS,
    seeds: int = 25,
    *,
    taught: Sequence[bool] = (True,),
    dtypes: Sequence[str] = ("float64",),
    tasks: Mapping[str, Task] = TASKS,
) -> Sweep:
    """How wrong each program is in each form at each level of noise.

    Args:
        programs: keys of `tasks`.
        forms: `derived`, keys of `FORMS` or `TRAINED`, or architectures.
        taught: with teacher forcing, without, or both; architectures have none.
        dtypes: of the numbers that are stored and of all that is computed with them.

    Raises:
        SweepError: a level is not finite.
    """
    if not np.isfinite(levels).all():
        raise SweepError(f"levels of noise are finite numbers, not {', '.join(map(str, levels))}")
    settings = tuple(
        {"program": program, "of": str(tasks[program]), "form": form, "taught": _word(teach), "dtype": dtype}
        for program in programs
        for form in forms
        for teach in (taught if form not in ARCHITECTURES else (False,))
        for dtype in dtypes
    )
    draws = tuple({"noise": level, "seed": seed} for level in levels for seed in range(seeds))

    @lru_cache(maxsize=1)  # settings of a form stand together: taught or not, and in all types it is one network
    def network(program: str, form: str) -> Copies:
        return _network(tasks[program], form)

    def measure(setting: Row, asked: Sequence[Row]) -> Iterator[list[Row]]:
        program, form = str(setting["program"]), str(setting["form"])
        if form in ARCHITECTURES:
            scores = _module_scores(tasks[program], setting, asked)
        else:
            scores = _scores(tasks[program], network(program, form), setting, asked)
        for part in scores:
            yield [{"wrong": score} for score in part]

    return Sweep("noise", settings, draws, ("wrong",), measure)


def _word(taught: bool) -> str:
    return "yes" if taught else "no"


def _scores(task: Task, exact: Copies, setting: Row, asked: Sequence[Row]) -> Iterator[list[float]]:
    form, taught = str(setting["form"]), setting["taught"] == _word(True)
    precision = getattr(torch, str(setting["dtype"]))
    for begin in range(0, len(asked), AT_ONCE):
        rows = asked[begin : begin + AT_ONCE]
        seeds = [int(row["seed"]) for row in rows]
        inputs = torch.tensor(np.stack([task.inputs(form, seed) for seed in seeds]), dtype=precision)
        clean = joined([exact.to(precision)] * len(rows)).run(inputs)[1] if taught else None
        noisy = joined([_drawn(exact, float(row["noise"]), int(row["seed"])) for row in rows]).to(precision)
        outputs = noisy.run(inputs, clean)[0].double().numpy()
        yield [task.score(seed, found) for seed, found in zip(seeds, outputs)]


def _network(task: Task, form: str) -> Copies:
    if form in TRAINED:
        derived = exact_copy(task.posed(DERIVED).network(task.length))
        return train(task, derived, Training(TRAINED[form]))
    return exact_copy(task.posed(form).network(task.length))


def _drawn(exact: Copies, noise: float, seed: int) -> Copies:
    return exact.noisy(noise, 1, torch.Generator().manual_seed(seed))


def _module_scores(task: Task, setting: Row, asked: Sequence[Row]) -> Iterator[list[float]]:
    posed = task.posed(DERIVED)
    arch, dtype = str(setting["form"]), str(setting["dtype"])
    module = compiled_network(posed.program, arch, dtype, posed.sizes, posed.given, task.length).module
    for row in asked:
        yield [_module_score(task, module, float(row["noise"]), int(row["seed"]))]


def _module_score(task: Task, module: torch.nn.Module, noise: float, seed: int) -> float:
    noisy = perturbed(module, noise, seed)
    inputs = torch.tensor(task.inputs(DERIVED, seed), dtype=next(noisy.parameters()).dtype)
    with torch.no_grad():
        outputs: Array = noisy(inputs).double().numpy()
    return task.score(seed, outputs)


def perturbed(module: torch.nn.Module, noise: float, seed: int) -> torch.nn.Module:
    """A copy of a module with noise on every number of its state dict that is not 0."""
    generator = torch.Generator().manual_seed(seed)
    noisy = deepcopy(module)
    for tensor in noisy.state_dict().values():
        drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        tensor += (noise * drawn * (tensor != 0)).to(tensor.dtype)
    return noisy
