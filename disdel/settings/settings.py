"""Where a run happens and what it may leave: everything that is not the job itself."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import disdel
from disdel.errors import UsageError
from disdel.host.environment import DEFAULT_PATIENCE_NETWORK_S, LONGEST_S
from disdel.host.home import expanded, in_home
from disdel.settings.resolving import find, resolving
from disdel.settings.texts import checked_text
from disdel.types import Aims, Limits
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

# By name, what is for trainings alone.
NOT_OF_INFER = frozenset({"gpu_memory", "estimator", "miss_rate", "arch"})
# Of a Flower app, whose code is another's, no estimate is made, and no data set is prepared for it.
NOT_OF_FLOWER = NOT_OF_INFER | {"optimize", "data_dir"}

LimitsName = Literal["roomy", "stock", "digitalocean"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0]*", re.ASCII)
# In Kubernetes' names.
_ARCHITECTURES = ("amd64", "arm64")
# Parts of an image's name and a registry's port (https://docs.docker.com/reference/).
_IMAGE_PREFIX = re.compile(r"([A-Za-z0-9._:-]+/)*[A-Za-z0-9._-]*")
_PLACE = "Where it runs"
_OUTPUT = "Output"


def own_architecture() -> str:
    """This machine's CPU architecture, in Kubernetes' names."""
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _default_data_dir() -> Path:
    return in_home("~/tensorflow_datasets", "DISDEL_DATA_DIR")


@resolving
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a run. What is not given, or None, is looked up when they are made.

    A value that is given comes before the environment, that before `~/.wskprops`, and that before
    the default. Limits and aims may be given as single options, too: `Settings(memory_max=512)`.

    Attributes:
        platform: what runs the actions, by its name; None leaves it to `apihost`.
        fabric: the file of several platforms; counts before what else names one.
        place: what clients that belong to none of them are dealt out for; None as the file says.
        apihost: an OpenWhisk's URL; without one anywhere, the embedded platform is started.
        auth: its key, `uuid:secret`.
        insecure: do not check the API host's certificate.
        redis: a Redis URL that the actions reach; without one a private server is started.
        store: the URL of a store that the actions reach, of any kind; before `redis`.
        signing_key: a file with the secret that signs requests and replies.
        patience_network_s: how long a platform or a Redis that fails is tried again.
        image_prefix: before the names of the runtime images, as `registry.example/team/`.
        image_tag: of the runtime images. Never `latest`: nodes would pull before every cold start.
        action_env: variables of the actions' environment, each as `NAME=VALUE`.
        platform_options: what the platform alone has options for, each as `NAME=VALUE`.
        arch: CPU architectures of the platform's nodes, in Kubernetes' names, as `amd64,arm64`.
        data_dir: prepared data sets, in TFDS's own layout.
        run_dir: one folder a run.
        keep: leave package, actions and stored weights when the run ends.
        limits: what the user allows beyond what the platform allows.
        aims: what the plan is to be good at.
        platform_limits: the limits of the embedded platform, or of who hosts the OpenWhisk at
            `apihost`; None takes those of an embedded platform that runs, or that OpenWhisk tells.

    Raises:
        UsageError: a value is of another type or out of range, or a variable has no name.
    """

    VARIABLES: ClassVar[str] = "DISDEL_"

    limits: Limits = field(default_factory=Limits)
    platform_limits: Annotated[
        LimitsName | None,
        Setting(
            "Limits of the embedded platform: those of a roomy deployment, OpenWhisk's defaults, "
            "or those of who hosts an OpenWhisk, for that one, too.",
            name="limits",
            default="those of a running `disdel platform up`, else roomy",
            group="Limits",
        ),
    ] = None
    aims: Aims = field(default_factory=Aims)
    platform: Annotated[
        str | None,
        Setting(
            "What runs the actions: openwhisk, embedded, or another that is installed.",
            metavar="NAME",
            default="openwhisk where an API host is named, else embedded",
            group=_PLACE,
        ),
    ] = None
    fabric: Annotated[
        Path | None,
        Setting(
            "Run on the endpoints of this file, several platforms at once.",
            metavar="FILE.toml",
            in_environment=False,
            group=_PLACE,
        ),
    ] = None
    place: Annotated[
        Literal["time", "price"] | None,
        Setting(
            "With --fabric: clients that belong to no endpoint are dealt out so that a round ends"
            " early, or is cheap.",
            default="what the file says, else time",
            in_environment=False,
            group=_PLACE,
        ),
    ] = None
    apihost: Annotated[
        str | None,
        Setting(
            "API host of an OpenWhisk.",
            metavar="URL",
            default="a running `disdel platform up`, else an embedded platform for this run",
            wskprops="APIHOST",
            group=_PLACE,
        ),
    ] = None
    auth: Annotated[
        str | None,
        Setting(
            "Key of the OpenWhisk, uuid:secret.",
            metavar="KEY",
            wskprops="AUTH",
            secret=True,
            group=_PLACE,
        ),
    ] = field(default=None, repr=False)
    insecure: Annotated[
        bool,
        Setting("Do not verify the API host's certificate.", in_environment=False, group=_PLACE),
    ] = False
    redis: Annotated[
        str | None,
        Setting(
            "Redis that the actions can reach.",
            metavar="URL",
            default="a private one for this run",
            group=_PLACE,
        ),
    ] = field(default=None, repr=False)
    store: Annotated[
        str | None,
        Setting(
            "Store that the actions can reach: a Redis, s3://BUCKET or inline:; before --redis.",
            metavar="URL",
            default="that of --redis",
            group=_PLACE,
        ),
    ] = field(default=None, repr=False)
    signing_key: Annotated[
        Path | None,
        Setting(
            "File with the secret that signs requests and replies; endpoints have the same.",
            metavar="FILE",
            in_environment=False,
            variables=("DISDEL_SIGNING_KEY_FILE",),
            default="the secret in DISDEL_SIGNING_KEY, else nothing is signed",
            group=_PLACE,
        ),
    ] = None
    patience_network_s: Annotated[
        float,
        Setting(
            "How long a failing platform or Redis is retried.",
            metavar="SECONDS",
            low=0,
            high=LONGEST_S,
            group=_PLACE,
        ),
    ] = DEFAULT_PATIENCE_NETWORK_S
    image_prefix: Annotated[
        str,
        Setting("Prefix of the runtime images, such as registry.example/team/.", group=_PLACE),
    ] = "disdel/"
    image_tag: Annotated[
        str,
        Setting(
            "Tag of the runtime images.", metavar="TAG", default="disdel's version", group=_PLACE
        ),
    ] = disdel.__version__
    action_env: Annotated[
        tuple[str, ...],
        Setting(
            "Environment variable for the actions; may be repeated.",
            metavar="NAME=VALUE",
            secret=True,
            group=_PLACE,
        ),
    ] = field(default=(), repr=False)
    platform_options: Annotated[
        tuple[str, ...],
        Setting(
            "An option that this platform alone has, as `disdel platform options` lists them; may "
            "be repeated.",
            name="platform_option",
            metavar="NAME=VALUE",
            group=_PLACE,
        ),
    ] = ()
    arch: Annotated[
        str,
        Setting(
            "CPUs of the cluster's nodes, for compiled networks; a comma between two.",
            metavar="amd64|arm64",
            default="this machine's",
            group=_PLACE,
        ),
    ] = field(default_factory=own_architecture)
    data_dir: Annotated[
        Path,
        Setting(
            "Folder of prepared data sets (TFDS).",
            metavar="DIR",
            variables=("TFDS_DATA_DIR",),
            default="~/tensorflow_datasets",
            group=_PLACE,
        ),
    ] = field(default_factory=_default_data_dir)
    run_dir: Annotated[
        Path, Setting("Folder of reports and models.", metavar="DIR", group=_OUTPUT)
    ] = Path("runs")
    keep: Annotated[
        bool, Setting("Keep package, actions and weights after the run.", group=_OUTPUT)
    ] = False

    def __post_init__(self) -> None:
        take_fields(self)
        for pair in self.action_env:
            if _VARIABLE.fullmatch(pair) is None:
                # It may hold a secret.
                name = pair.partition("=")[0][:40]
                raise UsageError(
                    f"--action-env must be NAME=VALUE, and what begins with {name!r} is not"
                    if name
                    else "--action-env must be NAME=VALUE, and one of them has no name"
                )
        names = [name for name, _ in set(self.action_variables)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"--action-env gives {twice[0]} two values: name one")
        for name in self.architectures:
            if name not in (*_ARCHITECTURES, own_architecture()):
                known = " and ".join(_ARCHITECTURES)
                raise UsageError(
                    f"--arch must be {known} or one of them, not {name!r}: compiled networks run "
                    "on no other"
                )
        _check_image_prefix(self.image_prefix)
        checked_text("the API host (--apihost)", self.apihost or "")
        checked_text("the key (--auth)", self.auth or "")
        checked_text("the Redis (--redis)", self.redis or "")
        checked_text("the store (--store)", self.store or "")
        object.__setattr__(self, "data_dir", expanded(self.data_dir, "--data-dir"))
        object.__setattr__(self, "run_dir", expanded(self.run_dir, "--run-dir"))

    @property
    def store_address(self) -> str | None:
        """The URL of the store that is named; None for a private Redis."""
        return self.store or self.redis

    @property
    def architectures(self) -> list[str]:
        """The CPU architectures of the platform's nodes."""
        return [name.strip() for name in self.arch.split(",")]

    @property
    def action_variables(self) -> tuple[tuple[str, str], ...]:
        """The names and values of `action_env`."""
        pairs = (pair.partition("=") for pair in self.action_env)
        return tuple((name, value) for name, _, value in pairs)

    def image(self, name: str) -> str:
        """The full name of a runtime image."""
        return f"{self.image_prefix}{name}:{self.image_tag}"


def _check_image_prefix(prefix: str) -> None:
    if _IMAGE_PREFIX.fullmatch(prefix) is None:
        raise UsageError(
            f"--image-prefix {prefix!r} is no beginning of an image's name: letters, digits and "
            ". _ - / alone, as registry.example/team/"
        )


def run_dir(given: Path | None = None) -> Path:
    """The folder that holds one folder a run, where no other setting is of interest.

    Raises:
        UsageError: it is in a home folder that there is not.
    """
    found: Path = find(Settings, "run_dir", given)
    return found


def data_dir(given: Path | None = None) -> Path:
    """The folder of prepared data sets, where no other setting is of interest.

    Raises:
        UsageError: it is in a home folder that there is not.
    """
    found: Path = find(Settings, "data_dir", given)
    return found
