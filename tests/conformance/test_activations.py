"""Rows 39 to 41: the records of what has run."""

from __future__ import annotations

import re

from tests.support.openwhisk import NO_RESOURCE, OpenWhisk, is_refused

TALK = (
    "import sys\n"
    "def main(args):\n"
    "    print('hello ü')\n"
    "    print('oops', file=sys.stderr)\n"
    "    return args\n"
)


def test_row_39_records_that_are_not_there(whisk: OpenWhisk) -> None:
    is_refused(whisk.get(f"/activations/{'0' * 32}"), 404, NO_RESOURCE)
    text = "Activation id length is 5 but must be 32."
    is_refused(whisk.get("/activations/abcde"), 400, text)
    text = "The activation id is not valid."
    is_refused(whisk.get("/activations/" + "X" * 32), 400, text)
    is_refused(whisk.get("/activations/" + "A" * 32), 400, text)


def test_row_40_result_and_logs(whisk: OpenWhisk) -> None:
    activation_id = whisk.invoke(whisk.action(TALK), {"x": 1}).json()["activationId"]
    record = whisk.activation(activation_id)
    response = whisk.get(f"/activations/{activation_id}/result").json()
    assert response == record["response"]
    assert (response["result"], response["status"]) == ({"x": 1}, "success")
    logs = whisk.get(f"/activations/{activation_id}/logs").json()
    assert logs == {"logs": record["logs"]}
    assert "THE_END_OF_A_WHISK" not in str(logs)
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z *"
    for line in logs["logs"]:
        assert re.fullmatch(stamp, line[:30])
    assert len(logs["logs"]) == 2
    assert any(line[30:] == " stdout: hello ü" for line in logs["logs"])
    assert whisk.get(f"/activations/{activation_id}/").json() == record
    assert whisk.get(f"/activations/{activation_id}/other").status_code == 404


def test_row_41_lists(whisk: OpenWhisk) -> None:
    package = whisk.package()
    whisk.action(name=f"{package}/a")
    first, second = (whisk.invoke(f"{package}/a").json() for _ in range(2))
    for record in (first, second):
        whisk.activation(record["activationId"])

    def listed(query: str) -> list[str]:
        return [row["activationId"] for row in whisk.get(f"/activations?{query}").json()]

    by_name = f"name={package}/a"
    assert listed("name=a&limit=200").count(first["activationId"]) == 0
    assert listed(by_name) == [second["activationId"], first["activationId"]]
    assert listed(f"{by_name}&limit=1&skip=1") == [first["activationId"]]
    assert second["activationId"] in listed(f"{by_name}&since={second['start']}")
    assert first["activationId"] in listed(f"{by_name}&upto={first['start']}")
    assert listed(f"{by_name}&since={second['start'] + 1}") == []
    assert whisk.get(f"/activations?{by_name}&count=true").json() == {"activations": 2}
    [summary, _] = whisk.get(f"/activations?{by_name}").json()
    assert summary["statusCode"] == 0
    assert "response" not in summary
    [whole, _] = whisk.get(f"/activations?{by_name}&docs=true").json()
    assert whole["response"]["success"]
    assert "statusCode" not in whole


def test_filters_that_cannot_be(whisk: OpenWhisk) -> None:
    text = "The parameter 'docs' is not permitted with 'count'."
    is_refused(whisk.get("/activations?count=true&docs=true"), 400, text)
    for query, why in (
        ("since=x", "Parameter is not a valid value for epoch seconds: x"),
        ("upto=1.5", "Parameter is not a valid value for epoch seconds: 1.5"),
        ("name=a/b/c", "Parameter may be a 'simple' name or 'package-name/simple' name: a/b/c"),
        ("limit=201", "The value '201' is not in the range of 0 to 200 for activations."),
    ):
        field = query.partition("=")[0]
        text = f"The query parameter '{field}' was malformed:\n{why}"
        is_refused(whisk.get(f"/activations?{query}"), 400, text)


def test_logs_beyond_their_limit(whisk: OpenWhisk) -> None:
    code = "def main(args):\n    for _ in range(2000): print('x' * 1000)\n    return {}"
    name = whisk.action(code, limits={"logs": 1})
    activation_id = whisk.invoke(name).json()["activationId"]
    logs = whisk.activation(activation_id)["logs"]
    end = "Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes."
    assert logs[-1].endswith(end)
    assert sum(len(line) for line in logs) < 2 << 20


def test_no_logs_at_all(whisk: OpenWhisk) -> None:
    name = whisk.action(TALK, limits={"logs": 0})
    assert whisk.activation(whisk.invoke(name).json()["activationId"])["logs"] == []
