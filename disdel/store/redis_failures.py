"""What Redis's failures mean: whether they pass by themselves, and what a user can do."""

from __future__ import annotations

import redis

# As first words of a reply. A replica that takes over, a script that runs for long, a server that
# still loads its data, a cluster without a master: some seconds later the answer is another one.
# redis-py has classes for the others and leaves out their first words.
_PASSING_WORDS = ("BUSY", "MISCONF", "NOREPLICAS")
_PASSING = (
    redis.ConnectionError,
    redis.InvalidResponse,
    redis.ReadOnlyError,
    redis.TimeoutError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
# These are connection errors to redis-py.
_FINAL = (
    redis.AuthenticationError,
    redis.exceptions.AuthorizationError,
)
_IN_PIPELINE = " of pipeline caused error: "
_PROTECTED = "running in protected mode"


def passes(error: Exception) -> bool:
    """Whether the same command may be answered a little later."""
    if isinstance(error, _FINAL) or _PROTECTED in str(error):
        return False
    if isinstance(error, (*_PASSING, OSError)):
        return True
    # Of a pipeline, redis-py says first which command it was.
    said = str(error).rpartition(_IN_PIPELINE)[2]
    return isinstance(error, redis.ResponseError) and said.startswith(_PASSING_WORDS)


def is_unreachable(error: Exception) -> bool:
    """Whether nobody has answered, as opposed to a server that says what is in the way."""
    if isinstance(error, (*_FINAL, redis.BusyLoadingError)) or _PROTECTED in str(error):
        return False
    return isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError))


def advice(error: Exception) -> str:
    """What is wrong and what to do, where a server is refused at the first contact."""
    said = str(error)
    match error:
        case _ if _PROTECTED in said:
            return (
                "is in protected mode and answers this machine nothing else: give it a password "
                "(requirepass) and name it in the URL"
            )
        case redis.AuthenticationError():
            return (
                f"does not accept the user and password ({said}): write them as "
                "redis://[USER]:PASSWORD@HOST"
            )
        case redis.exceptions.NoPermissionError():
            return f"refuses the user: {said}; give it commands and keys by ACL SETUSER"
        case redis.ResponseError() if "DB index" in said or "SELECT" in said:
            return (
                f"does not have that database ({said}): end the URL with /0, or raise its setting "
                "databases"
            )
    return f"cannot be used: {said}"
