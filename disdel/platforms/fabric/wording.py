"""Advice in the words of a fabric file: platforms name options, which are refused beside one."""

from __future__ import annotations

import re

from disdel.settings import declared
from disdel.types import LimitNames

# Where an option leads to the platform of this machine, or a file of another tool's is named.
_ONLY_OF_ONE = re.compile(
    r",? (?:or )?(?:leave it out for the embedded platform|\(?or APIHOST in ~/\.wskprops\)?)"
    r"|, DISDEL_APIHOST, or APIHOST in ~/\.wskprops"
    r"|, or in Python on=EXECUTOR"
)
_OPTION = re.compile(
    r"--platform-option (?P<name>[a-z][a-z0-9_-]*)(?:=(?P<value>[^\s,;()]*[^\s,;:().]))?"
)
_FLAGS = {
    "--apihost": "address",
    "--auth": "key_env or key_file",
    "--insecure": "insecure = true",
    "--limits": "limits",
}
_FLAG = re.compile(
    r"(?P<flag>--(?:apihost|auth|insecure|limits|platform-option))(?![a-z-])"
    r"(?P<value> (?:https?://\S+|URL\b))?"
)
_BARE = re.compile(r"\w+")


def in_file_words(message: str, options: type | None = None) -> str:
    """A platform's message with the keys of an endpoint's table for the options of a command.

    Args:
        message: as the platform has it.
        options: the class of the options that the platform alone has.
    """
    message = _ONLY_OF_ONE.sub("", message)
    message = _OPTION.sub(_of_option, message)
    message = _FLAG.sub(_of_flag, message)
    for option in () if options is None else declared(options):
        message = re.sub(rf"{option.flag}(?![a-z-])", option.name, message)
    return message


def names_in_file(names: LimitNames, *, memory: str, pool: str, time: str) -> LimitNames:
    """By what the limits of an endpoint are raised: by a key of the file, where that is tightest.

    Args:
        names: as the platform has them.
        memory: the key of the file that sets the memory of an action; empty where none does.
        pool: likewise of all its containers.
        time: likewise of an activation.
    """

    def told(key: str, theirs: str) -> str:
        return f"{key} of the endpoint, in the fabric file" if key else in_file_words(theirs)

    return LimitNames(
        memory=told(memory, names.memory),
        pool=told(pool, names.pool),
        timeout=told(time, names.timeout),
        invokes_per_minute=in_file_words(names.invokes_per_minute),
    )


def _of_option(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    if value is None:
        return name
    return f"{name} = {value}" if _BARE.fullmatch(value) else f'{name} = "{value}"'


def _of_flag(found: re.Match[str]) -> str:
    key, value = _FLAGS.get(found["flag"], "keys of the endpoint"), (found["value"] or "").strip()
    return f'{key} = "{value}"' if value else key
