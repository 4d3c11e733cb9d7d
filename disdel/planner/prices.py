"""List prices of function platforms, to show what a plan would cost there.

List prices in US dollars without free tiers, for the cheapest common region and x86 CPUs, as read
in the sources that are named beside them. They are for comparison: none of these providers is a
target of disdel.
"""

from __future__ import annotations

from dataclasses import dataclass

from disdel.types import Cost, Plan

PRICES_READ = "2026-11"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider takes; `source` names where it was read."""

    provider: str
    per_gb_s: float
    per_invocation: float
    source: str


PRICES: tuple[Price, ...] = (
    Price(
        provider="AWS Lambda",
        per_gb_s=0.0000166667,
        per_invocation=0.20e-6,
        source="docs.aws.amazon.com, How AWS Pricing Works",
    ),
    Price(
        provider="Azure Functions (Consumption)",
        per_gb_s=0.000016,
        per_invocation=0.20e-6,
        source="modal.com/blog/azure-function-pricing-guide, East US",
    ),
    # Memory and CPU are billed apart; a function of 1 GB has 1.4 GHz at 0.00001 a GHz-second.
    Price(
        provider="Google Cloud Functions (1st gen)",
        per_gb_s=0.0000025 + 1.4 * 0.00001,
        per_invocation=0.40e-6,
        source="cloud.google.com/functions/pricing, its copy of 2021-01",
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
            source=price.source if price not in PRICES else f"{price.source}; read {PRICES_READ}",
        )
        for price in prices
    )
