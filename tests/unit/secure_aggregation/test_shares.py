"""Shamir's secret sharing: enough shares give the secret, and fewer could be of any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import AggregationError
from disdel.secure_aggregation.shares import PRIME, SHARE_BYTES, combine, split

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS, SECRETS, st.data())
def test_any_so_many_shares_give_the_secret_back(secret, seed, data):
    points = data.draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=12, unique=True))
    threshold = data.draw(st.integers(1, len(points)))
    shares = split(secret, threshold, points, seed)
    assert {len(share) for share in shares.values()} == {SHARE_BYTES}
    held = data.draw(st.permutations(points))[: data.draw(st.integers(threshold, len(points)))]
    assert combine({point: shares[point] for point in held}, threshold) == secret
    assert split(secret, threshold, points, seed) == shares


@given(SECRETS, SECRETS, SECRETS, st.integers(2, 8))
def test_fewer_shares_fit_every_secret(secret, other, seed, threshold):
    """With one share less than are needed, for any other secret there is a last share."""
    shares = split(secret, threshold, range(1, threshold + 1), seed)
    held = {x: int.from_bytes(share, "big") for x, share in list(shares.items())[1:]}
    # The polynomial through what is held and through the other secret at 0, at the missing point.
    through = {0: int.from_bytes(other, "big"), **held}
    missing = 0
    for x, value in through.items():
        term = value
        for y in through:
            if y != x:
                term = term * (1 - y) * pow(x - y, -1, PRIME) % PRIME
        missing += term
    forged = {1: (missing % PRIME).to_bytes(SHARE_BYTES, "big")}
    assert combine({**{x: shares[x] for x in held}, **forged}, threshold) == other


def test_too_few_or_wrong_shares_are_refused():
    shares = split(b"s" * 32, 3, [1, 2, 3, 4], b"seed")
    with pytest.raises(AggregationError, match="2 shares of a secret are there, not 3"):
        combine({1: shares[1], 2: shares[2]}, 3)
    # What comes of a wrong one has 521 bits, and is a secret's once in 2**265.
    with pytest.raises(AggregationError, match="no one secret"):
        combine({1: shares[1], 2: shares[2], 3: shares[4]}, 3)


@pytest.mark.parametrize("points", [[], [0, 1], [1, 1]])
def test_no_point_is_the_secrets_own_or_twice(points):
    with pytest.raises(ValueError, match="can share"):
        split(b"s" * 32, 1, points or [0], b"seed")
