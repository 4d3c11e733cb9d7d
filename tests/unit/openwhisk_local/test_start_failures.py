"""What a platform that cannot start tells whoever starts it."""

import errno

from openwhisk_local.__main__ import _failure


def test_a_failure_of_the_system_is_told_with_its_number():
    full = OSError(errno.ENOSPC, "No space left on device", "/var/log")
    assert _failure(full)["os_error"] == [errno.ENOSPC, "No space left on device", "/var/log", None]


def test_one_that_is_no_error_of_the_system_is_told_in_its_own_words():
    assert _failure(FileNotFoundError("the action proxy is not installed")) == {
        "error": "the action proxy is not installed",
        "refused": False,
    }
