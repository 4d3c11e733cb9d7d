"""Runs an action in the words of OpenWhisk, where something else has received the call.

Standard library only: a cold start waits for what is imported here.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

Main: TypeAlias = Callable[[Mapping[str, object]], object]

# Of a bundle its root, of a checkout the repository, of an installation its site-packages.
ROOT = Path(__file__).resolve().parents[2]
ACTIVATION_ID = "__OW_ACTIVATION_ID"
DEADLINE = "__OW_DEADLINE"
_MAIN = "__main__.py"
# Beside an action's own `__main__.py`, which serves under any name.
_FOLDERS = ("actions", "disdel/_actions")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
# Arguments that nobody else may read.
_SECRET = ("store", "client_secret", "memory_grant")
_HIDDEN = "***"
# An action owns its process while it runs: environment, random state, model.
_turn = threading.Lock()


def call(
    action: str,
    arguments: Mapping[str, object],
    *,
    activation_id: str,
    deadline_ms: int,
    parameters: tuple[Mapping[str, object], ...] = (),
    root: Path = ROOT,
) -> dict[str, Any]:
    """The answer of an action; what it raises becomes `{"error": TEXT}`, as OpenWhisk does.

    An action is loaded once and kept, with whatever it keeps itself. In one process one runs at a
    time. The environment is afterwards what it was before.

    Args:
        action: its name; does not matter in a bundle of one action.
        arguments: what it is called with.
        activation_id: of this call alone.
        deadline_ms: when it will be ended, ms since the epoch; past that it does not begin.
        parameters: of the package, of the action: what later ones say counts, arguments most.
        root: where the actions are.

    Returns:
        A JSON object.
    """
    merged: dict[str, object] = {}
    for layer in (*parameters, arguments):
        merged |= layer
    remaining_s = deadline_ms / 1000 - time.time()
    if not _turn.acquire(timeout=max(0.0, min(remaining_s, threading.TIMEOUT_MAX))):
        return {"error": f"{action} did not begin by its deadline: this process was still busy"}
    try:
        if deadline_ms <= time.time() * 1000:
            return {"error": f"{action} did not begin by its deadline"}
        with _environment({ACTIVATION_ID: activation_id, DEADLINE: str(deadline_ms)}):
            return _answer(action, merged, root)
    finally:
        _turn.release()


def _answer(action: str, arguments: Mapping[str, object], root: Path) -> dict[str, Any]:
    try:
        result = load(action, root)(arguments)
        answer = json.loads(json.dumps(result, allow_nan=False))
    # An action that exits must not take along whoever has called it.
    except (Exception, SystemExit) as error:
        hide = functools.partial(_without, secrets=_secrets_in(arguments))
        sys.stderr.write(hide(traceback.format_exc()))
        return {"error": hide(str(error) or type(error).__name__)}
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    if not isinstance(answer, dict):
        return {"error": f"{action} answered {type(answer).__name__}, which is no JSON object"}
    return answer


def load(action: str, root: Path = ROOT) -> Main:
    """The function `main` of an action, which is loaded by the first who asks.

    Raises:
        LookupError: there is none of that name.
        Exception: whatever its module raises.
    """
    return _loaded(find(action, root))


@functools.cache
def _loaded(file: Path) -> Main:
    spec = importlib.util.spec_from_file_location(f"disdel_action_{file.parent.name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Main = module.main
    return main


def find(action: str, root: Path = ROOT) -> Path:
    """The file of an action: that of the bundle, or one among several.

    Raises:
        LookupError: there is none of that name.
    """
    if (alone := root / _MAIN).is_file():
        return alone
    known = set()
    for folder in _FOLDERS:
        if _NAME.fullmatch(action) and (file := root / folder / action / _MAIN).is_file():
            return file
        known |= {file.parent.name for file in (root / folder).glob(f"*/{_MAIN}")}
    raise LookupError(f"there is no action {action[:80]!r} here, only {', '.join(sorted(known))}")


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside, the environment has these, too; what else is changed there is lost as well."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        changed = {name: text for name, text in before.items() if os.environ.get(name) != text}
        os.environ.update(changed)


def _secrets_in(arguments: Mapping[str, object]) -> list[str]:
    """What must not be told, the longest first."""
    found = [arguments[name] for name in _SECRET if name in arguments]
    environment = arguments.get("env")
    if isinstance(environment, Mapping):
        found += environment.values()
    texts = {text for text in found if isinstance(text, str)}
    for url in list(texts):
        if password := _password(url):
            texts |= {password, unquote(password)}
    return sorted(texts - {""}, key=len, reverse=True)


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def _without(text: str, *, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return text
