"""The group of the commands: its own, and those that other distributions bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jax2onnx._printable import printable
from jax2onnx.errors import PluginError, described_error
from jax2onnx.plugin.installed import entry_points

if TYPE_CHECKING:
    from jax2onnx.plugin.installed import EntryPoint

__all__ = ["Extensible"]

_GROUP = "jax2onnx.commands"
"""The entry points that name commands of click, by the names that they have on the command line."""


class Extensible(click.Group):
    """A group that also has the commands of other distributions; each is imported when it is called or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *_found()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, the group's own first; one that cannot be loaded says so when it is called."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = _found().get(cmd_name)
        return None if found is None else _loaded(*found)


def _found() -> dict[str, tuple[EntryPoint, str]]:
    return {entry.name: (entry, owner.name) for entry, owner in entry_points(_GROUP)}


def _loaded(entry: EntryPoint, owner: str) -> click.Command:
    try:
        command = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the border to other distributions: whatever an import raises
        problem = f"{owner}: its command {entry.name} cannot be imported: {described_error(error)}"
        return _broken(entry.name, owner, problem)
    if not isinstance(command, click.Command):
        return _broken(entry.name, owner, f"{owner}: {entry.value} is no command of click")
    return command


def _broken(name: str, owner: str, problem: str) -> click.Command:
    """Return a command that raises an error, so that the others can be listed."""

    def fail(rest: tuple[str, ...]) -> None:
        called = f"called with {' '.join(rest) or 'nothing'}"
        raise PluginError(f"{problem} ({called}); mend, upgrade or uninstall {owner}")

    rest = click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True}
    return click.Command(name, settings, fail, [rest], help=printable(f"Cannot be loaded: {problem}"))
