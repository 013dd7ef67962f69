"""Arrays by name in `.npz` and `.safetensors` files.

The bytes of a file depend on the arrays and their order alone: there are no dates in it.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.lib import format as npy
from safetensors import SafetensorError

from lsrl.backends.arrays import Array
from lsrl.files import write_bytes
from lsrl.ir.fault import Refusal

NPZ, SAFETENSORS = ".npz", ".safetensors"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_SAFETENSORS_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
}


class FileError(Refusal):
    """A file that does not hold arrays, or that cannot hold these; the message names it."""


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a file by name.  bfloat16 is read as float32, which holds it exactly; nothing is unpickled.

    Raises:
        FileError: the file is not what its suffix says, or has another suffix.
        OSError: it cannot be read.
    """
    match path.suffix:
        case ".npz":
            return _read_npz(path)
        case ".safetensors":
            return _read_safetensors(path)
    raise _unknown_suffix(path)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name.

    Raises:
        FileError: the suffix is neither `.npz` nor `.safetensors`, or the format cannot hold one of the arrays.
        OSError: the file cannot be written.
    """
    match path.suffix:
        case ".npz":
            write_bytes(path, _npz(arrays))
        case ".safetensors":
            write_bytes(path, _safetensors(path, arrays))
        case _:
            raise _unknown_suffix(path)


def _unknown_suffix(path: Path) -> FileError:
    return FileError(f"{path}: arrays are kept in files whose names end in {NPZ} or {SAFETENSORS}")


def _read_npz(path: Path) -> dict[str, Array]:
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
        return {name: npy.read_array(io.BytesIO(data), allow_pickle=False) for name, data in members.items()}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError) as error:
        raise FileError(f"{path}: not an {NPZ} file of plain arrays ({error})") from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    content = path.read_bytes()
    try:
        entries = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise FileError(f"{path}: not a {SAFETENSORS} file ({error})") from error
    return {name: _tensor(path, name, entry["dtype"], entry["data"], entry["shape"]) for name, entry in entries}


def _tensor(path: Path, name: str, dtype: str, data: bytes, shape: list[int]) -> Array:
    if dtype == "BF16":
        wide = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    if dtype not in _SAFETENSORS_DTYPES:
        raise FileError(f"{path}: {name} has elements of the type {dtype}, which NumPy does not have")
    return np.frombuffer(data, _SAFETENSORS_DTYPES[dtype]).reshape(shape)


def _npz(arrays: Mapping[str, Array]) -> bytes:
    """What `np.savez` writes, with a fixed date for every member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            npy.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH), member.getvalue())
    return buffer.getvalue()


def _safetensors(path: Path, arrays: Mapping[str, Array]) -> bytes:
    for name, array in arrays.items():
        if array.dtype == np.complex128:
            raise FileError(f"{path}: {SAFETENSORS} cannot hold complex128, the type of {name}; use {NPZ}")
    return safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})
