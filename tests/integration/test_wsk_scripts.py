"""The deploy scripts, against a `wsk` that checks every call, and against the embedded platform."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import redis

import disdel
from disdel.controller.invoking.bundle import build_bundle
from disdel.memory_agent.pods import SELECTOR
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.protocol import memory_grant
from disdel.protocol.messages import WIRE_VERSION
from disdel.store.redis_store import RedisStore
from tests.support import SUPPORT

SCRIPTS = Path("scripts").resolve()
BASH_SCRIPTS = (
    *(SCRIPTS / name for name in ("build-bundles", "kind-openwhisk")),
    *(SCRIPTS / name for name in ("wsk-deploy", "wsk-remove", "wsk-train-once")),
    Path("runtime-image/build").resolve(),
    Path("openwhisk-patches/apply").resolve(),
)
ACTIONS = ("train", "collectWeights", "evaluate")


class Shell:
    """Runs scripts with recorders in place of the commands that they call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls_file = folder / "calls"
        self.env = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(SCRIPTS.parent),
            "WSK_TEST_CALLS": str(self.calls_file),
            "DISDEL_DATA_DIR": os.environ["DISDEL_DATA_DIR"],
        }
        recorder = SUPPORT / "wsk_recorder.py"
        self.command("wsk", f'exec {sys.executable} {recorder} "$@"')

    def command(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPTS / script), *arguments],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[list[str]]:
        """What `wsk` was called with, with the temporary folder of zips left out."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        calls = [json.loads(line) for line in lines]
        return [
            [Path(word).name if word.startswith(str(self.folder)) else word for word in call]
            for call in calls
        ]

    def parameters(self) -> dict[str, object]:
        """Those of the package that was made last."""
        [*_, last] = Path(f"{self.calls_file}.parameters").read_text().splitlines()
        return dict(json.loads(last))

    def left(self) -> set[str]:
        """Folders that a script has left behind."""
        return {path.name for path in self.folder.iterdir() if path.is_dir()}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_deploying_is_one_package_and_three_actions(shell: Shell) -> None:
    done = shell.run("wsk-deploy", "--redis", "redis://redis.disdel:6379")
    assert done.returncode == 0, done.stderr
    tag = disdel.__version__
    train = [f"--docker=disdel/runtime-tensorflow:{tag}", "--memory=1024", "--timeout=300000"]
    collect = [f"--docker=disdel/runtime-base:{tag}", "--memory=256", "--timeout=300000"]
    calls = shell.calls()
    assert calls[0] == ["package", "update", "disdel", "--param-file", "parameters.json"]
    assert shell.parameters() == {
        "v": WIRE_VERSION,
        "run": "by-hand",
        "store": "redis://redis.disdel:6379",
    }
    assert calls[1:] == [
        ["action", "update", f"disdel/{name}", f"{name}.zip", *flags(limits)]
        for name, limits in zip(ACTIONS, (train, collect, train), strict=True)
    ]
    assert shell.left() == set()


def flags(pairs: list[str]) -> list[str]:
    return [word for pair in pairs for word in pair.split("=")]


def test_deploying_with_other_choices(shell: Shell) -> None:
    done = shell.run(
        *("wsk-deploy", "--insecure", "--package", "mine", "--run", "r1"),
        *("--image-prefix", "registry.example/team/", "--image-tag", "7"),
        *("--memory", "2048", "--collect-memory", "128", "--timeout", "60"),
        DISDEL_REDIS="redis://:key@host",
    )
    assert done.returncode == 0, done.stderr
    calls = shell.calls()
    assert all(call[0] == "--insecure" for call in calls)
    assert shell.parameters()["store"] == "redis://:key@host"
    assert "key" not in str(calls)
    assert calls[1][3:] == [
        *("mine/train", "train.zip", "--docker", "registry.example/team/runtime-tensorflow:7"),
        *("--memory", "2048", "--timeout", "60000"),
    ]
    assert calls[2][7:9] == ["--memory", "128"]


def test_deploying_on_a_kind(shell: Shell) -> None:
    assert shell.run("wsk-deploy", "--redis", "redis://r", "--kind", "python:3.11").returncode == 0
    for call in shell.calls()[1:]:
        assert call[4:6] == ["--kind", "python:3.11"]
        assert "--docker" not in call


def test_a_failure_of_wsk_ends_the_script(shell: Shell) -> None:
    shell.command("wsk", "echo 'error: no' >&2; exit 2")
    done = shell.run("wsk-deploy", "--redis", "redis://r")
    assert done.returncode == 2
    assert "error: no" in done.stderr
    assert shell.left() == set()


def test_removing(shell: Shell) -> None:
    done = shell.run("wsk-remove", "--package", "mine")
    assert done.returncode == 0, done.stderr
    assert shell.calls() == [
        *(["action", "delete", f"mine/{name}"] for name in ACTIONS),
        ["package", "delete", "mine"],
    ]


def test_removing_takes_the_keys_along_or_says_that_they_stay(shell: Shell, redis_url: str) -> None:
    store = RedisStore(redis_url)
    store.put("disdel:mine:state:1", b"x")
    assert "disdel:mine:* stay in Redis" in shell.run("wsk-remove", "--run", "mine").stdout
    done = shell.run("wsk-remove", "--run", "mine", "--redis", redis_url)
    assert "removed 2 keys disdel:mine:*" in done.stdout, done.stderr
    assert store.open("disdel:mine:state:1") is None
    store.close()
    done = shell.run("wsk-remove", "--redis", "redis://127.0.0.1:1")
    assert done.returncode == 1
    assert "no Redis answers" in done.stderr


def test_a_failure_to_remove_is_told(shell: Shell) -> None:
    shell.command("wsk", "echo 'error: The supplied authentication is invalid' >&2; exit 1")
    done = shell.run("wsk-remove")
    assert done.returncode == 1
    assert "authentication is invalid" in done.stderr


def test_bundles_are_the_bundles(shell: Shell) -> None:
    done = shell.run("build-bundles", str(shell.folder / "zips"))
    assert done.returncode == 0, done.stderr
    for action in ACTIONS:
        bundle = shell.folder / "zips" / f"{action}.zip"
        assert bundle.read_bytes() == build_bundle(action)
        assert zipfile.is_zipfile(bundle)
        assert f"{bundle}\n" in done.stdout


@pytest.mark.framework
def test_a_run_by_hand_on_the_embedded_platform(shell: Shell, redis_url: str) -> None:
    """Deploy, train, average, score and remove, twice over."""
    with start_embedded(EmbeddedOptions()) as platform:
        shell.env["WSK_TEST_APIHOST"] = platform.access.apihost
        shell.env["WSK_TEST_AUTH"] = platform.access.auth
        for _ in range(2):
            done = shell.run("wsk-deploy", "--redis", redis_url)
            assert done.returncode == 0, done.stderr
        done = shell.run("wsk-train-once", "--redis", redis_url, "--epochs", "15")
        assert done.returncode == 0, done.stdout + done.stderr
        word, accuracy = done.stdout.splitlines()[-1].split()
        assert (word, float(accuracy) > 0.8) == ("accuracy", True)
        for said in ("ok: deleted package disdel", "there is no package disdel"):
            done = shell.run("wsk-remove", "--redis", redis_url)
            assert done.returncode == 0, done.stderr
            assert said in done.stdout
        with redis.Redis.from_url(redis_url) as client:
            assert client.keys("disdel:by-hand:*") == []
        gone = shell.run("wsk-train-once", "--redis", redis_url)
        assert gone.returncode == 1
        assert "does not exist" in gone.stderr
    assert shell.left() == set()
    store = RedisStore(redis_url)
    store.delete_prefix("disdel:by-hand:")
    store.close()


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (
            {"error": {"kind": "store", "message": "no"}},
            "of train failed; see",
        ),
        ({"outcome": "continued-time"}, "wants to be continued"),
    ],
)
def test_a_run_that_does_not_end_well(
    shell: Shell, redis_url: str, result: dict[str, object], why: str
) -> None:
    shell.command(
        "wsk",
        'case "$1" in\n'
        f"action) echo 'ok: invoked /_/disdel/train with id {'a' * 32}' ;;\n"
        f"activation) echo '{json.dumps(result)}' ;;\n"
        "esac",
    )
    done = shell.run("wsk-train-once", "--redis", redis_url)
    assert done.returncode == 1
    assert why in done.stderr


def test_patience_ends(shell: Shell, redis_url: str) -> None:
    shell.command(
        "wsk",
        'case "$1" in\n'
        f"action) echo 'ok: invoked /_/disdel/train with id {'a' * 32}' ;;\n"
        "activation) echo 'error: The requested resource does not exist.' >&2; exit 148 ;;\n"
        "esac",
    )
    done = shell.run("wsk-train-once", "--redis", redis_url, "--patience", "0")
    assert done.returncode == 1
    assert "has not ended in 0 s" in done.stderr


@pytest.mark.parametrize("script", BASH_SCRIPTS, ids=lambda path: path.name)
def test_help_and_wrong_usage(shell: Shell, script: Path) -> None:
    helped = shell.run(str(script), "--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith("usage: ")
    wrong = shell.run(str(script), "--nonsense")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("usage: ")
    assert shell.calls() == []


@pytest.mark.parametrize("script", ["wsk-deploy", "wsk-train-once"])
def test_a_redis_must_be_named(shell: Shell, script: str) -> None:
    done = shell.run(script)
    assert done.returncode == 2
    assert "name the Redis with --redis URL" in done.stderr


@pytest.mark.parametrize("script", BASH_SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_strict_and_clean(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text()
    shellcheck = shutil.which("shellcheck") or shutil.which(
        "shellcheck", path=str(Path(sys.executable).parent)
    )
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def cluster(shell: Shell) -> Shell:
    """A shell whose kind, kubectl, helm, docker, git and wsk write down how they are called."""
    for name in ("kind", "kubectl", "helm", "docker", "git", "wsk"):
        shell.command(
            name, f'echo "{name} $*" >> {shell.folder}/log\n. {shell.folder}/{name}.answer'
        )
        shell.folder.joinpath(f"{name}.answer").write_text("")
    shell.folder.joinpath("docker.answer").write_text(
        "echo disdel/runtime-base:0.1.0\necho disdel/runtime-tensorflow:0.1.0\n"
    )
    shell.folder.joinpath("kubectl.answer").write_text(
        'case "$*" in *" get secret "*) printf dXVpZDpzZWNyZXQ= ;; esac\n'
    )
    return shell


def log_of(cluster: Shell) -> list[str]:
    return (cluster.folder / "log").read_text().replace(f"{SCRIPTS.parent}/", "").splitlines()


def test_a_cluster_with_openwhisk(cluster: Shell) -> None:
    props = cluster.folder / ".wskprops"
    props.write_text("AUTH=old:key\nNAMESPACE=_\n")
    done = cluster.run("kind-openwhisk", "up", "--chart", "/chart", "--node-image", "node:v1.35.0")
    assert done.returncode == 0, done.stderr
    assert props.read_text() == "NAMESPACE=_\nAPIHOST=https://localhost:31001\nAUTH=uuid:secret\n"
    assert props.stat().st_mode & 0o077 == 0
    kubectl = "kubectl --context kind-disdel"
    assert log_of(cluster) == [
        "kind get clusters",
        "kind create cluster --name disdel --config deploy/kind-cluster.yaml --wait 5m "
        "--image node:v1.35.0",
        "docker images --format {{.Repository}}:{{.Tag}} disdel/runtime-*",
        "kind load docker-image --name disdel disdel/runtime-base:0.1.0",
        "kind load docker-image --name disdel disdel/runtime-tensorflow:0.1.0",
        f"{kubectl} --namespace disdel get namespace disdel",
        f"{kubectl} --namespace disdel get secret redis",
        f"{kubectl} apply --filename deploy/redis.yaml",
        "helm --kube-context kind-disdel upgrade --install owdev /chart --namespace openwhisk "
        "--create-namespace --values deploy/openwhisk-values.yaml",
        f"{kubectl} --namespace openwhisk wait --for=condition=complete --timeout=15m "
        "job/owdev-install-packages",
        f"{kubectl} --namespace disdel rollout status deployment/redis --timeout=5m",
        f"{kubectl} --namespace openwhisk get secret owdev-whisk.auth "
        "--output jsonpath={.data.guest}",
        f"{kubectl} --namespace disdel get secret redis --output jsonpath={{.data.password}}",
    ]
    assert "redis://:uuid:secret@redis.disdel:6379" in done.stdout


def test_a_new_cluster_s_redis_has_a_password_of_its_own(cluster: Shell) -> None:
    (cluster.folder / "kubectl.answer").write_text(
        f'case "$*" in *" create secret "*) cat > {cluster.folder}/password ;; esac\n'
        'case "$*" in *" get namespace "*|*"get secret redis") exit 1 ;; esac\n'
        'case "$*" in *" get secret "*) printf dXVpZDpzZWNyZXQ= ;; esac\n'
    )
    done = cluster.run("kind-openwhisk", "up", "--chart", "/chart")
    assert done.returncode == 0, done.stderr
    created = [line for line in log_of(cluster) if " create " in line and "kubectl" in line]
    assert created[0].endswith("create namespace disdel")
    assert created[1].endswith("create secret generic redis --from-file=password=/dev/stdin")
    assert re.fullmatch(r"\w{48}", (cluster.folder / "password").read_text())


def test_a_cluster_that_is_there_is_kept(cluster: Shell) -> None:
    (cluster.folder / "kind.answer").write_text('[ "$1" != get ] || echo mine')
    arguments = ("up", "--cluster", "mine", "--chart", "/chart", "--image", "only:1")
    done = cluster.run("kind-openwhisk", *arguments)
    assert done.returncode == 0, done.stderr
    assert [line for line in log_of(cluster) if line.startswith("kind")] == [
        "kind get clusters",
        "kind load docker-image --name mine only:1",
    ]


def test_a_cluster_goes(cluster: Shell) -> None:
    assert cluster.run("kind-openwhisk", "down").returncode == 0
    assert log_of(cluster) == ["kind delete cluster --name disdel"]


def test_a_missing_command_is_named(shell: Shell) -> None:
    # Nothing else is on PATH: a test must not come near a cluster that somebody really has.
    for name in ("bash", "dirname"):
        shell.folder.joinpath(name).symlink_to(str(shutil.which(name)))
    shell.command("docker", "exit 0")
    done = shell.run("kind-openwhisk", "up", PATH=str(shell.folder))
    assert done.returncode == 2
    assert "kind is not on PATH" in done.stderr


def test_manifests_agree_with_the_scripts_and_the_chart() -> None:
    yaml = pytest.importorskip("yaml")
    root = SCRIPTS.parent
    [package] = yaml.safe_load((root / "deploy/manifest.yaml").read_text())["packages"].values()
    assert package["inputs"]["v"]["value"] == WIRE_VERSION
    assert package["inputs"]["store"]["value"] == "$DISDEL_REDIS"
    assert set(package["actions"]) == set(ACTIONS)
    for name, action in package["actions"].items():
        assert action["function"] == f"../build/actions/{name}.zip"
        assert action["docker"].endswith(f":{disdel.__version__}")
        assert action["limits"]["timeout"] == 300_000
    values = yaml.safe_load((root / "deploy/openwhisk-values.yaml").read_text())
    kind = yaml.safe_load((root / "deploy/kind-cluster.yaml").read_text())
    [port] = [port for node in kind["nodes"] for port in node.get("extraPortMappings", ())]
    assert values["whisk"]["ingress"]["apiHostPort"] == port["hostPort"] == 31001
    agent = (root / "openwhisk-patches/kubernetes/memory-agent.yaml").read_text()
    [container] = yaml.safe_load(agent)["spec"]["template"]["spec"]["containers"]
    limits = values["whisk"]["limits"]["actions"]["memory"]
    assert f"--ceiling={limits['max'].removesuffix('m')}" in container["args"]
    assert (
        f"--pool={values['whisk']['containerPool']['userMemory'].removesuffix('m')}"
        in (container["args"])
    )
    assert container["image"].endswith(f":{disdel.__version__}")
    secret = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in container["env"]}
    assert {name: key["name"] for name, key in secret.items()} == dict.fromkeys(
        ("DISDEL_REDIS", memory_grant.SECRET_ENV), "disdel-memory-agent"
    )
    rules = [
        rule
        for part in yaml.safe_load_all(
            (root / "openwhisk-patches/kubernetes/rbac.yaml").read_text()
        )
        for rule in part.get("rules", ())
    ]
    assert rules == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/resize"], "verbs": ["patch"]},
    ]
    policy, binding = yaml.safe_load_all(
        (root / "openwhisk-patches/kubernetes/admission.yaml").read_text()
    )
    pod = yaml.safe_load(agent)
    account = (pod["metadata"]["namespace"], pod["spec"]["template"]["spec"]["serviceAccountName"])
    [condition] = policy["spec"]["matchConditions"]
    assert f"'system:serviceaccount:{account[0]}:{account[1]}'" in condition["expression"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["validationActions"] == ["Deny"]
    redis = {
        part["kind"]: part for part in yaml.safe_load_all((root / "deploy/redis.yaml").read_text())
    }
    allowed = [
        (peer["namespaceSelector"]["matchLabels"], peer["podSelector"]["matchLabels"])
        for rule in redis["NetworkPolicy"]["spec"]["ingress"]
        for peer in rule["from"]
    ]
    here = {"kubernetes.io/metadata.name": account[0]}
    name, value = SELECTOR.split("=")
    labels = pod["spec"]["template"]["metadata"]["labels"]
    assert allowed == [(here, {name: value}), (here, labels)]
