"""What Lambda's answers and logs mean."""

import json

import pytest

from disdel.platforms.lambda_.outcomes import answer_of, report_in
from tests.support.stub_lambda import report

ID = "8f507cfc-e25b-4697-b07a-ac58fc914c95"
EXITED = f"RequestId: {ID} Error: Runtime exited with error:"


def said(kind, message):
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


@pytest.mark.parametrize(
    ("payload", "function_error", "ending"),
    [
        (b'{"seen": 1}', None, "success"),
        (b'{"error": "asked to fail"}', None, "application-error"),
        # An answer of an action's own may look like an error of Lambda's.
        (said("ValueError", "of the user's own"), None, "success"),
        (b"Task timed out after 1.00 seconds", None, "time-limit"),
        (b"2026-11-29T10:00:00Z Task timed out after 3.00 seconds", None, "time-limit"),
        (
            said("Sandbox.Timedout", f"RequestId: {ID} Error: Task timed out after 3.00 seconds"),
            "Unhandled",
            "time-limit",
        ),
        (
            json.dumps({"errorMessage": f"2026-11-29 {ID} Task timed out after 3.00 s"}).encode(),
            "Unhandled",
            "vanished",
        ),
        (
            json.dumps({"errorMessage": f"{ID} Task timed out after 3.00 seconds"}).encode(),
            "Unhandled",
            "time-limit",
        ),
        # What an action answers may say the same.
        (json.dumps({"text": "Task timed out after 1.00 seconds"}).encode(), None, "success"),
        (said("Runtime.OutOfMemory", "it ran out of memory"), "Unhandled", "out-of-memory"),
        (
            said("Runtime.ExitError", f"{EXITED} signal: killed"),
            "Unhandled",
            "out-of-memory",
        ),
        (
            said("Runtime.ExitError", f"{EXITED} exit status 3"),
            "Unhandled",
            "vanished",
        ),
        (
            said("Runtime.ExitError", f"{EXITED} signal: segmentation fault"),
            "Unhandled",
            "vanished",
        ),
        (
            said("Runtime.ImportModuleError", "Unable to import module 'x': No module named 'y'"),
            "Unhandled",
            "not-started",
        ),
        (said("Runtime.UserCodeSyntaxError", "Syntax error"), "Unhandled", "not-started"),
        (said("ValueError", "raised by an import"), "Unhandled", "not-started"),
        (
            said("Function.ResponseSizeTooLarge", "Response payload size (6291557 bytes) exceeded"),
            "Unhandled",
            "application-error",
        ),
        (b"", None, "platform-error"),
        (b"<html>busy</html>", None, "platform-error"),
        (b"null", None, "platform-error"),
        (b"[1]", None, "platform-error"),
        (b"[" * 100_000, None, "platform-error"),
        (b'"words"', "Unhandled", "vanished"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_has_one_of_the_endings(payload, function_error, ending):
    answer = answer_of(payload, function_error)
    assert answer.ending == ending
    if ending == "success":
        assert answer.result == json.loads(payload)
    else:
        assert isinstance(answer.result["error"], str)
        assert answer.result["error"]


def test_an_initialisation_that_uses_up_the_time_is_one_of_the_start():
    log = f"INIT_REPORT Init Duration: 3000.00 ms\tPhase: invoke\tStatus: timeout\n{report(ID)}"
    assert answer_of(b"Task timed out after 3.00 seconds", None, log).ending == "start-time-limit"


def test_a_start_that_was_thrown_away_is_no_warm_one():
    line = "INIT_REPORT Init Duration: 10008.37 ms\tPhase: init\tStatus: timeout"
    assert report_in(f"{line}\n{report(ID)}").thrown_away_ms == 10008.37
    assert report_in(report(ID)).thrown_away_ms is None
    again = "INIT_REPORT Init Duration: 12.00 ms\tPhase: invoke\tStatus: error"
    assert report_in(f"{again}\n{report(ID)}").thrown_away_ms is None


def test_who_is_killed_with_memory_to_spare_has_not_run_out_of_it():
    killed = said("Runtime.ExitError", "Runtime exited with error: signal: killed")
    for used, ending in (("40 MB", "vanished"), ("128 MB", "out-of-memory")):
        answer = answer_of(killed, "Unhandled", report(ID, **{"Max Memory Used": used}))
        assert answer.ending == ending
        assert f"{used} in use at most" in answer.result["error"]


def test_the_report_is_that_of_the_last_line():
    first = report("0" * 8 + ID[8:], Duration="9.00 ms")
    log = first + report(ID, **{"Init Duration": "260.25 ms"})
    facts = report_in(log)
    assert (facts.duration_ms, facts.init_ms) == (5.0, 260.25)
    assert (facts.memory_mb, facts.used_mb) == (128, 40)
    assert report_in("nothing of it").duration_ms is None
    assert report_in(report(ID)).init_ms is None
