"""Which store runs have on several endpoints, by what each has told."""

from dataclasses import replace

import pytest

from disdel.controller.planning.carried import check_carried
from disdel.controller.planning.endpoint_checks import EndpointCheck, store_of_runs
from disdel.errors import UsageError
from disdel.store.inline_host import InlineHost
from disdel.types.units import MIB
from tests.support.fake_platform import CAPACITY


def of(endpoint, store, *, reaches=True, payload=MIB):
    return EndpointCheck(
        endpoint=endpoint, checks=(), store=store, reaches_store=reaches, payload_bytes=payload
    )


@pytest.mark.parametrize(
    ("found", "store", "told"),
    [
        (
            [of("near", "private"), of("far", "private")],
            None,
            "runs have a private Redis on this machine as their store: all that answer reach it",
        ),
        (
            [of("near", "private"), of("far", "inline", payload=2 * MIB)],
            None,
            "runs have no store, since far cannot reach a private Redis on this machine: requests "
            "and answers carry the data, at most 1 MiB each (at near)",
        ),
        ([of("near", "inline"), of("far", "inline")], "inline:", "since --store inline: is named"),
        (
            [of("near", "redis://h"), of("far", "redis://h")],
            "redis://u:p@h",
            "runs have redis://***@h as their store",
        ),
        (
            [of("near", "redis://h"), of("far", "redis://h", reaches=False)],
            "redis://h",
            "the store is not reached from inside far: runs end there",
        ),
    ],
)
def test_the_store_is_that_which_all_reach(found, store, told):
    [line] = store_of_runs(found, store)
    assert told in line


def test_of_endpoints_that_were_not_asked_nothing_is_told():
    assert list(store_of_runs([of("near", None, reaches=None)], None)) == []


class Session:
    def __init__(self, capacity, because):
        self.capacity, self.store = capacity, InlineHost(capacity.payload_bytes)
        self.store.because = because


def test_what_no_request_can_carry_is_refused_before_anything_is_made():
    session = Session(
        replace(CAPACITY, payload_bytes=MIB), "actions of far cannot reach a private Redis here"
    )
    check_carried(session, MIB // 2)
    with pytest.raises(UsageError, match=r"actions of far .*at least 1\.33 MiB .*1 MiB are the"):
        check_carried(session, MIB)
