"""Turns one HTTP request into an Arrival: its signature, its product, its parameters.

Apart from `app`: this module has no socket, only headers and bytes, so every refusal can be tested as a value. The
forms are those of the vendor's page "Request structure": GET with any signature, POST of JSON with TC3-HMAC-SHA256, and
POST of a form with HmacSHA1 or HmacSHA256.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from cvmsim import forms
from cvmsim.actions import UNSIGNED, product_of
from cvmsim.credentials import Credited
from cvmsim.errors import ApiError
from cvmsim.signatures import AUTHORIZATION, Message, verify_v1, verify_v3
from cvmsim.simulator import Arrival

BODY_MAX, FORM_MAX, URL_MAX = 10 * 1024 * 1024, 1024 * 1024, 32 * 1024
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
SKIP = "SKIP"  # stands where the signature of a request would
VENDOR_DOMAIN = re.compile(r"(?:.+\.)?(?:tencentcloudapi|tencentyun)\.com(?::\d+)?")
#: Parameters of every v1 request, which no action sees.
COMMON = frozenset({"Action", "Version", "Region", "Timestamp", "Nonce", "SecretId", "Signature", "SignatureMethod",
                    "Token", "Language", "RequestClient"})  # fmt: skip


class Named(NamedTuple):
    """`Named` is what a request says of itself before anything is checked."""

    action: str
    version: str
    region: str
    service: str  # of the credential's scope, or otherwise the first label of the host


def named(message: Message, pairs: Mapping[str, str]) -> Named:
    """Returns action, version, region and service, from the headers or from the parameters of a v1 request."""
    headers = message.headers
    found = AUTHORIZATION.match(headers.get("Authorization", "").strip())
    service = found["service"] if found else label_of(headers)
    names = (
        pairs if is_v1(message) else {name: headers.get(f"X-TC-{name}", "") for name in ("Action", "Version", "Region")}
    )
    return Named(names.get("Action", ""), names.get("Version", ""), names.get("Region", ""), service)


def told(message: Message) -> Named:
    """Returns the same of a request that is refused, whatever its form. It never raises."""
    try:
        return named(message, pairs_of(message))
    except ApiError:
        return named(message, {})


def label_of(headers: Mapping[str, str]) -> str:
    """Returns the first label of the host."""
    return headers.get("Host", "").partition(".")[0]


def is_v1(message: Message) -> bool:
    """True when a request has the form of a v1 signature: no `Authorization`, and parameters in query or form."""
    return "Authorization" not in message.headers and (message.method == "GET" or media_of(message) == FORM)


def media_of(message: Message) -> str:
    """Returns the media type without its charset."""
    return message.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def pairs_of(message: Message) -> dict[str, str]:
    """Returns the parameters of a GET, or of a form. Empty for JSON. Raises InvalidParameter."""
    if message.method == "GET":
        return forms.pairs_of(message.query)
    if media_of(message) != FORM:
        return {}
    try:
        return forms.pairs_of(message.body.decode())
    except UnicodeDecodeError as problem:
        raise ApiError("InvalidParameter", "The form is not URL-encoded UTF-8.") from problem


def read(message: Message, credentials: Mapping[str, Credited], wall: float, now: float) -> Arrival:
    """Verifies and parses a request. `wall` judges the signature's age, `now` (world seconds) temporary credentials.

    Raises ApiError with the platform's code: AuthFailure.*, NoSuchProduct, UnsupportedProtocol, InvalidRequest, …
    """
    if message.method not in ("GET", "POST"):
        raise ApiError("UnsupportedProtocol", f"{message.method} is not supported: use GET or POST.")
    check_size(message)
    if message.headers.get("Authorization") == SKIP and (unsigned := read_unsigned(message)) is not None:
        return unsigned
    if is_v1(message):
        pairs = pairs_of(message)
        caller = verify_v1(message, pairs, credentials, wall, now)
    else:
        caller = verify_v3(message, credentials, wall, now)
        pairs = pairs_of(message)
    says = named(message, pairs)
    for name, value in (("Action", says.action), ("Version", says.version)):
        if not value:
            raise ApiError("MissingParameter", f"The request is missing the common parameter `{name}`.")
    return Arrival(
        account=caller.account,
        action=says.action,
        params=params_of(message, says.action, pairs),
        region=says.region,
        service=service_of(message, says),
        version=says.version,
        caller=caller,
    )


def read_unsigned(message: Message) -> Arrival | None:
    """Returns a request of an action that takes no signature. None for any other, which is then refused for it."""
    says = named(message, {})
    service = product_of(says.service, says.version, says.action)
    if message.method != "POST" or (service, says.action) not in UNSIGNED:
        return None
    return Arrival("", says.action, parse(message), says.region, str(service), says.version)


def check_size(message: Message) -> None:
    """Raises RequestSizeLimitExceeded beyond the published sizes."""
    if message.method == "GET" and len(message.path) + len(message.query) > URL_MAX:
        raise ApiError("RequestSizeLimitExceeded", f"A GET request may have {URL_MAX // 1024} KB.")
    most = FORM_MAX if is_v1(message) else BODY_MAX
    if len(message.body) > most:
        raise ApiError("RequestSizeLimitExceeded", f"A request of this form may have {most // 1024 // 1024} MB.")


def service_of(message: Message, says: Named) -> str:
    """Returns the product. Raises NoSuchProduct.

    An SDK takes the service from the endpoint's first label. When the host is an address or a name of our own, that
    label says nothing, and version and action do.
    """
    is_endpoint = VENDOR_DOMAIN.fullmatch(message.headers.get("Host", "")) is not None
    is_silent = says.service == label_of(message.headers) and not is_endpoint
    service = product_of(says.service, "" if not is_silent else says.version, says.action)
    if service is None:
        raise ApiError("NoSuchProduct", f"The product `{says.service}` does not exist here.")
    return service


def params_of(message: Message, action: str, pairs: Mapping[str, str]) -> dict[str, Any]:
    """Returns the action's own parameters. Raises ApiError."""
    if is_v1(message):
        return forms.shaped(action, {name: value for name, value in pairs.items() if name not in COMMON})
    if message.method == "GET":
        return forms.shaped(action, pairs)
    return parse(message)


def parse(message: Message) -> dict[str, Any]:
    """Returns the parameters of a JSON body. The charset of Content-Type does not matter. Raises ApiError."""
    media = media_of(message)
    if media != JSON:
        raise ApiError("InvalidRequest", f"Content-Type must be {JSON} here, not {media or 'absent'}.")
    try:
        params = json.loads(message.body or b"{}")
        if b"\\u" in message.body:
            json.dumps(params, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as problem:
        raise ApiError("InvalidRequest", "The body is not JSON.") from problem
    if not isinstance(params, dict):
        raise ApiError("InvalidRequest", "The body is not a JSON object.")
    return params
