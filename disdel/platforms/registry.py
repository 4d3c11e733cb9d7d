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
from disdel.settings.resolving import find

# What is said of an API host, which not every platform asks.
_OF_HOSTS = frozenset({"apihost", "auth", "insecure"})
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
            said of an API host that is not, or is not asked.
    """
    provider = _chosen(settings)
    _refuse_unread(settings, provider)
    said_options(provider.name, provider.options, settings)
    return provider


def _refuse_unread(settings: Settings, provider: Provider) -> None:
    """Refuse what is said of an API host where no API host is asked.

    What the environment or `.wskprops` says is no word on this run: it counts where it is read.

    Raises:
        UsageError: it is given with the run.
    """
    for name in sorted(_OF_HOSTS - provider.reads):
        said = getattr(settings, name)
        if said and said != find(Settings, name):
            if settings.fabric is not None:
                raise UsageError(
                    f"--{name} is of one platform, and --fabric names several: leave it out, and "
                    "say it in the file, of an endpoint"
                )
            raise UsageError(f"--{name} says nothing to platform {provider.name}: leave it out")


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
        said, instead = (
            "a key (--auth, DISDEL_AUTH, .wskprops)",
            ("leave --auth out and add --platform embedded to use the platform of this machine"),
        )
        if settings.insecure:
            said, instead = "--insecure", "leave it out"
        raise UsageError(
            f"{said} is for an OpenWhisk, and none is named: add --apihost URL, or {instead}"
        )
    return provider_of("embedded" if settings.apihost is None else "openwhisk")
