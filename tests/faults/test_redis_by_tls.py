"""A Redis that is reached by TLS, with a user of the run's own and an authority nobody knows."""

import pytest
import redis

from disdel.connections.trust import with_certificates
from disdel.errors import ConnectionRefused, UsageError
from disdel.memory_agent.memory_warning import publish
from disdel.store.private_redis import PrivateRedis
from disdel.store.redis_store import RedisStore
from disdel.types.events import silent
from tests.support.linear import linear_job, outcome
from tests.support.tls_redis import behind_tls, make_certificate


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """The URL, the file of the certificate, and the server as it is without TLS."""
    certificate, key = make_certificate(tmp_path_factory.mktemp("tls"))
    with PrivateRedis() as server:
        server.ready()
        with behind_tls(server.url, certificate, key) as url:
            yield url, certificate, server.url


def test_a_training_with_the_file_in_the_address(secure, servers, whole, data_dir, tmp_path):
    url, certificate, plain = secure
    access = servers[0]
    place = (access.apihost, access.auth, f"{url}?ssl_ca_certs={certificate}", data_dir)
    report, _ = linear_job(*place, tmp_path / "runs", silent)
    assert outcome(report) == whole
    with redis.Redis.from_url(plain) as admin:
        assert admin.acl_log() == []
        assert admin.acl_list() == [line for line in admin.acl_list() if "disdel-" not in line]
        assert not admin.keys("disdel:*")


def test_actions_get_the_certificate_and_not_its_place(secure):
    url, certificate, _ = secure
    carried = with_certificates(f"{url}?ssl_ca_certs={certificate}&db=0")
    assert str(certificate) not in carried
    RedisStore(carried).close()
    assert publish(carried, b"x") == 0
    assert with_certificates(url) == url
    with pytest.raises(UsageError, match=r"the certificates /no/such .* cannot be read: No such"):
        with_certificates("rediss://:hunter2@h?ssl_ca_certs=/no/such")


def test_a_certificate_that_is_not_trusted_is_refused(secure):
    with pytest.raises(ConnectionRefused, match="certificate verify failed"):
        RedisStore(secure[0])
