"""What Kubernetes is asked, request by request."""

import sys

import pytest

from disdel.errors import ConnectionRefused, PlatformRejected, UsageError
from disdel.memory_agent.decide import Pod
from disdel.memory_agent.pods import KubernetesPods, connect
from tests.unit.memory_agent.kubernetes_api import PODS, Cluster, serving

kubernetes = pytest.importorskip("kubernetes")

MIB = 1 << 20


@pytest.fixture
def cluster():
    with serving(Cluster({"pod-1": "256Mi", "pod-2": "1Gi"})) as cluster:
        yield cluster


@pytest.fixture
def pods(cluster):
    configuration = kubernetes.client.Configuration(host=cluster.url)
    configuration.retries = False
    with kubernetes.client.ApiClient(configuration) as client:
        yield KubernetesPods(kubernetes.client.CoreV1Api(client), "openwhisk")


def test_listing(cluster, pods):
    cluster.phases["pod-2"] = "Pending"
    assert pods.list() == [
        Pod("pod-1", "user-action", 256 * MIB),
        Pod("pod-2", "user-action", 1024 * MIB),
    ]
    [request] = cluster.requests
    assert (request["method"], request["path"]) == ("GET", PODS)
    assert request["query"] == {"labelSelector": "user-action-pod=true"}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_holds_nothing(cluster, pods, phase):
    cluster.phases["pod-2"] = phase
    assert [pod.name for pod in pods.list()] == ["pod-1"]


@pytest.mark.parametrize(
    ("quantity", "expected_bytes"),
    [("268435456", 256 * MIB), ("512M", 512_000_000), ("1e9", 10**9), ("524288Ki", 512 * MIB)],
)
def test_quantities(cluster, pods, quantity, expected_bytes):
    cluster.limits = {"pod-1": quantity}
    assert [pod.limit_bytes for pod in pods.list()] == [expected_bytes]


def test_resizing(cluster, pods):
    pods.resize(pods.list()[0], 512 * MIB)
    [request] = cluster.patches
    assert request["path"] == f"{PODS}/pod-1/resize"
    assert request["query"] == {}
    assert request["type"] == "application/strategic-merge-patch+json"
    assert request["body"] == {
        "spec": {
            "containers": [
                {
                    "name": "user-action",
                    "resources": {"requests": {"memory": "512Mi"}, "limits": {"memory": "512Mi"}},
                }
            ]
        }
    }


def test_a_refusal_says_who_refused_what(cluster, pods):
    cluster.refuse = 403
    with pytest.raises(PlatformRejected, match=r"listing the pods of openwhisk: .* 403") as error:
        pods.list()
    assert error.value.status == 403


def test_nobody_answers():
    configuration = kubernetes.client.Configuration(host="http://127.0.0.1:1")
    configuration.retries = False
    with kubernetes.client.ApiClient(configuration) as client:
        pods = KubernetesPods(kubernetes.client.CoreV1Api(client), "openwhisk")
        with pytest.raises(ConnectionRefused, match="no Kubernetes answers"):
            pods.list()


def test_no_cluster_is_configured(monkeypatch, tmp_path):
    monkeypatch.setattr(
        kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    with pytest.raises(ConnectionRefused, match="neither a service account nor a kubeconfig"):
        connect("openwhisk")


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(UsageError, match=r"pip install 'disdel\[kubernetes\]'"):
        connect("openwhisk")
