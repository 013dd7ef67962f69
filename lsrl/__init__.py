"""LSRL: write one step of a recurrent program, compile it to JAX, PyTorch with Triton, or the weights of a network."""

from pathlib import Path

_ROOT = Path(__file__).parents[1]
# In a checkout that is not installed, `lsrl.ir` and `lsrl.backends` are the sibling directories ir/ and backends/.
if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "ir").is_dir():
    __path__.append(str(_ROOT))

__version__ = "0.1.0"
