"""Runs a command that cannot outlive its owner. Called as a script: `guard.py LIFELINE_FD COMMAND…`.

It is a file of its own that uses only the standard library, because `python -I -S` starts it in milliseconds. The
calling process becomes the command itself (same pid, so signals and exit codes are the command's own), and a small
watcher is forked. The owner keeps the other end of the lifeline pipe. When the owner dies, also by kill -9, the kernel
closes that end. The watcher then reads end-of-file and kills the command's process group. PR_SET_PDEATHSIG would not
do: it exists on Linux only, and follows the thread that forked instead of the process.
"""

from __future__ import annotations

import os
import select
import signal
import sys

POLL_SECONDS = 1.0  # how long a watcher may live after its command has ended


def watch(command_pid: int, lifeline: int) -> None:
    """Waits until the owner's end of `lifeline` closes, then kills the group of `command_pid`.

    The watcher is a child of the command, so another parent means that the command has ended. No signal is sent then,
    because the pid may already belong to another process.
    """
    while os.getppid() == command_pid:
        readable, _, _ = select.select([lifeline], [], [], POLL_SECONDS)
        if readable and not os.read(lifeline, 1) and os.getppid() == command_pid:
            os.killpg(command_pid, signal.SIGKILL)
            return


def become(command: list[str], lifeline: int) -> None:
    """Forks the watcher and turns this process into `command`, as the leader of its own session and group."""
    command_pid = os.getpid()
    if os.getpgrp() != command_pid:
        os.setsid()
    if os.fork() == 0:
        os.setsid()  # out of the group it may have to kill
        detach_from_files(keep=lifeline)
        watch(command_pid, lifeline)
        os._exit(0)
    os.close(lifeline)
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is the purpose


def detach_from_files(keep: int) -> None:
    """Closes everything but `keep`. A watcher that held the command's output would keep its readers waiting."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, keep)
    os.closerange(keep + 1, 256)


if __name__ == "__main__":
    become(sys.argv[2:], int(sys.argv[1]))
