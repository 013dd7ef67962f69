"""Programs of interpreted kernels run together, so that they can wait for each other.

Triton's interpreter runs one program after the other, and the first that waits for another would wait for ever.  Here
each has a thread, of which one runs at a time: whenever a program counts itself in or looks whether others have, a
drawn one goes on.  So a run is the same for the same seed, and a program that reads before it waits reads what nobody
has written yet.
"""

from __future__ import annotations

import inspect
import math
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from triton.runtime import interpreter

MOST_LOOKS = 200  # of each program in vain, before nobody will ever arrive


class Stuck(RuntimeError):
    """Every program waits."""


class _Stopped(BaseException):
    """Ends the thread of a program after another one has failed."""


@contextmanager
def programs_together(seed: int = 0) -> Iterator[list[int]]:
    """Programs of kernels run together meanwhile; the list tells of every launch how many programs it had."""
    launches: list[int] = []
    call = interpreter.GridExecutor.__call__

    def together(self: Any, *args: Any, **kwargs: Any) -> None:
        self.fn = _Gathered(self.fn, random.Random(seed), launches)
        call(self, *args, **kwargs)

    with mock.patch.object(interpreter.GridExecutor, "__call__", together):
        yield launches


class _Gathered:
    """A kernel that runs once it has been called for every program of the grid."""

    def __init__(self, kernel: Any, draw: random.Random, launches: list[int]) -> None:
        self.kernel, self.draw, self.launches = kernel, draw, launches
        self.programs: list[tuple[Any, Mapping[str, Any]]] = []
        self.__globals__ = kernel.__globals__
        self.__signature__ = inspect.signature(kernel)
        self.__name__ = kernel.__name__

    def __call__(self, **arguments: Any) -> None:
        builder = interpreter.interpreter_builder
        self.programs.append((builder.grid_idx, arguments))
        if len(self.programs) == math.prod(builder.grid_dim):
            self.launches.append(len(self.programs))
            runs = [(place, lambda given=given: self.kernel(**given)) for place, given in self.programs]
            _Turns(runs, self.draw).run()


class _Turns:
    """Programs that take turns."""

    def __init__(self, programs: list[tuple[Any, Callable[[], None]]], draw: random.Random) -> None:
        self.programs, self.draw = programs, draw
        self.turns = [threading.Semaphore(0) for _ in programs]
        self.alive = list(range(len(programs)))
        self.all_done = threading.Event()
        self.failure: BaseException | None = None
        self.now, self.looks = 0, 0

    def run(self) -> None:
        """All of them to the end; what one raises is raised here."""
        threads = [threading.Thread(target=self._program, args=(n,), daemon=True) for n in range(len(self.programs))]
        count = interpreter.interpreter_builder.create_atomic_rmw

        def counted(operation: Any, pointer: Any, value: Any, mask: Any, order: Any, scope: Any) -> Any:
            found = count(operation, pointer, value, mask, order, scope)
            self.looks = 0 if np.any(value.data) else self.looks + 1
            if self.looks > MOST_LOOKS * len(self.programs):
                raise Stuck(f"{len(self.alive)} programs wait for each other")
            self._pass_on()
            return found

        with mock.patch.object(interpreter.interpreter_builder, "create_atomic_rmw", counted):
            for thread in threads:
                thread.start()
            self.turns[0].release()
            self.all_done.wait()
            for thread in threads:
                thread.join()
        if self.failure is not None:
            raise self.failure

    def _program(self, number: int) -> None:
        place, run = self.programs[number]
        self.turns[number].acquire()
        try:
            self._begin(place, number)
            with np.errstate(all="ignore"):  # the interpreter computes in NumPy
                run()
        except _Stopped:
            pass
        except BaseException as failure:
            self.failure = failure
        self.alive.remove(number)
        if self.alive:
            self.turns[self.draw.choice(self.alive)].release()
        else:
            self.all_done.set()

    def _begin(self, place: Any, number: int) -> None:
        if self.failure is not None:
            raise _Stopped
        self.now = number
        interpreter.interpreter_builder.set_grid_idx(*place)

    def _pass_on(self) -> None:
        """Another program's turn, or this one's again."""
        number = self.now
        place, _ = self.programs[number]
        self.turns[self.draw.choice(self.alive)].release()
        self.turns[number].acquire()
        self._begin(place, number)
