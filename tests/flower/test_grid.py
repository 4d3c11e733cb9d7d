"""Our Grid, against the one of the installed Flower and a controller that is a thread."""

import base64
import inspect
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto, recorddict_from_proto
from flwr.proto import message_pb2, recorddict_pb2
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from disdel.flower import grid as grid_module
from disdel.flower.frames import LinkLost, receive, send
from disdel.flower.grid import FunctionGrid
from disdel.flower.link import Link

NODES = (700, 30, 500)


class Controller(threading.Thread):
    """Answers each message by what `replies` has for its node, if that is not `held`.

    It does so `delay_s` seconds after the message came.
    """

    def __init__(self, connection):
        super().__init__(daemon=True)
        self.connection = connection
        self.heads = []
        self.contents = {}
        self.letters = {}
        self.came_s = {}
        self.delay_s = {}
        self.held = set()
        self.replies = {}

    def run(self):
        try:
            while True:
                self.take(receive(self.connection))
        except LinkLost:
            pass

    def take(self, frame):
        self.heads.append(frame.head)
        match frame.head:
            case {"op": "content", "digest": digest}:
                self.contents[digest] = bytes(frame.body)
            case {"op": "push", "letter": letter}:
                self.letters[letter["message"]] = letter
                self.came_s[letter["message"]] = time.monotonic()
            case {"op": "pull", "q": number, "ids": ids}:
                said, body = [], b""
                for one in ids:
                    if (letter := self.letters.get(one)) is None:
                        said.append({"message": one, "size": 0})
                        continue
                    delay_s = self.delay_s.get(letter["partition"], 0.0)
                    held = letter["partition"] in self.held
                    if held or time.monotonic() - self.came_s[one] < delay_s:
                        continue
                    del self.letters[one]
                    reply = self.reply(letter)
                    if isinstance(reply, bytes):
                        said.append({"message": one, "size": len(reply)})
                        body += reply
                    else:
                        said.append({"message": one, "size": 0, **reply})
                if not said:
                    time.sleep(0.005)
                send(self.connection, {"q": number, "replies": said}, body)

    def message(self, letter):
        proto = message_pb2.Message.FromString(base64.b64decode(letter["packed"]))
        proto.content.ParseFromString(self.contents[letter["digest"]])
        return message_from_proto(proto)

    def reply(self, letter):
        own = self.replies.get(letter["partition"], lambda message: message)
        answer = own(self.message(letter))
        if isinstance(answer, dict):
            return answer
        if answer.metadata.reply_to_message_id == "":
            answer = Message(answer.content, reply_to=answer)
        return message_to_proto(answer).SerializeToString()


@pytest.fixture
def controller():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        controller = Controller(theirs)
        controller.ours = ours
        controller.start()
        yield controller


@pytest.fixture
def grid(controller):
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 9, 1
    link = Link(controller.ours, when_lost=lambda: None)
    link.begin()
    return FunctionGrid(Run.create_empty(9), NODES, link)


def messages(*nodes, content=None, **others):
    content = content or RecordDict({"c": ConfigRecord({"server-round": 3})})
    return [Message(content, node, "train", **others) for node in nodes]


def test_it_is_what_the_installed_flower_asks_of_one():
    assert not inspect.isabstract(FunctionGrid)
    public = [name for name in vars(Grid) if not name.startswith("_")]
    assert set(public) >= {"set_run", "run", "create_message", "get_node_ids", "push_messages"}
    for name in public:
        asked, ours = getattr(Grid, name), getattr(FunctionGrid, name)
        if callable(asked):
            wanted = list(inspect.signature(asked).parameters)
            assert list(inspect.signature(ours).parameters) == wanted, name


def test_run_and_nodes(grid):
    assert list(grid.get_node_ids()) == list(NODES)
    assert [node.node_id for node in grid.get_nodes()] == list(NODES)
    grid.set_run(grid.run)
    assert grid.run.run_id == 9
    with pytest.raises(RuntimeError, match="Cannot find the run"):
        grid.set_run(Run.create_empty(10))
    made = grid.create_message(RecordDict(), "train", 30, "7")
    assert (made.metadata.dst_node_id, made.metadata.group_id) == (30, "7")


