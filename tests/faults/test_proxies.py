"""The proxies themselves: without a fault they change nothing."""

from tests.support.linear import outcome


def test_a_run_through_the_proxies_is_a_run(train, api, store, whole):
    report, _ = train()
    assert outcome(report) == whole
    assert {"PUT packages", "POST actions", "DELETE packages"} <= set(api.seen)
    assert {"SET", "GET", "UNLINK"} <= set(store.seen)
