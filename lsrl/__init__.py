"""LSRL: write one step of a recurrent program, compile it to JAX, PyTorch with Triton, or the weights of a network."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lsrl.automata as automata
    import lsrl.checkpoints as checkpoints
    import lsrl.icl as icl
    import lsrl.jax as jax
    import lsrl.torch as torch
    import lsrl.trace as trace
    import lsrl.transform as transform
    import lsrl.weights as weights
    from lsrl.backends.arrays import ArrayError
    from lsrl.backends.result import Gradients, Result
    from lsrl.compiled import Compiled
    from lsrl.compiling import compile_program as compile
    from lsrl.ir.fault import Refusal
    from lsrl.ir.span import Diagnostic, LsrlError
    from lsrl.program import Program, load, parse

_ROOT = Path(__file__).parents[1]
# In a checkout that is not installed, `lsrl.ir` and `lsrl.backends` are the sibling directories ir/ and backends/.
if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "ir").is_dir():
    __path__.append(str(_ROOT))

__version__ = "0.1.0"

__all__ = [
    "ArrayError",
    "Compiled",
    "Diagnostic",
    "Gradients",
    "LsrlError",
    "Program",
    "Refusal",
    "Result",
    "automata",
    "checkpoints",
    "compile",
    "icl",
    "jax",
    "load",
    "parse",
    "torch",
    "trace",
    "transform",
    "weights",
]

# Where each public name is; its module is loaded when the name is first used, so that importing lsrl costs nothing.
_PLACES = {
    "ArrayError": "lsrl.backends.arrays:ArrayError",
    "Compiled": "lsrl.compiled:Compiled",
    "Diagnostic": "lsrl.ir.span:Diagnostic",
    "Gradients": "lsrl.backends.result:Gradients",
    "LsrlError": "lsrl.ir.span:LsrlError",
    "Program": "lsrl.program:Program",
    "Refusal": "lsrl.ir.fault:Refusal",
    "Result": "lsrl.backends.result:Result",
    "automata": "lsrl.automata",
    "checkpoints": "lsrl.checkpoints",
    "compile": "lsrl.compiling:compile_program",
    "icl": "lsrl.icl",
    "jax": "lsrl.jax",
    "load": "lsrl.program:load",
    "parse": "lsrl.program:parse",
    "torch": "lsrl.torch",
    "trace": "lsrl.trace",
    "transform": "lsrl.transform",
    "weights": "lsrl.weights",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
