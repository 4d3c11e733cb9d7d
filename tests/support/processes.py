"""Processes of this machine, each of which may end while it is looked at."""

import contextlib

import psutil


def has_ended(process):
    """Whether a process runs no more; who buries an orphan, and when, is up to the machine."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def seen(processes, look):
    """What `look` gives of each process, but of those that end meanwhile."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            found.append(look(process))
    return found
