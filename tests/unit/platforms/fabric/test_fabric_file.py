"""What a fabric file may say, and what is said of one that says something else."""

import asyncio

import pytest

from disdel.errors import UsageError
from disdel.platforms import registry
from disdel.platforms.fabric import named as named_module
from disdel.platforms.fabric import provider as provider_module
from disdel.platforms.fabric.binding import homes_of, read_ids
from disdel.platforms.fabric.file import read_fabric
from disdel.platforms.fabric.named import named_in
from disdel.platforms.fabric.secret_looks import secret_in
from disdel.platforms.prices import AWS_LAMBDA, AWS_LAMBDA_ARM
from disdel.settings import Settings, declared
from disdel.settings.settings import own_architecture
from disdel.types.units import MIB

OWN = {"embedded": registry.provider_of("embedded").options, "openwhisk": None}
OPTIONS = {name: () if cls is None else declared(cls) for name, cls in OWN.items()}

KEEPER = """
quorum = 2
place = "price"
collect = "cloud"

[endpoints.edge]
platform = "embedded"
user_memory = 1024
containers = 3
labels = ["arm", "home"]
architecture = "arm64"

[endpoints.cloud]
platform = "openwhisk"
address = "https://whisk.example"
key_env = "CLOUD_KEY"
sizes = [256, 512, 1024]
time_limit = 300
payload = 1048576
price_gb_s = 0.0000166667
price_invocation = 2e-7
store = "rediss://store.example:6380"

[[clients]]
ids = "0-2"
endpoint = "edge"
moves = false

[[clients]]
ids = ["3-8", 9]
label = "arm"
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "fabric.toml"
        path.write_text(text)
        return path

    return write


def read(path):
    return read_fabric(path, OPTIONS)


def test_a_file_is_read_whole(written):
    file = read(written(KEEPER))
    assert (file.options.quorum, file.options.place, file.options.collect) == (2, "price", "cloud")
    edge, cloud = file.endpoints
    assert (edge.name, edge.own, edge.options.containers) == ("edge", ("user_memory=1024",), 3)
    assert cloud.options.sizes_mb == (256, 512, 1024)
    assert (cloud.options.time_limit_s, cloud.options.payload_bytes) == (300.0, MIB)
    assert cloud.options.price_gb_s == 0.0000166667
    bound, labelled = file.bindings
    assert (bound.ids, bound.endpoints, bound.moves) == ((range(3),), ("edge",), False)
    assert (labelled.ids, labelled.endpoints) == ((range(3, 9), range(9, 10)), ("edge",))


ENDPOINT = '[endpoints.edge]\nplatform = "embedded"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no endpoints"),
        ("[endpoints]", "has no endpoints"),
        ('endpoints = "edge"', "has no endpoints"),
        ("[endpoints.edge]", "does not name its platform"),
        ('[endpoints.edge]\nplatform = "embeded"', "did you mean embedded"),
        ('[endpoints.edge]\nplatform = "fabric"', "there is no .*fabric"),
        ('[endpoints.Edge_1]\nplatform = "embedded"', "small letters"),
        (f"{ENDPOINT}memory_maks = 5", "did you mean memory_max"),
        (f"{ENDPOINT}user_memori = 5", "did you mean user_memory"),
        (f"{ENDPOINT}memory_max = 0", "memory_max of .*at least 1|above|from 1"),
        (f'{ENDPOINT}memory_max = "much"', "memory_max of .*a whole number"),
        (f"{ENDPOINT}containers = 2.5", "containers of"),
        (f"{ENDPOINT}containers = true", "containers of"),
        (f"{ENDPOINT}sizes = [0]", "sizes of"),
        (f'{ENDPOINT}limits = "huge"', "limits of .*roomy"),
        (f'{ENDPOINT}key_env = "A"\nkey_file = "b"', "names its key twice"),
        (
            f'{ENDPOINT}signing_key_env = "A"\nsigning_key_file = "b"',
            "names its signing key twice, by signing_key_env and signing_key_file",
        ),
        (f"quorum = 2\n{ENDPOINT}", "quorum .* is 2, and there are 1"),
        (f"kworum = 1\n{ENDPOINT}", "did you mean quorum"),
        (f'collect = "egde"\n{ENDPOINT}', "did you mean edge"),
        (f'place = "fast"\n{ENDPOINT}', "place of .*time or price"),
        (f"{ENDPOINT}[[clients]]\nids = 1", "either an endpoint or a label"),
        (f'{ENDPOINT}[[clients]]\nendpoint = "edge"', "names no clients"),
        (f'{ENDPOINT}[[clients]]\nids = 1\nendpoint = "egde"', "did you mean edge"),
        (f'{ENDPOINT}[[clients]]\nids = 1\nlabel = "arm"', "there is no label"),
        (f'{ENDPOINT}[[clients]]\nids = "5-2"\nendpoint = "edge"', "ends before it begins"),
        (f'{ENDPOINT}[[clients]]\nids = "a"\nendpoint = "edge"', "by their ids"),
        (f'{ENDPOINT}[[clients]]\nids = []\nendpoint = "edge"', "by their ids"),
        (f'{ENDPOINT}[[clients]]\nids = -1\nendpoint = "edge"', "by their ids"),
        (f'{ENDPOINT}[clients]\nids = 1\nendpoint = "edge"', "must be tables"),
        ("[endpoints.edge", "is no TOML"),
        ('[endpoints.edge]\nplatform = ["embedded"]', "there is no"),
        ("[endpoints.edge]\nplatform = {}", "there is no"),
        (f'{ENDPOINT}sizes = ["\u00b2"]', "sizes of .*whole numbers"),
        (f'{ENDPOINT}sizes = ["{"1" * 5000}"]', "sizes of .*whole numbers|drawn at random"),
        (f"{ENDPOINT}price_gb_s = -1", "price_gb_s of .* must be a number from 0"),
        (f"{ENDPOINT}time_limit = 300\ntime_limit_s = 10", "says time_limit twice"),
        (f"{ENDPOINT}memory_max = 256\nmemory-max = 512", "says memory_max twice"),
        (f'{ENDPOINT}store = "ftp://store.example"', "store of .* is no address of a Redis"),
        (f'{ENDPOINT}store = "store.example:6379"', "store of .* is no address of a Redis"),
        (f'{ENDPOINT}store = "redis://store.example:99999"', "store of .* is no address"),
        (f'{ENDPOINT}store = "s3://bucket"', "store of .* is no address of a Redis"),
        (
            f'{ENDPOINT}[[clients]]\nids = "0-3"\nendpoint = "edge"\n'
            '[[clients]]\nids = "7, 3"\nendpoint = "edge"',
            r"number 1 in .* and .*number 2 in .* bind client 3",
        ),
        (f'{ENDPOINT}[[clients]]\nids = "0-3, 2"\nendpoint = "edge"', "binds twice client 2"),
    ],
)
def test_what_nobody_understands_is_refused_with_what_is_nearest(written, text, told):
    with pytest.raises(UsageError, match=told):
        read(written(text))


@pytest.mark.parametrize(
    "line",
    [
        'auth = "guest"',
        'api-key = "x"',
        'password = "x"',
        'address = "https://user:pass@whisk.example"',
        'address = "https://23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1@h"',
        'labels = ["AKIAIOSFODNN7EXAMPLE"]',
        'address = "https://x.example?X-Amz-Signature=abc"',
        'store = "redis://:hunter2@store.example"',
        'labels = ["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"]',
        'labels = ["ghp_abcdefghijklmnopqrstuvwx"]',
        'labels = ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"]',
        'labels = ["-----BEGIN PRIVATE KEY-----"]',
        'labels = ["Bearer abcdefgh"]',
        'key_env = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkcc"',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(written, line):
    with pytest.raises(UsageError, match="key_env = VARIABLE") as refused:
        read(written(f"{ENDPOINT}{line}"))
    assert line.partition("=")[2].strip(' "[]') not in str(refused.value)


@pytest.mark.parametrize(
    "comment",
    [
        "the key: 23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkcc",
        'store = "rediss://user:hunter2@store.example:6380"',
        'password = "hunter2"',
        "# key = 'hunter2'",
    ],
)
def test_nor_may_one_stand_in_a_comment(written, comment):
    with pytest.raises(UsageError, match=r"the comment in line 3 of .* looks like") as refused:
        read(written(f"{ENDPOINT}containers = 2 # {comment}"))
    assert "hunter2" not in str(refused.value)
    assert "23bc46b1" not in str(refused.value)
    read(written(f'{ENDPOINT}# key_env = "KEY", and token = what the cloud prints'))


@pytest.mark.parametrize(
    "text",
    [
        "https://openwhisk.eu-central-1.example.com:31001/api/v1",
        "rediss://store.internal.example.com:6380/0",
        "europe-west1-docker.pkg.dev/project/repository-of-images",
        "arn:aws:iam::123456789012:role/a-role-for-lambda-functions",
        "/home/somebody/a/very/long/path/to/a/file/with/MANY-Parts-1",
    ],
)
def test_what_is_no_secret_may_stand_there(text):
    assert secret_in(text) is None


def test_a_key_is_where_the_file_says(written, tmp_path, monkeypatch):
    text = '[endpoints.cloud]\nplatform = "openwhisk"\naddress = "https://h.example"\n'
    monkeypatch.delenv("CLOUD_KEY", raising=False)
    file = read(written(f'{text}key_env = "CLOUD_KEY"'))
    with pytest.raises(UsageError, match=r"variable CLOUD_KEY .*which is not set"):
        file.endpoints[0].key(file.path)
    monkeypatch.setenv("CLOUD_KEY", "u:s")
    file = read(written(f'{text}key_env = "CLOUD_KEY"'))
    assert file.endpoints[0].key(file.path) == "u:s"
    (tmp_path / "key").write_text("u:t\n")
    file = read(written(f'{text}key_file = "key"'))
    assert file.endpoints[0].key(file.path) == "u:t"
    file = read(written(f'{text}key_file = "gone"'))
    with pytest.raises(UsageError, match="cannot be read"):
        file.endpoints[0].key(file.path)


def test_files_lie_beside_the_fabric_file_whoever_reads_them(written, tmp_path, monkeypatch):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "token").write_text("abc")
    (tmp_path / "pool.py").write_text("def make():\n    raise OSError('made here')\n")
    authority = "-----BEGIN CERTIFICATE-----"
    (tmp_path / "ca.pem").write_text(authority)
    settings = Settings(
        fabric=written(
            '[endpoints.web]\nplatform = "http"\nurl = "https://f.example"\nkey_file = "token"\n'
            'store = "rediss://store.example?ssl_ca_certs=ca.pem"\n'
            '[endpoints.pool]\nplatform = "executor"\nexecutor = "pool.py:make"\n'
        ),
        redis="redis://u:p@127.0.0.1:1",
    )
    parts = dict(registry.chosen(settings).parts(settings))
    with pytest.raises(UsageError, match=r"endpoint pool in .*OSError: made here"):
        asyncio.run(parts["pool"].reach(settings))
    [web, _] = named_in(provider_module._file(settings), settings)
    assert web.settings.platform_options == (
        "url=https://f.example",
        f"key_file={tmp_path / 'token'}",
    )
    # Its containers have no such file.
    assert "BEGIN+CERTIFICATE" in web.store
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(UsageError, match=r"endpoint web in .*ca\.pem .* cannot be read"):
        named_in(provider_module._file(settings), settings)


def test_each_endpoint_may_have_a_signing_key_of_its_own(written, tmp_path, monkeypatch):
    text = (
        '[endpoints.near]\nplatform = "embedded"\n[endpoints.far]\nplatform = "embedded"\n'
        'signing_key_file = "signing"\nstore = "rediss://store.example:6380"\n'
    )
    settings = Settings(fabric=written(text))

    def endpoints():
        return asyncio.run(registry.chosen(settings).endpoints(settings)).all

    with pytest.raises(UsageError, match=r"endpoint far has its signing key in .*cannot be read"):
        endpoints()
    (tmp_path / "signing").write_text("too short to be one")
    with pytest.raises(UsageError, match=r"signing key of endpoint far has 19 bytes.*32") as caught:
        endpoints()
    assert "too short" not in str(caught.value)
    (tmp_path / "signing").write_text(f"{'f' * 64}\n")
    near, far = endpoints()
    assert (near.signing_secret, far.signing_secret) == (None, b"f" * 64)
    assert "ffff" not in repr(far)
    # Signed requests name the store as the endpoint reaches it.
    assert near.store_url("redis://u:p@here:1") == "redis://u:p@here:1"
    assert far.store_url("redis://u:p@here:1") == "rediss://u:p@store.example:6380"
    settings = Settings(fabric=written(text.replace("_file", "_env").replace('signing"', 'KEY"')))
    monkeypatch.setenv("KEY", "g" * 32)
    assert endpoints()[1].signing_secret == b"g" * 32


def test_settings_lead_to_each_endpoint(written, monkeypatch):
    monkeypatch.setenv("CLOUD_KEY", "u:s")
    monkeypatch.setenv("DISDEL_APIHOST", "https://another.example")
    text = KEEPER.replace('platform = "openwhisk"', 'platform = "embedded"')
    text = text.replace('address = "https://whisk.example"\nkey_env = "CLOUD_KEY"\n', "")
    text = text.replace('architecture = "arm64"\n', "")
    settings = Settings(fabric=written(text), place="time")

    found = asyncio.run(registry.chosen(settings).endpoints(settings))
    edge, cloud = found.all
    assert (found.place, found.collect) == ("time", ("cloud", "edge"))
    assert edge.settings.fabric is None
    assert cloud.settings.arch == own_architecture()
    assert (edge.capacity.pool_memory_mb, edge.capacity.concurrency) == (1024, 3)
    assert (cloud.capacity.memory_max_mb, cloud.capacity.timeout_max_s) == (1024, 300)
    assert cloud.capacity.memory_min_mb == 256
    assert [cloud.size_mb(mb) for mb in (100, 256, 257, 2000)] == [256, 256, 512, 1024]
    assert (edge.price, cloud.price.per_gb_s) == (None, 0.0000166667)
    assert cloud.price.usd(1000, 10) == pytest.approx(0.0166687)


def test_an_architecture_is_of_other_machines(written, monkeypatch):
    monkeypatch.setenv("CLOUD_KEY", "u:s")
    arm = 'architecture = "arm64"\n'
    cloud = (
        f'[endpoints.cloud]\nplatform = "openwhisk"\naddress = "h"\nkey_env = "CLOUD_KEY"\n{arm}'
    )
    settings = Settings(fabric=written(cloud), arch="amd64")
    [named] = named_in(provider_module._file(settings), settings)
    assert named.settings.arch == "arm64"
    monkeypatch.setattr(named_module, "own_architecture", lambda: "amd64")
    settings = Settings(fabric=written(f"{ENDPOINT}{arm}"), arch="amd64")
    with pytest.raises(UsageError, match=r"endpoint edge in .*CPUs like this machine's \(amd64\)"):
        named_in(provider_module._file(settings), settings)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("insecure = true", "insecure says nothing to platform embedded"),
        ("sizes = [1]", "128 to 4096 MB there, and none of 1: change sizes"),
        ("memory_max = 200\nsizes = [256, 512]", "128 to 200 MB there, and none of 256, 512"),
        ("memory_max = 64", "an action has 128 to 64 MB there: change memory_max"),
        ("user_memory = 99999999", "user_memory is 99999999 MB, and this machine has"),
    ],
)
def test_what_a_file_says_in_vain_is_refused_and_no_endpoint_is_taken_for_away(
    written, lines, told
):
    settings = Settings(fabric=written(f"{ENDPOINT}{lines}\n"))
    with pytest.raises(UsageError, match=r"^endpoint edge in") as refused:
        asyncio.run(registry.chosen(settings).endpoints(settings))
    assert told in str(refused.value)
    assert "quorum" not in str(refused.value)


def test_hosts_and_architectures_have_limits_and_prices_of_their_own(written, monkeypatch):
    monkeypatch.setenv("CLOUD_KEY", "u:s")
    text = (
        '[endpoints.hosted]\nplatform = "openwhisk"\naddress = "https://faas.example"\n'
        'key_env = "CLOUD_KEY"\nlimits = "digitalocean"\n'
        '[endpoints.arm]\nplatform = "lambda"\naddress = "eu-central-1"\narchitecture = "arm64"\n'
        '[endpoints.x86]\nplatform = "lambda"\naddress = "eu-central-1"\n'
    )
    settings = Settings(fabric=written(text))
    hosted, arm, x86 = named_in(provider_module._file(settings), settings)
    assert hosted.settings.platform_limits == "digitalocean"
    assert (arm.price, x86.price) == (AWS_LAMBDA_ARM, AWS_LAMBDA)
    settings = Settings(fabric=written(f'{text}limits = "stock"\n'))
    with pytest.raises(UsageError, match=r"endpoint x86 in .*limits stock is for the embedded"):
        asyncio.run(registry.chosen(settings).endpoints(settings))


def test_an_address_is_said_once(written):
    text = '[endpoints.web]\nplatform = "http"\naddress = "https://h"\nurl = "https://g"\n'
    settings = Settings(fabric=written(text))
    with pytest.raises(UsageError, match="address and url are the same"):
        named_in(provider_module._file(settings), settings)


def test_an_endpoint_of_openwhisk_has_an_address_and_a_key(written):
    settings = Settings(fabric=written('[endpoints.cloud]\nplatform = "openwhisk"\n'))
    with pytest.raises(UsageError, match=r"endpoint cloud in .*has no address"):
        asyncio.run(registry.chosen(settings).offered(settings))


@pytest.mark.parametrize(
    ("platform", "line"),
    [("http", ""), ("executor", ""), ("http", 'store = "redis://h"\nurl = "http://127.0.0.1:1"')],
)
def test_what_an_endpoint_lacks_is_told_with_its_name(written, platform, line):
    said = {} if not line else {"store": "s3://bucket"}
    path = written(f'[endpoints.far]\nplatform = "{platform}"\n{line}\n')
    settings = Settings(fabric=path, **said)
    with pytest.raises(UsageError, match=r"endpoint far in .*: (no .* is named|its store is)"):
        asyncio.run(registry.chosen(settings).reach(settings))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"apihost": "http://127.0.0.1:1"}, "--apihost is of one platform"),
        ({"auth": "a:b"}, "--auth is of one platform"),
        ({"insecure": True}, "--insecure is of one platform"),
        ({"platform_limits": "stock"}, "--limits stock is for the embedded platform"),
        ({"platform_options": ("user_memory=5",)}, "--platform-option user_memory=5 is of one"),
    ],
)
def test_what_is_said_of_one_platform_is_refused_beside_a_file(written, said, told):
    with pytest.raises(UsageError, match=told):
        registry.chosen(Settings(fabric=written(ENDPOINT), **said))


def test_what_the_environment_says_of_an_api_host_is_no_word_on_a_fabric(written, monkeypatch):
    monkeypatch.setenv("DISDEL_APIHOST", "http://127.0.0.1:1")
    monkeypatch.setenv("DISDEL_AUTH", "a:b")
    settings = Settings(fabric=written(ENDPOINT))
    assert settings.apihost is not None
    assert registry.chosen(settings).name == "fabric"


def test_what_names_another_platform_is_refused(written):
    path = written(ENDPOINT)
    with pytest.raises(UsageError, match="leave one of the two out"):
        registry.chosen(Settings(fabric=path, platform="embedded"))
    with pytest.raises(UsageError, match="add --fabric FILE"):
        registry.chosen(Settings(place="price"))


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("0-2", [0, 1, 2]),
        ("0-1, 5", [0, 1, 5]),
        (7, [7]),
        ([1, "3-4"], [1, 3, 4]),
    ],
)
def test_ids(value, ids):
    assert [one for part in read_ids(value, "ids") for one in part] == ids


def test_homes_of_clients(written):
    bindings = read(written(KEEPER)).bindings
    homes = homes_of(bindings, 12, own_data=False)
    assert [homes.of(client) for client in (0, 9, 11)] == [{"edge"}, {"edge"}, None]
    assert [homes.may_move(client) for client in (0, 9, 11)] == [False, True, True]
    assert homes.counts() == [({"edge"}, 10)]
    # Data of their own cannot go along.
    assert not homes_of(bindings, 12, own_data=True).may_move(9)
    with pytest.raises(UsageError, match=r"names client 9, and there are 9, 0 to 8"):
        homes_of(bindings, 9, own_data=False)
