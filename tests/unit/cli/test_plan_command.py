"""What `disdel plan` shows."""

import json

import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
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
