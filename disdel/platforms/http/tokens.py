"""The tokens that requests bring: of a variable, of a file, or of a command, never of an option."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import time
from pathlib import Path

from disdel.errors import ConnectionRefused, UsageError
from disdel.host.home import expanded
from disdel.platforms.http.limits import HttpOptions
from disdel.protocol.calls import TOKEN
from disdel.protocol.signing_keys import secret_text

_COMMAND_S = 60.0
# Of a token that does not say when it ends.
_LIFETIME_S = 300.0
# A token is not used when it is about to end.
_SPARE_S = 30.0


class Tokens:
    """What names this client to a function.

    Args:
        options: say where the tokens are.

    Raises:
        UsageError: two places are named, or there is nothing in one.
    """

    def __init__(self, options: HttpOptions) -> None:
        named = [options.token_env, options.token_file, options.token_command]
        if len([place for place in named if place]) > 1:
            raise UsageError("token_env, token_file and token_command: name one of them")
        self._options = options
        self._made = asyncio.Lock()
        self._token, self._until_s = "", 0.0
        if options.key_env and options.key_file:
            raise UsageError("key_env and key_file: name one of them")
        self._own = _variable("key_env", options.key_env) or _text("key_file", options.key_file)
        if options.token_env or options.token_file:
            self._read()

    @property
    def bring_any(self) -> bool:
        """Whether there is one that nobody else may read."""
        options = self._options
        return bool(self._own or options.token_env or options.token_file or options.token_command)

    async def headers(self) -> dict[str, str]:
        """What a request brings now.

        Raises:
            ConnectionRefused: the command does not give a token.
        """
        async with self._made:
            if self._options.token_command and time.time() > self._until_s - _SPARE_S:
                self._token = await self._ask(self._options.token_command)
                self._until_s = _end_of(self._token)
        headers = {TOKEN: self._own} if self._own else {}
        return {**headers, "Authorization": f"Bearer {self._token}"} if self._token else headers

    def renew(self) -> bool:
        """A token was refused; whether another can be had."""
        if self._options.token_command:
            # One that was only just made is no better.
            fresh = self._until_s > time.time() + _LIFETIME_S - 5.0
            self._until_s = 0.0
            return not fresh
        before = self._token
        if self._options.token_file:
            self._read()
        return self._token != before

    def _read(self) -> None:
        options = self._options
        self._token = _text("token_file", options.token_file) or _variable(
            "token_env", options.token_env
        )

    async def _ask(self, command: str) -> str:
        first = command.split()[0] if command.split() else command
        try:
            process = await asyncio.create_subprocess_exec(
                *shlex.split(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except (OSError, ValueError) as error:
            raise ConnectionRefused(f"token_command {first} cannot be run: {error}") from None
        try:
            out, err = await asyncio.wait_for(process.communicate(), _COMMAND_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise ConnectionRefused(
                f"token_command {first} has printed no token in {_COMMAND_S:g} s"
            ) from None
        lines = out.decode(errors="replace").split()
        if process.returncode or len(lines) != 1:
            said = err.decode(errors="replace").strip().splitlines()[-1:]
            raise ConnectionRefused(
                f"token_command {first} has printed no token (status {process.returncode}): "
                f"{said[0] if said else 'it must print one word'}"
            )
        return lines[0]


def _text(option: str, file: Path | None) -> str:
    if file is None:
        return ""
    try:
        text = secret_text(expanded(file, option))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{option} {file} cannot be read: {why}") from None
    if not text:
        raise UsageError(f"{option} {file} is empty")
    return text


def _variable(option: str, name: str | None) -> str:
    if name is None:
        return ""
    if not (text := os.environ.get(name, "").strip()):
        raise UsageError(f"{option} names {name}, and there is no such variable, or it is empty")
    return text


def _end_of(token: str) -> float:
    """When a token ends: a JWT says it."""
    try:
        claims = token.split(".")[1]
        padded = claims + "=" * (-len(claims) % 4)
        return float(json.loads(base64.urlsafe_b64decode(padded))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return time.time() + _LIFETIME_S
