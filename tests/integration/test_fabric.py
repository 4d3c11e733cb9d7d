"""One federation over several platforms at once: where a client trains changes no bit.

The network is numpy alone; platforms, containers, limits and kills are real.
"""

import asyncio
import json
from contextlib import ExitStack

import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.controller.federating.federate import federate
from disdel.errors import DisdelError
from disdel.platforms import registry
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.settings import Settings
from disdel.types import FederateJob
from disdel.types.events import Noted, RoundDone
from tests.support import local_http
from tests.support.held import until
from tests.support.linear import take_place
from tests.support.ports import free_port
from tests.support.process_platform.provider import PROVIDER

CLIENTS = 10
KEEPER = """
[endpoints.edge]
platform = "embedded"
user_memory = 1024
containers = 1
price_gb_s = 0

[endpoints.whisk]
platform = "embedded"
limits = "stock"
containers = 2
sizes = [256, 512]
price_gb_s = 0.00002

[endpoints.host]
platform = "processes"
containers = 2

[[clients]]
ids = "0-2"
endpoint = "edge"

[[clients]]
ids = "3-5"
endpoint = "whisk"

[[clients]]
ids = "6-7"
endpoint = "host"
"""


@pytest.fixture(autouse=True)
def linear(monkeypatch, tmp_path):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "state"))
    take_place(monkeypatch)
    # Containers that have this process's environment compute as those that have not.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    registry.register(PROVIDER)
    yield
    registry.forget(PROVIDER)


@pytest.fixture
def run(tmp_path):
    def run(text=None, *, listener=lambda _: None, settings=None, **changes):
        """The report and the weights of a federation, on the endpoints of a file."""
        said = {"run_dir": tmp_path / "runs", "patience_network_s": 2.0, **(settings or {})}
        if text is not None:
            path = tmp_path / "fabric.toml"
            path.write_text(text)
            said["fabric"] = path
        job = FederateJob(
            dataset="digits",
            runtime="tensorflow",
            batch_size=10,
            **{"clients": CLIENTS, "rounds": 3, **changes},
        )
        report, folder = asyncio.run(federate(job, Settings(**said), listener))
        return report, folder.model.read_bytes()

    return run


def trained_at(report):
    """The endpoints at which each client trained."""
    homes = {w: one.endpoint for one in report.plan.endpoints for w in one.workers}
    found = {}
    for entry in report.ledger:
        found.setdefault(entry.client, set()).add(homes[entry.worker])
    return found


def test_kills_on_three_platforms_at_once_change_no_bit(run):
    _, alone = run(containers=1)
    report, weights = run(KEEPER, settings={"action_env": ("KILL=once",)})
    assert weights == alone
    assert report.platform == "fabric"
    assert report.totals.failed > 0
    at = trained_at(report)
    assert [at[client] for client in range(3)] == [{"edge"}] * 3
    assert [at[client] for client in range(3, 6)] == [{"whisk"}] * 3
    assert [at[client] for client in (6, 7)] == [{"host"}] * 2
    # All that ran is of one of them, at its sizes and prices.
    done = {one.endpoint: one for one in report.endpoints}
    assert sum(one.activations for one in done.values()) == len(report.activations)
    assert sum(one.gb_s for one in done.values()) == pytest.approx(report.totals.gb_s, abs=0.01)
    assert {a.memory_mb for a in report.activations if a.endpoint == "whisk"} <= {256, 512}
    assert done["edge"].usd == 0
    assert done["whisk"].usd == pytest.approx(done["whisk"].gb_s * 0.00002)
    assert done["host"].usd is not None


def test_by_price_who_belongs_nowhere_trains_where_it_is_cheapest(run):
    report, _ = run(KEEPER, rounds=1, settings={"place": "price"})
    at = trained_at(report)
    assert [at[client] for client in (8, 9)] == [{"edge"}] * 2


class Restarted:
    """An embedded platform that goes away and comes back at its address."""

    def __init__(self, folder):
        self._folder = folder
        self._stack = ExitStack()
        self.access = self.start(free_port())

    def start(self, port):
        options = EmbeddedOptions(state_dir=self._folder, state=self._folder / "kept", port=port)
        platform = self._stack.enter_context(start_embedded(options))
        return platform.access

    def stop(self):
        self._stack.close()

    def again(self):
        self.start(int(self.access.apihost.rpartition(":")[2]))


