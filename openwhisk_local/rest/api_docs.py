"""The description of the API for programs: Swagger 2.0, with the shapes that replies have."""

from __future__ import annotations

from openwhisk_local.entities.fields import Json
from openwhisk_local.rest.envelope import API_ROOT

_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1}
_WHOLE = {"type": "integer"}
_FLAG = {"type": "boolean"}
_ANY: dict[str, Json] = {}
_BRIEF: dict[str, Json] = {"namespace": _NAME, "name": _NAME, "version": _NAME, "publish": _FLAG}


def _ref(name: str) -> dict[str, Json]:
    return {"$ref": f"#/definitions/{name}"}


def _list(of: Json) -> dict[str, Json]:
    return {"type": "array", "items": of}


def _object(required: tuple[str, ...] = (), **properties: Json) -> dict[str, Json]:
    shape: dict[str, Json] = {"properties": properties}
    return {"required": list(required), **shape} if required else shape


_PAIRS: dict[str, Json] = {
    "annotations": _list(_ref("KeyValue")),
    "parameters": _list(_ref("KeyValue")),
}
_META: dict[str, Json] = {**_BRIEF, "annotations": _PAIRS["annotations"], "updated": _WHOLE}
_RULE: dict[str, Json] = {"trigger": _ref("PathName"), "action": _ref("PathName")}
_PUT: dict[str, Json] = {"version": _TEXT, "publish": _FLAG, **_PAIRS}

_DEFINITIONS: dict[str, Json] = {
    "KeyValue": _object(key=_TEXT, value=_ANY),
    "PathName": _object(path=_TEXT, name=_TEXT),
    "ErrorMessage": _object(("error",), error=_TEXT, code=_TEXT),
    "EntityBrief": _object(tuple(_BRIEF), **_BRIEF),
    "ActionLimits": _object(timeout=_WHOLE, memory=_WHOLE, logs=_WHOLE, concurrency=_WHOLE),
    "ActionExec": _object(
        kind=_TEXT, code=_TEXT, image=_TEXT, main=_TEXT, binary=_FLAG, components=_list(_TEXT)
    ),
    "ActionExecMeta": _object(binary=_FLAG),
    "Action": _object(
        (*_BRIEF, "exec", "parameters", "limits"),
        **_META,
        parameters=_PAIRS["parameters"],
        exec=_ref("ActionExec"),
        limits=_ref("ActionLimits"),
    ),
    "ActionMeta": _object(
        (*_BRIEF, "exec", "limits"),
        **_META,
        exec=_ref("ActionExecMeta"),
        limits=_ref("ActionLimits"),
    ),
    "ActionPut": _object(
        **_PUT, exec=_ref("ActionExec"), limits=_ref("ActionLimits"), delAnnotations=_list(_TEXT)
    ),
    "Trigger": _object(
        tuple(_BRIEF), **_META, parameters=_PAIRS["parameters"], limits=_ANY, rules=_ANY
    ),
    "TriggerMeta": _object(tuple(_BRIEF), **_META),
    "TriggerPut": _object(**_PUT),
    "Rule": _object((*_BRIEF, "trigger", "action"), **_META, **_RULE, status=_TEXT),
    "RuleMeta": _object((*_BRIEF, "trigger", "action"), **_META, **_RULE),
    "RulePut": _object(**_PUT, trigger=_TEXT, action=_TEXT),
    "Package": _object(
        tuple(_BRIEF),
        **_META,
        parameters=_PAIRS["parameters"],
        binding=_ANY,
        actions=_list(_ANY),
        feeds=_list(_ANY),
    ),
    "PackageMeta": _object(tuple(_BRIEF), **_META, binding=_ANY),
    "PackagePut": _object(**_PUT, binding=_ANY),
    "ActivationId": _object(("activationId",), activationId=_NAME),
    "ActivationResult": _object(
        ("status", "success"), status=_TEXT, success=_FLAG, result=_ANY, size=_WHOLE
    ),
    "ActivationMeta": _object(
        (*_BRIEF, "activationId", "start"),
        **_BRIEF,
        annotations=_PAIRS["annotations"],
        activationId=_NAME,
        start=_WHOLE,
        end=_WHOLE,
        duration=_WHOLE,
        cause=_TEXT,
        statusCode=_WHOLE,
    ),
    "Activation": _object(
        (*_BRIEF, "activationId", "start", "response", "logs"),
        **_BRIEF,
        annotations=_PAIRS["annotations"],
        activationId=_NAME,
        subject=_TEXT,
        start=_WHOLE,
        end=_WHOLE,
        duration=_WHOLE,
        cause=_TEXT,
        response=_ref("ActivationResult"),
        logs=_list(_TEXT),
    ),
    "ActivationLogs": _object(logs=_list(_TEXT)),
}

