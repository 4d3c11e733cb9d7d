"""What a web action's result becomes: a reply of the kind that the extension of the URL names.

After core/controller WebActions.scala. A result that does not suit the extension is a 400.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response

from openwhisk_local.entities.execs import is_binary_code
from openwhisk_local.entities.fields import Json, compact_json
from openwhisk_local.replies import (
    CONTENT_TYPE_MISMATCH,
    NO_SUCH_PROPERTY,
    UNKNOWN_CONTENT_TYPE,
    ApiError,
    invalid_media,
    not_acceptable,
)

Headers = tuple[tuple[str, str], ...]

_MEDIA_TYPE = re.compile(r"([\w!#$&^.+-]+)/([\w!#$&^.+-]+)(?:\s*;.*)?", re.ASCII)
_JSON = "application/json"
_HTML = "text/html; charset=UTF-8"
_PLAIN = "text/plain; charset=UTF-8"
# What is text although it is called an application (pekko's MediaTypes); JSON apart.
_TEXT_APPLICATIONS = frozenset(
    (
        "application/atom+xml",
        "application/base64",
        "application/ecmascript",
        "application/javascript",
        "application/rss+xml",
        "application/soap+xml",
        "application/x-sh",
        "application/x-tex",
        "application/x-www-form-urlencoded",
        "application/xhtml+xml",
        "application/xml",
        "application/xml-dtd",
    )
)


@dataclass(frozen=True, slots=True)
class WebReply:
    """A reply; `content_type` is None where there is no body."""

    status: int
    content_type: str | None
    body: bytes = b""
    headers: Headers = ()

    def response(self, accept: str | None) -> Response:
        """The reply for a client that accepts these types.

        Raises:
            ApiError: 406, another type than the client accepts.
        """
        if self.content_type is not None and not _accepts(accept, self.content_type):
            raise not_acceptable(self.content_type)
        response = Response(self.body, self.status)
        if self.content_type is not None:
            response.headers["content-type"] = self.content_type
        for name, value in self.headers:
            response.raw_headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
        return response


def is_json_family(media_type: str) -> bool:
    return media_type == _JSON or media_type.endswith("+json")


def is_binary(media_type: str) -> bool:
    """Whether a body of this type is bytes, which travel in base64."""
    text = media_type.startswith("text/") or media_type in _TEXT_APPLICATIONS
    return not (text or is_json_family(media_type))


def media_type_of(content_type: str) -> str:
    """The type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def _html(result: Json) -> WebReply:
    html = _field(result, "html")
    if not isinstance(html, str):
        raise invalid_media("text/html")
    return WebReply(200, _HTML, _utf8(html))


def _svg(result: Json) -> WebReply:
    svg = _field(result, "svg")
    if not isinstance(svg, str):
        raise invalid_media("image/svg+xml")
    return WebReply(200, "image/svg+xml", _utf8(svg))


def _text(result: Json) -> WebReply:
    if isinstance(result, Mapping) and not result.keys() & {"body", "text"}:
        raise ApiError(404, NO_SUCH_PROPERTY)
    text = _field(result, "text")
    return WebReply(200, _PLAIN, _utf8(text if isinstance(text, str) else _pretty(text)))


def _json(result: Json) -> WebReply:
    if not isinstance(result, Mapping | list):
        raise invalid_media(_JSON)
    return WebReply(200, _JSON, compact_json(result))


def _http(result: Json) -> WebReply:
    """`{statusCode, headers, body}`, each of which may be left out."""
    if not isinstance(result, Mapping):
        raise invalid_media("message/http")
    headers = _read_headers(result.get("headers", {}))
    given = next((value for name, value in headers if name.lower() == "content-type"), None)
    others = tuple(pair for pair in headers if pair[0].lower() not in _OF_THE_SERVER)
    status = _read_status(result["statusCode"]) if "statusCode" in result else None
    body = result.get("body")
    if body is None or body == "":
        return WebReply(204 if status is None else status, None, headers=others)
    default = "text/html" if isinstance(body, str) else _JSON
    if given is not None and not _MEDIA_TYPE.fullmatch(given.strip()):
        unknown = UNKNOWN_CONTENT_TYPE if isinstance(body, str) else CONTENT_TYPE_MISMATCH
        raise ApiError(400, unknown)
    content_type, data = _entity(given or default, body)
    return WebReply(200 if status is None else status, content_type, data, others)


