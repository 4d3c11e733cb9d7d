"""Who may ask, and whose answer it is: signatures of requests and replies."""

import json
import math
import time

import pytest

from disdel.errors import RequestRefused, UsageError
from disdel.protocol import signing_keys
from disdel.protocol.messages import WIRE_VERSION
from disdel.protocol.signing import Signer, canonical, check_request, key_of_run
from disdel.worker.trust import admitted

SECRET = b"a secret that is long enough for us"
RUN = "swift-river:1"
KEY = key_of_run(SECRET, RUN, "edge-1")
SIGNER = Signer(key=KEY, endpoint="edge-1")
ARGUMENTS = {
    "v": WIRE_VERSION,
    "run": RUN,
    "store": "redis://h",
    "task": "train",
    "round": 3,
    "worker": 1,
    "rate": 0.1,
    "weight": 2.0,
    "invocation": "abc",
    "nested": {"keys": ["a", {"b": 1e-7}]},
}


def key_of(run, endpoint):
    return key_of_run(SECRET, run, endpoint)


def signed(**changes):
    return SIGNER.signed({**ARGUMENTS, **changes}, lasts_s=60.0)


def test_a_request_and_its_reply():
    sent = signed()
    sign = check_request(sent, key_of, endpoint="edge-1")
    reply = {"outcome": "ok", "loss_sum": 1.0, "samples": 3}
    assert SIGNER.check_reply(sign(reply), sent) == reply
    assert check_request(sent, key_of)


def javascript(value):
    """What is left of a number where 1.0 is 1."""
    if isinstance(value, dict):
        return {name: javascript(part) for name, part in value.items()}
    if isinstance(value, list):
        return [javascript(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def test_a_platform_that_writes_json_its_own_way_changes_nothing():
    sent = signed()
    passed = javascript(json.loads(json.dumps(dict(reversed(sent.items())))))
    assert type(passed["weight"]) is int
    # What platforms, and the deployment of an action, add.
    added = {"__ow_headers": {"x": "y"}, "client_secret": "feed"}
    sign = check_request({**passed, **added}, key_of)
    reply = sign({"loss_sum": 4.0})
    assert SIGNER.check_reply(javascript(reply), sent) == {"loss_sum": 4}


@pytest.mark.parametrize(
    "change",
    [
        {"round": 4},
        {"run": "another:1"},
        {"worker": 2},
        {"invocation": "abd"},
        {"store": "redis://evil"},
        {"env": {"LD_PRELOAD": "/tmp/x"}},
        {"nested": {"keys": ["a", {"b": 1e-8}]}},
    ],
    ids=str,
)
def test_what_was_changed_or_added_on_the_way_is_refused(change):
    with pytest.raises(
        RequestRefused, match=r"not by this endpoint's key, or something .* changed"
    ):
        check_request({**signed(), **change}, key_of)


def test_what_was_left_out_on_the_way_is_refused():
    sent = signed()
    del sent["rate"]
    with pytest.raises(RequestRefused, match="was changed"):
        check_request(sent, key_of)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "x",
        [],
        {},
        {"mac": 7},
        {"mac": "ü", "expires_s": 1},
        {"mac": "0" * 64, "endpoint": "edge-1", "expires_s": 9e99},
        {"mac": "0" * 64, "endpoint": math.nan, "expires_s": None},
    ],
    ids=str,
)
def test_a_signature_that_is_none_is_refused(signature):
    with pytest.raises(RequestRefused):
        check_request({**ARGUMENTS, "signature": signature}, key_of)


def test_another_key_another_endpoint_and_another_time_are_refused():
    other = Signer(key=key_of_run(SECRET + b"x", RUN)).signed(ARGUMENTS, lasts_s=60.0)
    with pytest.raises(RequestRefused, match="not by this endpoint's key"):
        check_request(other, key_of)
    with pytest.raises(
        RequestRefused, match="is for the endpoint edge-1, and this endpoint is edge-2"
    ):
        check_request(signed(), key_of, endpoint="edge-2")
    with pytest.raises(RequestRefused, match=r"has expired 1\d\d s ago"):
        check_request(signed(), key_of, now_s=time.time() + 200)
    with pytest.raises(RequestRefused, match="no invocation"):
        check_request(signed(invocation=None), key_of)
    assert check_request(signed(invocation=None, task="probe"), key_of)
    alone = Signer(key=key_of_run(SECRET, RUN)).signed(ARGUMENTS, lasts_s=60.0)
    with pytest.raises(RequestRefused, match=r"names none, and this endpoint is edge-1: .*without"):
        check_request(alone, key_of, endpoint="edge-1")
    assert check_request(alone, key_of)


def test_the_key_of_one_endpoint_signs_nothing_of_another(bundle):
    """Not with the same secret behind both, and not under the other's name."""
    (bundle / signing_keys.BUNDLED).write_text(key_of_run(SECRET, RUN, "edge-2").hex())
    with pytest.raises(RequestRefused, match="not by this endpoint's key"):
        admitted(signed(), {}, bundle)
    theirs = Signer(key=key_of_run(SECRET, RUN, "edge-2"), endpoint="edge-1")
    with pytest.raises(RequestRefused, match="not by this endpoint's key"):
        check_request(theirs.signed(ARGUMENTS, lasts_s=60.0), key_of)
    sent = signed()
    forged = check_request(
        theirs.signed(ARGUMENTS, lasts_s=60.0), lambda _run, _endpoint: theirs.key
    )
    with pytest.raises(RequestRefused, match="not signed for this request by its key"):
        SIGNER.check_reply(forged({"outcome": "ok"}), sent)


