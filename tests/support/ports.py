"""Ports for servers that do not choose their own, or come back at the same one."""

import random
import socket

# Below those that systems give to who asks for any, so that nobody takes one in between.
_FIRST, _LAST = 10_000, 29_999
# By the system's chance: tests that seed `random` seed others' choices as well.
_drawn = random.SystemRandom()


def free_port(*above):
    """A port of this machine that nobody listens at, nor at those that are so far above it."""
    while True:
        port = _drawn.randint(_FIRST, _LAST - max(above, default=0))
        if all(_is_free(port + far) for far in (0, *above)):
            return port


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count):
    """Several, all different."""
    found = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)
