"""`--action-env`: variables that actions have in their environment, wherever they run."""

import os

import pytest

from disdel.errors import UsageError
from disdel.protocol import messages
from disdel.settings import Settings
from disdel.worker.context import activation_context


def test_an_action_has_the_variables_before_it_connects(redis_url, monkeypatch):
    monkeypatch.delenv("COMPANY", raising=False)
    settings = Settings(action_env=("COMPANY=a=b", "EMPTY="))
    common = messages.Common(
        v=messages.WIRE_VERSION, run="x", store=redis_url, env=dict(settings.action_variables)
    )
    with activation_context(messages.to_json(common)):
        assert os.environ["COMPANY"] == "a=b"
        assert os.environ["EMPTY"] == ""
    monkeypatch.delenv("EMPTY")


@pytest.mark.parametrize("pair", ["", "=x", "NAME", "1NAME=x", "NA ME=s3cret", "N\0=x"])
def test_what_is_no_variable_is_refused_without_its_value(pair):
    with pytest.raises(UsageError, match="action_env must be NAME=VALUE") as refused:
        Settings(action_env=(pair,))
    assert "s3cret" not in str(refused.value)