def test_a_reply_answers_its_request_alone():
    first, second = signed(), signed(invocation="abd")
    sign = check_request(first, key_of)
    reply = sign({"outcome": "ok"})
    for wrong, why in (
        ({"outcome": "ok"}, "its reply is not signed"),
        ({**reply, "outcome": "bad"}, "not signed for this request"),
        ({**reply, "more": 1}, "not signed for this request"),
        ({**reply, "signature": "0" * 64}, "not signed for this request"),
        ({**reply, "loss": math.nan}, "NaN or infinity"),
        ("text", "no JSON object"),
        (None, "no JSON object"),
    ):
        with pytest.raises(RequestRefused, match=why):
            SIGNER.check_reply(wrong, first)
    with pytest.raises(RequestRefused, match="not signed for this request"):
        SIGNER.check_reply(reply, second)


def test_canonical_json_has_no_other_numbers():
    assert canonical({"b": [1.0, -0.0, 1e300, 0.1], "a": "ü"}) == (
        b'{"a":"\\u00fc","b":[1,0,1e+300,0.1]}'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical([math.inf])


@pytest.fixture
def bundle(tmp_path):
    """The root of an action's zip."""
    return tmp_path


def test_who_has_no_key_takes_what_comes(bundle):
    assert admitted(ARGUMENTS, {}, bundle)({"a": 1}) == {"a": 1}
    assert admitted(signed(), {}, bundle)({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("how", ["bundled", "environment", "file"])
def test_an_endpoint_with_a_key_takes_signed_requests_alone(bundle, how):
    environ = {}
    if how == "bundled":
        (bundle / signing_keys.BUNDLED).write_text(KEY.hex())
    elif how == "environment":
        environ[signing_keys.KEY_ENV] = SECRET.decode()
    else:
        (bundle / "secret").write_bytes(SECRET + b"\n")
        environ[signing_keys.FILE_ENV] = str(bundle / "secret")
    sent = signed()
    assert SIGNER.check_reply(admitted(sent, environ, bundle)({"a": 1}), sent) == {"a": 1}
    with pytest.raises(RequestRefused, match=r"takes signed requests alone.*--signing-key"):
        admitted(ARGUMENTS, environ, bundle)


@pytest.mark.parametrize("text", ["", "too short", None])
def test_a_key_that_is_none_opens_nothing(bundle, text):
    if text is not None:
        (bundle / "secret").write_text(text)
    with pytest.raises(UsageError, match=r"the signing key .*secret") as caught:
        admitted(signed(), {signing_keys.FILE_ENV: str(bundle / "secret")}, bundle)
    assert "too short" not in str(caught.value)
    (bundle / signing_keys.BUNDLED).write_text("no key")
    with pytest.raises(UsageError, match="holds no key"):
        admitted(signed(), {}, bundle)


@pytest.mark.parametrize(
    ("versions", "why"),
    [
        ({"disdel": "99.1.0"}, r"controller has disdel 99\.1\.0 and .*: update this endpoint"),
        ({"disdel": "0.0.9"}, r"update the controller, so that both have disdel 0\.1"),
        ({"python": "3.5.1"}, "update the controller"),
        ({"numpy": "99.0"}, "update this endpoint"),
        ({"torch": "99.0+cpu"}, r"has torch 99\.0\+cpu and .*: update this endpoint"),
        ({"tensorflow": "2.0.1"}, r"tensorflow 2\.0\.1 and .*: update the controller"),
        ({"no-such-package": "1.0"}, "asks for no-such-package 1.0, which is not installed here"),
    ],
    ids=str,
)
def test_versions_are_compared_before_all_else(bundle, versions, why):
    (bundle / signing_keys.BUNDLED).write_text("no key")
    with pytest.raises(UsageError, match=why):
        admitted({**ARGUMENTS, "versions": versions}, {}, bundle)


def test_patches_of_a_version_are_no_other(bundle):
    wanted = {"disdel": "0.1.99", "python": "{}.{}".format(*__import__("sys").version_info[:2])}
    assert admitted({**ARGUMENTS, "versions": wanted}, {}, bundle)


def test_what_is_sent_again_is_refused_where_no_store_has_its_claim(bundle):
    (bundle / signing_keys.BUNDLED).write_text(KEY.hex())
    sent = signed(store="inline:{}", invocation="once")
    assert admitted(sent, {}, bundle)
    with pytest.raises(RequestRefused, match="was sent before"):
        admitted(sent, {}, bundle)
    # With what is not signed, nobody uses up another's.
    forged = {**signed(store="inline:{}", invocation="twice"), "signature": {"mac": "0" * 64}}
    with pytest.raises(RequestRefused, match="was changed"):
        admitted(forged, {}, bundle)
    assert admitted(signed(store="inline:{}", invocation="twice"), {}, bundle)
    # The store that all processes share sees to others.
    assert admitted(signed(), {}, bundle)
    assert admitted(signed(), {}, bundle)
