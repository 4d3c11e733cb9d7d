"""Triggers and rules over the entity store: each rule is also written in its trigger."""

from __future__ import annotations

from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.fields import CommonPut
from openwhisk_local.entities.names import Name
from openwhisk_local.entities.rules import (
    Link,
    Rule,
    RulePut,
    Status,
    Trigger,
    put_rule,
    put_trigger,
)
from openwhisk_local.entities.store import EntityStore
from openwhisk_local.replies import (
    INCOMPLETE_RULE,
    RULE_WITHOUT_TRIGGER,
    ApiError,
    does_not_exist,
    wrong_type,
)


class Rulebook:
    """Changes triggers and rules; raises `ApiError` with the status and text of OpenWhisk."""

    def __init__(self, entities: EntityStore) -> None:
        self._entities = entities

    def put_trigger(self, name: Name, put: CommonPut, *, overwrite: bool, now_ms: int) -> Trigger:
        """Make or change a trigger.

        Raises:
            ApiError: it is there and not to be overwritten (409), or there is no room (413).
        """
        old = self._entities.replaceable(Trigger, name, overwrite=overwrite)
        return self._entities.put(put_trigger(name, put, old, now_ms))

    def put_rule(self, name: Name, put: RulePut, *, overwrite: bool, now_ms: int) -> Rule:
        """Make or change a rule, and link its trigger to it.

        Raises:
            ApiError: its trigger or action is missing (400, 404), it is there and not to be
                overwritten (409), or there is no room (413).
        """
        if put.action and put.action.package:
            self._entities.package(put.action.package)
        old = self._entities.replaceable(Rule, name, overwrite=overwrite)
        trigger_name = put.trigger or (old.trigger if old else None)
        action_name = put.action or (old.action if old else None)
        if trigger_name is None or action_name is None:
            raise ApiError(400, INCOMPLETE_RULE)
        trigger = self._existing_trigger(trigger_name)
        self._check_action(action_name)
        status = self.status(old) if old else "active"
        new = put_rule(name, put.common, trigger_name, action_name, old, now_ms)
        self._entities.amend(trigger.with_rule(name.name, Link(action_name, status)))
        try:
            self._entities.put(new)
        except ApiError:
            # There is no room for it.
            self._entities.amend(trigger)
            raise
        if old and old.trigger != trigger_name:
            self._unlink(old)
        return new

    def delete_rule(self, name: Name) -> Rule:
        self._unlink(self._entities.get(Rule, name))
        return self._entities.delete(Rule, name)

    def status(self, rule: Rule) -> Status:
        """A rule without its trigger is inactive."""
        trigger = self._trigger(rule.trigger)
        return trigger.status_of(rule.id.name) if trigger else "inactive"

    def set_status(self, rule: Rule, status: Status) -> None:
        """Let a rule fire its action, or not.

        Raises:
            ApiError: its trigger is gone (404).
        """
        if status == self.status(rule):
            return
        trigger = self._trigger(rule.trigger)
        if trigger is None:
            raise ApiError(404, RULE_WITHOUT_TRIGGER)
        self._entities.amend(trigger.with_rule(rule.id.name, Link(rule.action, status)))

    def _trigger(self, name: Name) -> Trigger | None:
        """The trigger, if that is what has this name today."""
        try:
            return self._entities.find(Trigger, name)
        except ApiError:
            return None

    def _existing_trigger(self, name: Name) -> Trigger:
        found = self._entities.look(name)
        if found is None:
            raise does_not_exist("trigger", name.path)
        if not isinstance(found, Trigger):
            raise wrong_type(type(found).__name__, "Trigger")
        return found

    def _check_action(self, name: Name) -> None:
        found = self._entities.look(name)
        if name.package is None and found is not None and not isinstance(found, Action):
            raise wrong_type(type(found).__name__, "Action")
        try:
            self._entities.resolve(name)
        except ApiError:
            raise does_not_exist("action", name.path) from None

    def _unlink(self, rule: Rule) -> None:
        trigger = self._trigger(rule.trigger)
        if trigger:
            self._entities.amend(trigger.with_rule(rule.id.name, None))
