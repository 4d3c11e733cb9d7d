"""The action pods of an OpenWhisk on Kubernetes: listing them, and raising a memory limit in place.

Resizing needs Kubernetes 1.33 or later (`pods/{name}/resize`, stable since 1.35). OpenWhisk labels
its pods and names their container, see WhiskPodBuilder.scala in apache/openwhisk; it sets requests
equal to limits, and they stay so, so that the node's scheduler knows of the growth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from disdel.errors import ConnectionRefused, PlatformRejected, UsageError
from disdel.memory_agent.decide import Pod
from disdel.units import MIB

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api, V1Pod

SELECTOR = "user-action-pod=true"
CONTAINER = "user-action"
_TIMEOUT_S = 10.0
_ENDED = ("Succeeded", "Failed")

T = TypeVar("T")


class Pods(Protocol):
    """Where the agent finds pods. Both methods raise `PlatformError` when the cluster refuses."""

    def list(self) -> Sequence[Pod]:
        """All action pods that hold memory."""

    def resize(self, pod: Pod, limit_bytes: int) -> None:
        """Ask for a limit, a whole number of MB. The node may still defer it."""


class KubernetesPods:
    """The action pods of one namespace."""

    def __init__(self, api: CoreV1Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    def list(self) -> Sequence[Pod]:
        listed = self._call(
            f"listing the pods of {self._namespace}",
            lambda: self._api.list_namespaced_pod(
                self._namespace, label_selector=SELECTOR, _request_timeout=_TIMEOUT_S
            ),
        )
        return [pod for item in listed.items if (pod := _read(item))]

    def resize(self, pod: Pod, limit_bytes: int) -> None:
        memory = {"memory": f"{limit_bytes // MIB}Mi"}
        container = {"name": pod.container, "resources": {"requests": memory, "limits": memory}}
        self._call(
            f"resizing {pod.name}",
            lambda: self._api.patch_namespaced_pod_resize(
                pod.name,
                self._namespace,
                {"spec": {"containers": [container]}},
                _request_timeout=_TIMEOUT_S,
            ),
        )

    def _call(self, what: str, request: Callable[[], T]) -> T:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return request()
        except ApiException as error:
            raise PlatformRejected(
                f"{what}: Kubernetes answers {error.status} {error.reason}: {error.body}",
                status=error.status or 0,
            ) from error
        except HTTPError as error:
            raise ConnectionRefused(f"{what}: no Kubernetes answers: {error}") from error


def connect(namespace: str) -> KubernetesPods:
    """The cluster that this process runs in, else the current one of the user's kubeconfig.

    Raises:
        UsageError: the client is not installed.
        ConnectionRefused: there is no such cluster.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise UsageError(
            "the memory agent needs the Kubernetes client: pip install 'disdel[kubernetes]'"
        ) from error
    configuration = client.Configuration()
    try:
        config.load_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise ConnectionRefused(
            f"neither a service account nor a kubeconfig leads to a Kubernetes: {error}"
        ) from error
    return KubernetesPods(client.CoreV1Api(client.ApiClient(configuration)), namespace)


def _read(item: V1Pod) -> Pod | None:
    """None for a pod that has ended, or that has no limit to grow."""
    from kubernetes.utils import parse_quantity

    # The client's types allow for absent parts, which a pod from the API always has.
    if not (item.metadata and item.metadata.name and item.spec and item.status):
        return None
    if item.status.phase in _ENDED:
        return None
    for container in item.spec.containers:
        limits = (container.resources and container.resources.limits) or {}
        if container.name == CONTAINER and "memory" in limits:
            limit = parse_quantity(limits["memory"])  # type: ignore[no-untyped-call]
            return Pod(item.metadata.name, container.name, int(limit))
    return None
