"""Arrays in files, and files that appear whole or not at all."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lsrl.array_files import FileError, read_arrays, write_arrays
from lsrl.backends.arrays import Array
from lsrl.files import write_bytes

ARRAYS: dict[str, Array] = {
    "x": np.arange(6.0).reshape(2, 3),
    "layers.0.W": np.array([[1.5, -2]], np.float32),
    "file": np.array(7),
    "flags": np.array([True, False]),
    "z": np.array([1 + 2j], np.complex64),
    "none": np.zeros((0, 3)),
    "strided": np.arange(8.0)[::2],
}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_arrays(path, ARRAYS)
    found = read_arrays(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_numpy_reads_what_is_written(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert list(archive) == list(ARRAYS)
        np.testing.assert_array_equal(archive["x"], ARRAYS["x"])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_bytes_depend_on_the_arrays_alone(tmp_path: Path, suffix: str) -> None:
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    write_arrays(one, ARRAYS)
    write_arrays(two, {name: array.copy() for name, array in ARRAYS.items()})
    assert one.read_bytes() == two.read_bytes()


def test_there_is_no_date_in_a_file(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", ARRAYS)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_compressed_files_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=ARRAYS["x"])
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz")["x"], ARRAYS["x"])


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    tensor = torch.tensor([1.5, -2.25, 3e38, 0.0], dtype=torch.bfloat16)
    safetensors.torch.save_file({"w": tensor}, tmp_path / "w.safetensors")
    found = read_arrays(tmp_path / "w.safetensors")["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.float().numpy())


def bad_files(folder: Path) -> dict[str, str]:
    """Files that hold no arrays, and what is said of each."""
    (folder / "text.npz").write_text("x = 1")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.safetensors").write_text("x = 1, and more")
    (folder / "table.csv").write_text("1,2")
    np.savez(folder / "objects.npz", x=np.array([{}], object))
    with zipfile.ZipFile(folder / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    safetensors.torch.save_file({"w": torch.zeros(2, dtype=torch.float8_e4m3fn)}, folder / "tiny.safetensors")
    return {
        "text.npz": "not an .npz file",
        "empty.npz": "not an .npz file",
        "text.safetensors": "not a .safetensors file",
        "table.csv": "end in .npz or .safetensors",
        "objects.npz": "not an .npz file of plain arrays",
        "other.npz": "not an .npz file of plain arrays",
        "tiny.safetensors": "F8_E4M3",
    }


def test_files_without_arrays_are_refused(tmp_path: Path) -> None:
    for name, words in bad_files(tmp_path).items():
        with pytest.raises(FileError, match=words.replace(".", r"\.")) as refused:
            read_arrays(tmp_path / name)
        assert name in str(refused.value)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"complex128, the type of z; use \.npz"):
        write_arrays(tmp_path / "a.safetensors", {"z": np.ones(2, complex)})
    with pytest.raises(FileError, match="end in"):
        write_arrays(tmp_path / "a.mat", {"x": np.ones(2)})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def stop(self: Path, other: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(target, b"new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_are_made_links_followed_and_pipes_written(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c.txt"
    write_bytes(deep, b"one")
    link = tmp_path / "link"
    link.symlink_to(deep)
    write_bytes(link, b"two")
    assert link.is_symlink()
    assert deep.read_bytes() == b"two"
    write_bytes(Path(os.devnull), b"three")
    assert not Path(os.devnull).is_file()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path, b"")


def test_a_new_file_can_be_read_by_those_whom_the_umask_lets(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