def test_replies_come_in_the_order_of_nodes_whoever_was_first(grid, controller):
    controller.delay_s = {0: 0.05}
    replies = list(grid.send_and_receive(messages(500, 700, 30)))
    assert [reply.metadata.src_node_id for reply in replies] == [700, 30, 500]
    assert all(reply.metadata.message_type == "train" for reply in replies)
    assert all(reply.metadata.message_id for reply in replies)


def test_a_model_is_sent_once_and_released_when_all_have_it(grid, controller):
    model = RecordDict({"arrays": ArrayRecord([np.arange(10.0)])})
    replies = list(grid.send_and_receive(messages(*NODES, content=model)))
    ops = [head["op"] for head in controller.heads if head["op"] != "pull"]
    assert ops == ["content", "push", "push", "push", "pushed"]
    [content] = controller.contents.values()
    sent = recorddict_from_proto(recorddict_pb2.RecordDict.FromString(content))
    assert np.array_equal(sent["arrays"].to_numpy_ndarrays()[0], np.arange(10.0))
    assert len(replies) == 3


def test_a_record_that_changes_between_two_messages_is_two(grid, controller):
    content = RecordDict({"c": ConfigRecord({"n": 0})})

    def one_by_one():
        for number, node in enumerate(NODES):
            content["c"]["n"] = number
            yield Message(content, node, "train")

    replies = list(grid.send_and_receive(one_by_one()))
    assert sorted(reply.content["c"]["n"] for reply in replies) == [0, 1, 2]


@pytest.mark.parametrize(("others", "number"), [({}, 3), ({"group_id": "12"}, 12)])
def test_the_round_is_what_strategies_say(grid, controller, others, number):
    list(grid.send_and_receive(messages(30, **others)))
    assert [h["letter"]["round"] for h in controller.heads if h["op"] == "push"] == [number]


def test_an_error_is_flowers(grid, controller):
    controller.replies = {1: lambda message: {"code": 8, "reason": "it crashed"}}
    lost, fine = grid.send_and_receive(messages(30, 500))
    assert (lost.error.code, lost.error.reason) == (ErrorCode.CLIENT_APP_CRASHED, "it crashed")
    assert lost.metadata.src_node_id == 30
    assert fine.has_content()


def test_a_reply_to_another_message_is_refused(grid, controller):
    def stray(message):
        other = Message(message.content, 500, "train")
        other.metadata.__dict__["_message_id"] = "other"
        return Message(RecordDict(), reply_to=other)

    controller.replies = {1: stray}
    strays, fine = grid.send_and_receive(messages(30, 500))
    assert strays.error.code == ErrorCode.UNKNOWN
    assert "node 30" in strays.error.reason
    assert "node 500" in strays.error.reason
    assert fine.has_content()


def test_a_time_out_gives_what_has_come_and_the_rest_can_be_pulled(grid, controller, monkeypatch):
    # It is over when the one has answered, however late that is.
    late_s = []
    controller.replies = {2: lambda message: late_s.append(1000) or message}
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(late_s))
    monkeypatch.setattr(grid_module, "time", clock)
    controller.held = {0}
    sent = messages(700, 500)
    replies = list(grid.send_and_receive(sent, timeout=600.0))
    assert [reply.metadata.src_node_id for reply in replies] == [500]
    controller.held = set()
    late = sent[0].metadata.message_id
    found = []
    while not found:
        found = list(grid.pull_messages([late]))
    assert found[0].metadata.reply_to_message_id == late
    assert found[0].has_content()


def test_ids_that_are_not_known_are_errors_as_in_flower(grid):
    [unknown] = grid.pull_messages(["nonsense"])
    assert unknown.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    [message] = messages(30)
    [one] = grid.push_messages([message])
    assert [reply.has_content() for reply in grid.pull_messages([one])] == [True]
    assert [reply.has_error() for reply in grid.pull_messages([one])] == [True]


@pytest.mark.parametrize("node", [31, 1])
def test_a_node_that_is_not_there_is_refused(grid, node):
    with pytest.raises(ValueError, match=f"no node {node}"):
        grid.push_messages(messages(node))


def test_threads_do_not_get_each_others_replies(grid):
    """The older strategies ask each client in a thread of its own."""
    wrong = []

    def ask(node, number):
        content = RecordDict({"c": ConfigRecord({"n": number})})
        [reply] = grid.send_and_receive(messages(node, content=content))
        if (reply.metadata.src_node_id, reply.content["c"]["n"]) != (node, number):
            wrong.append(reply)

    threads = [threading.Thread(target=ask, args=(NODES[n % 3], n)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
