"""The page of a federation: who took part, binned where there are many, and how clients fare."""

import dataclasses

import numpy as np
import pytest

from disdel.report.federated import MOST_COLUMNS, MOST_ROWS, federated, participation
from disdel.report.heat import heat_map
from disdel.report.html_report import render
from disdel.types import ClientsReport, DroppedClient, LedgerEntry, RoundReport, RunReport
from disdel.types.client_scores import ClientScore, scores_of, spread
from disdel.types.dealt import DealtSamples
from disdel.types.report import RoundTimes
from disdel.types.report_json import report_from_json, report_to_json


def entry(number, client):
    return LedgerEntry(
        round=number, worker=0, attempt=0, samples=4, checksum="", client=client, train_s=0.5
    )


def report(cohorts, dropped=(), clients=10, **changes):
    """`cohorts` are the clients that are in each round's average; `dropped` round and client."""
    rounds = tuple(
        RoundReport(
            round=number,
            wall_s=1.0,
            train_loss=0.5,
            loss=0.5,
            accuracy=0.9,
            clients=ClientsReport(
                asked=len(cohort) + 1,
                answered=len(cohort),
                dropped=tuple(
                    DroppedClient(client=c, why="late <b>") for n, c in dropped if n == number
                ),
                bytes=1000 * len(cohort),
                own_loss=spread([1.0], [1], worst="most"),
                own_accuracy=spread([0.25], [1], worst="least"),
            ),
            times=RoundTimes(
                training_s=3.25,
                start_s=0,
                weights_s=0,
                aggregation_s=0,
                scoring_s=0,
                invocation_s=0,
            ),
        )
        for number, cohort in enumerate(cohorts, 1)
    )
    ledger = tuple(entry(n, client) for n, cohort in enumerate(cohorts, 1) for client in cohort)
    fields = {
        "run": "run",
        "job": "federate",
        "dataset": "digits",
        "platform": "embedded",
        "status": "ok",
        "wall_s": 4.0,
        "settings": {"clients": clients},
        "rounds": rounds,
        "ledger": ledger,
    }
    return RunReport(**(fields | changes))


def test_few_clients_and_rounds_have_a_cell_each():
    found = participation(report([[0, 3], [3]], dropped=[(2, 9)], clients=10))
    assert found.shares.shape == (10, 2)
    assert [(r, c) for r, c in np.argwhere(found.shares).tolist()] == [(0, 0), (3, 0), (3, 1)]
    assert np.argwhere(found.dropped).tolist() == [[9, 1]]
    assert found.clients[-1] == "9"
    assert found.rounds == ("1", "2")
    assert not found.binned


def test_many_stand_together_and_every_answer_is_counted_once():
    rng = np.random.default_rng(0)
    cohorts = [sorted(rng.choice(1234, 7, replace=False).tolist()) for _ in range(501)]
    found = participation(report(cohorts, clients=1234))
    assert found.shares.shape == (MOST_ROWS, MOST_COLUMNS)
    assert found.binned
    # A share is of a cell's clients times its rounds.
    rows = np.diff([*map(int, found.clients), 1234])
    columns = np.diff([*(int(name) - 1 for name in found.rounds), 501])
    assert (found.shares * np.outer(rows, columns)).sum() == pytest.approx(501 * 7)
    assert found.shares.max() <= 1


def test_a_map_of_many_cells_is_small_and_covers_each():
    values = np.random.default_rng(1).random((100, 200))
    drawn = heat_map(values, list(map(str, range(100))), list(map(str, range(200))))
    assert sum(len(layer.path) for layer in drawn.layers) < 700_000
    assert [layer.opacity for layer in drawn.layers] == sorted(one.opacity for one in drawn.layers)
    assert len(drawn.rows) <= 34
    full = heat_map(np.ones((3, 4)), list("abc"), list("wxyz"))
    [layer] = full.layers
    # Neighbours of one shade are one piece a row.
    assert layer.path.count("M") == 3
    assert layer.opacity == 1
    assert heat_map(np.zeros((2, 2)), list("ab"), list("cd")).layers == ()


def test_a_page_says_who_took_part_who_is_worst_off_and_where_time_went():
    scores = [
        ClientScore(client=c, samples=3, loss=1.0, accuracy=c / 10, personal_accuracy=0.975)
        for c in range(5)
    ]
    dealt = DealtSamples(
        dataset="digits",
        partition="own:<i>",
        seed=0,
        counts=np.eye(10, dtype=int) * 7,
        labels=tuple("<b>efghijkl"),
    )
    whole = report(
        [[0, 3], [3]],
        dropped=[(2, 9)],
        client_scores=scores_of(2, "held-out", scores, unscored=5),
        label_map=dealt.label_map(100, 50),
        rounds_to_target=2,
    )
    # As it comes back from its file.
    whole = report_from_json(report_to_json(whole))
    page = render(whole)
    for text in (
        "Who took part",
        'class="dropped"',
        "5 clients, on own held-out samples, 5 without a score",
        "Worst off",
        "own:&lt;i&gt;",
        "rounds to the target accuracy",
        "3.25",
        "1 of 2",
        "25.00 %",
    ):
        assert text in page, text
    assert "<b>efgh" not in page
    assert federated(whole).bytes_each == "1000 B"


@pytest.mark.parametrize("job", ["train", "federate"])
def test_a_page_of_a_run_without_all_that_is_a_page(job):
    bare = dataclasses.replace(report([]), job=job, rounds=(), ledger=(), settings={})
    assert "<h2>Clients</h2>" not in render(bare)
    if job == "federate":
        found = federated(bare)
        assert (found.took_part, found.labels, found.worst, found.slowest) == (None, None, (), ())


def test_of_a_long_ledger_the_page_has_the_end_and_says_so():
    page = render(report([list(range(100))] * 21, clients=100))
    assert "The last 2000 of 2100 entries" in page
    assert page.count("<code></code>") == 2000
