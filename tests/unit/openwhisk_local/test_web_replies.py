import pytest

from openwhisk_local.rest.web_replies import EXTENSIONS


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Transfer-Encoding"])
def test_where_a_reply_ends_is_not_the_action_s_to_say(name):
    result = {"headers": {name: "1", "X-Other": "kept"}, "body": "abc"}
    response = EXTENSIONS[".http"](result).response(None)
    assert response.body == b"abc"
    assert response.headers["content-length"] == "3"
    assert response.headers["x-other"] == "kept"
    assert "transfer-encoding" not in response.headers


@pytest.mark.parametrize(
    ("extension", "result"),
    [
        (".json", {"a": "\ud800"}),
        (".text", {"text": "\ud800"}),
        (".text", {"text": {"a": "\ud800"}}),
        (".html", {"html": "\ud800"}),
        (".svg", {"svg": "\ud800"}),
        (".http", {"body": "\ud800"}),
        (".http", {"body": {"a": "\ud800"}}),
        (".http", {"body": {"a": "\ud800"}, "headers": {"content-type": "text/x+json"}}),
    ],
)
def test_half_of_a_surrogate_pair_is_a_question_mark(extension, result):
    assert b"?" in EXTENSIONS[extension](result).body
