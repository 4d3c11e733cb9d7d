"""Actions in JavaScript, where the platform has a kind for them."""

from __future__ import annotations

import base64
import io
import zipfile

import pytest

from tests.support.openwhisk import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    OpenWhisk,
    has_failed,
    is_cold,
)


@pytest.fixture(autouse=True)
def _needs_node(whisk: OpenWhisk) -> None:
    if "nodejs" not in whisk.http.get("/").json()["runtimes"]:
        pytest.skip("the platform has no kind for JavaScript: is node on its path?")


def script(whisk: OpenWhisk, code: str) -> str:
    return whisk.action(exec={"kind": "nodejs:default", "code": code})


def test_source(whisk: OpenWhisk) -> None:
    name = script(whisk, "function main(args) { console.log('said'); return { n: args.n + 1 } }")
    assert whisk.get(f"/actions/{name}").json()["exec"]["kind"].startswith("nodejs:")
    first, second = (whisk.invoke(name, {"n": n}).json() for n in (1, 2))
    assert [each["response"]["result"] for each in (first, second)] == [{"n": 2}, {"n": 3}]
    assert [is_cold(each) for each in (first, second)] == [True, False]
    [line] = whisk.activation(second["activationId"])["logs"]
    assert line.endswith("stdout: said")


def test_a_promise(whisk: OpenWhisk) -> None:
    code = "const main = async () => ({ name: process.env.__OW_ACTION_NAME })"
    name = script(whisk, code)
    assert whisk.result(name) == {"name": f"/{whisk.namespace}/{name}"}


def test_a_zip(whisk: OpenWhisk) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("package.json", '{"main": "start.js"}')
        bundle.writestr("start.js", "exports.main = () => ({ n: require('./helper').n })")
        bundle.writestr("helper.js", "exports.n = 2")
    assert whisk.result(script(whisk, base64.b64encode(buffer.getvalue()).decode())) == {"n": 2}


def test_failures(whisk: OpenWhisk) -> None:
    refuses = script(whisk, "function main() { return { error: { k: 1 } } }")
    has_failed(whisk.invoke(refuses), APPLICATION_ERROR, {"k": 1})
    throws = script(whisk, "function main() { throw new Error('too bad') }")
    text = "An error has occurred: Error: too bad"
    for _ in range(2):
        assert is_cold(has_failed(whisk.invoke(throws), DEVELOPER_ERROR, text))
    code = "async function main() { const e = new Error('too bad'); e.code = 7; throw e }"
    rejects = script(whisk, code)
    for cold in (True, False):
        reply = whisk.invoke(rejects).json()
        assert reply["response"]["status"] == APPLICATION_ERROR
        error = reply["response"]["result"]["error"]
        assert (error["name"], error["message"], error["code"]) == ("Error", "too bad", 7)
        assert "too bad" in error["stack"]
        assert not is_cold(reply) or cold
    nothing = script(whisk, "function main() { return Promise.reject() }")
    has_failed(whisk.invoke(nothing), APPLICATION_ERROR, {})
    damaged = script(whisk, base64.b64encode(b"PK no zip at all").decode())
    error = whisk.invoke(damaged).json()["response"]["result"]["error"]
    assert "There was an error uncompressing the action archive." in error
    text = "The action did not return a dictionary or array."
    returns = script(whisk, "function main() { return 'text' }")
    has_failed(whisk.invoke(returns), DEVELOPER_ERROR, text)
    exits = script(whisk, "function main() { process.exit(1) }")
    text = "The action did not produce a valid response and exited unexpectedly."
    has_failed(whisk.invoke(exits), DEVELOPER_ERROR, text)
    broken = whisk.invoke(script(whisk, "function main( {"))
    assert broken.status_code == 502
    error = broken.json()["response"]["result"]["error"]
    assert error.startswith("Initialization has failed due to: SyntaxError")
