"""Files of secrets: what they may be, and what is not repeated of them."""

from pathlib import Path

import pytest

from disdel.errors import UsageError
from disdel.platforms.fabric.named_secrets import named_secret
from disdel.platforms.http.tokens import _text
from disdel.protocol.signing_keys import FILE_ENV, KEY_ENV, own_secret, read_secret
from disdel.settings import Settings

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
        _text("token_file", file)


def test_a_variable_means_the_same_here_and_in_a_function(tmp_path, monkeypatch):
    """`own_secret` of no file is what a function has, too."""
    file = tmp_path / "signing-key-of-the-group-that-trains"
    file.write_text(f"{SECRET}\n")
    for environ in ({KEY_ENV: SECRET}, {FILE_ENV: str(file)}):
        assert own_secret(None, environ) == SECRET.encode()
    assert own_secret(None, {}) is None
    with pytest.raises(UsageError, match=f"is the secret itself, and names a file: set {FILE_ENV}"):
        own_secret(None, {KEY_ENV: str(file)})
    with pytest.raises(UsageError, match="both set"):
        own_secret(None, {KEY_ENV: SECRET, FILE_ENV: str(file)})
    # A file that is named with the command comes before both.
    assert own_secret(file, {KEY_ENV: "other" * 10}) == SECRET.encode()
    monkeypatch.setenv(KEY_ENV, SECRET)
    settings = Settings()
    assert settings.signing_key is None
    monkeypatch.setenv(FILE_ENV, str(file))
    assert Settings().signing_key == file
