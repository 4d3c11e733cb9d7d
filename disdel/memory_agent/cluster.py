"""Asking a Kubernetes API server: which one, brief retries, and refusals in one line."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disdel.errors import ConnectionRefused, DisdelError, PlatformRejected, UsageError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration, CoreV1Api

Json = dict[str, Any]
# Gets the API and options for the call; answers with the HTTP response as it came.
Request = Callable[["CoreV1Api", dict[str, Any]], Any]

_OPTIONS = {"_preload_content": False, "_request_timeout": (2.0, 5.0)}
# Between tries: a monitor warns once a limit, so that what fails for a moment must not lose it.
_PAUSES_S = (0.25, 0.5, 1.0, 2.0)
# No try begins later than this after the first.
_PATIENCE_S = 8.0
_UNAUTHORIZED = 401
_RETRIED = (_UNAUTHORIZED, 408, 409, 429)
_LONGEST = 300


class Cluster:
    """A Kubernetes, for several threads at once.

    Args:
        load: reads the address and the credentials; called again where these are refused, since
            tokens are replaced while the agent runs.
    """

    def __init__(self, load: Callable[[], ApiClient]) -> None:
        self._load = load
        self._client = load()
        self._lock = threading.Lock()

    def call(self, what: str, request: Request) -> Json:
        """The object that a request is answered with, after a few tries if need be.

        Only requests that may be repeated are for here.

        Raises:
            PlatformRejected: the server refuses. `what` opens the message.
            ConnectionRefused: nobody answers, or with something else.
        """
        begun_s = time.monotonic()
        for pause_s in (*_PAUSES_S, None):
            client = self._client
            try:
                return self._ask(request, client)
            except PlatformRejected as refusal:
                error: DisdelError = PlatformRejected(f"{what}: {refusal}", status=refusal.status)
                again = refusal.status in _RETRIED or refusal.status >= 500
                if refusal.status == _UNAUTHORIZED:
                    self._renew(client)
            except ConnectionRefused as failure:
                error = ConnectionRefused(f"{what}: {failure}")
                again = True
            if pause_s is None or not again or time.monotonic() - begun_s > _PATIENCE_S:
                raise error
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _ask(self, request: Request, client: ApiClient) -> Json:
        from kubernetes.client import ApiException, CoreV1Api
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError

        try:
            response = request(CoreV1Api(client), _OPTIONS)
            status, reason, body = response.status, response.reason, response.data
        except ApiException as error:
            # Status 0 is the client's for a connection that was not made.
            if not error.status:
                raise ConnectionRefused(f"no Kubernetes answers: {one_line(error)}") from error
            status, reason, body = error.status, error.reason, error.body
        except (HTTPError, ConfigException, OSError, ValueError) as error:
            # Also where the file with the token is not there for a moment.
            raise ConnectionRefused(f"no Kubernetes answers: {one_line(error)}") from error
        fields = _object(body)
        if not 200 <= status < 300:
            said = fields.get("message") if fields else None
            raise PlatformRejected(
                f"Kubernetes answers {status}: {one_line(said or reason or 'without a word')}",
                status=status,
            )
        if fields is None:
            raise ConnectionRefused("what answers is no Kubernetes: it sends no JSON object")
        return fields

    def _renew(self, refused: ApiClient) -> None:
        """Read the credentials again, unless another thread has done so."""
        with self._lock:
            if self._client is refused:
                try:
                    self._client = self._load()
                except ConnectionRefused:
                    # The next try is refused again, or finds the file there.
                    return


def connect() -> Cluster:
    """The Kubernetes of the user's kubeconfig, else the one that this process runs in.

    Raises:
        UsageError: the client is not installed.
        ConnectionRefused: nothing leads to a Kubernetes.
    """
    try:
        from kubernetes import client
    except ImportError as error:
        raise UsageError(
            "the memory agent needs the Kubernetes client: pip install 'disdel[kubernetes]'"
        ) from error

    def load() -> ApiClient:
        configuration = client.Configuration()
        # The client's own retries would hold a call, and a thread with it, for most of a minute.
        configuration.retries = False
        try:
            _configure(configuration)
        except Exception as error:
            # The client raises whatever its parser meets: the file is the user's.
            raise ConnectionRefused(
                f"neither a kubeconfig nor a service account leads to a Kubernetes: "
                f"{one_line(error)}"
            ) from error
        return client.ApiClient(configuration)

    return Cluster(load)


def _configure(configuration: Configuration) -> None:
    """Fill in address and credentials, as kubectl finds them."""
    from kubernetes import config

    files = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    present = [file for file in files.split(os.pathsep) if file and Path(file).is_file()]
    if not present:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    else:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            os.pathsep.join(present),
            context=_current_context(present),
            client_configuration=configuration,
            persist_config=False,
        )
    _strip_token(configuration)


def _current_context(files: list[str]) -> str | None:
    """Of several files, the first that names a context has the say; the client takes the last."""
    import yaml  # type: ignore[import-untyped]  # the client's own dependency

    for file in files:
        fields = yaml.safe_load(Path(file).read_text())
        if isinstance(fields, dict) and fields.get("current-context"):
            return str(fields["current-context"])
    return None


def _strip_token(configuration: Configuration) -> None:
    """Leave out the line's end of a token that was read from a file, now and whenever it is."""
    # The client declares its hook as None and nothing else.
    client: Any = configuration
    renew = client.refresh_api_key_hook

    def renew_and_strip(configuration: Any) -> None:
        if renew is not None:
            renew(configuration)
        for name, token in configuration.api_key.items():
            configuration.api_key[name] = token.strip()
        # Renewing has put the client's own in its place.
        configuration.refresh_api_key_hook = renew_and_strip

    client.refresh_api_key_hook = renew_and_strip


def one_line(said: object) -> str:
    """What somebody else said, fit for one line of a log: bounded, and with nothing but letters."""
    text = str(said)
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text[:_LONGEST]
    )
    return shown + "…" * (len(text) > _LONGEST)


def _object(body: object) -> Json | None:
    if not isinstance(body, (str, bytes)):
        return None
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
