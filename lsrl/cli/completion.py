"""`lsrl completion`"""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class
from rich_click import Context

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: Context, shell: str) -> None:
    """Print what completes `lsrl` in a shell: commands, options, names of the library.

    What is printed belongs where the shell reads it when it starts.

    \b
    Examples:
      lsrl completion bash >> ~/.bashrc
      lsrl completion zsh >> ~/.zshrc
      lsrl completion fish > ~/.config/fish/completions/lsrl.fish
    """
    found = get_completion_class(shell)
    assert found is not None, shell
    click.echo(found(ctx.find_root().command, {}, "lsrl", "_LSRL_COMPLETE").source())
