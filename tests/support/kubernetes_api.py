"""The part of a Kubernetes API server that the agent uses, on loopback, with its kubelet.

It speaks HTTP and answers with the objects of Kubernetes 1.33 and later, as its documentation and
API reference have them; it records what it is asked. What the kubelet makes of a resize, and what
goes wrong on the way, is up to the test.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

PODS = "/api/v1/namespaces/openwhisk/pods"
RESIZE = {"name": "pods/resize", "singularName": "", "namespaced": True, "kind": "Pod"}


@dataclass
class Fault:
    """What a request is answered with instead, `times` times."""

    status: int = 200
    message: str = ""
    body: bytes | None = None
    headers: dict = field(default_factory=dict)
    delay_s: float = 0.0
    until: threading.Event | None = None
    drops: bool = False
    times: int = 1_000_000
    # Of which requests: by method, and by what is in the path.
    method: str = ""
    path: str = ""


@dataclass
class Cluster:
    """Pods by name, with their memory limits as Kubernetes writes them.

    Attributes:
        limits: in the specification.
        given: by the node; as in the specification where a pod is not named.
        node: what the kubelet says of a new resize: "given", "Infeasible", "Deferred",
            "InProgress" or "silent".
        faults: the first one that fits a request is what it gets.
    """

    limits: dict[str, str]
    phases: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    node: str = "given"
    faults: list[Fault] = field(default_factory=list)
    resizes_pods: bool = True
    requests: list[dict] = field(default_factory=list)
    conditions: dict[str, list] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    url: str = ""
    on_resize: Callable[[str], object] | None = None
    token: str | None = None

    def listed(self):
        items = [self.pod(name) for name in list(self.limits)]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}

    def resources(self):
        pods = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod"}
        known = [pods, {**RESIZE, "verbs": ["get", "patch", "update"]}]
        return {
            "kind": "APIResourceList",
            "groupVersion": "v1",
            "resources": known if self.resizes_pods else known[:1],
        }

    def pod(self, name):
        memory = {"memory": self.limits[name]}
        given = {"memory": self.given.get(name, self.limits[name])}
        container = {
            "name": "user-action",
            "image": "disdel/runtime-tensorflow",
            "resources": {"requests": memory, "limits": memory},
        }
        sidecar = {"name": "sidecar", "resources": {"limits": {"memory": "1Gi"}}}
        status = {
            "name": "user-action",
            "ready": True,
            "allocatedResources": given,
            "resources": {"requests": given, "limits": given},
        }
        return {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "generation": self.generations.get(name, 1),
                "labels": {"user-action-pod": "true", "invoker": "invoker0"},
            },
            "spec": {"containers": [sidecar, container]},
            "status": {
                "phase": self.phases.get(name, "Running"),
                "conditions": [{"type": "Ready", "status": "True"}, *self.conditions.get(name, [])],
                "containerStatuses": [{"name": "sidecar"}, status],
            },
        }

    def resize(self, name, body):
        [container] = body["spec"]["containers"]
        before = self.given.setdefault(name, self.limits[name])
        self.limits[name] = container["resources"]["limits"]["memory"]
        self.generations[name] = self.generations.get(name, 1) + 1
        answer = self.pod(name)
        self.conditions[name] = []
        if self.node == "given" or self.limits[name] == before:
            self.given[name] = self.limits[name]
        elif self.node != "silent":
            self.conditions[name] = [self.condition(name)]
        if self.on_resize:
            self.on_resize(self.limits[name])
        return answer

    def condition(self, name):
        if self.node == "InProgress":
            return {"type": "PodResizeInProgress", "status": "True"}
        return {
            "type": "PodResizePending",
            "status": "True",
            "reason": self.node,
            "message": "Node didn't have enough capacity: memory, requested: 1, capacity: 0",
            "observedGeneration": self.generations[name],
        }

    @property
    def patches(self):
        return [request for request in self.requests if request["method"] == "PATCH"]

    def asked(self, name):
        """The limits that were asked for a pod, in order."""
        return [
            patch["body"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
            for patch in self.patches
            if patch["path"] == f"{PODS}/{name}/resize"
        ]

    def lists(self):
        return sum(request["path"] == PODS for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        routes = {
            PODS: self.cluster.listed,
            "/api/v1": self.cluster.resources,
            "/api/v1/": self.cluster.resources,
            "/version": lambda: {"gitVersion": "v1.32.4", "major": "1", "minor": "32"},
            "/version/": lambda: {"gitVersion": "v1.32.4", "major": "1", "minor": "32"},
        }
        self.record(None)
        self.answer(routes[urlsplit(self.path).path])

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.record(body)
        self.answer(lambda: self.cluster.resize(self.path.split("/")[-2], body))

    def record(self, body):
        url = urlsplit(self.path)
        self.cluster.requests.append(
            {
                "method": self.command,
                "path": url.path,
                "query": dict(parse_qsl(url.query)),
                "type": self.headers["Content-Type"],
                "authorization": self.headers["Authorization"],
                "body": body,
            }
        )

    def fault(self):
        for fault in self.cluster.faults:
            if fault.times and fault.method in ("", self.command) and fault.path in self.path:
                fault.times -= 1
                return fault
        token = self.cluster.token
        if token is not None and self.headers["Authorization"].split()[1:] != [token]:
            return Fault(401, "Unauthorized")
        return None

    def answer(self, make):
        fault = self.fault()
        if fault is not None:
            time.sleep(fault.delay_s)
            if fault.until is not None:
                fault.until.wait()
            if fault.drops:
                self.close_connection = True
                return
        if fault is None or (fault.status == 200 and fault.body is None):
            status, body = 200, json.dumps(make()).encode()
        else:
            status, body = fault.status, fault.body
            if body is None:
                body = json.dumps(status_of(fault.status, fault.message)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (fault.headers if fault else {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):  # noqa: A002
        pass


def status_of(code, message):
    """How Kubernetes says no."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Forbidden",
        "code": code,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass


@contextmanager
def serving(cluster):
    """`cluster` under `cluster.url`."""
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        cluster.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield cluster
        finally:
            server.shutdown()
            thread.join()


def kubeconfig(cluster, **user):
    """A kubeconfig that leads to `cluster` with a token."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "agent"}}],
            "clusters": [{"name": "test", "cluster": {"server": cluster.url}}],
            "users": [{"name": "agent", "user": user or {"token": "t0ken"}}],
        }
    )
