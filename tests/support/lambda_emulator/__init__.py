"""A Lambda of this machine: AWS's API in front of its own runtime interface emulator.

Each container is an emulator with AWS's runtime client in a memory cgroup of its own, and answers
one request at a time, since two at once crash the emulator. What it leaves open, as Lambda itself
does it, is done here: functions, throttling, sizes, errors' header, memory used, and logs.
"""

from tests.support.lambda_emulator.server import LambdaEmulator

__all__ = ["LambdaEmulator"]