# Collection, its entity, and what POST answers with.
_COLLECTIONS = (
    ("actions", "Action", "Activation"),
    ("triggers", "Trigger", "ActivationId"),
    ("rules", "Rule", None),
    ("packages", "Package", None),
)


def _answers(schema: Json, *also: int) -> dict[str, Json]:
    said: dict[str, Json] = {"200": {"description": "Done", "schema": schema}}
    for status in also:
        said[str(status)] = {"description": "Refused", "schema": _ref("ErrorMessage")}
    return {"responses": said}


def _in_path(*names: str) -> list[Json]:
    return [{"name": name, "in": "path", "required": True, **_TEXT} for name in names]


def _with_body(names: tuple[str, ...], schema: Json) -> dict[str, Json]:
    body = {"name": "body", "in": "body", "schema": schema}
    return {"parameters": [*_in_path(*names), body]}


def _paths() -> dict[str, Json]:
    within = "/namespaces/{namespace}"
    paths: dict[str, Json] = {
        "/namespaces": {"get": _answers(_list(_TEXT), 401)},
        f"{within}/limits": {
            "get": {**_answers(_ANY, 401, 403), "parameters": _in_path("namespace")}
        },
    }
    for collection, entity, posted in _COLLECTIONS:
        shown = _answers(_ref(entity), 401, 403, 404)
        place = {"parameters": _in_path("namespace", "name")}
        one: dict[str, Json] = {
            "get": {**shown, **place},
            "delete": {**shown, **place},
            "put": {
                **_answers(_ref(entity), 400, 401, 403, 409, 413),
                **_with_body(("namespace", "name"), _ref(f"{entity}Put")),
            },
        }
        if collection != "packages":
            told = _answers(_ref(posted) if posted else _ANY, 400, 401, 403, 404, 413, 429)
            one["post"] = {**told, **_with_body(("namespace", "name"), _ANY)}
        listed = _answers(_list(_ref(f"{entity}Meta")), 400, 401, 403)
        paths[f"{within}/{collection}"] = {"get": {**listed, "parameters": _in_path("namespace")}}
        paths[f"{within}/{collection}/{{name}}"] = one
    records = f"{within}/activations"
    listed = _answers(_list(_ref("ActivationMeta")), 400, 401, 403)
    paths[records] = {"get": {**listed, "parameters": _in_path("namespace")}}
    for part, schema in (
        ("", "Activation"),
        ("/logs", "ActivationLogs"),
        ("/result", "ActivationResult"),
    ):
        shown = _answers(_ref(schema), 400, 401, 403, 404)
        place = {"parameters": _in_path("namespace", "id")}
        paths[f"{records}/{{id}}{part}"] = {"get": {**shown, **place}}
    return paths


DOCUMENT: dict[str, Json] = {
    "swagger": "2.0",
    "info": {"title": "OpenWhisk's REST API, as openwhisk_local has it", "version": "1"},
    "basePath": API_ROOT,
    "produces": ["application/json"],
    "securityDefinitions": {"basicAuth": {"type": "basic"}},
    "security": [{"basicAuth": []}],
    "paths": _paths(),
    "definitions": _DEFINITIONS,
}


def page() -> str:
    """The same for people: every path with its methods, and where the document is."""
    rows = "".join(
        f"<tr><td>{', '.join(method.upper() for method in methods)}</td><td>{path}</td></tr>"
        for path, methods in DOCUMENT["paths"].items()
    )
    return (
        "<!doctype html><html><head><title>OpenWhisk REST API</title></head><body>"
        f"<h1>OpenWhisk REST API</h1><p>Below {API_ROOT}; for programs: "
        f'<a href="{API_ROOT}/api-docs">{API_ROOT}/api-docs</a>.</p>'
        f"<table>{rows}</table></body></html>"
    )
