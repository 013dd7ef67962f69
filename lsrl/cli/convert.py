"""`lsrl convert`"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lsrl.array_files import write_arrays
from lsrl.checkpoints import load
from lsrl.cli.options import file_option
from lsrl.cli.terminal import working


@click.command("convert")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@file_option("-o", "--output", required=True, help="Where the parameters go, .safetensors or .npz.")
def command(folder: Path, output: Path) -> None:
    """Make a published checkpoint the parameters of a model of the library.

    DIR holds config.json and model.safetensors, in one file or in several with their index. What is printed are the
    words by which the other commands know the model.

    \b
    Examples:
      lsrl convert mamba-130m-hf -o mamba.safetensors
      lsrl run $(lsrl convert mamba-130m-hf -o mamba.safetensors) \\
        --inputs tokens.npz --params mamba.safetensors --target jax -o out.npz
    """
    with working(f"reading {folder}"):
        found = load(folder)
    write_arrays(output, found.params)
    count = sum(array.size for array in found.params.values())
    click.echo(f"{output}: {len(found.params)} parameters, {count:,} numbers", err=True)
    click.echo(f"{found.program.origin} --set {' '.join(f'{name}={number}' for name, number in found.sizes.items())}")
