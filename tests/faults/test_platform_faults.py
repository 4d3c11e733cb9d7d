"""A platform whose requests are cut, delayed and answered by others: the same weights, exit 0."""

import pytest

from disdel.events import Noted
from tests.faults.linear import outcome
from tests.faults.proxies import CUT_AFTER, CUT_BEFORE, CUT_IN_REPLY, delayed, http_reply

KINDS = [
    "GET /api/v1/namespaces",
    "GET /",
    "PUT packages",
    "PUT actions",
    "POST actions",
    "GET activations",
    "GET actions",
    "DELETE actions",
    "DELETE packages",
]
FAULTS = [
    CUT_BEFORE,
    CUT_AFTER,
    CUT_IN_REPLY,
    delayed(0.3),
    http_reply(500, b'{"error":"There was an internal server error.","code":"x"}'),
    http_reply(503, reaches=True),
    http_reply(502),
    http_reply(429, b"slow down", "retry-after: 1\r\n"),
]


def notes(events):
    return [event.message for event in events if isinstance(event, Noted)]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_one_fault_of_every_kind_of_request_changes_nothing(train, api, fault, whole):
    for kind in KINDS:
        api.on(kind, fault)
    report, folder = train()
    assert {kind for kind, _ in api.struck} == set(KINDS)
    assert outcome(report) == whole
    assert report.totals.failed == 0
    assert folder.model.is_file()
