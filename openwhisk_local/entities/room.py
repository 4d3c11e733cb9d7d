"""How much the platform holds of entities: bounded together, each counted by what it costs."""

from __future__ import annotations

from collections.abc import Iterable

from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.execs import Code
from openwhisk_local.entities.fields import Json, check_size, compact_json
from openwhisk_local.entities.packages import Package
from openwhisk_local.entities.rules import Rule, Trigger
from openwhisk_local.replies import no_room
from openwhisk_local.units import MIB

Entity = Package | Action | Trigger | Rule

# Of an entity, and of each pair, beside their texts: what Python's objects around them take.
_ENTITY_BYTES = 4096
_PAIR_BYTES = 300
# What a trigger knows of one rule, without the names.
_RULE_BYTES = 64


class Room:
    """What is taken, in bytes, of `size_mb`."""

    def __init__(self, size_mb: int) -> None:
        self._size_mb = size_mb
        self._taken_bytes = 0

    def take(self, entity: Entity) -> None:
        """Count an entity that is there already."""
        self._taken_bytes += cost_bytes(entity)

    def give_back(self, entity: Entity) -> None:
        self._taken_bytes -= cost_bytes(entity)

    def replace(self, old: Entity | None, new: Entity) -> None:
        """Count `new` instead of `old`; raises `ApiError` 413 where that is too much.

        What takes no more than before is never refused, however full it is.
        """
        more_bytes = cost_bytes(new) - (cost_bytes(old) if old else 0)
        if more_bytes > 0 and self._taken_bytes + more_bytes > self._size_mb * MIB:
            raise no_room(self._size_mb)
        self._taken_bytes += more_bytes


def cost_bytes(entity: Entity) -> int:
    """What an entity takes of the room for all of them.

    Raises:
        ApiError: a trigger has more rules than fit (413).
    """
    cost = _ENTITY_BYTES + _pairs_bytes(entity.annotations.items())
    if not isinstance(entity, Rule):
        cost += _pairs_bytes((key, each.value) for key, each in entity.parameters.items())
    if isinstance(entity, Action) and isinstance(entity.exec, Code):
        cost += entity.exec.code_bytes
    if isinstance(entity, Trigger):
        rules_bytes = sum(
            _RULE_BYTES + len(name) + len(link.action.path) for name, link in entity.links.items()
        )
        check_size("rules", rules_bytes)
        cost += rules_bytes
    return cost


def _pairs_bytes(pairs: Iterable[tuple[str, Json]]) -> int:
    return sum(_PAIR_BYTES + len(key) + _value_bytes(value) for key, value in pairs)


def _value_bytes(value: Json) -> int:
    if isinstance(value, str):
        return len(value)
    return len(compact_json(value)) if isinstance(value, dict | list) else 0
