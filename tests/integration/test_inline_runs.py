"""Runs whose data travel in requests and replies: the same weights."""

from tests.integration.test_federations import federated, model, updates


def test_a_federation_without_a_store_changes_no_bit(tmp_path):
    on_redis = federated(tmp_path / "redis", "--containers", "2", "--rounds", "2")
    alone = ("--store", "inline:", "--rounds", "2", "--action-env", "KILL=once")
    inline = federated(tmp_path / "inline", "--containers", "2", *alone)
    assert inline["totals"]["failed"] > 0
    assert updates(inline) == updates(on_redis)
    assert model(inline, tmp_path / "inline") == model(on_redis, tmp_path / "redis")
