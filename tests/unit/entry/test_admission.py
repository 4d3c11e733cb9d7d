"""Functions with a secret: they run what is signed for them, and nothing else."""

import base64
from dataclasses import replace

import pytest

from disdel.controller.invoking.signed_code import signed_action
from disdel.entry.admission import Admission, deployed_admission
from disdel.entry.answering import Answering
from disdel.entry.containers import Containers
from disdel.errors import UsageError
from disdel.platforms.base import ActionSpec
from disdel.protocol.calls import CALLS_VERSION, code_digest
from disdel.protocol.signing import CODE_SIGNATURE, Signer, key_of_run
from disdel.protocol.signing_keys import ENDPOINT_ENV, FILE_ENV, KEY_ENV
from tests.unit.entry.test_containers import zipped

SECRET, RUN = b"a secret that is long enough for us", "r:1"
SIGNER = Signer(key=key_of_run(SECRET, RUN, "edge"), endpoint="edge")
# Whatever runs there tells what it knows.
CODE = zipped("import os\ndef main(args):\n    return {'knows': sorted(os.environ)}\n")
EVIL = zipped("def main(args):\n    return {'evil': True}\n")


@pytest.fixture
def answering(monkeypatch):
    monkeypatch.setenv(KEY_ENV, SECRET.decode())
    monkeypatch.setenv(ENDPOINT_ENV, "edge")
    containers = Containers()
    yield Answering(containers, admission=deployed_admission())
    containers.close()


def call(signer=SIGNER, *, run=RUN, code=CODE, sent=None, **changes):
    """A request of a controller, with other code than it has signed where that is `sent`."""
    spec = signed_action(ActionSpec(name="a", code=code, memory_mb=256, timeout_s=20), signer)
    arguments = signer.signed({"run": run, "invocation": "i", "task": "train"}, lasts_s=60)
    sent = spec.code if sent is None else sent
    return {
        "disdel": CALLS_VERSION,
        "do": "call",
        "key": "p/a/1",
        "action": "a",
        "digest": code_digest(sent),
        "code": base64.b64encode(sent).decode(),
        "arguments": {**spec.parameters, **arguments, **changes},
        "activation_id": "a" * 32,
        "timeout_s": 20.0,
        "memory_mb": 256,
        "reply_bytes": 100_000,
        "room_mb": 256,
    }


def test_what_is_signed_runs_and_does_not_learn_the_secret(answering):
    record = answering.answer(call())
    assert record["ending"] == "success"
    assert "PATH" in record["result"]["knows"]
    assert not {KEY_ENV, FILE_ENV} & set(record["result"]["knows"])


OTHER = Signer(key=key_of_run(SECRET, RUN, "other"), endpoint="other")


# Each is made in its test: a signature lasts a while.
@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: call(signature=None), "takes signed requests alone"),
        (lambda: call(round=2), "something of the request was changed"),
        (lambda: call(run="r:2"), "not by this endpoint's key"),
        (lambda: call(OTHER), "is for the endpoint other, and this endpoint is edge"),
        (lambda: call(replace(OTHER, endpoint="edge")), "not by this endpoint's key"),
        (lambda: call(sent=EVIL), "the code of this request is not signed"),
        (lambda: call(**{CODE_SIGNATURE: None}), "the code of this request is not signed"),
        (
            lambda: call(**{CODE_SIGNATURE: OTHER.of_code("")}),
            "the code of this request is not signed",
        ),
    ],
    ids=["none", "changed", "run", "endpoint", "key", "code", "uncoded", "other code"],
)
def test_what_is_not_is_refused_before_its_code_is_unpacked(answering, made, why):
    record = answering.answer(made())
    assert record["ending"] == "application-error"
    assert record["result"]["error"]["kind"] == "refused"
    assert why in record["result"]["error"]["message"]
    assert not list(answering.containers.folder.glob("code-*"))


def test_code_that_is_there_already_is_of_its_own_run(answering):
    """Another run's code, which lies there, runs for none but that run."""
    there = call()
    assert answering.answer(there)["ending"] == "success"
    second = Signer(key=key_of_run(SECRET, "r:2", "edge"), endpoint="edge")
    arguments = second.signed({"run": "r:2", "invocation": "i"}, lasts_s=60)
    told = {CODE_SIGNATURE: there["arguments"][CODE_SIGNATURE]}
    taken = {**there, "arguments": {**arguments, **told}}
    del taken["code"]
    assert "code of this request" in answering.answer(taken)["result"]["error"]["message"]


def test_without_a_secret_an_endpoint_takes_what_comes(tmp_path):
    assert deployed_admission({}) is None
    (tmp_path / "secret").write_bytes(SECRET)
    environ = {FILE_ENV: str(tmp_path / "secret"), ENDPOINT_ENV: "edge"}
    assert deployed_admission(environ) == Admission(SECRET, "edge")
    with pytest.raises(UsageError, match="cannot be read"):
        deployed_admission({FILE_ENV: str(tmp_path / "gone")})
