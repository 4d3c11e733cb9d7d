"""Files of secrets: what they may be, and what is not repeated of them."""

from pathlib import Path

import pytest

from disdel.errors import UsageError
from disdel.platforms.fabric.named_secrets import named_secret
from disdel.platforms.http.tokens import _text
from disdel.protocol.signing_keys import read_secret

SECRET = "0123456789abcdef" * 4


def test_a_secret_in_place_of_its_file_is_not_repeated():
    with pytest.raises(UsageError, match="name the file that has the secret") as refused:
        read_secret(Path(SECRET))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "why"), [(b"a" * 100_000, "longer than 65536 bytes"), (b"\xff" * 40, "it is no text")]
)
def test_what_cannot_be_a_secret_is_not_read_on(tmp_path, data, why):
    file = tmp_path / "a.key"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=why):
        read_secret(file)
    with pytest.raises(UsageError, match=why):
        named_secret("edge", "key", variable=None, file=file, source=tmp_path / "f.toml")
    with pytest.raises(UsageError, match=why):
        _text("token_file", str(file))
