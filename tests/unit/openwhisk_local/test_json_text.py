from __future__ import annotations

import json

import pytest

from openwhisk_local.json_text import MAX_CONTAINERS, parse_json
from openwhisk_local.replies import BODY_TOO_LARGE, DEEP, MAX_DEPTH, ApiError


def array_of(item: bytes, count: int) -> bytes:
    return b'{"x":[' + b",".join([item] * count) + b"]}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"code": "' + b"x" * (3 << 20) + b'"}',
        # What looks like structure, but is text.
        b'{"code": "' + b"[[{,:" * (1 << 20) + b'"}',
        b'{"code": "' + rb"\"[,\\" * (1 << 19) + b'"}',
        b'{"code": "' + rb"\\\"{:" * (1 << 19) + b'"}',
        array_of(b"0.25", 500_000),
        json.dumps({"parameters": [{"key": f"{n}", "value": n} for n in range(90_000)]}).encode(),
    ],
)
def test_what_is_large_and_plain_is_read(body: bytes) -> None:
    assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        array_of(b"[]", 600_000),
        array_of(b'{"":{}}', 300_000),
        array_of(b"1", 2_000_000),
        array_of(b'"\\""', 1_000_002),
        array_of(rb'"\\"', 1_000_002),
        json.dumps({str(n): 0 for n in range(MAX_CONTAINERS + 1)}).encode(),
    ],
)
def test_what_costs_more_than_its_bytes_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match=BODY_TOO_LARGE) as refused:
        parse_json(body)
    assert refused.value.status == 413


@pytest.mark.parametrize("opening", [b"[", b'{"x":'])
@pytest.mark.parametrize("padding", [b"", b" " * (2 << 20)])
def test_what_is_too_deep_is_refused_as_upstream_does(opening: bytes, padding: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(ApiError, match="nested more deeply") as refused:
            parse_json(opening * depth + b"1" + closing * depth + padding)
        assert (refused.value.status, refused.value.message.partition("\n")[2]) == (400, DEEP)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'"', b"NaN", b"[1e999]", b"\xff", b'"\\', b"[" + b"9" * 5000 + b"]"]
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        parse_json(body)
    assert refused.value.status == 400
    assert "sys." not in refused.value.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_json_is_utf_8(encoding: str) -> None:
    # In another encoding the escaped mark would hide what comes after it from the count.
    for text in ('{"a": 1}', '{"a":["\\"",' + "[]," * 600_000 + "[]]}"):
        with pytest.raises(ApiError) as refused:
            parse_json(text.encode(encoding))
        assert refused.value.status in (400, 413)
