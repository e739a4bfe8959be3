"""Run a command that cannot outlive its owner; called as a script, `guard.py LIFELINE_FD COMMAND…`.

A file of its own, with the standard library only, because it is executed with `python -I -S` to start in milliseconds.
The calling process becomes the command itself (same pid, so signals and exit codes are the command's own); a small
watcher is forked beside it. The owner keeps the other end of the lifeline pipe: when the owner dies in whatever way,
kill -9 included, the kernel closes that end, the watcher reads end-of-file and kills the command's process group.
PR_SET_PDEATHSIG was not chosen: it exists on Linux only, and follows the thread that forked instead of the process.
"""

from __future__ import annotations

import os
import select
import signal
import sys

POLL_SECONDS = 1.0  # how long a watcher may survive the command it watched


def watch(command_pid: int, lifeline: int) -> None:
    """Wait for the owner's end of `lifeline` to close, then kill the group of `command_pid`.

    The watcher is a child of the command, so a changed parent means that the command is gone: no signal is sent then,
    since its pid may belong to someone else by now.
    """
    while os.getppid() == command_pid:
        readable, _, _ = select.select([lifeline], [], [], POLL_SECONDS)
        if readable and not os.read(lifeline, 1) and os.getppid() == command_pid:
            os.killpg(command_pid, signal.SIGKILL)
            return


def become(command: list[str], lifeline: int) -> None:
    """Fork the watcher and turn this process into `command`, as the leader of its own session and group."""
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
    """Close everything but `keep`: a watcher that held the command's output would keep its readers waiting."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, keep)
    os.closerange(keep + 1, 256)


if __name__ == "__main__":
    become(sys.argv[2:], int(sys.argv[1]))
