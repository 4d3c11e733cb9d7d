"""One instance of a function behind a URL."""

import json
import threading
import time

import pytest

from disdel.entry.answering import Answering
from disdel.entry.http_function import Function, timeouts
from disdel.protocol.calls import CALLS_VERSION, KEY
from tests.support.http_gateway import record


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, {"timeout": 60.0}),
        (
            {"exec_timeout": "10s", "write_timeout": "1m30s"},
            {"exec_timeout": 10, "write_timeout": 90},
        ),
        ({"CLOUD_RUN_TIMEOUT_SECONDS": "300"}, {"CLOUD_RUN_TIMEOUT_SECONDS": 300}),
        ({"exec_timeout": "0", "read_timeout": "soon", "write_timeout": ""}, {}),
        ({"upstream_timeout": "2h"}, {"upstream_timeout": 7200}),
    ],
)
def test_time_limits_that_an_instance_is_told(environ, found):
    assert timeouts(60, environ) == {"timeout": 60.0, **found}


class Slow(Answering):
    """Answers calls when it may."""

    def __init__(self):
        super().__init__(containers=None)
        self.go, self.calls = threading.Event(), []

    def _call(self, request):
        self.calls.append(request["activation_id"])
        assert self.go.wait(60)
        return record(request)


def posted(function, activation_id, key="", **headers):
    body = json.dumps({"disdel": CALLS_VERSION, "do": "call", "activation_id": activation_id})
    return function.serve(body.encode(), {KEY: key, **headers})


def test_an_instance_runs_one_call_and_answers_the_same_key_alike():
    answering = Slow()
    function, answers = Function(answering), []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(posted(function, n, "k"))) for n in "ab"
    ]
    threads[0].start()
    while not answering.calls:
        time.sleep(0.01)
    threads[1].start()
    status, headers, text = posted(function, "c", "other")
    assert (status, headers["Retry-After"], json.loads(text)["refused"]) == (
        503,
        "1",
        "the instance is busy",
    )
    answering.go.set()
    for thread in threads:
        thread.join()
    answers.append(posted(function, "d", "k"))
    assert [json.loads(text)["activation_id"] for _, _, text in answers] == ["a"] * 3
    assert posted(function, "e", "other")[0] == 200
    assert answering.calls == ["a", "e"]


def test_a_function_with_a_token_takes_it_in_either_place():
    answering = Slow()
    answering.go.set()
    function = Function(answering, token="t")
    assert posted(function, "a")[0] == 401
    assert posted(function, "a", Authorization="Bearer x")[0] == 401
    assert posted(function, "a", authorization="Bearer t")[0] == 200
    both = {"Authorization": "Bearer platforms", "X-Disdel-Token": "t"}
    assert posted(function, "a", **both)[0] == 200
    assert function.serve(b"{", {"X-Disdel-Token": "t"})[0] == 400
    assert function.serve(b"[]", {"X-Disdel-Token": "t"})[0] == 400
