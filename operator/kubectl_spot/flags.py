"""Takes kubectl's own flags wherever they stand: before the command's name or after it.

Apart from `__main__`, because every command takes them, and kubectl itself is given them unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., Any])
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@dataclass(frozen=True, slots=True)
class Flag:
    """`Flag` is one flag of kubectl. `is_selecting`: it says which objects, and not how to reach the cluster."""

    name: str
    help: str
    short: str | None = None
    is_switch: bool = False
    repeats: bool = False
    is_selecting: bool = False
    hidden: bool = False

    @property
    def declared(self) -> tuple[str, ...]:
        """Returns how it is written on the command line."""
        return (*([f"-{self.short}"] if self.short else []), f"--{self.name}")


#: Those that help shows, then those that kubectl has besides.
FLAGS = (
    Flag("namespace", "Read this namespace instead of the context's.", "n", is_selecting=True),
    Flag("all-namespaces", "Read all namespaces.", "A", is_switch=True, is_selecting=True),
    Flag("selector", "Read what has these labels, such as team=render.", "l", is_selecting=True),
    Flag("field-selector", "Read what has these fields, such as status.phase=Waiting.", is_selecting=True),
    Flag("context", "Context of the kubeconfig."),
    Flag("kubeconfig", "Path of the kubeconfig."),
    Flag("as", "Ask as this user."),
    Flag("as-group", "Ask as a member of this group; give it several times for several.", repeats=True),
    Flag("as-uid", "Ask as the user with this uid.", hidden=True),
    Flag("as-user-extra", "Ask as a user with this besides.", repeats=True, hidden=True),
    Flag("cluster", "Cluster of the kubeconfig.", hidden=True),
    Flag("user", "User of the kubeconfig.", hidden=True),
    Flag("server", "Address of the API server.", "s", hidden=True),
    Flag("token", "Token for the API server.", hidden=True),
    Flag("request-timeout", "How long one request may take.", hidden=True),
    Flag("insecure-skip-tls-verify", "Accept any certificate.", is_switch=True, hidden=True),
    Flag("certificate-authority", "File of the certificate authority.", hidden=True),
    Flag("client-certificate", "File of a client certificate.", hidden=True),
    Flag("client-key", "File of its key.", hidden=True),
    Flag("tls-server-name", "Name in the server's certificate.", hidden=True),
    Flag("cache-dir", "Folder of kubectl's cache.", hidden=True),
)


@dataclass
class Scope:
    """`Scope` holds the flags that were given. What stands later wins, as in kubectl."""

    given: dict[str, Any] = field(default_factory=dict)

    def arguments(self, *, selecting: bool = True) -> list[str]:
        """Returns them as kubectl takes them; without those that say which objects when not `selecting`.

        Raises click.UsageError when two of them contradict each other.
        """
        if self.given.get("namespace") and self.given.get("all-namespaces"):
            raise click.UsageError("give either --namespace or --all-namespaces")
        return [text for flag in FLAGS if selecting or not flag.is_selecting for text in self._written(flag)]

    def _written(self, flag: Flag) -> Iterator[str]:
        value = self.given.get(flag.name)
        if flag.is_switch:
            yield from [f"--{flag.name}"] if value else []
        else:
            yield from (f"--{flag.name}={one}" for one in (value if flag.repeats else [value]) or () if one)

    def refuse(self, names: Collection[str], command: str) -> None:
        """Raises click.UsageError when a flag was given that `command` does not take."""
        for name in names:
            if self.given.get(name):
                raise click.UsageError(f"{command} takes no --{name}")


def scope(context: click.Context | None = None) -> Scope:
    """Returns the flags of this call, from before and after the command's name."""
    return (context or click.get_current_context()).find_root().ensure_object(Scope)


def _note(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value in (None, (), False):
        return
    given = scope(context).given
    name = next(flag.name for flag in FLAGS if f"--{flag.name}" in parameter.opts)
    if isinstance(value, tuple):
        given[name] = [*given.get(name, ()), *value]
    else:
        given[name] = value.removeprefix("=") if isinstance(value, str) else value  # kubectl takes -n=jobs, too


def kubectl_flags(completers: dict[str, Completer]) -> Callable[[Command], Command]:
    """Returns a decorator that gives a command all flags. `completers` suggest values, by the name of the flag."""

    def decorate(command: Command) -> Command:
        for flag in reversed(FLAGS):
            kind: dict[str, Any] = {"is_flag": True} if flag.is_switch else {"multiple": flag.repeats}
            option = click.option(
                *flag.declared,
                help=flag.help,
                hidden=flag.hidden,
                expose_value=False,
                callback=_note,
                shell_complete=completers.get(flag.name),
                **kind,
            )
            command = option(command)
        return command

    return decorate
