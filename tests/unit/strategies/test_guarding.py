"""What a strategy of the user's own raises, or returns, is told with its name and its line."""

from dataclasses import dataclass

import numpy as np
import pytest

from disdel import strategies
from disdel.errors import StrategyFailed, UsageError
from disdel.strategies.asking import strategy_said
from disdel.strategies.own import own_class

DECISIONS = {
    "participants": "roster, number, seed",
    "weight": "contribution",
    "terms": "",
    "sums": "contribution",
    "numbers": "contributions, clients",
    "check_sgd": "sgd",
    "check_updates": "count",
    "combine": "changes, weights, geometry",
    "counted": "weights, geometry",
    "advance": "block",
    "client_keeps": "block",
    "first": "name",
}


def own(folder, method, body):
    file = folder / "own.py"
    takes = f"self, {DECISIONS[method]}".rstrip(", ")
    file.write_text(
        "from disdel.strategies import FedAvg\n\n\nclass Own(FedAvg):\n    name = 'own'\n\n"
        f"    def {method}({takes}):\n        {body}\n"
    )
    return own_class(f"{file}:Own")()


def decide(strategy, method):
    return getattr(strategy, method)(*[None for name in DECISIONS[method].split(",") if name])


@pytest.mark.parametrize("method", DECISIONS)
def test_an_error_of_any_decision_is_one_line_with_its_place(method, tmp_path):
    strategy = own(tmp_path, method, 'raise ValueError("too few")')
    told = r'own\.py, line 8, `raise ValueError\("too few"\)`: ValueError: too few$'
    with pytest.raises(StrategyFailed, match=f"^strategy own failed: {told}"):
        decide(strategy, method)


@pytest.mark.parametrize("method", DECISIONS)
def test_what_nobody_can_use_is_refused(method, tmp_path):
    strategy = own(tmp_path, method, 'return "much"')
    with pytest.raises(StrategyFailed, match=rf"{method} must return .*, and returned 'much'$"):
        decide(strategy, method)


def test_an_error_that_disdel_raises_itself_stays_as_it_is(tmp_path):
    told = "from disdel.errors import UsageError; raise UsageError('as it is')"
    with pytest.raises(UsageError, match=r"^as it is$"):
        decide(own(tmp_path, "check_updates", told), "check_updates")


@pytest.mark.parametrize("weight", [1, 0.5, np.float32(2), np.int64(3)])
def test_numbers_of_numpy_are_numbers(weight):
    @dataclass(frozen=True)
    class Same(strategies.FedAvg):
        def weight(self, contribution):
            return weight

    assert Same().weight(None) == weight


def test_parameters_that_a_users_class_refuses_are_the_users_input(tmp_path):
    file = tmp_path / "picky.py"
    file.write_text(
        "from disdel.strategies import FedAvg\n\n\nclass Picky(FedAvg):\n"
        "    def __post_init__(self):\n        raise ValueError('not today')\n"
    )
    with pytest.raises(UsageError, match=r"^--strategy .*picky\.py:Picky: ValueError: not today$"):
        strategy_said(f"{file}:Picky")
