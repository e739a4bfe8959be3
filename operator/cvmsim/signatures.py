"""Verifies the three signatures of the vendor: TC3-HMAC-SHA256, HmacSHA256 and HmacSHA1.

Apart from `wire`, which reads what was signed. Source: "Signature v3" and "Signature" of the CVM API documentation, and
the official SDKs. Those for Node.js and Java sign the host without its port, or take the service from the first label
of the endpoint, so both are verified as they were signed.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cvmsim.credentials import Credited
from cvmsim.errors import ApiError

SKEW_MAX_SECONDS = 300
DEFAULT_PORTS = ("443", "80")
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


def verify_v3(message: Message, credentials: Mapping[str, Credited], wall: float, now: float) -> Credited:
    """Checks the signature over everything in SignedHeaders. Returns the caller. Raises AuthFailure.*."""
    found = AUTHORIZATION.fullmatch(message.headers.get("Authorization", "").strip())
    if found is None:
        raise ApiError("AuthFailure.InvalidAuthorization", "The header `Authorization` is absent or malformed.")
    caller = caller_of(credentials, found["id"])
    timestamp = message.headers.get("X-TC-Timestamp")
    if not timestamp:
        raise ApiError("MissingParameter", "The request is missing the header `X-TC-Timestamp`.")
    check_time("X-TC-Timestamp", timestamp, wall)
    if datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%d") != found["date"]:
        raise ApiError("AuthFailure.SignatureFailure", "The credential's date is not the UTC date of `X-TC-Timestamp`.")
    key, signature = key_of(caller.secret_key, found["date"], found["service"]), found["signature"].lower()
    texts = (to_sign(message, found, host) for host in hosts_of(message.headers.get("Host", "")))
    if not any(hmac.compare_digest(hmac.digest(key, octets(text), "sha256").hex(), signature) for text in texts):
        raise ApiError("AuthFailure.SignatureFailure", "The provided credentials could not be validated.")
    check_token(caller, message.headers.get("X-TC-Token", ""), now)
    return caller


def verify_v1(
    message: Message, pairs: Mapping[str, str], credentials: Mapping[str, Credited], wall: float, now: float
) -> Credited:
    """Checks the parameter `Signature` over all other parameters. Returns the caller. Raises AuthFailure.*.

    Any SignatureMethod but HmacSHA256 means HmacSHA1, as the vendor says.
    """
    for name in ("SecretId", "Timestamp", "Nonce", "Signature"):
        if not pairs.get(name):
            raise ApiError("MissingParameter", f"The request is missing a required parameter `{name}`.")
    caller = caller_of(credentials, pairs["SecretId"])
    check_time("Timestamp", pairs["Timestamp"], wall)
    if not is_number(pairs["Nonce"]):
        raise ApiError("InvalidParameter", "`Nonce` is not a positive whole number.")
    algorithm = "sha256" if pairs.get("SignatureMethod") == "HmacSHA256" else "sha1"
    listed = "&".join(f"{name}={pairs[name]}" for name in sorted(pairs) if name != "Signature")
    key, signature = octets(caller.secret_key), octets(pairs["Signature"])
    for host in hosts_of(message.headers.get("Host", "")):
        text = f"{message.method}{host}{message.path}?{listed}"
        if hmac.compare_digest(base64.b64encode(hmac.digest(key, octets(text), algorithm)), signature):
            break
    else:
        raise ApiError("AuthFailure.SignatureFailure", "The provided credentials could not be validated.")
    check_token(caller, pairs.get("Token", ""), now)
    return caller


def caller_of(credentials: Mapping[str, Credited], secret_id: str) -> Credited:
    """Returns whose secret id it is. Raises AuthFailure.SecretIdNotFound."""
    caller = credentials.get(secret_id)
    if caller is None:
        raise ApiError("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
    return caller


def check_time(name: str, timestamp: str, wall: float) -> None:
    """Raises AuthFailure.* when the timestamp is malformed, or too far from `wall`."""
    if not is_number(timestamp) or len(timestamp) > 11:
        raise ApiError("AuthFailure.SignatureFailure", f"`{name}` is not a number of seconds.")
    if abs(int(timestamp) - wall) > SKEW_MAX_SECONDS:
        raise ApiError("AuthFailure.SignatureExpire", "The signature has expired: check the clock.")


def check_token(caller: Credited, token: str, now: float) -> None:
    """Raises AuthFailure.TokenFailure when the token is wrong or has expired."""
    is_current = caller.expires_at is None or now < caller.expires_at
    if not hmac.compare_digest(octets(caller.token), octets(token)) or not is_current:
        raise ApiError("AuthFailure.TokenFailure", "The token is wrong or has expired.")


def hosts_of(host: str) -> Iterator[str]:
    """Yields the forms in which a client may have signed the header `Host`: as sent, then without or with a port."""
    yield host
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        yield name
    else:
        yield from (f"{host}:{port}" for port in DEFAULT_PORTS)


def to_sign(message: Message, found: re.Match[str], host: str) -> str:
    """Returns the text that is signed. Raises AuthFailure.* when SignedHeaders lacks a header."""
    names = found["headers"].split(";")
    if not {"content-type", "host"} <= set(names):
        raise ApiError("AuthFailure.SignatureFailure", "`SignedHeaders` must have content-type and host.")
    values = {name: host if name == "host" else message.headers.get(name, "") for name in names}
    headers = "".join(f"{name}:{value.strip().lower()}\n" for name, value in values.items())  # values in lower case too
    canonical = "\n".join([message.method, message.path, message.query, headers, found["headers"], body_hash(message)])
    scope = f"{found['date']}/{found['service']}/tc3_request"
    timestamp = message.headers["X-TC-Timestamp"]
    return f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(octets(canonical)).hexdigest()}"


def body_hash(message: Message) -> str:
    """Returns the hash of the body for the signature."""
    is_unsigned = message.headers.get("X-TC-Content-SHA256") == "UNSIGNED-PAYLOAD"
    return hashlib.sha256(b"UNSIGNED-PAYLOAD" if is_unsigned else message.body).hexdigest()


def key_of(secret_key: str, date: str, service: str) -> bytes:
    """Returns the key of one day and service."""
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, octets(part), "sha256")
    return key


def octets(text: str) -> bytes:
    """Returns text as it stood on the wire: a header may hold bytes that are no UTF-8."""
    return text.encode(errors="surrogateescape")


def is_number(word: str) -> bool:
    """True when a word is ASCII digits only."""
    return word.isascii() and word.isdigit()
