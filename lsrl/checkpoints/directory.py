"""The directory in which a published model lies: `config.json` and safetensors, in one file or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsrl.array_files import read_arrays
from lsrl.backends.arrays import Array
from lsrl.checkpoints.convert import Checkpoint, CheckpointError, convert

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def load(folder: str | Path) -> Checkpoint:
    """The model of a directory; see `convert`.

    Raises:
        CheckpointError: the directory does not hold a model that we have a program for.
        OSError: a file cannot be read.
    """
    place = Path(folder)
    return convert(_read_json(place / CONFIG), _tensors(place))


def _tensors(folder: Path) -> dict[str, Array]:
    """All tensors, of the one file or of those that the index lists."""
    if (folder / WHOLE).is_file():
        return read_arrays(folder / WHOLE)
    if not (folder / INDEX).is_file():
        raise CheckpointError(f"{folder}: neither {WHOLE} nor {INDEX} is there")
    places: dict[str, str] = _read_json(folder / INDEX).get("weight_map", {})
    elsewhere = [name for name in places.values() if Path(name).name != name]
    if elsewhere:
        raise CheckpointError(f"{folder / INDEX}: {elsewhere[0]} names a file elsewhere")
    files = {name: read_arrays(folder / name) for name in sorted(set(places.values()))}
    missing = [name for name, file in places.items() if name not in files[file]]
    if missing:
        raise CheckpointError(f"{folder / places[missing[0]]}: {missing[0]} is not in it, and {INDEX} says so")
    return {name: files[file][name] for name, file in places.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"), object_hook=_with_floats)
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected an object")
    return found


def _with_floats(found: dict[str, Any]) -> Any:
    """Infinities are written `{"__float__": "Infinity"}` where strict JSON is wanted."""
    return float(found["__float__"]) if set(found) == {"__float__"} else found
