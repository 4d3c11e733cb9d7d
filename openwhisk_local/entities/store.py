"""The entities of the platform, and the rules between them.

Packages, triggers, rules and a namespace's own actions share their names. Every method raises
`ApiError` with the status and text of OpenWhisk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from openwhisk_local.entities.actions import Action, ActionPut, put_action
from openwhisk_local.entities.execs import Sequence
from openwhisk_local.entities.fields import Parameters
from openwhisk_local.entities.names import NAMESPACE, Name
from openwhisk_local.entities.packages import Package, PackagePut, put_package
from openwhisk_local.entities.room import Entity, Room
from openwhisk_local.entities.rules import Rule, Trigger
from openwhisk_local.limits import MAX_ENTITIES_MB, MAX_SEQUENCE, PlatformLimits
from openwhisk_local.replies import (
    BINDING_OF_ANOTHER,
    BINDING_OF_BINDING,
    CONFLICT,
    CYCLIC_SEQUENCE,
    EMPTY_SEQUENCE,
    LONG_SEQUENCE,
    NO_BOUND_PACKAGE,
    NO_COMPONENT,
    NO_RESOURCE,
    NOT_ON_BINDING,
    WRONG_COLLECTION,
    ApiError,
    package_not_empty,
)

E = TypeVar("E", Package, Action, Trigger, Rule)


class EntityJournal(Protocol):
    """Something that keeps entities beyond the life of the platform."""

    def keep(self, entity: Entity, *, newest: bool) -> None:
        """Keep a new or changed entity, as the newest of all or in its former place."""

    def forget(self, entity: Entity) -> None: ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """An action as it was asked for.

    `inherited` are the parameters of its package, those of a binding over those of the package
    that is bound; `binding` is the path of the binding, if it was reached through one.
    """

    action: Action
    inherited: Parameters
    binding: str | None = None


class EntityStore:
    """Entities of one namespace by name, newest last; namespaces may share a `room`."""

    def __init__(
        self,
        limits: PlatformLimits,
        journal: EntityJournal | None = None,
        entities: Iterable[Entity] = (),
        *,
        size_mb: int = MAX_ENTITIES_MB,
        room: Room | None = None,
        space: str = NAMESPACE,
    ) -> None:
        self._limits = limits
        self._journal = journal
        self._room = room or Room(size_mb)
        self._space = space
        self._entities: dict[Name, Entity] = {}
        for entity in entities:
            self._entities[entity.id] = entity
            self._room.take(entity)

    def every(self, kind: type[E]) -> list[E]:
        """All entities of a collection, newest first."""
        newest_first = reversed(self._entities.values())
        return [entity for entity in newest_first if isinstance(entity, kind)]

    def look(self, name: Name) -> Entity | None:
        """Whatever has that name."""
        return self._entities.get(name)

    def find(self, kind: type[E], name: Name) -> E | None:
        """The entity, or None when nothing has that name.

        Raises:
            ApiError: it is in another collection (409).
        """
        entity = self._entities.get(name)
        if entity is None or isinstance(entity, kind):
            return entity
        raise ApiError(409, WRONG_COLLECTION)

    def get(self, kind: type[E], name: Name) -> E:
        """The entity of that name.

        Raises:
            ApiError: there is none (404), or it is in another collection (409).
        """
        entity = self.find(kind, name)
        if entity is None:
            raise ApiError(404, NO_RESOURCE)
        return entity

    def replaceable(self, kind: type[E], name: Name, *, overwrite: bool) -> E | None:
        """What a PUT to `name` would change, None where it would make something new.

        Raises:
            ApiError: there is one, and it is not to be overwritten (409).
        """
        old = self.find(kind, name)
        if old and not overwrite:
            raise ApiError(409, CONFLICT)
        return old

    def put(self, entity: E) -> E:
        """Store an entity as the newest of all."""
        self._keep(entity, newest=True)
        self._entities.pop(entity.id, None)
        self._entities[entity.id] = entity
        return entity

    def amend(self, entity: E) -> None:
        """Store an entity in the place of its former self."""
        self._keep(entity, newest=False)
        self._entities[entity.id] = entity

    def _keep(self, entity: Entity, *, newest: bool) -> None:
        """Make room for an entity, and write it down, or change nothing."""
        old = self._entities.get(entity.id)
        self._room.replace(old, entity)
        try:
            if self._journal:
                self._journal.keep(entity, newest=newest)
        except BaseException:
            self._room.give_back(entity)
            if old:
                self._room.take(old)
            raise

    def delete(self, kind: type[E], name: Name) -> E:
        """Forget an entity, and return it.

        Raises:
            ApiError: as `get`.
        """
        entity = self.get(kind, name)
        if self._journal:
            self._journal.forget(entity)
        del self._entities[name]
        self._room.give_back(entity)
        return entity

    # Packages.

    def package(self, name: str) -> Package:
        return self.get(Package, Name(None, name, self._space))

    def provider(self, package: Package) -> Package:
        """The package whose actions `package` has: itself, or the one that it binds."""
        return self.package(package.binding) if package.binding else package

    def put_package(self, name: str, put: PackagePut, *, overwrite: bool, now_ms: int) -> Package:
        """Make or change a package or a binding.

        Raises:
            ApiError: it is there and not to be overwritten (409), binds what cannot be bound
                (400), or there is no room (413).
        """
        place = Name(None, name, self._space)
        if put.binding:
            self._check_bindable(put.binding)
        old = self.replaceable(Package, place, overwrite=overwrite)
        new = put_package(place, put, old, now_ms)
        if put.binding and self.package(put.binding).binding:
            raise ApiError(400, BINDING_OF_BINDING)
        return self.put(new)

    def _check_bindable(self, package: str) -> None:
        try:
            self.provider(self.package(package))
        except ApiError as error:
            if error.status == 404:
                raise ApiError(400, NO_BOUND_PACKAGE) from None
            raise ApiError(409, BINDING_OF_ANOTHER) from None

    def delete_package(self, name: str, *, force: bool) -> Package:
        """Forget a package, with `force` and its actions.

        Raises:
            ApiError: there is none (404), or it has actions (409).
        """
        package = self.package(name)
        contents = self.contents(package) if package.binding is None else []
        if contents and not force:
            raise package_not_empty(len(contents))
        for action in contents:
            self.delete(Action, action.id)
        return self.delete(Package, package.id)

    def contents(self, package: Package) -> list[Action]:
        """The actions of a package, or of the one that it binds, newest first."""
        provider = self.provider(package)
        return [action for action in self.every(Action) if action.id.package == provider.name]

    # Actions.

    def resolve(self, name: Name) -> Resolved:
        """The action of that name, in whatever package that turns out to be."""
        if name.package is None:
            return Resolved(self.get(Action, name), {})
        package = self.package(name.package)
        if package.binding is None:
            return Resolved(self.get(Action, name), package.parameters)
        provider = self.provider(package)
        return Resolved(
            self.get(Action, name.beside(name.name, provider.name)),
            {**provider.parameters, **package.parameters},
            package.id.path,
        )

    def check_owned(self, name: Name) -> None:
        """That an action of this name may be made or deleted, which is not done by a binding.

        Raises:
            ApiError: its package is one (400), or there is none (404).
        """
        if name.package is not None and self.package(name.package).binding:
            raise ApiError(400, NOT_ON_BINDING)

    def put_action(self, name: Name, put: ActionPut, *, overwrite: bool, now_ms: int) -> Action:
        """Make or change an action.

        Raises:
            ApiError: it is there and not to be overwritten (409), its limits or components are
                refused (400, 404), or there is no room (413).
        """
        self.check_owned(name)
        # Limits are judged before the existence of anything, as upstream does.
        before = self._entities.get(name)
        old = before if isinstance(before, Action) else None
        new = put_action(name, put, old, self._limits, now_ms)
        if isinstance(put.exec, Sequence):
            self._check_packages(put.exec)
        self.replaceable(Action, name, overwrite=overwrite)
        if isinstance(put.exec, Sequence):
            self._check_sequence(name, put.exec)
        return self.put(new)

    def _check_packages(self, sequence: Sequence) -> None:
        for component in sequence.components:
            if component.package is not None:
                self.provider(self.package(component.package))

    def _check_sequence(self, name: Name, sequence: Sequence) -> None:
        if len(sequence.components) > MAX_SEQUENCE:
            raise ApiError(400, LONG_SEQUENCE)
        if not sequence.components:
            raise ApiError(400, EMPTY_SEQUENCE)
        self._count_actions(name, sequence, depth=1)

    def _count_actions(self, origin: Name, sequence: Sequence, depth: int) -> int:
        """How many actions a sequence runs, those of inner sequences included.

        A cycle leads through `origin`, since names only ever point at what exists; except where a
        binding was changed afterwards, which the depth stops.
        """
        if depth > MAX_SEQUENCE:
            raise ApiError(400, LONG_SEQUENCE)
        count = 0
        for component in sequence.components:
            if component == origin:
                # Which need not be there yet.
                raise ApiError(400, CYCLIC_SEQUENCE)
            try:
                action = self.resolve(component).action
            except ApiError:
                raise ApiError(400, NO_COMPONENT) from None
            if action.id == origin:
                raise ApiError(400, CYCLIC_SEQUENCE)
            if isinstance(action.exec, Sequence):
                count += self._count_actions(origin, action.exec, depth + 1)
            else:
                count += 1
            if count > MAX_SEQUENCE:
                raise ApiError(400, LONG_SEQUENCE)
        return count
