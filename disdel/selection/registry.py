"""The selections that there are, by the name that stands before the colon of `--select`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np

from disdel.errors import UsageError
from disdel.selection.roster import Clients, Roster
from disdel.types.named import parameters_said, read_named, usage

OPTION = "--select"
_GIVEN = ("choice",)
# Keeps this choice apart from what else is drawn from the seed in a round.
_SELECTING = 7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """What a selection chooses from.

    Attributes:
        roster: what is known of all clients.
        able: those who are there and have samples, ascending.
        cohort: how many are wanted, fewer than are able.
        round: from 1.
        seed: the run's.
    """

    roster: Roster
    able: Clients
    cohort: int
    round: int
    seed: int

    def random(self) -> np.random.Generator:
        """Random numbers that seed and round decide."""
        return np.random.default_rng((self.seed, self.round, _SELECTING))


# Takes a choice and parameters of its own: `cohort` of the able, none twice, in any order.
Selector: TypeAlias = Callable[..., Clients]
S = TypeVar("S", bound=Selector)

_REGISTERED: dict[str, Selector] = {}
_BY_CHANCE: set[str] = set()
_BY_LOSS: set[str] = set()
_BY_SIZE: set[str] = set()


def selection(
    name: str, *, by_chance: bool = False, by_loss: bool = False, by_size: bool = False
) -> Callable[[S], S]:
    """Register a function as the selection of a name.

    It must be a pure function of its choice, so that a round that is repeated, or resumed, asks the
    same clients. One that asks each client `by_chance` may choose more or fewer than are wanted;
    one that chooses `by_loss` looks at the losses of single clients, and one that chooses `by_size`
    at how many samples each has.
    """

    def register(select: S) -> S:
        _REGISTERED[name] = select
        if by_chance:
            _BY_CHANCE.add(name)
        if by_loss:
            _BY_LOSS.add(name)
        if by_size:
            _BY_SIZE.add(name)
        return select

    return register


def selection_names() -> tuple[str, ...]:
    """What may be said for `--select`, in order: `fastest[:floor=0.1]`, `uniform`."""
    return tuple(
        usage(name, select, leave_out=_GIVEN) for name, select in sorted(_REGISTERED.items())
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection with its parameters; `text` is what the user said."""

    text: str
    select: Selector
    by_chance: bool = False
    by_loss: bool = False
    by_size: bool = False

    def cohort(
        self, roster: Roster, able: Clients, *, wanted: int, number: int, seed: int
    ) -> Clients:
        """Who is asked in round `number`, ascending: all who are able where they are not enough."""
        if wanted >= len(able) and not self.by_chance:
            return able
        choice = Choice(roster=roster, able=able, cohort=wanted, round=number, seed=seed)
        chosen = np.sort(self.select(choice))
        right = self.by_chance or len(chosen) == wanted
        assert right, f"{self.text} chose {len(chosen)} clients of {wanted}"
        assert (np.diff(chosen) > 0).all(), f"{self.text} chose a client twice"
        return chosen


def find_selection(text: str) -> Selection:
    """The selection that `--select` names, with its parameters.

    Raises:
        UsageError: there is none of this name, or it takes other parameters.
    """
    named = read_named(text)
    if (select := _REGISTERED.get(named.name)) is None:
        raise UsageError(f"unknown {OPTION} {text!r}; known: {', '.join(selection_names())}")
    said = parameters_said(named, select, OPTION, leave_out=_GIVEN)
    return Selection(
        text,
        partial(select, **said),
        by_chance=named.name in _BY_CHANCE,
        by_loss=named.name in _BY_LOSS,
        by_size=named.name in _BY_SIZE,
    )
