"""From a message to the warning that it is, or to the reason why nobody needs to act on it.

Everything in a message is doubted, in the order of what it costs: its size, its form, its
signature, and only then the JSON that was signed.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Callable

import dacite

from disdel.memory_agent.channel import MAX_BYTES
from disdel.memory_agent.memory_warning import VERSION, MemoryWarning, sign
from disdel.protocol.memory_grant import LIFETIME_S, key_of

# How far the clocks of controller, node and agent may differ.
CLOCK_SKEW_S = 120
# For so long at most is anything believed that a grant has signed.
BELIEVED_S = LIFETIME_S + 2 * CLOCK_SKEW_S
# No machine has more bytes, and no clock shows more seconds.
_LARGEST = 1 << 50
_FORM = re.compile(rb"2 ([0-9a-f]{32}) ([0-9]{1,12}) ([0-9a-f]{64}) (\{.*\})", re.DOTALL)
_ANY_VERSION = re.compile(rb"\s*\{|[0-9]{1,4} ")
# As Kubernetes names pods.
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_ACTIVATION = re.compile(r"[0-9a-f]{32}|")
_LONGEST_ACTION = 1024


class Ignored(Exception):
    """A message that is no warning; its text is one of a few, with nothing from the message."""


class Checker:
    """Knows the secret that grants are made of."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock

    def read(self, message: bytes) -> tuple[str, MemoryWarning]:
        """The id of the grant that has signed a message of the channel, and the warning in it.

        Fields of later releases are passed over.

        Raises:
            Ignored: it has none that this agent believes.
        """
        if len(message) > MAX_BYTES:
            raise Ignored(f"larger than {MAX_BYTES} bytes")
        found = _FORM.fullmatch(message)
        if found is None:
            if _ANY_VERSION.match(message):
                raise Ignored(f"not a signed warning of version {VERSION}")
            raise Ignored("not a memory warning")
        identity, expires_s, body = found[1].decode(), int(found[2]), found[4]
        now_s = self._clock()
        if not now_s - CLOCK_SKEW_S < expires_s < now_s + LIFETIME_S + CLOCK_SKEW_S:
            raise Ignored("its grant has expired, or the clocks of controller and agent differ")
        signature = sign(key_of(self._secret, identity, expires_s), body)
        if not hmac.compare_digest(signature.encode(), found[3]):
            raise Ignored("its signature is wrong: controller and agent have different secrets")
        return identity, self._warning(body, now_s)

    def _warning(self, body: bytes, now_s: float) -> MemoryWarning:
        try:
            fields = json.loads(body)
            warning = dacite.from_dict(MemoryWarning, fields, dacite.Config(check_types=True))
        except (ValueError, RecursionError, dacite.DaciteError) as error:
            raise Ignored("signed, but not the fields of a warning") from error
        numbers = (warning.used_bytes, warning.limit_bytes, warning.critical_bytes, warning.time_s)
        if not (
            all(type(number) is int and 0 <= number <= _LARGEST for number in numbers)
            and warning.limit_bytes > 0
            and _HOST.fullmatch(warning.host)
            and _ACTIVATION.fullmatch(warning.activation_id)
            and len(warning.action) <= _LONGEST_ACTION
        ):
            raise Ignored("signed, but a number or a name in it is none")
        if abs(warning.time_s - now_s) > CLOCK_SKEW_S:
            raise Ignored(f"it is more than {CLOCK_SKEW_S} s old, or a clock is wrong")
        return warning
