"""The command line's one door to the services: httpx, a bearer key, problem documents as sentences.

A reading request is sent once. A request with an idempotency key is retried blindly, on any of the
order API's addresses, until there is an answer: that is what the key is for.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import stamina

from orderonce_cli.problems import Exit, Problem
from orderonce_cli.stack import layout, running, seed

REQUEST_LIMIT_S = 10.0
RETRY_LIMIT_S = 60.0  # of one command; then the person decides, with the key in hand
RETRY_ATTEMPTS = 30
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 3.0
TRYING_AGAIN = "no answer yet, trying again with the same key"
BUSY = (409, 429)  # a twin in flight, or too fast: the same request again, later

Door = Literal["order_api", "order_api_admin", "ledger"]
KEY_VARIABLES: dict[Door, str] = {
    "order_api": "ORDERONCE_KEY",
    "order_api_admin": "ORDERONCE_ADMIN_KEY",
    "ledger": "ORDERONCE_KEY",
}
URL_VARIABLES: dict[Door, str] = {
    "order_api": "ORDERONCE_API",
    "order_api_admin": "ORDERONCE_ADMIN_API",
    "ledger": "ORDERONCE_LEDGER",
}


@dataclass(frozen=True)
class Given:
    """What the command line said about where to ask and as whom."""

    data: Path | None = None
    url: str | None = None
    key_file: Path | None = None


class NoAnswer(Exception):
    """No answer that settles the request: sending it again is safe, and may help."""

    def __init__(self, said: str, after_s: float | None = None) -> None:
        super().__init__(said)
        self.after_s = after_s


class Api:
    """One service, at one or more addresses, as one key."""

    def __init__(
        self, urls: Sequence[str], key: str, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"},
            timeout=REQUEST_LIMIT_S,
            trust_env=False,  # a proxy for the web must not stand between this and 127.0.0.1
            transport=transport,
        )

    def get(self, path: str, **params: Any) -> Any:
        """The JSON body; raises Problem on anything but success. None parameters are left out."""
        asked = {name: value for name, value in params.items() if value is not None}
        return self._settled("GET", path, params=asked)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send once; the JSON body of a success."""
        return self._settled("POST", path, json=dict(body or {}))

    def post_once(self, path: str, body: Mapping[str, Any], idempotency_key: str) -> Any:
        """Send with an idempotency key until there is an answer; addresses take turns."""
        tried = 0

        def again(error: Exception) -> bool | float:
            if not isinstance(error, NoAnswer):
                return False
            return True if error.after_s is None else error.after_s

        try:
            for attempt in stamina.retry_context(
                on=again, attempts=RETRY_ATTEMPTS, timeout=RETRY_LIMIT_S,
                wait_initial=FIRST_PAUSE_S, wait_max=LONGEST_PAUSE_S,
            ):  # fmt: skip
                with attempt:
                    if tried == 1:
                        print(TRYING_AGAIN, file=sys.stderr, flush=True)
                    url = self._urls[tried % len(self._urls)]
                    tried += 1
                    headers = {"Idempotency-Key": idempotency_key}
                    return self._once("POST", url + path, json=dict(body), headers=headers)
        except NoAnswer as error:
            raise Problem(
                f"No answer after {tried} tries ({error}): it may have been accepted or not. Send "
                f"it again with the same key: --key {idempotency_key}",
                Exit.UNAVAILABLE,
            ) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def find(self, path: str) -> Any | None:
        """The JSON body, or None where there is no such thing (404)."""
        try:
            return self._once("GET", self._urls[0] + path, missing_ok=True)
        except NoAnswer as error:
            raise Problem(f"No answer: {error}.", Exit.UNAVAILABLE) from error

    def _settled(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self._once(method, self._urls[0] + path, **more)
        except NoAnswer as error:
            raise Problem(f"No answer: {error}.", Exit.UNAVAILABLE) from error

    def _once(self, method: str, url: str, missing_ok: bool = False, **more: Any) -> Any:
        try:
            answer = self._client.request(method, url, **more)
        except httpx.TransportError as error:
            raise NoAnswer(f"{type(error).__name__} at {url}") from error
        if answer.status_code >= 500 or answer.status_code in BUSY:
            raise NoAnswer(said(answer), _retry_after(answer))
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code >= 400:
            raise Problem(said(answer))
        try:
            return answer.json() if answer.content else {}
        except json.JSONDecodeError as error:
            raise NoAnswer(f"{url} answered with something else than JSON") from error


def connect(door: Door, given: Given) -> Api:
    """The service that the command line, the environment or the running stack names."""
    where = layout.data_folder(given.data)
    named = given.url or os.environ.get(URL_VARIABLES[door])
    if named is not None:
        urls = [named]
    else:
        view = running.view(where)
        if door not in view:
            raise Problem(
                "Only Postgres and Kafka run here. Start all: orderonce down, then orderonce up.",
                Exit.UNAVAILABLE,
            )
        urls = [view[door]] if isinstance(view[door], str) else view[door]
    return Api(urls, _key(door, given, where))


def said(answer: httpx.Response) -> str:
    """A problem document as one sentence, with the members that say more."""
    try:
        told = answer.json()
        title = told.pop("title", None) or answer.reason_phrase
    except (json.JSONDecodeError, AttributeError, TypeError):
        return f"{answer.status_code} {answer.text[:200]}".strip()
    detail = told.pop("detail", None)
    kind = str(told.pop("type", "")).rsplit("/", 1)[-1]
    for dull in ("status", "request_id", "instance", "transient"):
        told.pop(dull, None)
    more = ", ".join(f"{name} {json.dumps(value)}" for name, value in told.items())
    sentence = f"{answer.status_code} {kind or title}: {detail or title}"
    return f"{sentence} ({more})" if more else sentence


def _key(door: Door, given: Given, where: layout.Layout) -> str:
    """The bearer key: from a file, the environment, or the stack's own folder. Never from argv."""
    if given.key_file is not None:
        try:
            return given.key_file.read_text().strip()
        except OSError as error:
            raise Problem(f"{given.key_file} cannot be read: {error.strerror}.") from error
    if found := os.environ.get(KEY_VARIABLES[door]):
        return found.strip()
    name = "admin" if door == "order_api_admin" else "demo"
    try:
        kept = seed.read_key(where.root, name)
    except OSError as error:
        raise Problem(f"{error.filename} cannot be read: {error.strerror}.") from error
    if kept is None:
        raise Problem(
            f"No API key: name a file with --key-file, or set {KEY_VARIABLES[door]}.", Exit.USAGE
        )
    return kept


def _retry_after(answer: httpx.Response) -> float | None:
    told = answer.headers.get("Retry-After", "")
    return min(float(told), LONGEST_PAUSE_S) if told.isdigit() else None