@pytest.fixture
def far(tmp_path, monkeypatch):
    platform = Restarted(tmp_path / "far")
    monkeypatch.setenv("FAR_KEY", platform.access.auth)
    yield platform
    platform.stop()


def lossy(far, more=""):
    return f"""
[endpoints.near]
platform = "embedded"

[endpoints.far]
platform = "openwhisk"
address = "{far.access.apihost}"
key_env = "FAR_KEY"

[[clients]]
ids = "0-4"
endpoint = "far"
{more}
"""


@pytest.mark.parametrize("moves", [True, False])
def test_a_lost_endpoint_is_a_slow_endpoint(run, far, moves, tmp_path):
    """It is lost after the first round, and comes back while the fourth is on its way."""
    told, back = [], tmp_path / "back"

    def listen(event):
        if isinstance(event, Noted):
            told.append(event.message)
            if "endpoint far answers again" in event.message:
                back.touch()
        if isinstance(event, RoundDone) and event.report.round == 1:
            far.stop()
        if isinstance(event, RoundDone) and event.report.round == 3:
            far.again()

    options = {"rounds": 6, "min_clients": 1}
    _, alone = run(containers=1, **options)
    waits = {"action_env": until(back, 4)[1::2]}
    file = lossy(far, "" if moves else "moves = false")
    report, weights = run(file, listener=listen, settings=waits, **options)
    assert any("endpoint far does not answer any more" in line for line in told)
    assert back.exists()
    answered = [entry.clients.answered for entry in report.rounds]
    if moves:
        assert answered == [CLIENTS] * 6
        assert weights == alone
    else:
        assert answered[0] == CLIENTS
        assert answered[1:3] == [5, 5]
        assert answered[-1] == CLIENTS
        assert "endpoint far" in report.rounds[1].clients.dropped[0].why
    rounds = {a.round for a in report.activations if a.endpoint == "far" and a.outcome == "ok"}
    assert {1, 6} <= rounds
    assert not {2, 3} & rounds


def test_too_few_endpoints_are_told_with_the_state_of_each(run, far):
    far.stop()
    with pytest.raises(DisdelError, match=r"1 endpoint of the fabric answers, and 2 must") as told:
        run(lossy(far))
    assert "near: answers" in str(told.value)
    assert "far: " in str(told.value)
    # Where that is enough, the run goes on without the other.
    report, _ = run(f"quorum = 1\n{lossy(far)}", rounds=1)
    assert report.rounds[0].clients.answered == CLIENTS
    assert {a.endpoint for a in report.activations} == {"near"}


def test_a_quorum_that_is_lost_ends_the_run_and_says_how_to_go_on(run, far):
    def listen(event):
        if isinstance(event, RoundDone) and event.report.round == 1:
            far.stop()

    with pytest.raises(DisdelError, match="and 2 must") as told:
        run(f"quorum = 2\n{lossy(far)}", listener=listen)
    assert "--resume" in str(told.value)


def test_what_a_run_has_left_on_endpoints_is_removed(run, far, tmp_path):
    file = lossy(far)
    report, _ = run(file, rounds=1, settings={"keep": True})
    access = (far.access.apihost, far.access.auth)
    package = f"disdel-{report.run}.far"
    assert package in packages(*access)

    def remove(*arguments):
        path = str(tmp_path / "fabric.toml")
        command = ["fabric", "remove", path, "--run-dir", str(tmp_path / "runs"), *arguments]
        return CliRunner().invoke(app, command)

    far.stop()
    done = remove("--patience-network", "0.1")
    assert done.exit_code == 1
    assert f"not all of {report.run} could be removed" in done.output
    far.again()
    done = remove("--json", "-")
    told = json.loads(done.stdout)
    assert [(one["run"], one["ok"]) for one in told["removed"]] == [(report.run, True)]
    assert "has left anything on these endpoints" in remove().output
    assert package not in packages(*access)


def packages(apihost, auth):
    """The names of those in a namespace."""
    user, _, password = auth.partition(":")
    url = f"{apihost}/api/v1/namespaces/_/packages?limit=200"
    return [one["name"] for one in local_http.get(url, auth=(user, password)).json()]
