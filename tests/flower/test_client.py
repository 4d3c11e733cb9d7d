"""The activation's side: a ClientApp in a bundle, with a store in this process."""

import base64
import importlib.metadata
import sys
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import (
    context_from_proto,
    context_to_proto,
    message_from_proto,
    message_to_proto,
    recorddict_to_proto,
)
from flwr.proto import message_pb2
from flwr.supercore.task_identity import TaskIdentity

from disdel.errors import UsageError
from disdel.protocol.flower import FlowerRequest
from disdel.store.memory_store import MemoryStore
from disdel.worker import flower_client
from disdel.worker.flower_client import FlowerClient
from disdel.worker.phases import PhaseClock

VERSION = importlib.metadata.version("flwr")
CODE = """
import os, sys
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from helper_of_app import NAME

app = ClientApp()

def inner():
    raise KeyError(NAME)

@app.train()
def train(message, context):
    n = context.state.metric_records.setdefault("n", MetricRecord({"n": 0}))
    n["n"] += 1
    match message.content["c"]["what"]:
        case "raise": inner()
        case "exit": sys.exit(3)
        case "none": return None
        case "config": context.run_config["rate"] = 2
    record = MetricRecord({"n": n["n"], "loss": 0.5, "nan": float("nan"), "many": [1, 2]})
    return Message(RecordDict({"metrics": record}), reply_to=message)
"""


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    (tmp_path / "client_of_app.py").write_text(CODE)
    (tmp_path / "helper_of_app.py").write_text("NAME = 'missing'\n")
    monkeypatch.setattr(flower_client, "_APP", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    for name in ("client_of_app", "helper_of_app"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 9, 1
    return tmp_path


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def ask(bundle, store):
    client = FlowerClient()
    context = Context(9, 30, {"partition-id": 1}, RecordDict(), {"rate": 1})
    store.put("context:0", context_to_proto(context).SerializeToString())

    def answer(what, *, flwr=VERSION, client_app="client_of_app:app", begins=0, ends=1):
        message = Message(RecordDict({"c": ConfigRecord({"what": what})}), 30, "train")
        message.metadata.__dict__["_message_id"] = "m"
        content = recorddict_to_proto(message.content).SerializeToString()
        store.put("content", content)
        proto = message_to_proto(message)
        proto.ClearField("content")
        request = FlowerRequest(
            client_app=client_app,
            flwr=flwr,
            worker=0,
            message=base64.b64encode(proto.SerializeToString()).decode(),
            content_key="content",
            context_key=f"context:{begins}",
            reply_key="reply",
            new_context_key=f"context:{ends}",
        )
        around = SimpleNamespace(
            store=store, clock=PhaseClock(), peak_mb=lambda: 1, working_set_mb=lambda: 1
        )
        said = client.answer(request, around)
        reply = message_from_proto(message_pb2.Message.FromString(bytes(store.get("reply"))))
        kept = message_pb2.Context.FromString(bytes(store.get(f"context:{ends}")))
        return said, reply, context_from_proto(kept)

    return answer


def test_a_message_has_its_reply_and_the_node_keeps_its_state(ask):
    said, reply, kept = ask("fine")
    assert said.failure is None
    assert said.metrics == {"n": 1.0, "loss": 0.5}
    assert reply.metadata.reply_to_message_id == "m"
    assert reply.metadata.src_node_id == 30
    assert dict(kept.state["n"]) == {"n": 1}
    again, _, kept = ask("fine", begins=1, ends=2)
    assert again.container == said.container
    assert again.metrics["n"] == 2.0
    # As from a message that was lost: from the state that it began with.
    _, _, kept = ask("fine", begins=1, ends=3)
    assert dict(kept.state["n"]) == {"n": 2}


@pytest.mark.parametrize(
    ("what", "code", "said_in_reply", "last"),
    [
        ("raise", 2, "ClientAppException'>:<'\nException", "KeyError: 'missing' (client_of_app.py"),
        ("exit", 2, "ClientAppException", "SystemExit: 3 (client_of_app.py"),
        ("none", 2, "ClientAppException", "TypeError: the ClientApp returned NoneType"),
        ("config", 0, "run_config", "ValueError: The `run_config` field"),
    ],
)
def test_what_it_raises_is_the_error_that_flowers_simulation_makes_of_it(
    ask, capsys, what, code, said_in_reply, last
):
    said, reply, kept = ask(what)
    assert reply.error.code == code
    assert said_in_reply in reply.error.reason
    assert said.failure.said.startswith(last)
    assert said.failure.code == code
    # The traceback is in the activation's log, and what the node keeps is what it was.
    assert last.split(" (")[0] in capsys.readouterr().err
    assert dict(kept.state) == {}
    assert dict(kept.run_config) == {"rate": 1}


@pytest.mark.parametrize(
    ("code", "client_app", "last"),
    [
        ("import nothing_here\napp = 1", "client_of_app:app", "ModuleNotFoundError"),
        ("app = 3", "client_of_app:app", "LoadClientAppError"),
        (CODE, "client_of_app:other", "LoadClientAppError"),
        ("app = (", "client_of_app:app", "SyntaxError"),
    ],
)
def test_an_app_that_cannot_be_loaded_says_so(ask, bundle, code, client_app, last):
    (bundle / "client_of_app.py").write_text(code)
    said, reply, _ = ask("fine", client_app=client_app)
    assert last in said.failure.said
    assert reply.error.code == ErrorCode.LOAD_CLIENT_APP_EXCEPTION


def test_another_version_of_flower_is_refused_with_what_to_install(ask):
    with pytest.raises(UsageError, match=rf"flwr {VERSION} and disdel runs with flwr 1\.3\.0"):
        ask("fine", flwr="1.3.0")
