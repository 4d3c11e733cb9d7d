"""Rows 31 to 38: what fails, how the caller learns of it, and whether the container is kept."""

from __future__ import annotations

import pytest

from tests.support.openwhisk import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    OpenWhisk,
    annotations,
    has_failed,
    is_cold,
)

MIB = 1 << 20
NO_BINARY = "The action failed to generate or locate a binary. See logs for details."
NO_DICTIONARY = "The action did not return a dictionary or array."
# By Docker's daemon, by Kubernetes, and where only the action's process was killed.
OUT_OF_MEMORY = (
    "The action exhausted its memory and was aborted.",
    "The action did not produce a valid response and exited unexpectedly.",
    "command exited",
)


def test_row_31_an_error_that_is_returned(whisk: OpenWhisk) -> None:
    name = whisk.action("def main(args): return {'error': {'k': 1}}")
    has_failed(whisk.invoke(name), APPLICATION_ERROR, {"k": 1})
    assert not is_cold(has_failed(whisk.invoke(name), APPLICATION_ERROR, {"k": 1}))


def test_row_32_an_error_that_is_raised(whisk: OpenWhisk) -> None:
    name = whisk.action("def main(args): raise ValueError('too bad')")
    has_failed(whisk.invoke(name), APPLICATION_ERROR, "too bad")
    again = has_failed(whisk.invoke(name), APPLICATION_ERROR, "too bad")
    assert not is_cold(again)
    assert "Traceback" in str(whisk.activation(again["activationId"])["logs"])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("'text'", NO_DICTIONARY),
        ("None", "The action did not produce a valid JSON or JSON Array response: null\n"),
        ("{'x': float('nan')}", NO_DICTIONARY),
        ("{'x': {1, 2}}", "command exited"),
    ],
)
def test_row_33_results_that_cannot_be(whisk: OpenWhisk, result: str, message: str) -> None:
    name = whisk.action(f"def main(args): return {result} if args else {{}}")
    assert whisk.invoke(name).status_code == 200
    warm = has_failed(whisk.invoke(name, {"x": 1}), DEVELOPER_ERROR, message)
    assert not is_cold(warm)
    assert is_cold(whisk.invoke(name).json())


def test_row_34_an_action_that_exits(whisk: OpenWhisk) -> None:
    name = whisk.action("import sys\ndef main(args): sys.exit(1)")
    for _ in range(2):
        assert is_cold(has_failed(whisk.invoke(name), DEVELOPER_ERROR, "command exited"))


def test_an_action_that_ends_its_process(whisk: OpenWhisk) -> None:
    name = whisk.action("import os\ndef main(args): os._exit(1)")
    assert is_cold(has_failed(whisk.invoke(name), DEVELOPER_ERROR, "command exited"))


def test_an_entry_that_is_no_function(whisk: OpenWhisk) -> None:
    name = whisk.action("main = 1")
    for cold in (True, False):
        reply = whisk.invoke(name)
        record = has_failed(reply, APPLICATION_ERROR, "'int' object is not callable")
        assert is_cold(record) is cold


def test_an_error_keeps_nothing_beside_it(whisk: OpenWhisk) -> None:
    name = whisk.action("def main(args): return {'x': 1, 'error': 'no', 'y': 2}")
    reply = whisk.invoke(name)
    has_failed(reply, APPLICATION_ERROR, "no")
    assert whisk.activation(reply.json()["activationId"])["response"]["result"] == {"error": "no"}
    after = whisk.action(exec={"kind": "sequence", "components": [f"/_/{name}", f"/_/{name}"]})
    has_failed(whisk.invoke(after), APPLICATION_ERROR, "no")


def test_row_35_a_run_beyond_its_time(whisk: OpenWhisk) -> None:
    code = "import time\ndef main(args): time.sleep(60); return {}"
    name = whisk.action(code, limits={"timeout": 1000})
    text = "The action exceeded its time limits of 1000 milliseconds."
    record = has_failed(whisk.invoke(name), DEVELOPER_ERROR, text)
    assert annotations(record)["timeout"] is True
    assert record["duration"] >= 1000


def test_row_36_an_import_beyond_its_time(whisk: OpenWhisk) -> None:
    code = "import time; time.sleep(60)\ndef main(args): return {}"
    name = whisk.action(code, limits={"timeout": 1000})
    text = "The action exceeded its time limits of 1000 milliseconds during initialization."
    record = has_failed(whisk.invoke(name), DEVELOPER_ERROR, text)
    assert annotations(record)["timeout"] is True


def test_row_37_a_run_beyond_its_memory(whisk: OpenWhisk) -> None:
    code = (
        "def main(args):\n"
        "    eaten = []\n"
        "    while len(eaten) < args['mb']: eaten.append(bytearray(b'x' * (1 << 20)))\n"
        "    return {'eaten': len(eaten)}\n"
    )
    name = whisk.action(code)
    assert whisk.result(name, {"mb": 10}) == {"eaten": 10}
    reply = whisk.invoke(name, {"mb": 1000})
    assert reply.status_code == 502
    response = reply.json()["response"]
    assert response["status"] == DEVELOPER_ERROR
    assert response["result"]["error"] in OUT_OF_MEMORY
    after = whisk.invoke(name, {"mb": 1}).json()
    assert after["response"]["success"]
    assert is_cold(after)


def test_row_38_a_result_that_is_too_large(whisk: OpenWhisk) -> None:
    name = whisk.action("def main(args): return {'x': 'x' * (2 << 20)}")
    # The stock proxy ends every reply with a newline.
    size = (2 << 20) + len('{"x": ""}\n')
    for cold in (True, False):
        reply = whisk.invoke(name)
        assert reply.status_code == 502
        record = reply.json()
        assert record["response"]["status"] == APPLICATION_ERROR
        assert record["response"]["result"]["error"].startswith(
            "The action produced a response that exceeded the allowed length: "
            f"{size} > {MIB} bytes. The truncated response was: {{"
        )
        assert is_cold(record) is cold


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def main(", NO_BINARY),
        ("\ufeffdef main(args): return {}", NO_BINARY),
        ("import nowhere_at_all", "Cannot start action. Check logs for details."),
        ("x = 1", "Cannot start action. Check logs for details."),
        ("import sys; sys.exit(1)", "Cannot start action. Check logs for details."),
        ("import os; os._exit(1)", "Cannot start action. Check logs for details."),
    ],
)
def test_code_that_does_not_start(whisk: OpenWhisk, code: str, message: str) -> None:
    record = has_failed(whisk.invoke(whisk.action(code)), DEVELOPER_ERROR, message)
    logs = whisk.activation(record["activationId"])["logs"]
    assert logs[-1].endswith(
        "stderr: The action did not initialize or run as expected. Log data might be missing."
    )


def test_an_image_that_cannot_be_had(whisk: OpenWhisk) -> None:
    image = "nobody.invalid/no/image:1"
    name = whisk.action(exec={"kind": "blackbox", "image": image, "code": "x"})
    text = f"Failed to pull container image '{image}'."
    has_failed(whisk.invoke(name), DEVELOPER_ERROR, text)
