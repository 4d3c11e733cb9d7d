"""What function platforms take, to show what a plan would cost there.

`PUBLISHED` are list prices in US dollars without free tiers, for the cheapest common region and x86
CPUs, as read in the sources that are named beside them. They are for comparison, where a platform
bills nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from disdel.types import Cost, Plan

_READ = "read 2026-11"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider takes; `source` names where it was read."""

    provider: str
    per_gb_s: float
    per_invocation: float
    source: str

    def usd(self, gb_s: float, invocations: int) -> float:
        """What so many GB·s in so many activations cost, in US dollars."""
        return gb_s * self.per_gb_s + invocations * self.per_invocation


AWS_LAMBDA = Price(
    provider="AWS Lambda",
    per_gb_s=0.0000166667,
    per_invocation=0.20e-6,
    source=f"docs.aws.amazon.com, How AWS Pricing Works; {_READ}",
)
AWS_LAMBDA_ARM = Price(
    provider="AWS Lambda (arm64)",
    per_gb_s=0.0000133334,
    per_invocation=0.20e-6,
    source=f"aws.amazon.com/lambda/pricing, US East; {_READ}",
)
DIGITALOCEAN = Price(
    provider="DigitalOcean Functions",
    per_gb_s=0.0000185,
    per_invocation=0.0,
    source=f"docs.digitalocean.com/products/functions, pricing; {_READ}",
)
PUBLISHED: tuple[Price, ...] = (
    AWS_LAMBDA,
    Price(
        provider="Azure Functions (Consumption)",
        per_gb_s=0.000016,
        per_invocation=0.20e-6,
        source=f"modal.com/blog/azure-function-pricing-guide, East US; {_READ}",
    ),
    # Memory and CPU are billed apart; a function of 1 GB has 1.4 GHz at 0.00001 a GHz-second.
    Price(
        provider="Google Cloud Functions (1st gen)",
        per_gb_s=0.0000025 + 1.4 * 0.00001,
        per_invocation=0.40e-6,
        source=f"cloud.google.com/functions/pricing, its copy of 2021-01; {_READ}",
    ),
    DIGITALOCEAN,
)


def price_given(*, per_gb_s: float | None, per_invocation: float | None) -> Price:
    """What a user says that a provider takes, in US dollars; None is nothing."""
    return Price(
        provider="your prices",
        per_gb_s=per_gb_s or 0.0,
        per_invocation=per_invocation or 0.0,
        source="command line",
    )


def costs(plan: Plan, prices: Sequence[Price] = PUBLISHED) -> tuple[Cost, ...]:
    """What a plan costs at each of the prices."""
    return tuple(
        Cost(
            provider=price.provider,
            usd=price.usd(plan.gb_s, plan.invocations),
            source=price.source,
        )
        for price in prices
    )
