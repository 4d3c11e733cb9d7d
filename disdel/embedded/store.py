"""The packages and actions of the platform, and the rules between them."""

from __future__ import annotations

from disdel.embedded.entities import (
    Action,
    ActionPut,
    Json,
    Package,
    Parameters,
    put_action,
    put_package,
)
from disdel.embedded.limits import PlatformLimits
from disdel.embedded.replies import (
    CONFLICT,
    NO_RESOURCE,
    WRONG_COLLECTION,
    ApiError,
    package_not_empty,
)


class EntityStore:
    """Entities by name, in memory. Packages and a namespace's own actions share their names.

    Every method raises `ApiError` with the status and text of OpenWhisk.
    """

    def __init__(self, limits: PlatformLimits) -> None:
        self._limits = limits
        # Both in the order of the last change, as lists show them.
        self._packages: dict[str, Package] = {}
        self._actions: dict[tuple[str | None, str], Action] = {}

    def packages(self) -> list[Package]:
        """All packages, newest first."""
        return [*reversed(self._packages.values())]

    def package(self, name: str) -> Package:
        if name not in self._packages:
            self._check_collection((None, name) in self._actions)
            raise ApiError(404, NO_RESOURCE)
        return self._packages[name]

    def put_package(
        self, name: str, wire: dict[str, Json], *, overwrite: bool, now_ms: int
    ) -> Package:
        new = put_package(name, wire, self._packages.get(name), now_ms)
        self._check_collection((None, name) in self._actions)
        if name in self._packages and not overwrite:
            raise ApiError(409, CONFLICT)
        self._packages.pop(name, None)
        self._packages[name] = new
        return new

    def delete_package(self, name: str, *, force: bool) -> Package:
        self.package(name)
        contents = self.actions(name)
        if contents and not force:
            raise package_not_empty(len(contents))
        for action in contents:
            del self._actions[name, action.name]
        return self._packages.pop(name)

    def actions(self, package: str | None = None) -> list[Action]:
        """The actions of a package, or all there are, newest first."""
        every = reversed(self._actions.values())
        return [action for action in every if package in (None, action.package)]

    def action(self, package: str | None, name: str) -> Action:
        self.inherited(package)
        action = self._actions.get((package, name))
        if action is None:
            self._check_collection(package is None and name in self._packages)
            raise ApiError(404, NO_RESOURCE)
        return action

    def inherited(self, package: str | None) -> Parameters:
        """The parameters that a package's actions inherit."""
        return {} if package is None else self.package(package).parameters

    def put_action(
        self, package: str | None, name: str, put: ActionPut, *, overwrite: bool, now_ms: int
    ) -> Action:
        old = self._actions.get((package, name))
        # Limits are judged before the existence of anything, as upstream does.
        new = put_action(package, name, put, old, self._limits, now_ms)
        self.inherited(package)
        self._check_collection(package is None and name in self._packages)
        if old and not overwrite:
            raise ApiError(409, CONFLICT)
        self._actions.pop((package, name), None)
        self._actions[package, name] = new
        return new

    def delete_action(self, package: str | None, name: str) -> Action:
        action = self.action(package, name)
        del self._actions[package, name]
        return action

    @staticmethod
    def _check_collection(taken_by_another: bool) -> None:
        if taken_by_another:
            raise ApiError(409, WRONG_COLLECTION)
