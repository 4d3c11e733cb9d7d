"""What is known of platforms' limits, and what is not."""

from dataclasses import fields

import pytest

from disdel.errors import UsageError
from disdel.platforms.known import KNOWN, UNKNOWN, limits_table
from disdel.platforms.lambda_.limits import capacity
from disdel.platforms.lambda_.options import LambdaOptions
from disdel.platforms.openwhisk.limits import HOSTED, capacity_of, hosted_capacity
from disdel.platforms.prices import PUBLISHED
from disdel.platforms.registry import provider_of
from disdel.settings import Settings


def test_each_says_where_and_when_it_was_read():
    assert all(known.source and known.read for known in KNOWN)
    assert len({known.name for known in KNOWN}) == len(KNOWN)


def test_what_is_not_known_is_said_to_be_unknown():
    rows = limits_table().splitlines()[2:]
    assert "None" not in limits_table()
    for known, row in zip(KNOWN, rows, strict=True):
        lacking = [f.name for f in fields(known) if getattr(known, f.name) is None]
        assert bool(lacking) == (UNKNOWN in row)


def test_a_hosted_openwhisk_has_its_owners_limits_whatever_it_says_itself():
    said = {"limits": {"max_action_memory": 512 << 20, "concurrent_actions": 5}}
    told = hosted_capacity(capacity_of(said), "digitalocean")
    assert (told.memory_min_mb, told.memory_max_mb, told.timeout_max_s) == (128, 1024, 900)
    assert (told.concurrency, told.invokes_per_minute) == (120, 600)
    assert (told.payload_bytes, told.code_bytes) == (1 << 20, 36 << 20)
    # Nobody but the owner raises them.
    assert not told.names.memory
    assert "DigitalOcean Functions" in {price.provider for price in PUBLISHED}


@pytest.mark.parametrize("name", ["roomy", "stock", *HOSTED])
def test_limits_of_an_openwhisk_are_those_of_its_owner_alone(name):
    settings = Settings(apihost="https://openwhisk.example", auth="a:b", platform_limits=name)
    provider = provider_of("openwhisk")
    if name in HOSTED:
        assert provider.address(settings) == "https://openwhisk.example"
    else:
        with pytest.raises(UsageError, match=f"--limits {name} is for the embedded platform"):
            provider.address(settings)


def test_lambda_has_limits_of_its_own():
    settings = Settings(platform="lambda", platform_limits="digitalocean")
    with pytest.raises(UsageError, match="--limits digitalocean is for the embedded platform"):
        provider_of("lambda").address(settings)


def test_the_accounts_own_limit_counts_where_it_is_less():
    def most(told=None, **options):
        allowed = capacity(LambdaOptions(**options), told)
        return allowed.concurrency, allowed.invokes_per_minute

    assert most() == (1000, 600_000)
    assert most(10) == (10, 6_000)
    assert most(3000) == (3000, 1_800_000)
    assert most(10, concurrency=4) == (4, 2_400)
    assert most(3000, concurrency=2000) == (2000, 1_200_000)


def test_a_region_or_an_emulator_is_an_address_of_lambda():
    provider, settings = provider_of("lambda"), Settings(platform="lambda")
    there = provider.at(settings, address="eu-central-1", key=None)
    assert provider.address(there) == "aws/eu-central-1"
    there = provider.at(settings, address="http://127.0.0.1:4566", key=None)
    assert provider.address(there) == "http://127.0.0.1:4566/us-east-1"
    with pytest.raises(UsageError, match="takes no key"):
        provider.at(settings, address=None, key="AKIA")
