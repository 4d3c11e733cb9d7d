"""What a federation holds of each client of its roster, where there may be a million."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from disdel.controller.federating.client_data import OwnSamples
from disdel.controller.federating.turns import ClientTurns
from disdel.data.partitioners import Partition
from disdel.data.partitioners.looking import look, map_labels
from disdel.models import built_in
from disdel.report.dealt_lines import dealt_lines
from disdel.strategies import FedAvg
from disdel.types import FederateJob
from tests.support.specs import dataset_spec

CLIENTS = 200_000
SPEC = dataset_spec(
    name="many",
    version="1",
    input_shape=(4,),
    input_dtype="uint8",
    classes=10,
    train_samples=CLIENTS,
    test_samples=1,
)


def bytes_each(function):
    """The result of a function, and what it took for each client at most."""
    tracemalloc.start()
    try:
        made = function()
        return made, tracemalloc.get_traced_memory()[1] / CLIENTS
    finally:
        tracemalloc.stop()


def dealt(asked, labels, clients):
    partition = Partition(asked, samples=len(labels), seed=0, read_labels=lambda: labels)
    return partition.assignment(clients)


NUMBERS = np.random.default_rng(0).normal(size=2000).astype(np.float32)
CLASSES = np.random.default_rng(0).integers(0, 10, 2000).astype(np.int32)


@pytest.mark.parametrize("labels", [CLASSES, NUMBERS], ids=["classes", "numbers"])
@pytest.mark.parametrize("asked", ["iid", "shards:2", "sizes:powerlaw:1.2,least=1"])
@pytest.mark.parametrize("clients", [7, 300])
def test_a_map_of_labels_needs_no_count_of_each_client(asked, labels, clients):
    assignment = dealt(asked, labels, clients)
    whole = look(assignment, labels, SPEC, partition=asked, seed=0).label_map(100, 4)
    made = map_labels(assignment, labels, SPEC, partition=asked, most_rows=100, most_columns=4)
    assert (made.partition, made.labels) == (asked, whole.labels)
    assert len(made.rows) == min(clients, 100)
    for row, other in zip(made.rows, whole.rows, strict=True):
        assert row.shares == pytest.approx(other.shares)
        assert (row.first, row.last) == (other.first, other.last)
        assert (row.samples_least, row.samples_most) == (other.samples_least, other.samples_most)


def test_a_report_and_a_preview_take_few_bytes_a_client():
    labels = np.arange(CLIENTS, dtype=np.int32) % 10
    assignment = dealt("iid", labels, CLIENTS)

    def map_of_report():
        return map_labels(assignment, labels, SPEC, partition="iid", most_rows=100, most_columns=50)

    made, each = bytes_each(map_of_report)
    assert len(made.rows) == 100
    assert each < 60

    def preview():
        return list(dealt_lines(look(assignment, labels, SPEC, partition="iid", seed=0)))

    # 80 of them are the counts of ten labels.
    lines, each = bytes_each(preview)
    assert f"{CLIENTS} clients, several a row: --json has each" in lines
    assert each < 160


class ByRate(FedAvg):
    """Weighs by what a client's learning rate is, beside its samples and steps."""

    def weight(self, contribution):
        return contribution.samples * contribution.rate / contribution.steps


def turns_of(strategy, sizes, **lists):
    job = FederateJob(
        dataset="many",
        clients=len(sizes),
        clients_per_round=10,
        optimizer="sgd",
        **lists,
    )
    roster = SimpleNamespace(
        sizes=sizes,
        samples=lambda client: int(sizes[client]),
        told=lambda client: int(sizes[client]),
    )
    model = built_in("mlp", input_shape=(4,), classes=10)
    return ClientTurns(job, job.as_training, model, strategy, roster, OwnSamples(), None, None, {})


def test_the_largest_weight_is_that_of_any_client_whatever_differs():
    draws = np.random.default_rng(0)
    sizes = draws.integers(0, 30, 60)
    turns = turns_of(
        ByRate(),
        sizes,
        local_epochs=",".join(map(str, draws.integers(1, 4, 60))),
        client_batch=",".join(map(str, draws.integers(1, 9, 60))),
        client_rate=",".join(map(str, draws.integers(1, 5, 60))),
    )
    weights = [turns.turn(client, 1).weight for client in np.flatnonzero(sizes).tolist()]
    assert turns.largest_weight >= max(weights)
    # Whole batches see as many samples, or some more: at most 8 times as many.
    assert turns.largest_weight <= 8 * max(weights)


def test_clients_that_are_asked_for_the_same_are_weighed_once():
    weighed = []

    class Recorded(ByRate):
        def weight(self, contribution):
            weighed.append(contribution)
            return super().weight(contribution)

    half = CLIENTS // 2
    turns = turns_of(
        Recorded(),
        np.full(CLIENTS, 20),
        local_epochs=f"1*{half},2*{half}",
        client_batch=f"5*{half},10*{half}",
        client_rate=f"0.2*{half},0.3*{half}",
    )
    largest, each = bytes_each(lambda: turns.largest_weight)
    assert largest == pytest.approx(40 * 0.3 / 4)
    assert len(weighed) == 2
    assert each < 50
