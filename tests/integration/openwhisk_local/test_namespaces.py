"""Several namespaces on one platform: each has its key, and sees nothing of the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from disdel.errors import UsageError
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from openwhisk_local.records import read_records
from tests.support import local_http
from tests.support.embedded import User, is_error
from tests.support.waiting import wait_until

CODE = (
    "import os\n"
    "def main(args):\n"
    "    print('said')\n"
    "    return {key: os.environ[key] for key in ('__OW_NAMESPACE', '__OW_ACTION_NAME')}\n"
)


def options(folder: Path) -> EmbeddedOptions:
    return EmbeddedOptions(
        state_dir=folder / "state",
        state=folder / "kept",
        limits="stock",
        user_memory_mb=512,
        namespaces=("team", "b@c"),
    )


def users(folder: Path) -> Iterator[dict[str, User]]:
    with start_embedded(options(folder)) as started:
        record = next(read_records(folder / "state"))
        keys = {"guest": started.access.auth, **started.info.namespaces}
        clients = {}
        for name, key in keys.items():
            base = f"{started.access.apihost}/api/v1/namespaces/_"
            auth = tuple(key.split(":"))
            client = httpx.Client(base_url=base, auth=auth, timeout=70, trust_env=False)
            clients[name] = User(client, record)
        yield clients
        for user in clients.values():
            user.client.close()


@pytest.fixture
def everybody(tmp_path: Path) -> Iterator[dict[str, User]]:
    yield from users(tmp_path)


def test_each_has_its_own(everybody: dict[str, User], tmp_path: Path) -> None:
    assert everybody.keys() == {"guest", "team", "b@c"}
    seen = {}
    for name, user in everybody.items():
        root = str(user.client.base_url).removesuffix("_/")
        assert user.client.get(root).json() == [name]
        user.put("a", CODE)
        reply = user.invoke("a").json()
        assert reply["response"]["result"] == {
            "__OW_NAMESPACE": name,
            "__OW_ACTION_NAME": f"/{name}/a",
        }
        assert (reply["namespace"], reply["subject"]) == (name, name)
        user.activation(reply["activationId"])
        seen[name] = reply["activationId"]
        [listed] = user.client.get("/actions").json()
        assert listed["namespace"] == name
        assert user.client.put("/triggers/t", json={}).json()["namespace"] == name
        names = {"trigger": "/_/t", "action": f"/{name}/a"}
        rule = user.client.put("/rules/r", json=names).json()
        assert rule["action"] == {"path": name, "name": "a"}
        fired = user.client.post("/triggers/t", json={}).json()["activationId"]
        assert user.activation(fired)["namespace"] == name
        assert user.client.put("/packages/p", json={}).json()["namespace"] == name
    for name, user in everybody.items():
        own = {row["activationId"] for row in user.client.get("/activations").json()}
        assert seen[name] in own
        for other in seen.keys() - {name}:
            assert seen[other] not in own
            assert user.client.get(f"/activations/{seen[other]}").status_code == 404
            is_error(
                user.client.get(f"{user.record.apihost}/api/v1/namespaces/{other}/actions/a"),
                403,
                f"The supplied authentication is not authorized to access '{other}/a'.",
            )
            sequence = {"exec": {"kind": "sequence", "components": [f"/{other}/a"]}}
            assert user.client.put("/actions/s", json=sequence).status_code == 403
            binding = {"binding": {"namespace": other, "name": "p"}}
            assert user.client.put("/packages/q", json=binding).status_code == 403


def test_containers_and_limits_are_not_shared(everybody: dict[str, User]) -> None:
    counter = "import os\nCALLS = []\ndef main(args): CALLS.append(1); return {'n': len(CALLS)}"
    for user in everybody.values():
        user.put("count", counter)
        for n in (1, 2):
            assert user.invoke("count").json()["response"]["result"] == {"n": n}
    team = everybody["team"]
    # Whatever the minute, more than one of them can have.
    wait_until(lambda: team.client.post("/actions/absent", json={}).status_code == 429)
    assert everybody["guest"].invoke("count").status_code == 200


def test_web_actions_go_by_their_url(everybody: dict[str, User]) -> None:
    for name, user in everybody.items():
        code = f"def main(args): return {{'body': {name!r}}}"
        user.put("web", code, annotations=[{"key": "web-export", "value": True}])
    host = everybody["guest"].record.apihost
    for name in everybody:
        reply = local_http.get(f"{host}/api/v1/web/{name}/default/web.http")
        assert reply.text == name
    assert local_http.get(f"{host}/api/v1/web/other/default/web.http").status_code == 404


def test_they_outlive_the_platform(tmp_path: Path) -> None:
    auths = []
    for _ in range(2):
        for everybody in users(tmp_path):
            auths.append([user.client.auth._auth_header for user in everybody.values()])
            for name, user in everybody.items():
                if len(auths) == 1:
                    user.put("a", CODE)
                    user.activation(user.invoke("a").json()["activationId"])
                else:
                    [action] = user.client.get("/actions").json()
                    assert action["namespace"] == name
                    [record] = user.client.get("/activations").json()
                    assert record["namespace"] == name
    assert auths[0] == auths[1]


@pytest.mark.parametrize("name", ["guest", "_", "", "a/b", "ä", "x" * 300])
def test_what_no_namespace_can_be_called(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no namespace can be called"):
        start_embedded(EmbeddedOptions(state_dir=tmp_path, namespaces=(name,)))
