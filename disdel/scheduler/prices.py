"""List prices of function platforms, to show what a plan would cost there.

List prices in US dollars without free tiers, for the cheapest common region and x86 CPUs. They are
from secondary sources and were not checked against the providers' pages, which are named beside
them. They are for comparison: none of these providers is a target of disdel.
"""

from __future__ import annotations

from dataclasses import dataclass

from disdel.types import Cost, Plan

PRICES_AS_OF = "2025-11"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider takes; `source` names the page it publishes it on."""

    provider: str
    per_gb_s: float
    per_invocation: float
    source: str


PRICES: tuple[Price, ...] = (
    Price(
        provider="AWS Lambda",
        per_gb_s=0.0000166667,
        per_invocation=0.20e-6,
        source="aws.amazon.com/lambda/pricing",
    ),
    Price(
        provider="Azure Functions (Consumption)",
        per_gb_s=0.000016,
        per_invocation=0.20e-6,
        source="azure.microsoft.com/pricing/details/functions",
    ),
    # Memory and CPU are billed apart; a function of 1 GB has 1.4 GHz at 0.00001 a GHz-second.
    Price(
        provider="Google Cloud Functions (1st gen)",
        per_gb_s=0.0000025 + 1.4 * 0.00001,
        per_invocation=0.40e-6,
        source="cloud.google.com/functions/pricing-1stgen",
    ),
)


def costs(
    plan: Plan, *, per_gb_s: float | None = None, per_invocation: float | None = None
) -> tuple[Cost, ...]:
    """What a plan costs at each provider, or at the prices given.

    Args:
        plan: the plan.
        per_gb_s: US dollars a GB·s; in place of the table.
        per_invocation: US dollars an invocation; in place of the table.
    """
    prices = PRICES
    if per_gb_s is not None or per_invocation is not None:
        own = Price(
            provider="your prices",
            per_gb_s=per_gb_s or 0.0,
            per_invocation=per_invocation or 0.0,
            source="command line",
        )
        prices = (own,)
    return tuple(
        Cost(
            provider=price.provider,
            usd=plan.gb_s * price.per_gb_s + plan.invocations * price.per_invocation,
            source=price.source
            if price not in PRICES
            else f"as of {PRICES_AS_OF}, unverified; see {price.source}",
        )
        for price in prices
    )
