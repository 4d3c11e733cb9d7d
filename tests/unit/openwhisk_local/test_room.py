"""What a user may make the platform hold."""

from __future__ import annotations

from typing import Any

import pytest

from openwhisk_local.entities.actions import Action, read_action_put
from openwhisk_local.entities.names import Name
from openwhisk_local.entities.packages import Package, read_package_put
from openwhisk_local.entities.rulebook import Rulebook
from openwhisk_local.entities.rules import Rule, Trigger, read_rule_put, read_trigger_put
from openwhisk_local.entities.store import EntityStore
from openwhisk_local.limits import platform_limits
from openwhisk_local.replies import ApiError

NOW = {"overwrite": True, "now_ms": 1}


def store(size_mb: int = 1) -> EntityStore:
    return EntityStore(platform_limits("stock"), size_mb=size_mb)


def put(entities: EntityStore, name: str, code: str = "x", **wire: Any) -> None:
    put = read_action_put({"exec": {"kind": "python:3", "code": code}, **wire})
    entities.put_action(Name(None, name), put, **NOW)


def refuses(entities: EntityStore, **wire: Any) -> None:
    with pytest.raises(ApiError, match=r"holds 1 MB of packages.*--max-entities-mb") as refused:
        put(entities, "one-more", **wire)
    assert refused.value.status == 413


def test_code_takes_room_until_it_is_deleted() -> None:
    entities = store()
    put(entities, "a", "x" * 900_000)
    refuses(entities, code="x" * 200_000)
    # What takes less is never refused.
    put(entities, "a", "x" * 300_000)
    put(entities, "b", "x" * 600_000)
    refuses(entities, code="x" * 200_000)
    entities.delete(Action, Name(None, "b"))
    put(entities, "b", "x" * 600_000)


class FullDisk:
    """A journal that takes nothing once it is full."""

    full = False

    def keep(self, entity: object, *, newest: bool) -> None:
        self.forget(entity)

    def forget(self, entity: object) -> None:
        if self.full:
            raise OSError("disk is full")


def test_what_cannot_be_written_down_changes_nothing() -> None:
    journal = FullDisk()
    entities = EntityStore(platform_limits("stock"), journal, size_mb=1)
    put(entities, "a", "x" * 100)
    before = entities.every(Action)
    journal.full = True
    for change in (
        lambda: put(entities, "a", "y" * 900_000),
        lambda: put(entities, "b", "y" * 900_000),
        lambda: entities.amend(before[0]),
        lambda: entities.delete(Action, Name(None, "a")),
    ):
        with pytest.raises(OSError, match="full"):
            change()
        assert entities.every(Action) == before
    journal.full = False
    put(entities, "b", "y" * 900_000)


def test_small_ones_take_what_python_needs_for_them() -> None:
    entities = store()

    def fill() -> None:
        for number in range(1000):
            entities.put_package(f"{number}", read_package_put("p", {}), **NOW)

    with pytest.raises(ApiError, match="holds 1 MB"):
        fill()
    assert len(entities.every(Package)) < 260
    entities = store()
    pairs = [{"key": f"{number}", "value": 1} for number in range(5000)]
    refuses(entities, parameters=pairs)
    refuses(entities, annotations=pairs)


def test_annotations_that_are_added_bit_by_bit_have_a_size_limit() -> None:
    entities = store(size_mb=1024)
    for key in ("a", "b"):
        put(entities, "a", annotations=[{"key": key, "value": "x" * 500_000}])
    with pytest.raises(ApiError, match=r"annotations larger than allowed: 1[0-9]{6} > 1048576"):
        put(entities, "a", annotations=[{"key": "c", "value": "x" * 500_000}])


def test_the_rules_of_a_trigger_have_a_size_limit() -> None:
    entities = store(size_mb=1024)
    book = Rulebook(entities)
    put(entities, "a" * 256)
    book.put_trigger(Name(None, "t"), read_trigger_put({}), **NOW)
    wire = {"trigger": "/_/t", "action": "/_/" + "a" * 256}

    def fill() -> None:
        for number in range(2500):
            book.put_rule(Name(None, f"{number:0256}"), read_rule_put(wire), **NOW)

    with pytest.raises(ApiError, match="rules larger than allowed"):
        fill()
    assert len(entities.get(Trigger, Name(None, "t")).rules) == len(entities.every(Rule)) > 1000


def test_a_rule_without_room_changes_nothing() -> None:
    entities = store()
    book = Rulebook(entities)
    put(entities, "a", "x" * 1_037_000)
    book.put_trigger(Name(None, "t"), read_trigger_put({}), **NOW)
    with pytest.raises(ApiError, match="holds 1 MB"):
        book.put_rule(Name(None, "r"), read_rule_put({"trigger": "/_/t", "action": "/_/a"}), **NOW)
    assert entities.get(Trigger, Name(None, "t")).rules is None


@pytest.mark.parametrize(
    "wire",
    [
        {"kind": "sequence", "components": ["/_/a"] * 300_000},
        {"kind": "sequence", "components": ["/a" * 1_000_000]},
        {"kind": "blackbox", "image": "a." * 1_000_000 + "!"},
        {"kind": "blackbox", "image": "a/" * 1_000_000 + "!"},
        {"kind": "k" * 1_000_000, "code": "x"},
    ],
)
def test_long_names_are_refused_without_looking_at_them(wire: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        read_action_put({"exec": wire})
    assert refused.value.status == 400
    assert len(refused.value.message) < 2000


def test_many_deleted_annotations() -> None:
    entities = store(size_mb=1024)
    pairs = [{"key": f"{number}", "value": 1} for number in range(30_000)]
    put(entities, "a", annotations=pairs)
    put(entities, "a", delAnnotations=[f"{number}" for number in range(200_000)])
    kept = entities.resolve(Name(None, "a")).action.annotations
    assert kept.keys() == {"provide-api-key", "exec"}
