import pytest

from disdel.controller.invoking.outcomes import activation_failed, explained, failure_of
from disdel.platforms.openwhisk.outcomes import ending_of
from disdel.types import ActivationRecord
from openwhisk_local.machine.container_memory import MemoryUse, critical_line


def record(status="action developer error", error="", timed_out=False):
    return ActivationRecord(
        id="0" * 32,
        action="train",
        start_ms=0,
        duration_ms=1,
        wait_ms=0,
        init_ms=None,
        ending=ending_of(status, {"error": error}, timed_out=timed_out),
        result={"error": error},
    )


def outcome(used_mb=None, **fields):
    return failure_of(record(**fields), memory_mb=512, last_used_mb=used_mb).outcome


@pytest.mark.parametrize(
    ("status", "error", "lost"),
    [
        ("action developer error", "Failed to pull container image 'a/runtime-torch:1'.", False),
        ("whisk internal error", "Failed to provision resources to run the action.", True),
    ],
)
def test_an_image_that_is_not_there_is_named_and_how_to_make_it(status, error, lost):
    failure = failure_of(
        record(status, error), memory_mb=512, last_used_mb=None, image="a/runtime-torch:1"
    )
    assert (failure.lost, failure.missing_image) == (lost, True)
    said = str(activation_failed(record(status, error), failure, "train", ()))
    assert "is a/runtime-torch:1 where the platform takes images from?" in said
    assert "runtime-image/build makes it" in said
    of_a_kind = failure_of(record(status, error), memory_mb=512, last_used_mb=None)
    assert "its own log says why" in of_a_kind.advice


DEVELOPER, INTERNAL = "action developer error", "whisk internal error"
OOM = "The action exhausted its memory and was aborted."
LATE = "The action exceeded its time limits of 100 milliseconds"


@pytest.mark.parametrize(
    ("status", "error", "ending"),
    [
        (DEVELOPER, OOM, "out-of-memory"),
        (DEVELOPER, f"{LATE}.", "time-limit"),
        (DEVELOPER, f"{LATE} during initialization.", "start-time-limit"),
        (DEVELOPER, "Cannot start action. Check logs for details.", "not-started"),
        (DEVELOPER, "Failed to pull container image 'a/b:1'.", "image-missing"),
        (INTERNAL, "Failed to provision resources to run the action.", "no-container"),
        (DEVELOPER, "command exited", "vanished"),
        (INTERNAL, "anything else", "platform-error"),
        (DEVELOPER, "anything else", "application-error"),
        # An action that quotes the platform has ended by itself all the same.
        ("application error", {"kind": "x", "message": OOM}, "application-error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "quoted",
)
def test_what_openwhisk_says_is_one_of_ten_endings(status, error, ending):
    timed_out = isinstance(error, str) and error.startswith(LATE)
    assert ending_of(status, {"error": error}, timed_out=timed_out) == ending


def test_a_success_is_no_failure():
    assert failure_of(record(status="success"), memory_mb=512, last_used_mb=512) is None


# OpenWhisk's three ways to say it: Docker, Kubernetes, and a runtime whose proxy survived.
@pytest.mark.parametrize(
    "error",
    [
        "The action exhausted its memory and was aborted.",
        "The action did not produce a valid response and exited unexpectedly.",
        "command exited",
    ],
)
def test_out_of_memory_has_three_faces(error):
    assert outcome(error=error, used_mb=500) == "oom"


def test_a_vanished_container_with_room_left_is_no_memory_error():
    assert outcome(error="command exited", used_mb=200) == "error"
    assert outcome(error="command exited", used_mb=None) == "error"


def test_a_vanished_container_is_not_explained():
    for error in ("command exited", "The action did not initialize and exited unexpectedly."):
        failure = failure_of(record(error=error), memory_mb=512, last_used_mb=200)
        assert (failure.lost, failure.unexplained) == (True, True)
    full = failure_of(record(error="command exited"), memory_mb=512, last_used_mb=500)
    assert not full.unexplained


@pytest.mark.parametrize(
    ("logs", "lost"),
    [
        ((), True),
        (("stderr: The action did not initialize or run as expected.",), True),
        (("stderr: Traceback (most recent call last):", "stderr: ImportError: numpy"), False),
        (("stderr: SyntaxError: invalid syntax",), False),
    ],
)
def test_an_action_that_cannot_start_was_killed_where_nothing_was_raised(logs, lost):
    """The stock images say the same of both."""
    error = "Cannot start action. Check logs for details."
    failure = failure_of(record(error=error), memory_mb=512, last_used_mb=None)
    assert failure.in_init
    failure = explained(failure, logs, memory_mb=512)
    assert (failure.lost, failure.unexplained) == (lost, lost)


@pytest.mark.parametrize("error", ["command exited", "Cannot start action. Check logs."])
def test_a_log_that_says_memory_is_critical_explains_it(error):
    failure = failure_of(record(error=error), memory_mb=512, last_used_mb=200)
    line = "stderr: " + critical_line(MemoryUse(490 << 20, 490 << 20, 512 << 20), 24 << 20)
    failure = explained(failure, (line,), memory_mb=512)
    assert (failure.outcome, failure.lost, failure.unexplained) == ("oom", True, False)
    assert "Its limit was 512 MB; its log says that this was used up." in failure.reason


def test_a_time_out_is_told_by_the_annotation():
    text = "The action exceeded its time limits of 1000 milliseconds."
    assert outcome(error=text, timed_out=True) == "timeout"


def test_a_time_out_in_init_is_told_by_the_text():
    text = "The action exceeded its time limits of 60000 milliseconds"
    for end, in_init in ((".", False), (" during initialization.", True)):
        failure = failure_of(
            record(error=text + end, timed_out=True), memory_mb=512, last_used_mb=None
        )
        assert failure.in_init is in_init
        assert ("took that long to start" in failure.advice) is in_init


def test_the_message_has_reason_id_advice_and_log():
    application = record(status="application error", error={"kind": "x", "message": "loss is nan"})
    failure = failure_of(application, memory_mb=512, last_used_mb=None)
    error = activation_failed(application, failure, "train", ("stdout: one", "stdout: two"))
    assert "train failed (error): loss is nan" in str(error)
    assert f"activation {'0' * 32}" in str(error)
    assert str(error).endswith("stdout: one\n  stdout: two")
    assert error.exit_code == 1