def _entity(content_type: str, body: Json) -> tuple[str, bytes]:
    media_type = media_type_of(content_type)
    if not isinstance(body, str):
        if not is_json_family(media_type):
            raise ApiError(400, CONTENT_TYPE_MISMATCH)
        return media_type, compact_json(body) if media_type == _JSON else _utf8(_pretty(body))
    # Once JSON was returned in base64, too.
    if is_binary(media_type) or (is_json_family(media_type) and is_binary_code(body)):
        try:
            return content_type, base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise ApiError(400, CONTENT_TYPE_MISMATCH) from None
    if is_json_family(media_type) or "charset" in content_type.lower():
        return content_type, _utf8(body)
    return f"{content_type}; charset=UTF-8", _utf8(body)


EXTENSIONS: Mapping[str, Callable[[Json], WebReply]] = {
    ".http": _http,
    ".json": _json,
    ".html": _html,
    ".svg": _svg,
    ".text": _text,
}


def _field(result: Json, name: str) -> Json:
    """The result's `body`, else the field of this name; a result that is no object as it is."""
    if not isinstance(result, Mapping):
        return result
    return result["body"] if "body" in result else result.get(name)


def _read_headers(value: Json) -> list[tuple[str, str]]:
    if not isinstance(value, Mapping):
        raise invalid_media("message/http")
    return [pair for name, one in value.items() for pair in _read_header(name, one)]


def _read_header(name: str, value: Json) -> list[tuple[str, str]]:
    """A header may have several values; what would break out of its line is no header."""
    if isinstance(value, list):
        return [pair for one in value for pair in _read_header(name, one)]
    if isinstance(value, Mapping) or value is None:
        raise invalid_media("message/http")
    text = value if isinstance(value, str) else json.dumps(value)
    if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(text)):
        raise invalid_media("message/http")
    return [(name, text)]


# What says where a reply ends, which the server knows, and the type, which goes with the body.
_OF_THE_SERVER = frozenset(("content-type", "content-length", "transfer-encoding"))
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_WHOLE = re.compile(r"[+-]?[0-9]{1,10}")


def _read_status(value: Json) -> int:
    """A whole number, also as text, that a reply may have as its status."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
    # 1xx would leave the client waiting for the reply proper.
    if not whole or not 200 <= value <= 599:
        raise invalid_media("message/http")
    return int(value)


def _accepts(accept: str | None, content_type: str) -> bool:
    if not accept or not accept.strip():
        return True
    main, _, sub = media_type_of(content_type).partition("/")
    for entry in accept.split(","):
        wanted, _, parameters = entry.partition(";")
        wanted_main, _, wanted_sub = wanted.strip().lower().partition("/")
        refused = re.search(r"(?:^|;)\s*q=0(?:\.0*)?\s*(?:;|$)", parameters)
        if not refused and wanted_main in ("*", main) and wanted_sub in ("*", sub):
            return True
    return False


def _utf8(text: str) -> bytes:
    """`text` in UTF-8; half of a surrogate pair becomes a question mark, as in Java."""
    return text.encode(errors="replace")


def _pretty(value: Json, indent: str = "") -> str:
    """JSON as spray prints it: a line a field, arrays in one."""
    if isinstance(value, Mapping):
        if not value:
            return "{\n\n" + indent + "}"
        inner = indent + "  "
        fields = (f"{inner}{_text_of(key)}: {_pretty(one, inner)}" for key, one in value.items())
        return "{\n" + ",\n".join(fields) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[" + ", ".join(_pretty(one, indent) for one in value) + "]"
    return _text_of(value)


def _text_of(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
