"""Makes a shell ready for what `make up` left running: a file to source, and the commands to try next.

Apart from `__main__` because what is written here must work word for word in the shells that people use.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localdemo.simulator import SECRET_ID, SECRET_KEY
from localdemo.stage import SITE
from localdemo.surroundings import REPOSITORY

#: What a person may have set for the real cloud or another simulator, and what would win over ours.
UNSET = ("TENCENTCLOUD_TOKEN", "CVMSIM_CONTROL", "CVMSIM_TOKEN", "SPOTCOMPUTE_CA_BUNDLE")

#: The next commands, each with what it shows. They run in the root of the repository.
NEXT = (
    ("spotcompute quote -f deploy/samples/first.yaml", "what it would buy, and at what price"),
    ("kubectl apply --server-side -k deploy/samples", "three environments, and their key"),
    ("kubectl get sce --watch", "how they fill; Ctrl-C ends it"),
    ("cvmsim interrupt --name first- --count 1 --notice-seconds 0", "the cloud takes one back"),
    ("kubectl spot why", "what runs, what is missing, and why"),
)

#: What else the market can do, and where to look.
MORE = (
    ("spotcompute market --region ap-guangzhou", "prices and stock, as a customer sees them"),
    ("cvmsim market", "the true stock, as nobody else sees it"),
    ("cvmsim stock ap-guangzhou-3 S5.MEDIUM4 0", "sold out"),
    ("cvmsim price ap-guangzhou-3 S5.MEDIUM4 0.1", "a higher price"),
    ("kubectl scale sce/first --replicas=5", "more are wanted"),
    ("cvmsim instances", "what really runs, in the simulator's own words"),
    ("kubectl spot ui", "all of it as a page in the browser"),
)


def write(directory: Path, state: Mapping[str, Any]) -> None:
    """Writes `activate` for sh, bash and zsh, and `activate.fish`, which set what the commands need."""
    own, fish = [f"unset {' '.join(UNSET)}"], [f"set -e {name}" for name in UNSET]
    for name, value in variables(state).items():
        own.append(f"export {name}={shlex.quote(value)}")
        fish.append(f"set -gx {name} {shlex.quote(value)}")
    path, bypass = shlex.quote(state["path"]), "127.0.0.1,localhost"
    own.append(f"export PATH={path}:$PATH")
    own.append(f'export NO_PROXY="${{NO_PROXY:+$NO_PROXY,}}{bypass}"')
    own.append('export no_proxy="$NO_PROXY"')
    fish.append(f"set -gx PATH {' '.join(map(shlex.quote, state['path'].split(':')))} $PATH")
    fish.append(f'set -gx NO_PROXY (string join "," $NO_PROXY {bypass})')
    fish.append("set -gx no_proxy $NO_PROXY")
    head = "# Written by `make up`: kubectl, spotcompute and cvmsim in this shell mean what it started.\n"
    for name, lines in (("activate", own), ("activate.fish", fish)):
        file = directory / name
        file.touch(mode=0o600)
        file.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def variables(state: Mapping[str, Any]) -> dict[str, str]:
    """Returns the variables that the commands read. The key is the simulator's, which everybody knows."""
    return {
        "KUBECONFIG": state["kubeconfig"],
        "CVMSIM_READY_FILE": state["ready_file"],
        "SPOTCOMPUTE_SITE": SITE,
        "SPOTCOMPUTE_ENDPOINT": state["endpoint"],
        "SPOTCOMPUTE_PROTOCOL": "http",
        "TENCENTCLOUD_SECRET_ID": SECRET_ID,
        "TENCENTCLOUD_SECRET_KEY": SECRET_KEY,
    }


def source_command(directory: Path, shell: str) -> str:
    """Returns the command that reads the file, for `shell` (the value of $SHELL), as short as the directory allows."""
    name = Path(shell).name
    file = directory / ("activate.fish" if name == "fish" else "activate")
    shown = file.relative_to(REPOSITORY) if file.is_relative_to(REPOSITORY) else file
    word = "source" if name in ("bash", "zsh", "fish") else "."
    return f"{word} {shlex.quote(str(shown))}"


def instructions(directory: Path, state: Mapping[str, Any]) -> str:
    """Returns what a person reads after `make up`: what runs, the file to source, and the next commands."""
    source = source_command(directory, os.environ.get("SHELL", ""))
    return f"""\
Kubernetes, the simulated cloud and the operator run (pid {state["pid"]}). `make down` ends them.

In each shell in which you want to use them, run this first:

    {source}

Then try, one after another:

{_table(NEXT)}

More to play with:

{_table(MORE)}

The operator's log and metrics:

    tail -f {state["operator_log"]}
    curl {state["metrics"]}"""


def _table(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(command) for command, _ in rows)
    return "\n".join(f"    {command:<{width}}   # {note}" for command, note in rows)
