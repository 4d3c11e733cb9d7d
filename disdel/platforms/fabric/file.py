"""A fabric file: the endpoints of a run, and whose clients train on which.

Its keys are those of `keys.py`, and behind them those that an endpoint's platform has options of
its own for. No secret stands in it: an endpoint names the environment variable or the file that has
its key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from disdel.errors import UsageError
from disdel.host.home import expanded
from disdel.platforms.fabric.binding import Binding, read_ids, refuse_twice
from disdel.platforms.fabric.content import POINTERS, content_of
from disdel.platforms.fabric.keys import MOST, ClientsOptions, EndpointOptions, FabricOptions
from disdel.platforms.fabric.named_secrets import named_secret
from disdel.platforms.fabric.paths import located
from disdel.protocol.signing_keys import checked_secret
from disdel.settings import Declared, build, declared
from disdel.settings.texts import checked_text, number_in, value_of

T = TypeVar("T")

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointEntry:
    """An endpoint as the file has it.

    Attributes:
        name: of it.
        options: what is said of it.
        own: what is said that its platform alone has options for, each as `NAME=VALUE`.
    """

    name: str
    options: EndpointOptions
    own: tuple[str, ...] = ()

    def key(self, source: Path) -> str | None:
        """Its key, from where the file says that it is; None where it says nothing.

        Raises:
            UsageError: it is not there.
        """
        said = self.options
        return named_secret(
            self.name, "key", variable=said.key_env, file=said.key_file, source=source
        )

    def signing_secret(self, source: Path) -> bytes | None:
        """What it signs with and is signed for; None where the file says nothing.

        Raises:
            UsageError: it is not there, or is too short.
        """
        said = self.options
        secret = named_secret(
            self.name,
            "signing_key",
            variable=said.signing_key_env,
            file=said.signing_key_file,
            source=source,
        )
        if secret is None:
            return None
        return checked_secret(secret, f"the signing key of endpoint {self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricFile:
    """A file, read.

    Attributes:
        path: of it.
        options: of all endpoints together.
        endpoints: in the order of the file.
        bindings: whose clients train where.
    """

    path: Path
    options: FabricOptions = field(default_factory=FabricOptions)
    endpoints: tuple[EndpointEntry, ...]
    bindings: tuple[Binding, ...] = ()


def read_fabric(path: Path, own_options: Mapping[str, Iterable[Declared]]) -> FabricFile:
    """A fabric file.

    Args:
        path: of it.
        own_options: the options that each platform alone has, by its name; what is not in it is
            no platform.

    Raises:
        UsageError: it cannot be read, or says what nobody understands.
    """
    path = expanded(path, "--fabric")
    # One file has one name, by which runs on it are found: wherever the command was given.
    path = path.parent.resolve() / path.name
    content = content_of(path)
    tables = ("endpoints", "clients")
    top = {key: value for key, value in content.items() if key not in tables}
    options = _options(FabricOptions, top, f"{path}", also=tables)
    endpoints = _endpoints(content.get("endpoints"), path, own_options)
    names = [endpoint.name for endpoint in endpoints]
    if options.collect is not None and options.collect not in names:
        raise UsageError(
            f"collect in {path} is {options.collect}: "
            f"{_known(options.collect, names, what='endpoint')}"
        )
    if options.quorum is not None and options.quorum > len(names):
        raise UsageError(
            f"quorum in {path} is {options.quorum}, and there are {len(names)} endpoints: lower it"
        )
    bindings = tuple(_bindings(content.get("clients", []), path, endpoints))
    refuse_twice(bindings)
    return FabricFile(path=path, options=options, endpoints=endpoints, bindings=bindings)


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _endpoints(
    said: Any, path: Path, own_options: Mapping[str, Iterable[Declared]]
) -> tuple[EndpointEntry, ...]:
    if not isinstance(said, dict) or not said:
        raise UsageError(
            f"{path} has no endpoints: each is a table, as [endpoints.edge] with platform = "
            f'"{next(iter(sorted(own_options)), "embedded")}"'
        )
    return tuple(_endpoint(name, values, path, own_options) for name, values in said.items())


def _endpoint(
    name: str, said: Any, path: Path, own_options: Mapping[str, Iterable[Declared]]
) -> EndpointEntry:
    where = f"[endpoints.{name}] in {path}"
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{where}: an endpoint's name is of small letters, digits and dashes, 40 at most, and "
            "begins with a letter"
        )
    if not isinstance(said, dict):
        raise UsageError(f"{where} must be a table with its platform")
    platform = said.get("platform")
    if platform is None:
        raise UsageError(f'{where} does not name its platform: platform = "NAME"')
    if not isinstance(platform, str) or platform not in own_options:
        raise UsageError(
            f"{where} has the platform {platform!r}: {_known(str(platform), list(own_options))}"
        )
    own = _by_name(own_options[platform])
    shared = _by_name(declared(EndpointOptions))
    # What both have a word for, such as the most memory, is said to both.
    beside = {key: value for key, value in said.items() if _plain(key) in own}
    # But where its key is, the platform reads itself, if it can.
    both = shared.keys() - (POINTERS & own.keys())
    rest = {key: value for key, value in said.items() if _plain(key) in both or key not in beside}
    options = _options(
        EndpointOptions, rest, where, also=tuple({option.name for option in own.values()})
    )
    for key, variable, file in (
        ("key", options.key_env, options.key_file),
        ("signing_key", options.signing_key_env, options.signing_key_file),
    ):
        if variable is not None and file is not None:
            raise UsageError(
                f"{where} names its {key.replace('_', ' ')} twice, by {key}_env and {key}_file: "
                "leave one out"
            )
    for size in options.sizes:
        if not 1 <= (number_in(size, int) or 0) <= MOST:
            raise UsageError(f"sizes of {where} must be whole numbers of MB, not {size[:40]!r}")
    if options.store is not None and not _is_redis(options.store):
        raise UsageError(
            f"store of {where} is no address of a Redis, which it must be: redis://HOST[:PORT], or "
            "rediss://… for the same by TLS"
        )
    pairs = []
    for key, value in beside.items():
        option = own[_plain(key)]
        source = f"{key} of {where}"
        for text in _texts(option, value, source):
            value_of(option, text, source)
            pairs.append(f"{option.name}={located(option, text, path)}")
    return EndpointEntry(name=name, options=options, own=tuple(pairs))


def _bindings(said: Any, path: Path, endpoints: tuple[EndpointEntry, ...]) -> Iterable[Binding]:
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise UsageError(f"clients in {path} must be tables, each as [[clients]] with ids")
    names = [endpoint.name for endpoint in endpoints]
    labels = list(dict.fromkeys(label for one in endpoints for label in one.options.labels))
    for number, values in enumerate(said, start=1):
        where = f"[[clients]] number {number} in {path}"
        if "ids" not in values:
            raise UsageError(f'{where} names no clients: ids = "0-2"')
        ids = read_ids(values["ids"], f"ids of {where}")
        table = _options(ClientsOptions, {**values, "ids": "read"}, where)
        if (table.endpoint is None) is (table.label is None):
            raise UsageError(f"{where} must name either an endpoint or a label")
        if table.endpoint is not None:
            if table.endpoint not in names:
                raise UsageError(f"{where}: {_known(table.endpoint, names, what='endpoint')}")
            bound: tuple[str, ...] = (table.endpoint,)
        else:
            if table.label not in labels:
                raise UsageError(f"{where}: {_known(str(table.label), labels, what='label')}")
            bound = tuple(one.name for one in endpoints if table.label in one.options.labels)
        yield Binding(ids=ids, endpoints=bound, moves=table.moves is not False, source=where)


def _options(cls: type[T], said: Mapping[str, Any], where: str, *, also: Iterable[str] = ()) -> T:
    """An instance of a class of settings, of what a table says."""
    known = _by_name(declared(cls))
    values: dict[str, Any] = {}
    for key, value in said.items():
        if (option := known.get(_plain(key))) is None:
            names = sorted({*(option.name for option in known.values()), *also})
            raise UsageError(f"{where}: {_known(key, names, what='key')}")
        if option.name in values:
            raise UsageError(
                f"{where} says {option.name} twice, by two of its names: leave one out"
            )
        source = f"{key} of {where}"
        texts = _texts(option, value, source)
        if option.is_repeated:
            values[option.name] = tuple(texts)
        else:
            values[option.name] = value_of(option, texts[0], source)
    try:
        return build(cls, values)
    except UsageError as error:
        error.reworded(f"{where}: {error}")
        raise


def _by_name(options: Iterable[Declared]) -> dict[str, Declared]:
    """Options by the names that a file may call them: with the unit of their values, or without."""
    known: dict[str, Declared] = {}
    for option in options:
        known |= {option.field: option, option.name: option}
    return known


def _texts(option: Declared, value: Any, source: str) -> list[str]:
    """A value of the file as texts of a command line, of which most have one."""
    parts = value if isinstance(value, list) and option.is_repeated else [value]
    texts = []
    for part in parts:
        if isinstance(part, bool):
            part = str(part).lower() if option.is_switch else None
        if not isinstance(part, int | str) or not str(part).strip():
            wanted = "true or false" if option.is_switch else option.metavar
            raise UsageError(f"{source} must be {wanted}, not {value!r}")
        texts.append(checked_text(source, str(part)))
    return texts


def _known(name: str, names: Iterable[str], *, what: str = "endpoint or platform") -> str:
    """That there is none of this name, and what is nearest."""
    names = list(names)
    near = difflib.get_close_matches(_plain(name), names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
    return f"there is no {what} {name[:40]!r}; {hint}"


def _plain(key: str) -> str:
    return key.replace("-", "_")
