"""What rounds cost in privacy, by Google's dp-accounting, and the noise that a budget asks for.

Everything here is for one client as a whole: two data sets are neighbours if they differ in one
client, all of its samples included. How they differ depends on how cohorts are chosen:

sampling  a round's cohort                             neighbours differ by           sensitivity
poisson   each client by itself with the same chance   one client more or less        C
fixed     so many of those there are, all as likely    one client in another's place  2 C
all       everybody                                    one client more or less        C

A round adds the clipped updates, each of norm C at most, and noise of standard deviation z C, with
the noise multiplier z. Under `fixed` the noise is thus z/2 sensitivities. What a round's mean is
divided by never depends on the clients: a client less is one update less in the sum.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from disdel.errors import UsageError
from disdel.types.privacy import AccountantName

Sampling = Literal["poisson", "fixed", "all"]
# A multiplier above is noise and nothing else, and one below hides nothing.
_MOST_NOISE = 2.0**20
_LEAST_NOISE = 2.0**-6
# To which a multiplier is worked out.
_NOISE_STEP = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyRound:
    """What the cost of one round depends on.

    Attributes:
        noise: the multiplier z: the sum's noise has standard deviation z C. 0 is none.
        sampling: how the cohort was chosen.
        available: the clients that it was chosen from.
        cohort: how many were chosen; those expected, with `poisson`.

    Raises:
        UsageError: the numbers are not those of a cohort.
    """

    noise: float
    sampling: Sampling
    available: int
    cohort: int

    def __post_init__(self) -> None:
        if not 0 < self.cohort <= self.available:
            raise UsageError(
                f"a cohort of {self.cohort} cannot be chosen from {self.available} clients"
            )
        if not 0 <= self.noise < math.inf:
            raise UsageError(f"a noise multiplier is a number from 0 on, not {self.noise}")

    @property
    def relation(self) -> str:
        """The neighbouring relation, for people."""
        return _RELATIONS[self.sampling]


_RELATIONS: dict[Sampling, str] = {
    "poisson": "adding or removing one client",
    "fixed": "replacing one client by another",
    "all": "adding or removing one client",
}


def epsilon_of(
    rounds: Iterable[NoisyRound], delta: float, accountant: AccountantName = "rdp"
) -> float:
    """The ε that rounds have cost together, at this delta; infinite where one had no noise.

    Args:
        rounds: all of a run, in any order, and all of one sampling.
        delta: of (ε, delta).
        accountant: Rényi divergences, which are fast, or the tighter privacy loss distributions,
            which know no `fixed` cohorts.

    Raises:
        UsageError: rounds of more than one sampling, or one that the accountant does not know.
    """
    counted = Counter(rounds)
    if not counted:
        return 0.0
    if any(not one.noise for one in counted):
        return math.inf
    return _epsilon(frozenset(counted.items()), delta, accountant)


@cache
def _epsilon(
    counted: frozenset[tuple[NoisyRound, int]], delta: float, accountant: AccountantName
) -> float:
    library = _library()
    composed = _accountant(library, _one_sampling(one for one, _ in counted), accountant)
    for one, times in counted:
        composed.compose(_event(library, one), times)
    return float(composed.get_epsilon(delta))


@cache
def noise_for(
    round_: NoisyRound,
    rounds: int,
    epsilon: float,
    delta: float,
    accountant: AccountantName = "rdp",
) -> float:
    """The least noise multiplier with which so many rounds cost at most ε.

    Args:
        round_: any of them; its own noise does not matter.
        rounds: at least one.
        epsilon: of the whole run.
        delta: of (ε, delta).
        accountant: as for `epsilon_of`.

    Raises:
        UsageError: no noise does, or the accountant does not know the sampling.
    """
    library = _library()

    def cost(noise: float) -> float:
        return epsilon_of([replace(round_, noise=noise)] * rounds, delta, accountant)

    high = 1.0
    while cost(high) > epsilon:
        high *= 2
        if high > _MOST_NOISE:
            raise UsageError(
                f"--dp-epsilon {epsilon:g} cannot be kept over {rounds} rounds with any noise: "
                "raise it, or train for fewer rounds"
            )
    while cost(high / 2) <= epsilon:
        high /= 2
        if high < _LEAST_NOISE:
            return high
    return float(
        library.calibrate_dp_mechanism(
            lambda: _accountant(library, round_.sampling, accountant),
            lambda noise: library.SelfComposedDpEvent(
                _event(library, replace(round_, noise=noise)), rounds
            ),
            epsilon,
            delta,
            library.ExplicitBracketInterval(high / 2, high),
            tol=_NOISE_STEP,
        )
    )


def local_noise(sensitivity: float, epsilon: float, delta: float) -> float:
    """The standard deviation with which one value by itself is (ε, delta)-private.

    The classical Gaussian mechanism (Dwork and Roth, 2014, theorem A.1): for an ε up to 1.

    Raises:
        UsageError: ε is outside what the theorem holds for.
    """
    if not 0 < epsilon <= 1:
        raise UsageError(
            f"an ε of {epsilon:g} for each update by itself must be above 0 and at most 1: the "
            "classical Gaussian mechanism is proven for no other"
        )
    return sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def _one_sampling(rounds: Iterable[NoisyRound]) -> Sampling:
    found = sorted({one.sampling for one in rounds})
    if len(found) > 1:
        raise UsageError(
            f"rounds whose cohorts were chosen in different ways ({', '.join(found)}) have no ε "
            "together: their neighbouring relations differ"
        )
    return found[0]


def _accountant(library: Any, sampling: Sampling, accountant: AccountantName) -> Any:
    relation = library.NeighboringRelation
    if accountant == "rdp":
        of = relation.REPLACE_ONE if sampling == "fixed" else relation.ADD_OR_REMOVE_ONE
        return library.rdp.RdpAccountant(neighboring_relation=of)
    if sampling == "fixed":
        raise UsageError(
            "--dp-accountant pld knows no cohorts of a fixed size: use rdp, or choose clients by "
            "--select poisson"
        )
    return library.pld.PLDAccountant(neighboring_relation=relation.ADD_OR_REMOVE_ONE)


def _event(library: Any, one: NoisyRound) -> Any:
    if one.sampling == "fixed":
        gaussian = library.GaussianDpEvent(one.noise / 2)
        if one.cohort == one.available:
            return gaussian
        return library.SampledWithoutReplacementDpEvent(one.available, one.cohort, gaussian)
    gaussian = library.GaussianDpEvent(one.noise)
    if one.sampling == "all" or one.cohort == one.available:
        return gaussian
    return library.PoissonSampledDpEvent(one.cohort / one.available, gaussian)


def _library() -> Any:
    """dp-accounting, which takes most of a second to import: for runs that need it alone."""
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError as error:
        raise UsageError(
            f"differential privacy is accounted for by dp-accounting, and {error}: "
            "pip install 'disdel[privacy]'"
        ) from error
    # It says of each Rényi order that does not help, for each round, that it goes without.
    logging.getLogger("absl").setLevel(logging.ERROR)
    return dp_accounting
