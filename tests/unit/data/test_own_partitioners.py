"""`--partition FILE.py:FUNCTION`: what it is given, may return, and its faults."""

import numpy as np
import pytest

from disdel.data.partitioners import Partition
from disdel.data.partitioners.own import dealt_by_users
from disdel.errors import UsageError
from disdel.user_code.collecting import collect
from disdel.user_code.module import UserModule

LABELS = np.arange(12, dtype=np.int32) % 3


@pytest.fixture
def written(tmp_path):
    def write(body, head="clients, labels"):
        (tmp_path / "deal.py").write_text(f"import numpy as np\n\ndef deal({head}):\n    {body}\n")
        return f"{tmp_path}/deal.py:deal"

    return write


def partition(asked):
    return Partition(asked, samples=len(LABELS), seed=7, read_labels=lambda: LABELS)


def dealt(entry, said=""):
    code = collect(entry)
    return dealt_by_users(UserModule(code.ref, code.folder), entry + said, LABELS, 3, 7)


def test_it_is_run_in_a_process_of_its_own_and_deals(written):
    entry = written("return [np.flatnonzero(labels == c) for c in range(clients)]")
    made = partition(entry).assignment(3)
    assert made.counts == (4, 4, 4)
    assert [positions.tolist() for _, positions in made.shards()] == [
        [0, 3, 6, 9],
        [1, 4, 7, 10],
        [2, 5, 8, 11],
    ]


@pytest.mark.parametrize(
    ("head", "said", "body"),
    [
        ("labels", "", "return labels"),
        ("samples, clients", "", "return [i % clients for i in range(samples)]"),
        ("clients", "", "return np.arange(12).reshape(4, 3).T"),
        ("clients", "", "return ([c, c + 3, c + 6, c + 9] for c in range(clients))"),
        ("clients, step", ":3", "return [list(range(c, 12, int(step))) for c in range(clients)]"),
        ("*, step=1, **rest", ":step=3", "return [range(c, 12, step) for c in range(3)]"),
    ],
)
def test_owners_of_samples_and_positions_of_clients_are_taken(written, head, said, body):
    made = dealt(written(body, head), said)
    assert made.counts == (4, 4, 4)
    assert made.owners().tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("head", "said", "body", "message"),
    [
        ("labels", "", "return None", "deal returned a NoneType; needed is an array of positions"),
        ("labels", "", "return {0: [1]}", "returned a dict"),
        ("labels", "", "return labels[1:]", "returned 11 numbers for 12 samples"),
        ("labels", "", "return labels + 1", "sample 2 is given to client 3, and there are 0 to 2"),
        ("labels", "", "return labels / 2", "owners are float64"),
        ("labels", "", "return [labels == 0] * 3", "a client is given bool"),
        ("labels", "", "return ['ab', 'c']", "owners are <U2|returned 2 numbers"),
        ("labels", "", "return 1 / 0", "line 4, `return 1 / 0`: ZeroDivisionError"),
        ("model", "", "return model", "lacks model; it is written"),
        ("labels, k: int", ":x", "return labels", "k must be a whole number, not 'x'"),
        ("labels", ":3", "return labels", "takes no parameters"),
        ("labels: Nothing", "", "return labels", "NameError|returned"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(written, head, said, body, message):
    entry = written(body, head).replace("(labels: N", "(labels: 'N")
    with pytest.raises(UsageError, match=message):
        dealt(entry, said)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [[0, 1], [2, 3], [4]]", "sample 5 has 0 owners"),
        ("return [range(12), [], []]", "client 1 and 1 other would have none"),
        ("return [range(6), range(6, 12)]", "it makes 2 of them"),
        ("import os; os._exit(3)", "deal ended its process with status 3"),
    ],
)
def test_a_wrong_deal_is_found_out(written, body, message):
    with pytest.raises(UsageError, match=message):
        partition(written(body)).assignment(3)


def test_a_file_that_is_not_there_is_refused_before_anything_is_dealt(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        partition(f"{tmp_path}/none.py:deal")
