"""What there is to know of a runtime: one object, which loads no framework.

A runtime is what train actions compute with. All that other rooms need of it stands here: the
planner takes its costs, the controller its image and files, an activation its trainer.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from disdel.errors import UsageError
from disdel.protocol.messages import Network
from disdel.runtimes.base import Trainer
from disdel.types.arrays import Array
from disdel.types.costs import RuntimeCosts
from disdel.types.names import Precision, RuntimeName, Target
from disdel.types.specs import ModelSpec

if TYPE_CHECKING:
    from disdel.user_code.module import UserModule

# From samples as stored, (n, *input_shape), to what a model gives for them, (n, outputs) float32;
# where a model masks some of its outputs, these are masked in numpy's way (`np.ma`).
Predictor: TypeAlias = Callable[[Array], Array]

_EVERY_TARGET: tuple[Target, ...] = ("class", "binary", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """What a model file says of itself, read without its framework.

    Attributes:
        input_shape: of a sample; None where the file does not say it in the plain way, and so is
            each size that it leaves open.
        spec: the network, where the file has it.
        runs_code: what of the network is code of somebody's, which loading it runs.
    """

    input_shape: tuple[int | None, ...] | None
    spec: ModelSpec | None = None
    runs_code: tuple[str, ...] = ()


class Networks(Protocol):
    """Networks in a runtime's framework: what the module offers that `Runtime.networks` names."""

    def build_trainer(self, network: Network, samples: Array) -> Trainer:
        """The trainer of a network for such samples as stored, in its initial state.

        Raises:
            UsageError: it cannot be built or trained here.
        """

    def load_predictor(self, path: Path, threads: int | None) -> Predictor:
        """The model in a file as a function, on so many CPU threads; None for the machine's.

        Raises:
            UsageError: the file is no model of one input; from the function, the samples have
                another shape.
        """

    def load_model(self, path: Path, code: UserModule | None) -> Any:
        """The model in a file as its framework has it, with the user's own code, if it is of that.

        Raises:
            UsageError: the file is no model, or its code is missing or fails.
        """

    def look_at(self, path: Path) -> ModelFile:
        """What a model file says of itself; the framework is not imported.

        Raises:
            UsageError: it is no model file of this runtime.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class UserNetworks:
    """The networks of users' own that are made with a runtime's framework.

    Attributes:
        packages: the packages that such code imports, and that classes of networks come from.
        kind: what its functions return, in a word or two.
        needed: the same as a message asks for it.
    """

    packages: tuple[str, ...]
    kind: str
    needed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime.

    Attributes:
        costs: what was measured of it; they have its name.
        networks: the module with its `Networks`, which is imported when it is first needed.
        image: the name of its actions' container image, without prefix and tag; "" for the
            platform's own Python, whose actions carry all that they need.
        environment: what its processes have in their environment.
        imports: what an activation imports first of all.
        modules: what must be importable where its actions run, or where they are compiled.
        distributions: packages of which one is installed on this machine where it can run here.
        packages: those whose versions decide what its containers take.
        not_in_image: what the framework takes along where it is installed, and its image lacks.
        library: a package of it and a large library there; None where there is none.
        measured_build: the distribution that `costs` are of, and behind a plus what its local
            version begins with, as `torch+cpu`; "" where there is but one build.
        model_suffix: of the files of its trained models.
        opens_models: whether its containers open model files.
        precisions: what its training steps can compute in.
        chosen_for: the targets for which `auto` takes it.
        learns_axes: whether its trainers take targets with axes of their own.
        users: the networks of users' own that it is the home of, if any.
        described_by: the module whose `describe(module, request)` builds one of these and tries it
            out, on the host: actions do not have it.
        lowers: the runtimes whose networks, of users' own, it trains when it is asked for by name.
        compiles: whether networks are compiled on this machine, before a run.
    """

    costs: RuntimeCosts
    networks: str
    image: str
    imports: str
    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    packages: tuple[str, ...]
    model_suffix: str
    not_in_image: tuple[str, ...] = ()
    library: tuple[str, str] | None = None
    measured_build: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    opens_models: bool = True
    precisions: tuple[Precision, ...] = ("float32",)
    chosen_for: tuple[Target, ...] = _EVERY_TARGET
    learns_axes: bool = False
    users: UserNetworks | None = None
    described_by: str = ""
    lowers: tuple[RuntimeName, ...] = ()
    compiles: bool = False

    @property
    def name(self) -> RuntimeName:
        """As users write it."""
        return self.costs.name

    def trains(self, home: RuntimeName) -> bool:
        """Whether it trains networks of users' own that are written in the framework of `home`."""
        return home == self.name or home in self.lowers

    def is_installed(self) -> bool:
        """Whether this machine has what it needs."""
        try:
            return all(map(find_spec, self.modules))
        except ModuleNotFoundError:
            # Of a package that a module would be in.
            return False

    def version_here(self) -> str | None:
        """That of its distribution on this machine; None where there is none."""
        for name in self.distributions:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None

    def has_measured_build(self) -> bool:
        """Whether what this machine has is the build that `costs` are of."""
        distribution, _, local = self.measured_build.partition("+")
        try:
            version = importlib.metadata.version(distribution) if distribution else ""
        except importlib.metadata.PackageNotFoundError:
            return False
        return version.partition("+")[2].startswith(local)

    def import_framework(self) -> None:
        """Import what its trainers need.

        Raises:
            UsageError: this process does not have it.
        """
        try:
            import_module(self.imports)
        except ImportError as error:
            raise UsageError(f"this container cannot run {self.name}: {error}") from error

    def import_as_in_image(self) -> None:
        """The same without what the image lacks, which can be imported afterwards.

        For a process that is soon over: it looks for cycles of objects rarely from then on.

        Raises:
            UsageError: this process does not have it.
        """
        from openwhisk_local.machine.allocator import collect_rarely

        collect_rarely()
        hidden = [name for name in self.not_in_image if name not in sys.modules]
        # An import of what is None fails.
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
        try:
            self.import_framework()
        finally:
            for name in hidden:
                del sys.modules[name]

    def import_for_a_trial(self) -> None:
        """Likewise, and with as little memory as goes: it is taken beside the whole command's.

        Raises:
            UsageError: this process does not have it.
        """
        from openwhisk_local.machine.libraries import give_back_library_pages, load_library

        if self.library is not None:
            load_library(*self.library)
        self.import_as_in_image()
        give_back_library_pages()

    def load_networks(self) -> Networks:
        """Its networks; their module may import the framework when it is called."""
        return cast(Networks, import_module(self.networks))
