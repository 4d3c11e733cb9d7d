"""A Redis whose commands are cut, refused and delayed: the same weights, exit 0."""

import pytest

from disdel.errors import ActivationFailed, StoreLost
from disdel.types.events import Noted, PlatformReady, RoundDone
from tests.support.fault_proxies import (
    CUT_AFTER,
    CUT_BEFORE,
    CUT_IN_REPLY,
    going_away_twice,
    redis_error,
)
from tests.support.linear import outcome

# What greets a server, and what a run uses, from the controller or from within actions.
GREETINGS = ("PING", "INFO")
COMMANDS = (
    *("EXISTS", "EXPIRE", "GET", "GETRANGE", "HGET", "HGETALL", "HSET", "HSETNX"),
    *("SCAN", "SET", "UNLINK"),
)
# Some seconds later each would be another answer.
REFUSALS = [
    redis_error("LOADING Redis is loading the dataset in memory"),
    redis_error("READONLY You can't write against a read only replica."),
    redis_error("BUSY Redis is busy running a script."),
    redis_error("CLUSTERDOWN The cluster is down"),
    redis_error("MASTERDOWN Link with MASTER is down"),
    redis_error("TRYAGAIN Multiple keys request during rehashing of slot"),
    redis_error("MISCONF Redis is configured to save RDB snapshots"),
    redis_error("ERR max number of clients reached"),
]


@pytest.mark.parametrize("fault", [CUT_BEFORE, CUT_AFTER, CUT_IN_REPLY], ids=repr)
def test_cut_commands_change_nothing(train, store, fault, whole):
    def arm(event):
        # Before, one exchange tries all commands.
        if isinstance(event, PlatformReady):
            for command in COMMANDS:
                store.on(command, fault, fault)

    for command in GREETINGS:
        store.on(command, fault)
    report, folder = train(arm)
    assert {command for command, _ in store.struck} == {*GREETINGS, *COMMANDS}
    assert outcome(report) == whole
    assert report.totals.failed == 0
    assert folder.model.is_file()


def test_refusals_that_pass_change_nothing(train, store, whole):
    def arm(event):
        if isinstance(event, PlatformReady):
            for place, command in enumerate(COMMANDS):
                store.on(command, *(REFUSALS[(place + n) % len(REFUSALS)] for n in range(3)))

    store.on("PING", REFUSALS[0])
    report, _ = train(arm)
    assert {fault for _, fault in store.struck} == set(REFUSALS)
    assert outcome(report) == whole
    assert report.totals.failed == 0


def test_a_redis_that_is_away_is_waited_for(train, store, whole):
    report, _ = train(going_away_twice(store, train.events))
    assert outcome(report) == whole
    told = [event.message for event in train.events if isinstance(event, Noted)]
    assert [note for note in told if "trying again for up to 60 s" in note]
    assert [note for note in told if "answers again, after" in note]


def test_a_redis_that_stays_away_ends_the_run_with_what_to_do(train, store, api, tmp_path):
    def go_away(event):
        if isinstance(event, RoundDone):
            store.away()

    with pytest.raises((StoreLost, ActivationFailed), match="disdel train --resume") as lost:
        train(go_away, patience_network_s=1.5)
    assert lost.value.exit_code == 1
    # The platform was cleaned all the same.
    assert api.seen[-1] == "DELETE packages"
