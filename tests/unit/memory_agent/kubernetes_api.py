"""The pods' part of a Kubernetes API server on loopback, which records what it is asked."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

PODS = "/api/v1/namespaces/openwhisk/pods"


@dataclass
class Cluster:
    """Pods by name, with their memory limits as Kubernetes writes them."""

    limits: dict[str, str]
    phases: dict[str, str] = field(default_factory=dict)
    refuse: int | None = None
    requests: list[dict] = field(default_factory=list)
    url: str = ""
    on_resize: object = None

    def listed(self):
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.items()}

    def items(self):
        return [self.pod(name) for name in self.limits]

    def pod(self, name):
        memory = {"memory": self.limits[name]}
        container = {
            "name": "user-action",
            "image": "disdel/runtime-tensorflow",
            "resources": {"requests": memory, "limits": memory},
        }
        sidecar = {"name": "sidecar", "resources": {"limits": {"memory": "1Gi"}}}
        return {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "labels": {"user-action-pod": "true"}},
            "spec": {"containers": [sidecar, container]},
            "status": {"phase": self.phases.get(name, "Running")},
        }

    def resize(self, name, body):
        [container] = body["spec"]["containers"]
        self.limits[name] = container["resources"]["limits"]["memory"]
        if self.on_resize:
            self.on_resize(self.limits[name])
        return self.pod(name)

    @property
    def patches(self):
        return [request for request in self.requests if request["method"] == "PATCH"]


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_GET(self):
        self.record(None)
        self.answer(lambda: self.cluster.listed())

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

    def answer(self, make):
        refused = {"kind": "Status", "status": "Failure", "reason": "Forbidden"}
        body = json.dumps(refused if self.cluster.refuse else make()).encode()
        self.send_response(self.cluster.refuse or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):  # noqa: A002
        pass


@contextmanager
def serving(cluster):
    """`cluster` under `cluster.url`."""
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        cluster.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield cluster
        finally:
            server.shutdown()
            thread.join()


def kubeconfig(cluster):
    """A kubeconfig that leads to `cluster` with a token."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "agent"}}],
            "clusters": [{"name": "test", "cluster": {"server": cluster.url}}],
            "users": [{"name": "agent", "user": {"token": "t0ken"}}],
        }
    )
