"""The log of one invocation, from CloudWatch."""

from __future__ import annotations

from typing import Any


def whole_log(client: Any, function: str, request_id: str) -> tuple[str, ...]:
    """The lines of an invocation; empty where there are none (yet).

    A container's invocations write one after the other into its stream, and only the first and last
    lines of each have its id.

    Args:
        client: boto3's, of CloudWatch Logs.
        function: its name.
        request_id: Lambda's id of the invocation.

    Raises:
        ClientError: the log may not be read.
    """
    group = log_group(function)
    found = client.filter_log_events(logGroupName=group, filterPattern=f'"{request_id}"')["events"]
    begins = [event for event in found if event["message"].startswith("START RequestId:")]
    if not begins:
        return ()
    lines: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = client.get_log_events(
            logGroupName=group,
            logStreamName=begins[0]["logStreamName"],
            startTime=begins[0]["timestamp"],
            startFromHead=True,
            **token,
        )
        for event in page["events"]:
            line = event["message"].rstrip("\n")
            if lines or line.startswith(f"START RequestId: {request_id}"):
                lines.extend(line.splitlines())
            if line.startswith(f"REPORT RequestId: {request_id}"):
                return tuple(lines)
        if not page["events"] or page["nextForwardToken"] == token.get("nextToken"):
            return tuple(lines)
        token = {"nextToken": page["nextForwardToken"]}


def log_group(function: str) -> str:
    """Where Lambda writes the logs of a function."""
    return f"/aws/lambda/{function}"
