"""What a call must pass where a function has a secret, before its code is unpacked."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from disdel.protocol.signing import check_code, check_request, key_of_run
from disdel.protocol.signing_keys import ENDPOINT_ENV, deployed_secret


@dataclass(frozen=True, slots=True)
class Admission:
    """The trust of one endpoint: in who has signed, by its secret, for its name."""

    secret: bytes = field(repr=False)
    endpoint: str = ""

    def check(self, arguments: Mapping[str, object]) -> None:
        """Raises `RequestRefused` where arguments are not signed for this endpoint."""
        check_request(arguments, functools.partial(key_of_run, self.secret), endpoint=self.endpoint)

    def check_code(self, arguments: Mapping[str, object], digest: str) -> None:
        """Raises `RequestRefused` where the code is not signed for the run of these arguments."""
        check_code(arguments, self.secret, digest)


def deployed_admission(environ: Mapping[str, str] = os.environ) -> Admission | None:
    """What this endpoint was deployed with; None where it takes what comes.

    Raises:
        UsageError: a secret is named, and cannot be read.
    """
    secret = deployed_secret(environ)
    return None if secret is None else Admission(secret, environ.get(ENDPOINT_ENV, ""))
