"""Says what a person can change when the cloud could not be asked: one sentence that names the variable.

Apart from the commands, because each of them asks the cloud, and each must say the same about it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spotcompute.cloud.endpoint import Endpoint
from spotcompute.cloud.errors import CloudError, InvalidConfiguration, InvalidCredentials, KeyNotLent, Throttled

#: A server that speaks http answers the first bytes of TLS with these.
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|record layer failure|HTTP_REQUEST|UNKNOWN_PROTOCOL|PACKET_LENGTH_TOO_LONG")
_BAD_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed")
_NO_NAME = re.compile(r"NameResolutionError|Name or service not known|nodename nor servname|getaddrinfo failed")
_NOBODY = re.compile(
    r"NewConnectionError|ConnectTimeout|Connection refused|No route to host|Network is unreachable"
    r"|Cannot connect to host|Connect call failed"
)
_NOT_THE_API = re.compile(r"ServerNetworkError|Disconnected|BadStatusLine|Connection aborted|ConnectionReset")

_KEY = "TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY (and TENCENTCLOUD_TOKEN, if the key is temporary)"


@dataclass(frozen=True, slots=True)
class Advice:
    """`Advice` says what is the case and what to change. `is_wrong`: it cannot work before a person has changed that.

    Otherwise it may work later without a change.
    """

    text: str
    is_wrong: bool


def advice_on(error: CloudError, endpoint: Endpoint) -> Advice:
    """Returns what `error` of a call to `endpoint` means for the person who gave the command."""
    if isinstance(error, KeyNotLent):
        return Advice(f"there is no key to ask with: {error.code}: {error.message}", is_wrong=True)
    if isinstance(error, InvalidCredentials):
        return Advice(_about_the_key(error, endpoint), is_wrong=True)
    if isinstance(error, InvalidConfiguration):
        return Advice(f"{error.code}: {error.message.rstrip('.')}. Correct the region", is_wrong=True)
    if isinstance(error, Throttled):
        return Advice(f"{endpoint.url} is asked too often with this key ({error.code}). Try again", is_wrong=False)
    words = f"{error.code}: {error.message}"
    if _NO_TLS.search(words):
        return Advice(_about_http(endpoint), is_wrong=True)
    if _BAD_CERTIFICATE.search(words):
        text = (
            f"the certificate of {endpoint.url} is not signed by an authority that is known here. Set"
            " SPOTCOMPUTE_CA_BUNDLE to the file of the certificates that sign it, such as those of your company's proxy"
        )
        return Advice(text, is_wrong=True)
    if _NO_NAME.search(words):
        return Advice(f"there is no host {endpoint.host}. {_elsewhere(endpoint)}", not endpoint.is_default)
    if _NOBODY.search(words):
        return Advice(f"nothing answers at {endpoint.url}. {_elsewhere(endpoint)}", not endpoint.is_default)
    if _NOT_THE_API.search(words) and not endpoint.is_default:
        text = (
            f"what answers at {endpoint.url} is not the CVM API over {endpoint.protocol}. Correct SPOTCOMPUTE_ENDPOINT,"
            f" or set SPOTCOMPUTE_PROTOCOL to {'https' if endpoint.protocol == 'http' else 'http'}"
        )
        return Advice(text, is_wrong=True)
    return Advice(f"{endpoint.url} gave no usable answer ({words.rstrip('.')}). Try again", is_wrong=False)


def _about_the_key(error: CloudError, endpoint: Endpoint) -> str:
    if "SignatureExpire" in error.code:
        remedy = "Set the clock of this machine: a request is refused when it is off by more than 5 minutes"
    elif error.code.startswith("UnauthorizedOperation"):
        remedy = "Allow it to the key: docs/reference/cam-policy.md has the policy"
    else:
        site = (
            " Its site is SPOTCOMPUTE_SITE; a local simulator needs SPOTCOMPUTE_ENDPOINT and SPOTCOMPUTE_PROTOCOL=http"
        )
        remedy = f"Correct {_KEY}." + (site if endpoint.is_default else f" SPOTCOMPUTE_ENDPOINT is {endpoint.host}")
    return f"{endpoint.url} refuses the key: {error.code}: {error.message.rstrip('.')}. {remedy}"


def _about_http(endpoint: Endpoint) -> str:
    said = f"{endpoint.host} does not speak https"
    if endpoint.is_local:
        return f"{said}. Set SPOTCOMPUTE_PROTOCOL=http, which is allowed for this machine itself"
    return f"{said}. Correct SPOTCOMPUTE_ENDPOINT: a key is sent over https only"


def _elsewhere(endpoint: Endpoint) -> str:
    if endpoint.is_default:
        return "Check the network and HTTPS_PROXY, or set SPOTCOMPUTE_ENDPOINT to another endpoint"
    return "Correct SPOTCOMPUTE_ENDPOINT (host[:port]), or start what should answer there"
