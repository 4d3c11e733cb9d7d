"""Runs whose data travel in requests and replies: the same weights."""

from tests.support.federations import federated, model, updates


def test_a_federation_without_a_store_changes_no_bit(tmp_path, undisturbed):
    on_redis, wanted = undisturbed
    alone = ("--store", "inline:", "--action-env", "KILL=once")
    inline = federated(tmp_path / "inline", "--containers", "2", *alone)
    assert inline["totals"]["failed"] > 0
    assert updates(inline) == updates(on_redis)
    assert model(inline, tmp_path / "inline") == wanted
