"""What Kubernetes is asked, request by request, and what is made of its answers."""

import sys
import threading

import pytest

from disdel.errors import ConnectionRefused, PlatformRejected, UsageError
from disdel.memory_agent import cluster as asking
from disdel.memory_agent.cluster import connect, one_line
from disdel.memory_agent.decide import Pod
from disdel.memory_agent.pods import KubernetesPods, read_pod
from tests.support.kubernetes_api import PODS, Cluster, Fault, kubeconfig, serving

kubernetes = pytest.importorskip("kubernetes")

MIB = 1 << 20


@pytest.fixture
def cluster():
    with serving(Cluster({"pod-1": "256Mi", "pod-2": "1Gi"})) as cluster:
        yield cluster


@pytest.fixture
def pods(cluster, tmp_path, monkeypatch):
    return pods_of(cluster, tmp_path / "config", monkeypatch)


def pods_of(cluster, file, monkeypatch, **user):
    monkeypatch.setattr(asking, "_PAUSES_S", (0.0, 0.0))
    file.write_text(kubeconfig(cluster, **user))
    monkeypatch.setenv("KUBECONFIG", str(file))
    return KubernetesPods(connect(), "openwhisk")


def test_listing(cluster, pods):
    cluster.phases["pod-2"] = "Pending"
    assert pods.list() == [
        Pod("pod-1", "user-action", 256 * MIB, 256 * MIB),
        Pod("pod-2", "user-action", 1024 * MIB, 1024 * MIB),
    ]
    [request] = cluster.requests
    assert (request["method"], request["path"]) == ("GET", PODS)
    assert request["query"] == {"labelSelector": "user-action-pod=true"}
    assert request["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_holds_nothing(cluster, pods, phase):
    cluster.phases["pod-2"] = phase
    assert [pod.name for pod in pods.list()] == ["pod-1"]


@pytest.mark.parametrize(
    ("quantity", "expected_bytes"),
    [
        ("268435456", 256 * MIB),
        ("512M", 512_000_000),
        ("1e9", 10**9),
        ("524288Ki", 512 * MIB),
        (268435456, 256 * MIB),
        ("1e999999", None),
        ("-1", None),
        ("much", None),
        (None, None),
        ([], None),
    ],
)
def test_quantities(cluster, pods, quantity, expected_bytes):
    cluster.limits = {"pod-1": quantity}
    expected = [] if expected_bytes is None else [expected_bytes]
    assert [pod.limit_bytes for pod in pods.list()] == expected


@pytest.mark.parametrize(
    ("node", "pending"),
    [("Infeasible", "Infeasible"), ("Deferred", "Deferred"), ("InProgress", "InProgress")],
)
def test_what_the_node_says_of_a_resize(cluster, pods, node, pending):
    cluster.node = node
    pods.resize(pods.list()[0], 512 * MIB)
    pod = pods.list()[0]
    assert (pod.limit_bytes, pod.actual_bytes, pod.pending) == (512 * MIB, 256 * MIB, pending)
    assert pod.message.startswith("Node didn't have") is (pending != "InProgress")


def test_a_condition_of_an_earlier_resize_says_nothing_of_this_one(cluster, pods):
    cluster.node = "Infeasible"
    pods.resize(pods.list()[0], 512 * MIB)
    cluster.generations["pod-1"] += 1
    assert pods.list()[0].pending == ""


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        {},
        {"metadata": {"name": 7}},
        {"metadata": {"name": "a"}, "spec": {"containers": 7}, "status": []},
        {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "user-action"}, 7]}},
    ],
)
def test_what_is_no_pod(item):
    assert read_pod(item) is None


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


def test_a_limit_that_is_no_whole_number_of_mb_is_asked_for_as_it_is(cluster, pods):
    pods.resize(pods.list()[0], 512_000_000)
    assert cluster.asked("pod-1") == ["512000000"]


REFUSAL = 'pods "pod-1" is forbidden: node has 8Gi\nlisting\x1b[2J'


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_refusal_is_one_line_and_final(cluster, pods, status):
    cluster.faults = [Fault(status, REFUSAL)]
    with pytest.raises(PlatformRejected, match="listing the pods of openwhisk: ") as error:
        pods.list()
    assert str(error.value).endswith(
        f'Kubernetes answers {status}: pods "pod-1" is forbidden: node has 8Gi\\nlisting\\x1b[2J'
    )
    assert error.value.status == status
    assert cluster.lists() == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(401, "Unauthorized"),
        Fault(409, "the object has been modified"),
        Fault(429, "too many requests"),
        Fault(500, "etcdserver: leader changed"),
        Fault(503, "apiserver is shutting down"),
        Fault(502, body=b"<html>a proxy's word</html>"),
        Fault(drops=True),
        Fault(body=b"<html>hello</html>"),
        Fault(body=b"[" * 100_000),
        Fault(body=b"[1]"),
        Fault(body=b"\xff\xfe"),
        Fault(body=b""),
    ],
    ids=str,
)
def test_what_passes_is_tried_again_and_what_stays_is_told(cluster, pods, fault):
    before = pods.list()
    cluster.faults = [fault]
    fault.times = 2
    assert pods.list() == before
    fault.times = 3
    with pytest.raises((PlatformRejected, ConnectionRefused), match="listing the pods") as error:
        pods.list()
    assert len(str(error.value).splitlines()) == 1
    # The next call begins anew.
    assert pods.list() == before


