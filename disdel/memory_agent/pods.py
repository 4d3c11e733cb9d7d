"""The action pods of an OpenWhisk on Kubernetes: listing them, and changing a memory limit.

Resizing needs Kubernetes 1.33 or later (`pods/{name}/resize`, stable since 1.35). OpenWhisk labels
its pods and names their container, see WhiskPodBuilder.scala in apache/openwhisk; it sets requests
equal to limits, and they stay so, so that the node's scheduler knows of the growth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from disdel.errors import DisdelError, UsageError
from disdel.memory_agent.cluster import Cluster, Json, one_line
from disdel.memory_agent.decide import Pending, Pod
from disdel.types.units import MIB

SELECTOR = "user-action-pod=true"
CONTAINER = "user-action"
_ENDED = ("Succeeded", "Failed")
_LARGEST_BYTES = 1 << 62


class Pods(Protocol):
    """Where the agent finds pods. Both methods raise `DisdelError` when the cluster refuses."""

    def list(self) -> Sequence[Pod]:
        """All action pods that hold memory."""

    def resize(self, pod: Pod, limit_bytes: int) -> None:
        """Ask for a limit. The node may still defer or refuse it."""


class KubernetesPods:
    """The action pods of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def check(self) -> int:
        """How many action pods there are, on a Kubernetes that can do what the agent asks of it.

        Raises:
            UsageError: it cannot.
            PlatformRejected: it refuses the agent.
            ConnectionRefused: it does not answer.
        """
        resources = self._cluster.call(
            "asking what Kubernetes can do",
            lambda api, options: api.get_api_resources(**options),
        )
        if not any(_is_resize(resource) for resource in _list(resources, "resources")):
            raise UsageError(
                f"this Kubernetes{self._version()} cannot resize a running pod (it has no "
                "pods/resize): growing pods in place needs Kubernetes 1.33 or later"
            )
        return len(self.list())

    def _version(self) -> str:
        from kubernetes.client import VersionApi

        try:
            told = self._cluster.call(
                "asking for Kubernetes' version",
                lambda api, options: VersionApi(api.api_client).get_code(**options),
            )
        except DisdelError:
            return ""
        return f", {one_line(told.get('gitVersion'))},"

    def list(self) -> Sequence[Pod]:
        """The pods of actions in the namespace.

        Raises:
            ConnectionRefused: no Kubernetes answers, or not to this user.
            PlatformRejected: it refuses.
        """
        listed = self._cluster.call(
            f"listing the pods of {self._namespace}",
            lambda api, options: api.list_namespaced_pod(
                self._namespace, label_selector=SELECTOR, **options
            ),
        )
        return [pod for item in _list(listed, "items") if (pod := read_pod(item))]

    def resize(self, pod: Pod, limit_bytes: int) -> None:
        """Give a pod's container this memory limit, and request, in place.

        Raises:
            ConnectionRefused: no Kubernetes answers, or not to this user.
            PlatformRejected: it refuses.
        """
        whole = limit_bytes % MIB == 0
        memory = {"memory": f"{limit_bytes // MIB}Mi" if whole else str(limit_bytes)}
        container = {"name": pod.container, "resources": {"requests": memory, "limits": memory}}
        self._cluster.call(
            f"resizing {pod.name}",
            lambda api, options: api.patch_namespaced_pod_resize(
                pod.name, self._namespace, {"spec": {"containers": [container]}}, **options
            ),
        )


def read_pod(item: object) -> Pod | None:
    """None for a pod that has ended, or that has no limit to grow.

    Kubernetes leaves out what it has not to say, and this trusts nothing to be there.
    """
    metadata, spec, status = (_dict(item, name) for name in ("metadata", "spec", "status"))
    name = metadata.get("name")
    if not isinstance(name, str) or status.get("phase") in _ENDED:
        return None
    limit_bytes = _memory_limit(_list(spec, "containers"))
    if limit_bytes is None:
        return None
    pending, message = _pending(metadata, _list(status, "conditions"))
    return Pod(
        name,
        CONTAINER,
        limit_bytes,
        _memory_limit(_list(status, "containerStatuses")),
        pending,
        message,
    )


def _memory_limit(containers: Sequence[object]) -> int | None:
    """The memory limit of the action's container, in bytes."""
    from kubernetes.utils import parse_quantity

    for container in containers:
        if isinstance(container, dict) and container.get("name") == CONTAINER:
            quantity = _dict(_dict(container, "resources"), "limits").get("memory")
            try:
                limit = parse_quantity(quantity)  # type: ignore[no-untyped-call]
                return int(limit) if 0 < limit < _LARGEST_BYTES else None
            except (ValueError, TypeError, ArithmeticError):
                return None
    return None


def _pending(metadata: Json, conditions: Sequence[object]) -> tuple[Pending, str]:
    """What the conditions say of the latest resize."""
    for kind in ("PodResizePending", "PodResizeInProgress"):
        for condition in conditions:
            if not isinstance(condition, dict) or condition.get("type") != kind:
                continue
            seen, latest = condition.get("observedGeneration"), metadata.get("generation")
            if condition.get("status") != "True" or _is_older(seen, latest):
                continue
            reason, message = condition.get("reason"), one_line(condition.get("message") or "")
            if kind == "PodResizeInProgress":
                return "InProgress", message
            return ("Infeasible" if reason == "Infeasible" else "Deferred"), message
    return "", ""


def _is_older(seen: object, latest: object) -> bool:
    """Whether a condition is about an earlier specification, where the server tells of which."""
    return isinstance(seen, int) and isinstance(latest, int) and 0 < seen < latest


def _is_resize(resource: object) -> bool:
    return isinstance(resource, dict) and resource.get("name") == "pods/resize"


def _dict(item: object, name: str) -> Json:
    found = item.get(name) if isinstance(item, dict) else None
    return found if isinstance(found, dict) else {}


def _list(item: object, name: str) -> Sequence[object]:
    found = item.get(name) if isinstance(item, dict) else None
    return found if isinstance(found, list) else []
