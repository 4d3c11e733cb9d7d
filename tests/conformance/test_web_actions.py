"""Web actions: called by URL, without a key."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from tests.support.openwhisk import ECHO, NO_RESOURCE, OpenWhisk

NOT_AUTHENTICATED = "The resource requires authentication, which was not supplied with the request"
NOT_PERMITTED = "Request defines parameters that are not allowed (e.g., reserved properties)."
# Gives back what the caller says it should.
ANSWER = "import json\ndef main(args): return json.loads(args['answer'])"
PNG = b"\x89PNG\r\n\x1a\n\x00\xff"


def web(whisk: OpenWhisk, name: str, method: str = "GET", rest: str = "", **options):
    """A stranger's request; `rest` is what follows the action's name."""
    package, _, action = name.rpartition("/")
    place = f"{whisk.namespace}/{package or 'default'}/{action}{rest}"
    url = f"{whisk.access.apihost}/api/v1/web/{place}"
    verify = not whisk.access.insecure
    with httpx.Client(trust_env=False, verify=verify, timeout=90) as stranger:
        return stranger.request(method, url, **options)


def exported(whisk: OpenWhisk, code: str = ECHO, parameters=(), name=None, **annotations) -> str:
    wanted = {"web-export": True, **{key.replace("_", "-"): v for key, v in annotations.items()}}
    pairs = [{"key": key, "value": value} for key, value in wanted.items()]
    return whisk.action(code, annotations=pairs, parameters=list(parameters), name=name)


@pytest.fixture(scope="module")
def echo(whisk):
    return exported(whisk)


@pytest.fixture(scope="module")
def answer(whisk):
    return exported(whisk, ANSWER)


def answered(whisk, answer, result, extension=".http", **options):
    return web(whisk, answer, rest=extension, params={"answer": json.dumps(result)}, **options)


def is_refused(reply, status, text):
    assert (reply.status_code, reply.json()["error"]) == (status, text)


def test_the_request_is_the_arguments(whisk, echo):
    reply = web(
        whisk, echo, "POST", ".json/a/b%20c?x=1&y=%C3%A4", json={"y": "body wins", "z": [1]}
    )
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert len(reply.headers["x-openwhisk-activation-id"]) == 32
    said = reply.json()
    assert (said["x"], said["y"], said["z"]) == ("1", "body wins", [1])
    assert (said["__ow_method"], said["__ow_path"]) == ("post", "/a/b%20c")
    assert said["__ow_headers"]["content-type"] == "application/json"
    assert not said["__ow_headers"].keys() & {"content-length", "connection"}
    assert not said.keys() & {"__ow_user", "__ow_body", "__ow_query"}


def test_a_key_names_its_user_and_a_wrong_one_nobody(whisk, echo):
    user, _, secret = whisk.access.auth.partition(":")
    known = web(whisk, echo, rest=".json", auth=(user, secret)).json()
    assert known["__ow_user"] == whisk.namespace
    assert "__ow_user" not in web(whisk, echo, rest=".json", auth=(user, "wrong")).json()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_every_method_reaches_the_action(whisk, echo, method):
    assert web(whisk, echo, method, ".json").json()["__ow_method"] == method.lower()


def test_a_head_request_has_no_body(whisk):
    code = "def main(args): return {'headers': {'x-method': args['__ow_method']}}"
    reply = web(whisk, exported(whisk, code), "HEAD")
    assert (reply.status_code, reply.headers["x-method"], reply.content) == (204, "head", b"")


@pytest.mark.parametrize(
    ("content_type", "content", "seen"),
    [
        ("text/plain", "täxt".encode(), "täxt"),
        ("text/html", b"key=value", "key=value"),
        ("image/png", PNG, base64.b64encode(PNG).decode()),
        ("application/octet-stream", b"\xff", "/w=="),
        ("application/json", b"[1, 2]", [1, 2]),
        ("application/xml", b"<a/>", "<a/>"),
    ],
)
def test_a_body_that_is_no_object_is_one_argument(whisk, echo, content_type, content, seen):
    headers = {"content-type": content_type}
    reply = web(whisk, echo, "POST", ".json", content=content, headers=headers)
    assert reply.json()["__ow_body"] == seen


def test_a_form_is_its_fields(whisk, echo):
    said = web(whisk, echo, "POST", ".json", data={"a": "1", "b": "x y"}).json()
    assert (said["a"], said["b"]) == ("1", "x y")


def test_a_raw_action_gets_the_request_as_it_came(whisk):
    raw = exported(whisk, raw_http=True)
    said = web(whisk, raw, "POST", ".json?a=1&b=%20", json={"__ow_user": "me"}).json()
    assert said["__ow_query"] == "a=1&b=%20"
    assert json.loads(base64.b64decode(said["__ow_body"])) == {"__ow_user": "me"}
    assert "a" not in said
    assert web(whisk, raw, rest=".json").json()["__ow_body"] == ""


@pytest.mark.parametrize("name", ["__ow_user", "__ow_path", "__ow_body", "__ow_headers"])
def test_what_is_the_platforms_to_say_is_refused(whisk, echo, name):
    is_refused(web(whisk, echo, rest=".json", params={name: "x"}), 400, NOT_PERMITTED)
    is_refused(web(whisk, echo, "POST", ".json", json={name: "x"}), 400, NOT_PERMITTED)


def test_final_parameters_stay(whisk):
    final = exported(whisk, parameters=[{"key": "a", "value": 1}], final=True)
    is_refused(web(whisk, final, rest=".json", params={"a": 2}), 400, NOT_PERMITTED)
    assert web(whisk, final, rest=".json", params={"b": 2}).json()["a"] == 1


def test_a_packages_parameters_are_there(whisk):
    package = whisk.package(parameters=[{"key": "p", "value": "of the package"}])
    name = exported(whisk, name=f"{package}/web")
    assert web(whisk, name, rest=".json").json()["p"] == "of the package"


def test_what_is_not_exported_is_not_there(whisk):
    hidden = [whisk.action(), exported(whisk, web_export=False), exported(whisk, web_export="yes")]
    for name in [*hidden, "nosuch", "nosuch/action"]:
        is_refused(web(whisk, name, rest=".json"), 404, NO_RESOURCE)


def test_a_secret_or_a_key_is_asked_for(whisk):
    user, _, secret = whisk.access.auth.partition(":")
    keyed = exported(whisk, require_whisk_auth=True)
    is_refused(web(whisk, keyed, rest=".json"), 401, NOT_AUTHENTICATED)
    assert web(whisk, keyed, rest=".json", auth=(user, secret)).status_code == 200
    told = exported(whisk, require_whisk_auth="sesame")
    for headers in ({}, {"x-require-whisk-auth": "open"}):
        is_refused(web(whisk, told, rest=".json", headers=headers), 401, NOT_AUTHENTICATED)
    right = {"x-require-whisk-auth": "sesame"}
    assert web(whisk, told, rest=".json", headers=right).status_code == 200
    assert web(whisk, exported(whisk, require_whisk_auth=False), rest=".json").status_code == 200


@pytest.mark.parametrize(
    ("extension", "result", "content_type", "body"),
    [
        (".json", {"a": 1}, "application/json", b'{"a":1}'),
        (".html", {"html": "<p>"}, "text/html; charset=UTF-8", b"<p>"),
        (".html", {"body": "<b>"}, "text/html; charset=UTF-8", b"<b>"),
        (".svg", {"svg": "<svg/>"}, "image/svg+xml", b"<svg/>"),
        (".text", {"text": "plain"}, "text/plain; charset=UTF-8", b"plain"),
        (".text", {"text": True}, "text/plain; charset=UTF-8", b"true"),
        (".text", {"text": {"a": [1, 2]}}, "text/plain; charset=UTF-8", b'{\n  "a": [1, 2]\n}'),
        (".http", {"body": "hello"}, "text/html; charset=UTF-8", b"hello"),
        ("", {"body": {"a": 1}}, "application/json", b'{"a":1}'),
    ],
)
def test_the_extension_says_what_the_reply_is(whisk, answer, extension, result, content_type, body):
    reply = answered(whisk, answer, result, extension)
    assert (reply.status_code, reply.content) == (200, body)
    assert reply.headers["content-type"].lower() == content_type.lower()


@pytest.mark.parametrize(
    ("extension", "result", "status", "text"),
    [
        (".html", {"text": "x"}, 400, "Response is not valid 'text/html'."),
        (".svg", {"svg": 1}, 400, "Response is not valid 'image/svg+xml'."),
        (".text", {"other": 1}, 404, "Response does not include requested property."),
        (".http", {"statusCode": "x"}, 400, "Response is not valid 'message/http'."),
        (".http", {"statusCode": 200.5}, 400, "Response is not valid 'message/http'."),
        (".http", {"headers": [1]}, 400, "Response is not valid 'message/http'."),
        (
            ".http",
            {"headers": {"content-type": "image/png"}, "body": "no base64!"},
            400,
            "Response type in header did not match generated content type.",
        ),
        (
            ".http",
            {"headers": {"content-type": "text/plain"}, "body": {"a": 1}},
            400,
            "Response type in header did not match generated content type.",
        ),
        (
            ".http",
            {"headers": {"content-type": "nonsense"}, "body": "x"},
            400,
            "Response did not specify a known content-type.",
        ),
    ],
)
def test_a_result_that_does_not_suit_is_refused(whisk, answer, extension, result, status, text):
    is_refused(answered(whisk, answer, result, extension), status, text)


def test_status_headers_and_bytes_are_the_actions(whisk, answer):
    result = {
        "statusCode": "201",
        "headers": {
            "Content-Type": "image/png",
            "set-cookie": ["a=b", "c=d"],
            "x-number": 7,
            "x-true": True,
        },
        "body": base64.b64encode(PNG).decode(),
    }
    reply = answered(whisk, answer, result)
    assert (reply.status_code, reply.content) == (201, PNG)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers.get_list("set-cookie") == ["a=b", "c=d"]
    assert (reply.headers["x-number"], reply.headers["x-true"]) == ("7", "true")


@pytest.mark.parametrize("result", [{}, {"body": ""}, {"statusCode": 302, "body": ""}])
def test_no_body_is_no_content(whisk, answer, result):
    reply = answered(whisk, answer, result)
    assert (reply.status_code, reply.content) == (result.get("statusCode", 204), b"")


def test_json_as_text_is_json(whisk, answer):
    result = {"headers": {"content-type": "application/json"}, "body": '{"status":"success"}'}
    reply = answered(whisk, answer, result)
    assert reply.json() == {"status": "success"}
    assert reply.headers["content-type"] == "application/json"


def test_a_type_that_the_client_does_not_accept(whisk, answer):
    accept = {"accept": "application/json"}
    reply = answered(whisk, answer, {"body": "text"}, headers=accept)
    assert reply.status_code == 406
    types = "Resource representation is only available with these types:\ntext/html"
    assert reply.json()["error"].startswith(types)
    for accepted in ("text/*", "*/*;q=0.1", "application/json, text/html"):
        headers = {"accept": accepted}
        assert answered(whisk, answer, {"body": "text"}, headers=headers).status_code == 200


def test_an_error_of_the_actions_own_is_a_reply_too(whisk, answer):
    error = {"error": {"statusCode": 418, "body": "teapot"}}
    reply = answered(whisk, answer, error)
    assert (reply.status_code, reply.text) == (418, "teapot")


def test_an_action_that_fails_says_nothing_of_why(whisk):
    failing = exported(whisk, "def main(args): return 'no object'")
    is_refused(web(whisk, failing), 400, "There was an error processing your request.")


def test_preflights_are_answered_for_the_action(whisk, echo):
    asked = {"access-control-request-headers": "x-custom"}
    for reply in (
        web(whisk, echo, "OPTIONS", ".http", headers=asked),
        web(whisk, echo, "GET", ".json", headers=asked),
    ):
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == "*"
        methods = reply.headers["access-control-allow-methods"]
        assert methods == "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"
        assert reply.headers["access-control-allow-headers"] == "x-custom"
    plain = web(whisk, echo, "OPTIONS", ".http")
    assert plain.headers["access-control-allow-headers"].startswith("Authorization, Origin")
    assert plain.content == b""


def test_an_action_may_answer_preflights_itself(whisk):
    code = (
        "def main(args): return {'statusCode': 200, 'body': args['__ow_method'],"
        " 'headers': {'access-control-allow-origin': 'mine'}}"
    )
    reply = web(whisk, exported(whisk, code, web_custom_options=True), "OPTIONS")
    assert (reply.status_code, reply.text) == (200, "options")
    assert reply.headers.get_list("access-control-allow-origin") == ["mine"]
    assert "access-control-allow-methods" not in reply.headers


def test_a_request_may_be_of_one_mib(whisk, echo):
    reply = web(
        whisk, echo, "POST", ".json", content=b"x" * (1 << 20 | 1), headers={"content-type": "a/b"}
    )
    is_refused(reply, 413, "Request larger than allowed: 1048577 > 1048576 bytes.")


def test_json_that_is_none_is_refused(whisk, echo):
    headers = {"content-type": "application/json"}
    reply = web(whisk, echo, "POST", ".json", content=b"{", headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("The request content was malformed:")


def test_a_header_that_would_break_out_of_its_line_is_none(whisk, answer):
    for headers in ({"x": "a\r\nset-cookie: b"}, {"a b": "c"}, {"x": "\u2603"}):
        reply = answered(whisk, answer, {"headers": headers, "body": "x"})
        assert reply.status_code == 400
        assert "set-cookie" not in reply.headers


def test_a_sequence_may_be_exported(whisk, answer):
    sequence = whisk.name()
    wire = {
        "exec": {"kind": "sequence", "components": [f"/_/{answer}"]},
        "annotations": [{"key": "web-export", "value": True}],
    }
    assert whisk.put(f"/actions/{sequence}", json=wire).status_code == 200
    assert answered(whisk, sequence, {"body": "through"}).text == "through"


def test_a_web_page_of_somebody_else_may_call_it(whisk, echo):
    page = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    reply = web(whisk, echo, rest=".json", headers=page)
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, "*")