def test_a_server_that_says_nothing_is_left_after_a_while(cluster, pods, monkeypatch):
    monkeypatch.setattr(asking, "_OPTIONS", {**asking._OPTIONS, "_request_timeout": (0.2, 0.2)})
    answers = threading.Event()
    cluster.faults = [Fault(until=answers, times=1)]
    assert len(pods.list()) == 2
    asked = cluster.lists()
    assert asked >= 2
    monkeypatch.setattr(asking, "_PATIENCE_S", 0.1)
    cluster.faults = [Fault(until=answers)]
    with pytest.raises(ConnectionRefused, match="no Kubernetes answers"):
        pods.list()
    assert cluster.lists() == asked + 1
    answers.set()


def test_a_slow_call_makes_no_other_wait(cluster, pods):
    answers = threading.Event()
    cluster.faults = [Fault(until=answers, path="pod-1/resize")]
    first, second = pods.list()
    slow = threading.Thread(target=pods.resize, args=[first, 512 * MIB])
    slow.start()
    pods.resize(second, 2048 * MIB)
    assert slow.is_alive()
    answers.set()
    slow.join()


def test_nobody_answers(cluster, pods, tmp_path, monkeypatch):
    cluster.url = "http://127.0.0.1:1"
    with pytest.raises(ConnectionRefused, match="no Kubernetes answers"):
        pods_of(cluster, tmp_path / "config", monkeypatch).list()


def test_what_the_server_must_have(cluster, pods):
    assert pods.check() == 2
    cluster.resizes_pods = False
    with pytest.raises(UsageError, match=r", v1\.32\.4, .* needs Kubernetes 1\.33 or later"):
        pods.check()


def test_a_token_in_a_file_is_read_again_when_it_is_refused(cluster, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("first\n")
    cluster.token = "first"
    pods = pods_of(cluster, tmp_path / "config", monkeypatch, tokenFile=str(token))
    assert len(pods.list()) == 2
    cluster.token = "second"
    token.unlink()
    with pytest.raises(PlatformRejected, match="401"):
        pods.list()
    token.write_text("second\n")
    assert len(pods.list()) == 2


def test_several_kubeconfigs(cluster, tmp_path, monkeypatch):
    """As kubectl has it: the first that names a context has the say."""
    pods_of(cluster, tmp_path / "a", monkeypatch)
    other = kubeconfig(Cluster({}, url="http://127.0.0.1:1")).replace('"test"', '"other"')
    (tmp_path / "b").write_text(other)
    files = [tmp_path / "none", tmp_path / "a", tmp_path / "b"]
    monkeypatch.setenv("KUBECONFIG", ":".join(map(str, files)))
    assert len(KubernetesPods(connect(), "openwhisk").list()) == 2


def test_in_a_pod(cluster, tmp_path, monkeypatch, capsys):
    """A service account's token is renewed, and may be gone for a moment."""
    from kubernetes.config import incluster_config

    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    certificate.write_text("a certificate")
    monkeypatch.setattr(asking, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", cluster.url.rpartition(":")[2])
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate))
    # The server of this test speaks no TLS.
    real = incluster_config.InClusterConfigLoader._set_config

    def plain(self, configuration):
        self.host, self.ssl_ca_cert = cluster.url, None
        real(self, configuration)

    monkeypatch.setattr(incluster_config.InClusterConfigLoader, "_set_config", plain)
    pods = KubernetesPods(connect(), "openwhisk")
    assert len(pods.list()) == 2
    cluster.token = "second"
    token.unlink()
    with pytest.raises(PlatformRejected, match="401"):
        pods.list()
    token.write_text("second")
    assert len(pods.list()) == 2
    assert cluster.requests[-1]["authorization"].lower() == "bearer second"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["", "7", "{}", "a: b: c", "clusters: [7]", "current-context: x"])
def test_what_is_no_kubeconfig(tmp_path, monkeypatch, text):
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(ConnectionRefused, match="neither a kubeconfig nor a service") as error:
        connect()
    assert len(str(error.value).splitlines()) == 1


def test_no_cluster_is_configured(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ConnectionRefused, match="neither a kubeconfig nor a service account"):
        connect()
    assert capsys.readouterr().out == ""


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(UsageError, match=r"pip install 'disdel\[kubernetes\]'"):
        connect()


def test_one_line():
    assert one_line("a\nb\x00\u202e☃") == "a\\nb\\x00\\u202e☃"
    assert one_line("x" * 301) == "x" * 300 + "…"
