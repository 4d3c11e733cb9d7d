"""`--platform-option`: what a platform alone has options for."""

import pytest

from disdel.errors import UsageError
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.platforms.options import own_options
from disdel.platforms.registry import chosen
from disdel.settings import Settings


def asking(*pairs, **others):
    return Settings(platform_options=pairs, **others)


@pytest.mark.parametrize(
    ("platform", "said"),
    [
        ("embedded", {"apihost": "http://127.0.0.1:1"}),
        ("lambda", {"apihost": "http://127.0.0.1:1"}),
        ("http", {"auth": "a:b"}),
        ("executor", {"insecure": True}),
    ],
)
def test_what_is_said_of_an_api_host_is_refused_where_none_is_asked(platform, said):
    [flag] = said
    with pytest.raises(UsageError, match=f"--{flag} says nothing to platform {platform}"):
        chosen(Settings(platform=platform, **said))


def test_what_is_said_comes_before_the_variables_and_those_before_defaults(monkeypatch):
    monkeypatch.setenv("DISDEL_PLATFORM_USER_MEMORY", "300")
    monkeypatch.setenv("DISDEL_PLATFORM_MAX_RECORDS", "7")
    options = own_options(
        EmbeddedOptions, asking("user-memory=512", "prewarm=a:1:1", "prewarm=b:2:2")
    )
    assert (options.user_memory_mb, options.max_records) == (512, 7)
    assert (options.prewarm, options.limits) == (("a:1:1", "b:2:2"), "roomy")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["user_memory"], "must be NAME=VALUE, not 'user_memory'"),
        (["user_memry=1"], r"user_memry: .* has only limits, .*; did you mean user_memory\?"),
        (["user_memory=1", "user-memory=2"], "gives user_memory twice"),
        (["user_memory=0"], "user_memory must be a whole number of MB of at least 1"),
        (["limits=huge"], "limits must be .*roomy.*, not 'huge'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(pairs, said):
    with pytest.raises(UsageError, match=f"--platform-option {said}"):
        chosen(asking(*pairs))


def test_two_words_on_one_thing_are_refused():
    with pytest.raises(UsageError, match="limits is roomy, and --limits is stock"):
        own_options(EmbeddedOptions, asking("limits=roomy"), limits="stock")


def test_a_platform_without_options_says_so():
    with pytest.raises(UsageError, match="openwhisk has no options of its own"):
        chosen(asking("limits=roomy", apihost="https://localhost:1", auth="a:b"))
