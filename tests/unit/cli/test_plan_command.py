"""What `disdel plan` shows."""

import json

import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.errors import ConnectionRefused
from disdel.platforms.prices import PUBLISHED
from disdel.runtimes.registry import TENSORFLOW


def shown(*arguments):
    done = CliRunner().invoke(app, ["plan", "digits", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_parts_zones_alternatives_and_costs():
    text = shown("--limits", "roomy", "--runtime", "tensorflow")
    assert f"framework {TENSORFLOW.costs.floor_mb:.0f} + data 0 + model" in text
    assert "shipped constants; this platform was not measured yet" in text
    assert "zones   killed below" in text
    assert "workers  MB each  MB in all" in text
    assert text.count("chosen") == 2
    assert "AWS Lambda" in text


def test_prices_of_ones_own():
    text = shown("--price-gb-s", "2", "--price-invocation", "0")
    assert "your prices" in text
    assert "AWS" not in text


def test_json():
    told = json.loads(shown("--json", "-", "--optimize", "memory", "--estimator", "sap"))
    plan = told["plan"]
    assert plan["workers"] == 1
    assert (plan["optimize"], plan["estimator"]) == ("memory", "sap")
    assert plan["zones_mb"]["killed_below_mb"] < plan["zones_mb"]["thrashing_below_mb"]
    assert [option["workers"] for option in plan["considered"] if not option["why"]] == [1]
    assert len(told["costs"]) == len(PUBLISHED)
    assert sum(plan["estimate_mb"].values()) == pytest.approx(
        2 * plan["estimate_mb"]["total"], abs=0.5
    )


FABRIC = """
[endpoints.edge]
platform = "embedded"
user_memory = 1024
containers = 1
price_gb_s = 0

[endpoints.cloud]
platform = "embedded"
sizes = [256, 512]
price_gb_s = 0.5
"""


def test_a_fabric_has_a_row_for_each_endpoint(tmp_path):
    file = tmp_path / "two.toml"
    file.write_text(FABRIC)
    lines = shown("--runtime", "torch", "--fabric", str(file)).splitlines()
    heads = next(line.split() for line in lines if line.split()[:1] == ["endpoint"])
    rows = [line.split() for line in lines if line.split()[:1] in (["edge"], ["cloud"])]
    assert heads[:3] == ["endpoint", "platform", "containers"]
    assert [(row[0], row[1]) for row in rows] == [("edge", "embedded"), ("cloud", "embedded")]
    [cost] = [line for line in lines if line.startswith("cost")]
    # The price of an activation is not said, and so taken for nothing.
    assert "$" in cost
    assert "AWS" not in "".join(lines)
    told = json.loads(shown("--runtime", "torch", "--fabric", str(file), "--json", "-"))
    assert [one["endpoint"] for one in told["plan"]["endpoints"]] == ["edge", "cloud"]


def test_the_plan_of_a_fabric_whose_endpoint_does_not_answer_names_it(tmp_path, monkeypatch):
    file = tmp_path / "two.toml"
    monkeypatch.setenv("KEY", "a:b")
    far = '[endpoints.far]\nplatform = "openwhisk"\naddress = "http://127.0.0.1:1"\n'
    file.write_text(f'{FABRIC}\n{far}key_env = "KEY"\n')
    done = CliRunner().invoke(app, ["plan", "digits", "--fabric", str(file)])
    assert isinstance(done.exception, ConnectionRefused)
    told = str(done.exception)
    assert "2 endpoints of the fabric answer, and 3 must" in told
    assert "far: no OpenWhisk answers at" in told
    assert "check address" in told
