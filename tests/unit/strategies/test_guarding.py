"""What a strategy raises is shown with its line."""

import pytest

from disdel.errors import StrategyFailed, UsageError
from disdel.strategies.guarding import guarded
from disdel.strategies.own import own_class

OWN = """from disdel.strategies.fedavg import FedAvg


class Own(FedAvg):
    name = "own"

    def weight(self, contribution):
        raise ValueError("too few")
"""


def test_an_error_of_a_users_own_strategy_is_one_line_with_its_place(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    strategy = own_class(f"{file}:Own")()
    told = r'own\.py, line 8, `raise ValueError\("too few"\)`: ValueError: too few$'
    with pytest.raises(StrategyFailed, match=f"^strategy own failed: {told}"), guarded(strategy):
        strategy.weight(None)
    with pytest.raises(UsageError, match="as it is"), guarded(strategy):
        raise UsageError("as it is")
