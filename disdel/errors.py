"""Every error that disdel raises on purpose.

    DisdelError
    ├── UsageError                what the user asked for cannot be done as asked (exit code 2)
    │   ├── DatasetError          unknown, unprepared or unsupported data set
    │   ├── PlanError             no plan fits the limits
    │   │   ├── InsufficientMemory
    │   │   └── PartitionError    the samples cannot be dealt to so many clients
    │   └── ConnectionRefused     an API host, key or Redis that the user named does not answer
    ├── PlatformError             the platform refused or failed a request
    │   ├── PlatformRejected      an HTTP status of 400 or above, with OpenWhisk's own message
    │   ├── PlatformLost          it has not answered for longer than there is patience
    │   │   └── EndpointLost      one of several has not; the others go on
    │   ├── ActivationLost        an invocation that was accepted has left no record
    │   └── ActivationFailed      an action ended in an error; carries id, kind and logs
    ├── RequestRefused            a request or a reply is not signed as it must be
    ├── HostFailed                this machine failed the run: a disk is full, memory is used up
    ├── TrainingDiverged          the loss or the weights are no longer numbers
    ├── StoreError                Redis failed during the run
    │   ├── DataGone              what it held of the run is not there any more
    │   └── StoreLost             it has not answered for longer than there is patience
    ├── AggregationError          the parts of a round do not form an average
    ├── UpdateRefused             a client's update cannot be added to those of the others
    ├── AppFailed                 a Flower app's own code has failed the run
    └── RoundFailed               too few clients have answered in a round

A message says what failed, the value against the limit, and the next step. `kind` is a stable
code for scripts (the `error.kind` of a report); `exit_code` is what the command line ends with.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

Error = TypeVar("Error", bound="DisdelError")


class DisdelError(Exception):
    """Base of all errors raised on purpose; anything else is a bug."""

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def reworded(self: Error, message: str) -> Error:
        """This error, with another message from now on."""
        self.args = (message,)
        return self


class RequestRefused(DisdelError):
    kind = "refused"


class UsageError(DisdelError):
    kind = "usage"
    exit_code = 2


class DatasetError(UsageError):
    kind = "dataset"


class PlanError(UsageError):
    kind = "plan"


class InsufficientMemory(PlanError):
    kind = "insufficient-memory"


class PartitionError(PlanError):
    kind = "partition"


class ConnectionRefused(UsageError):
    kind = "connection"


class PlatformError(DisdelError):
    kind = "platform"


class PlatformRejected(PlatformError):
    """The platform answered with an error status.

    Attributes:
        status: the HTTP status.
    """

    kind = "rejected"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class PlatformLost(PlatformError):
    kind = "platform-lost"


class EndpointLost(PlatformLost):
    """One of the endpoints of a platform does not answer; what it was to do others may.

    Attributes:
        endpoint: its name.
    """

    kind = "endpoint-lost"

    def __init__(self, message: str, *, endpoint: str) -> None:
        super().__init__(message)
        self.endpoint = endpoint


class ActivationLost(PlatformError):
    """An invocation was accepted, and by its deadline there is no record of its activation.

    Attributes:
        activation_id: OpenWhisk's 32 hexadecimal digits.
    """

    kind = "activation-lost"

    def __init__(self, message: str, *, activation_id: str) -> None:
        super().__init__(message)
        self.activation_id = activation_id


class ActivationFailed(PlatformError):
    """An activation ended without a usable result.

    Attributes:
        activation_id: OpenWhisk's 32 hexadecimal digits, or "" when none was given out.
        outcome: the stable word of the report: "oom", "timeout" or "error".
        cause: the `kind` of the error that the action itself raised, else "".
        reason: what the action or the platform said.
        lost: the container vanished or the platform failed: the same work may end well elsewhere.
        in_init: it was lost before the action ran.
        unexplained: nobody says what ended its container, which may have run out of memory.
        logs: the activation's log lines, oldest first.
    """

    kind = "activation"

    def __init__(
        self,
        message: str,
        *,
        activation_id: str,
        outcome: str,
        lost: bool,
        cause: str = "",
        reason: str = "",
        in_init: bool = False,
        unexplained: bool = False,
        logs: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.activation_id = activation_id
        self.outcome = outcome
        self.lost = lost
        self.cause = cause
        self.reason = reason
        self.in_init = in_init
        self.unexplained = unexplained
        self.logs = logs


class HostFailed(DisdelError):
    kind = "host"


class TrainingDiverged(DisdelError):
    kind = "diverged"


class StoreError(DisdelError):
    kind = "store"


class DataGone(StoreError):
    kind = "data-gone"


class StoreLost(StoreError):
    kind = "store-lost"


class AggregationError(DisdelError):
    kind = "aggregation"


class UpdateRefused(DisdelError):
    """An update cannot be added to those of others; its client goes without."""

    kind = "update-refused"


class RoundFailed(DisdelError):
    """Fewer clients have answered than must."""

    kind = "round-failed"


class AppFailed(DisdelError):
    kind = "app"


class StrategyFailed(DisdelError):
    """A strategy asked for what cannot be done."""

    kind = "strategy"
