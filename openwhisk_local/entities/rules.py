"""Triggers and rules: what a PUT may say and what it makes of the old entity.

Whether a rule is active is written in its trigger, as in OpenWhisk: a trigger that is deleted and
made again fires none of its former rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from openwhisk_local.entities.fields import (
    FIRST_VERSION,
    Annotations,
    CommonPut,
    Json,
    Parameters,
    next_version,
    pairs_to_wire,
    parameters_to_wire,
    read_common,
)
from openwhisk_local.entities.names import NAMESPACE, Name, is_path, read_reference
from openwhisk_local.replies import BAD_FEED, ApiError, bad_rule_state, malformed

Status = Literal["active", "inactive"]


@dataclass(frozen=True, slots=True)
class Link:
    """What a trigger knows of one of its rules."""

    action: Name
    status: Status

    def to_wire(self) -> dict[str, Json]:
        return {"action": self.action.to_wire(), "status": self.status}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """`rules` are the rules on this trigger by name; None before it had any."""

    id: Name
    parameters: Parameters
    annotations: Annotations
    version: str
    publish: bool
    updated_ms: int
    rules: Mapping[str, Link] | None

    @property
    def links(self) -> Mapping[str, Link]:
        return self.rules or {}

    def with_rule(self, rule: str, link: Link | None) -> Trigger:
        """This trigger with a rule set or, for None, taken out."""
        others = {name: known for name, known in self.links.items() if name != rule}
        return replace(self, rules={**others, rule: link} if link else others)

    def status_of(self, rule: str) -> Status:
        return self.links[rule].status if rule in self.links else "inactive"

    def to_wire(self) -> dict[str, Json]:
        """As a request for it is answered, with its rules."""
        wire = {
            **self.summary(),
            "parameters": parameters_to_wire(self.parameters),
            "limits": {},
        }
        if self.rules is not None:
            wire["rules"] = {
                self.id.beside(rule).path: link.to_wire() for rule, link in self.rules.items()
            }
        return wire

    def summary(self) -> dict[str, Json]:
        return _head(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    id: Name
    trigger: Name
    action: Name
    annotations: Annotations
    version: str
    publish: bool
    updated_ms: int

    def to_wire(self, status: Status) -> dict[str, Json]:
        return {**self.summary(), "status": status}

    def summary(self) -> dict[str, Json]:
        names = {"trigger": self.trigger.to_wire(), "action": self.action.to_wire()}
        return {**_head(self), **names}


def _head(entity: Trigger | Rule) -> dict[str, Json]:
    return {
        "namespace": entity.id.space,
        "name": entity.id.name,
        "version": entity.version,
        "publish": entity.publish,
        "annotations": pairs_to_wire(entity.annotations),
        "updated": entity.updated_ms,
    }


@dataclass(frozen=True, slots=True)
class RulePut:
    """The checked content of a PUT of a rule; None is what was left out."""

    trigger: Name | None
    action: Name | None
    common: CommonPut


def read_trigger_put(wire: Mapping[str, Json]) -> CommonPut:
    """Check everything about a PUT that does not depend on what is stored.

    Raises:
        ApiError: 400 malformed, 413 a field is too large.
    """
    if not isinstance(wire.get("limits"), Mapping | None):
        raise malformed("limits malformed!")
    return read_common(wire)


def put_trigger(name: Name, put: CommonPut, old: Trigger | None, now_ms: int) -> Trigger:
    """The trigger that a PUT makes; raises `ApiError` 400 when a new one's feed has no name."""
    if old is None:
        annotations = put.annotations or {}
        feed = annotations.get("feed")
        if "feed" in annotations and not (isinstance(feed, str) and is_path(feed)):
            raise ApiError(400, BAD_FEED)
        return Trigger(
            id=name,
            parameters=put.parameters or {},
            annotations=annotations,
            version=put.version or FIRST_VERSION,
            publish=bool(put.publish),
            updated_ms=now_ms,
            rules=None,
        )
    return replace(
        old,
        parameters=old.parameters if put.parameters is None else put.parameters,
        annotations=old.annotations if put.annotations is None else put.annotations,
        version=put.version or next_version(old.version),
        publish=old.publish if put.publish is None else put.publish,
        updated_ms=now_ms,
    )


def read_rule_put(wire: Mapping[str, Json], own: str = NAMESPACE) -> RulePut:
    """Check everything about a PUT that does not depend on what is stored.

    Raises:
        ApiError: 400 malformed, 403 for what lies in another namespace.
    """
    trigger, action = wire.get("trigger"), wire.get("action")
    return RulePut(
        trigger=None if trigger is None else read_reference(trigger, own),
        action=None if action is None else read_reference(action, own),
        common=read_common(wire),
    )


def put_rule(
    name: Name, put: CommonPut, trigger: Name, action: Name, old: Rule | None, now_ms: int
) -> Rule:
    """The rule that a PUT makes, between a trigger and an action that exist."""
    if old is None:
        return Rule(
            id=name,
            trigger=trigger,
            action=action,
            annotations=put.annotations or {},
            version=put.version or FIRST_VERSION,
            publish=bool(put.publish),
            updated_ms=now_ms,
        )
    return replace(
        old,
        trigger=trigger,
        action=action,
        annotations=old.annotations if put.annotations is None else put.annotations,
        version=put.version or next_version(old.version),
        publish=old.publish if put.publish is None else put.publish,
        updated_ms=now_ms,
    )


def read_status(wire: Mapping[str, Json]) -> Status:
    """The state that a rule is to have; raises `ApiError` 400 for any other word."""
    for status in get_args(Status):
        if wire.get("status") == status:
            return cast(Status, status)  # which `get_args` does not tell
    if "status" not in wire:
        raise malformed("key not found: status")
    raise bad_rule_state(wire.get("status"))
