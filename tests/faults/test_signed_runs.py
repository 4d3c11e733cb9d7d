"""Runs whose requests are signed, with replies that others have made: the same weights, exit 0."""

import contextlib
import json
import secrets
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from disdel.platforms.openwhisk import exchange
from disdel.protocol.signing import Signer, check_request
from disdel.types.events import ActivationEnded, RoundDone
from tests.support.fault_proxies import Fault, http_reply
from tests.support.linear import outcome

SAID = {"outcome": "ok", "next_step": 9, "samples": 1, "loss_sum": 0.1, "train_s": 1, "peak_mb": 1}


def record(result):
    """The answer to a blocking invocation."""
    told = {
        "activationId": secrets.token_hex(16),
        "name": "train",
        "start": 1,
        "end": 2,
        "duration": 1,
        "annotations": [],
        "logs": [],
        "response": {"status": "success", "success": True, "result": result},
    }
    header = f"x-openwhisk-activation-id: {told['activationId']}\r\n"
    return http_reply(200, json.dumps(told).encode(), header)


def of_another_run():
    """A reply that is signed, to another request, by another key."""
    signer = Signer(key=b"another" * 8)
    sent = signer.signed({"run": "r", "invocation": "i"}, lasts_s=60)
    return check_request(sent, lambda _run, _endpoint: b"another" * 8)(dict(SAID))


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "signing-key"
    path.write_text(secrets.token_hex(32))
    return path


@pytest.mark.parametrize(
    "result",
    [of_another_run(), {**SAID, "loss_sum": float("nan")}],
    ids=["another's", "NaN"],
)
def test_a_reply_that_others_have_made_disturbs_nobody(train, api, whole, key_file, result):
    told = []

    def listen(event):
        if isinstance(event, RoundDone) and event.report.round == 1:
            api.on("POST actions", record(result))
        if isinstance(event, ActivationEnded) and event.activation.outcome == "error":
            told.append(event.activation)

    report, folder = train(listen, signing_key=key_file)
    assert outcome(report)[0] == whole[0]
    assert len(told) == report.totals.failed == 1
    assert {fault.name for _, fault in api.struck} == {"200"}
    key = key_file.read_text()
    for file in folder.path.rglob("*"):
        assert not file.is_file() or key not in file.read_text(errors="replace")


def test_a_reply_without_end_is_not_read_to_its_end(train, api, whole, key_file, monkeypatch):
    """The activation's claim says which it was, and its record what came of it."""
    monkeypatch.setattr(exchange, "_MOST_BYTES", 1 << 20)
    body = b"{" + b" " * (1 << 26) + b"}"
    api.on("POST actions", Fault("64 MB", reply=http_reply(200, body).reply, reaches=True))
    del body
    report, _ = train(signing_key=key_file)
    assert outcome(report) == whole
    assert report.totals.failed == 0


def test_who_has_the_key_of_the_namespace_alone_is_refused(train, servers, key_file):
    """And reads no secret in the run's records, nor does who sees the machine's processes."""
    access = servers[0]
    secret_texts = (key_file.read_text(), urlsplit(servers[1]).password)
    commands = []

    def listen(event):
        if isinstance(event, RoundDone):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error, OSError):
                    commands.append(" ".join(process.cmdline()))

    report, _ = train(listen, signing_key=key_file, keep=True)
    api = f"{access.apihost}/api/v1/namespaces/_"
    with httpx.Client(auth=tuple(access.auth.split(":", 1)), timeout=60, trust_env=False) as client:
        action = f"{api}/actions/disdel-{report.run}/collectWeights?blocking=true"
        answer = client.post(action, json={"task": "collect"}).json()["response"]["result"]
        records = client.get(f"{api}/activations?docs=true&limit=200").text
    assert answer["error"]["kind"] == "refused"
    assert "takes signed requests alone" in answer["error"]["message"]
    assert report.activations[0].id in records
    assert commands
    for text in secret_texts:
        assert text not in records
        assert not any(text in command for command in commands)
