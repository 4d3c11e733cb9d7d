"""The platforms that there are, by name: a folder each, loaded when it is asked for."""

from __future__ import annotations

import importlib
import keyword
import pkgutil

import disdel.platforms
from disdel.errors import UsageError
from disdel.platforms.base import Provider
from disdel.platforms.options import said_options
from disdel.settings import Settings

_registered: dict[str, Provider] = {}
# What programs have given, which nobody else can name.
_given: dict[str, Provider] = {}


def register(provider: Provider) -> None:
    """Let a platform be named that has its folder elsewhere."""
    _registered[provider.name] = provider


def forget(provider: Provider) -> None:
    """Take back what `register` did."""
    _registered.pop(provider.name, None)


def give(provider: Provider, value: object) -> str:
    """The name, for settings of this process, of a platform that a program gives as a value."""
    # It lives as long as its provider does, so that no other has its id.
    name = f"{provider.name}-{id(value):x}"
    _given[name] = provider
    return name


def names() -> list[str]:
    """Of all platforms that can be named."""
    folders = (
        entry.name for entry in pkgutil.iter_modules(disdel.platforms.__path__) if entry.ispkg
    )
    return sorted({*(name.removesuffix("_") for name in folders), *_registered})


def provider_of(name: str) -> Provider:
    """The platform of a name.

    Raises:
        UsageError: there is none.
    """
    if name in _given:
        return _given[name]
    if name not in _registered:
        if name not in names():
            known = " and ".join(names())
            raise UsageError(f"--platform {name}: there is none of that name, only {known}")
        # As Python's style guide has it for names that are words of the language.
        folder = f"{name}_" if keyword.iskeyword(name) else name
        module = importlib.import_module(f"disdel.platforms.{folder}.provider")
        register(module.PROVIDER)
    return _registered[name]


def chosen(settings: Settings) -> Provider:
    """The platform that the user has named, or an API host's, or else that of this machine.

    Raises:
        UsageError: there is none of that name, it lacks an option that is given, or something is
            said of an API host that is not.
    """
    provider = _chosen(settings)
    said_options(provider.name, provider.options, settings)
    return provider


def _chosen(settings: Settings) -> Provider:
    if settings.fabric is not None:
        if settings.platform not in (None, "fabric"):
            raise UsageError(
                f"--fabric names the platforms of its endpoints, and --platform "
                f"{settings.platform} another: leave one of the two out"
            )
        return provider_of("fabric").of(settings)
    if settings.place is not None:
        raise UsageError(
            f"--place {settings.place} deals clients to the endpoints of a file: add --fabric FILE"
        )
    if settings.platform is not None:
        return provider_of(settings.platform).of(settings)
    if settings.apihost is None and (settings.insecure or settings.auth is not None):
        option = "--insecure" if settings.insecure else "a key (--auth, DISDEL_AUTH, .wskprops)"
        raise UsageError(
            f"{option} is for an OpenWhisk, and none is named: add --apihost URL, or "
            "--platform embedded to use the platform of this machine"
        )
    return provider_of("embedded" if settings.apihost is None else "openwhisk")
