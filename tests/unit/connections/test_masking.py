"""URLs as people may see them: whatever could be a password is hidden."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.connections.masking import masked
from disdel.errors import ConnectionRefused
from disdel.store.redis_store import RedisStore


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/1", "redis://cache:6379/1"),
        ("redis://:secret@cache:6379", "redis://***@cache:6379"),
        ("rediss://user:secret@[::1]:6380/0", "rediss://***@[::1]:6380/0"),
        ("redis://cache?password=secret&db=1", "redis://cache?***"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock?***"),
        ("unix://:secret@/run/redis.sock", "unix://***@/run/redis.sock"),
        ("https://user:secret@openwhisk.example/api", "https://***@openwhisk.example/api"),
        ("redis://:s%2Fecret%40@cache", "redis://***@cache"),
        # Passwords that were not encoded.
        ("redis://:sec/ret@cache", "redis://***"),
        ("redis://:sec@ret@cache", "redis://***"),
        ("redis://:12?secret@cache", "redis://***"),
        ("redis://:12#secret@cache", "redis://***"),
        ("redis://cache?password=sec@ret", "redis://***"),
        (":secret@cache:6379", "***"),
        ("secret", "***"),
        ("", "***"),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert masked(url) == shown


@given(st.text(min_size=4))
def test_a_password_is_never_shown(password):
    secret = f"sEcr3t{password}"
    for url in (
        f"redis://:{secret}@cache",
        f"redis://user:{secret}@cache:6379/0",
        f"redis://cache?password={secret}",
        f"unix://:{secret}@/run/redis.sock",
        f"{secret}@cache",
    ):
        assert "sEcr3t" not in masked(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:sEcr3t/x@127.0.0.1",
        "redis://:sEcr3t@127.0.0.1:99999",
        "redis://:sEcr3t@127.0.0.1:1?no_such_option=1",
        "redis://127.0.0.1:1?password=sEcr3t",
        "redis://127.0.0.1:1?password=sEcr3t&db=none",
        "redis://127.0.0.1:1?password=sEcr3t&socket_timeout=-1",
        "unix:///no/such/socket?password=sEcr3t",
        "http://:sEcr3t@127.0.0.1",
        ":sEcr3t@127.0.0.1",
        "redis://:sEcr3t@[::1",
        "redis://:sEcr3t@\x00",
        "redis://:sEcr3t@\ud800",
        "redis://:sEcr3t@" + "a" * 70,
    ],
)
def test_a_redis_that_is_none_is_told_without_its_password(url):
    with pytest.raises(ConnectionRefused) as refused:
        RedisStore(url, first_contact_s=0.0)
    assert "sEcr3t" not in str(refused.value)
