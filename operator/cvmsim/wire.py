"""Verifies TC3-HMAC-SHA256, and turns headers and body into an Arrival.

Apart from `app`: this module has no socket, only headers and bytes, so every refusal can be tested as a value. v1
signatures and GET are refused with a clear code, because no client that we test needs them. Source: "Signature v3" of
the CVM API documentation, and the official SDKs.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cvmsim.actions import VERSIONS
from cvmsim.errors import ApiError
from cvmsim.simulator import Arrival
from cvmsim.world import Credited

BODY_MAX = 10 * 1024 * 1024
SKEW_MAX_SECONDS = 300
AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256 +Credential=(?P<id>[^/]*)/(?P<date>[^/]*)/(?P<service>[^/]*)/tc3_request *, *"
    r"SignedHeaders=(?P<headers>[^, ]+) *, *Signature=(?P<signature>[0-9a-fA-F]+)"
)


@dataclass(frozen=True, slots=True)
class Message:
    """`Message` is one HTTP request as received. `headers` is case-insensitive."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def service_of(headers: Mapping[str, str]) -> str:
    """Returns the product, from the credential's scope or otherwise from the first label of the host."""
    found = AUTHORIZATION.match(headers.get("Authorization", ""))
    return found["service"] if found else headers.get("Host", "").partition(".")[0]


def read(message: Message, credentials: Mapping[str, Credited], wall: float, now: float) -> Arrival:
    """Verifies and parses a request. `wall` judges the signature's age, `now` (world seconds) temporary credentials.

    Raises ApiError with the platform's code: AuthFailure.*, NoSuchProduct, UnsupportedProtocol, InvalidRequest, …
    """
    if message.method != "POST":
        raise ApiError(
            "UnsupportedProtocol", f"{message.method} is not supported here: POST JSON with TC3-HMAC-SHA256."
        )
    if len(message.body) > BODY_MAX:
        raise ApiError("RequestSizeLimitExceeded", "The request is larger than 10 MB.")
    caller = verify(message, credentials, wall, now)
    service = service_of(message.headers)
    if service not in VERSIONS:
        raise ApiError("NoSuchProduct", f"The product `{service}` does not exist here.")
    return Arrival(
        account=caller.account,
        action=required(message.headers, "X-TC-Action"),
        params=parse(message),
        region=message.headers.get("X-TC-Region", ""),
        service=service,
        version=required(message.headers, "X-TC-Version"),
        caller=caller,
    )


def required(headers: Mapping[str, str], name: str) -> str:
    """Returns a header. Raises ApiError when it is missing."""
    value = headers.get(name)
    if not value:
        raise ApiError("MissingParameter", f"The request is missing the header `{name}`.")
    return value


def parse(message: Message) -> dict[str, Any]:
    """Returns the parameters. The media type of Content-Type matters, its charset does not. Raises ApiError."""
    media = message.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise ApiError("InvalidRequest", f"Content-Type must be application/json, not {media or 'absent'}.")
    try:
        params = json.loads(message.body or b"{}")
    except ValueError as problem:
        raise ApiError("InvalidRequest", "The body is not JSON.") from problem
    if not isinstance(params, dict):
        raise ApiError("InvalidRequest", "The body is not a JSON object.")
    return params


def verify(message: Message, credentials: Mapping[str, Credited], wall: float, now: float) -> Credited:
    """Checks the signature over everything in SignedHeaders. Returns the caller. Raises AuthFailure.*."""
    found = AUTHORIZATION.fullmatch(message.headers.get("Authorization", "").strip())
    if found is None:
        raise ApiError("AuthFailure.InvalidAuthorization", "The header `Authorization` is absent or malformed.")
    caller = credentials.get(found["id"])
    if caller is None:
        raise ApiError("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
    check_time(required(message.headers, "X-TC-Timestamp"), found["date"], wall)
    expected = sign(caller.secret_key, found["date"], found["service"], to_sign(message, found))
    if not hmac.compare_digest(expected, found["signature"].lower()):
        raise ApiError("AuthFailure.SignatureFailure", "The provided credentials could not be validated.")
    check_token(caller, message.headers.get("X-TC-Token", ""), now)
    return caller


def check_time(timestamp: str, date: str, wall: float) -> None:
    """Raises AuthFailure.* when the timestamp is malformed, too old, or not of the credential's date."""
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 11:
        raise ApiError("AuthFailure.SignatureFailure", "`X-TC-Timestamp` is not a number of seconds.")
    if abs(int(timestamp) - wall) > SKEW_MAX_SECONDS:
        raise ApiError("AuthFailure.SignatureExpire", "The signature has expired: check the clock.")
    if datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%d") != date:
        raise ApiError("AuthFailure.SignatureFailure", "The credential's date is not the UTC date of `X-TC-Timestamp`.")


def check_token(caller: Credited, token: str, now: float) -> None:
    """Raises AuthFailure.TokenFailure when the token is wrong or has expired."""
    is_current = caller.expires_at is None or now < caller.expires_at
    if not hmac.compare_digest(caller.token.encode(), token.encode()) or not is_current:
        raise ApiError("AuthFailure.TokenFailure", "The token is wrong or has expired.")


def to_sign(message: Message, found: re.Match[str]) -> str:
    """Returns the text that is signed. Raises AuthFailure.* when SignedHeaders lacks a header."""
    names = found["headers"].split(";")
    if not {"content-type", "host"} <= set(names):
        raise ApiError("AuthFailure.SignatureFailure", "`SignedHeaders` must have content-type and host.")
    headers = "".join(f"{name}:{message.headers.get(name, '').strip().lower()}\n" for name in names)  # values too
    canonical = "\n".join([message.method, message.path, message.query, headers, found["headers"], body_hash(message)])
    scope = f"{found['date']}/{found['service']}/tc3_request"
    timestamp = message.headers["X-TC-Timestamp"]
    return f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"


def body_hash(message: Message) -> str:
    """Returns the hash of the body for the signature."""
    is_unsigned = message.headers.get("X-TC-Content-SHA256") == "UNSIGNED-PAYLOAD"
    return hashlib.sha256(b"UNSIGNED-PAYLOAD" if is_unsigned else message.body).hexdigest()


def sign(secret_key: str, date: str, service: str, text: str) -> str:
    """Returns the signature of `text`."""
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
