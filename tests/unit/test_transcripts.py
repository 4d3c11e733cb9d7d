"""What a page shows is compared by its words and their order."""

import pytest

from tests.support.transcripts import not_said

OUTPUT = """\
on      embedded platform at http://127.0.0.1:40455, memory enforced by cgroup v2
        1 torch worker × 2 threads × 256 MB; about 3 s and 0.4 GB·s
        memory  framework 214 = 249 MB (measured: 3 containers measured on this platform)
        why     256 MB an action holds the estimate of 249 MB; at most 4096 MB allowed
done    runs/20261129-182531-train-digits-26a3/model.safetensors
"""


@pytest.mark.parametrize(
    "shown",
    [
        OUTPUT,
        "on embedded platform at http://127.0.0.1:1, memory enforced by sampling",
        "4 compiled workers × 1 thread × 96 MB; about 30 s and 7 GB·s",
        "memory framework 1 = 2 MB (measured: shipped constants; …)",
        "memory … MB (measured)\nwhy 1 MB an action holds the estimate\nof 2 MB",
        "done runs/20250101-000000-train-mnist-ffff/model.keras",
    ],
)
def test_what_the_machine_decides_may_differ(shown):
    assert not_said(shown, OUTPUT) == []


@pytest.mark.parametrize(
    "shown",
    ["an action needs 249 MB", "2 workers × 256 MB", "done runs/last_good.keras", "= 249 GB"],
)
def test_words_may_not(shown):
    assert not_said(shown, OUTPUT) == [shown]


def test_nor_may_the_order_of_lines():
    assert not_said("at most 1 MB allowed\nframework 214", OUTPUT) == ["framework 214"]
