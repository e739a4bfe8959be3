"""Holds what requests are signed with: a key that stays, or keys that the cloud lends for hours and that are renewed.

Apart from `client`, which sends one request and asks here for the key at each. Everything here may wait for the cloud,
so it runs in the client's threads. The SDK's own providers make the requests, with three differences. They send with
our endpoint, timeout and certificates. They raise, where the SDK's provider of an instance role hides a failure. And
when to renew is decided here: the SDK renews the keys of a role after a tenth of their life, and gives up a key that is
still good when its renewal fails.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import structlog
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import (
    Credential,
    CVMRoleCredential,
    OIDCRoleArnCredential,
    STSAssumeRoleCredential,
)
from tencentcloud.common.exception import TencentCloudSDKException

from spotcompute.cloud.credentials import AnyKey, Credentials, Identity
from spotcompute.cloud.errors import CloudError, InvalidCredentials, KeyNotLent, NotSent
from spotcompute.cloud.tencent.client import OTHER_PRODUCTS, KeyHolder, profile_of, tame
from spotcompute.settings import Settings
from spotcompute.telemetry import redaction

_log = structlog.get_logger(__name__)

#: Seconds before its end at which a lent key is renewed, or that part of its life if it is shorter. Renewals are tried
#: again until the end, and requests that are on their way arrive in time.
RENEW_SECONDS, RENEW_SHARE = 300.0, 0.25

#: Seconds between two attempts to renew, so that many calls do not each wait for the same failure.
PAUSE_SECONDS = 5.0

#: Age in seconds up to which a lent key that the cloud refuses is not given up: a newer one would be refused as well.
YOUNG_SECONDS = 60.0

#: Where the SDK finds the metadata service. It answers within the machine, without TLS.
METADATA_HOST = "metadata.tencentyun.com"

#: How the cloud's records call what is done with a role's keys.
SESSION = "spotcompute-operator"

#: Characters that an HTTP header may hold. Any other would fail in the middle of sending.
_HEADER_SAFE = re.compile(r"[!-~]+")

#: Codes of STS that pass by themselves. Everything else needs a person.
_PASSING = ("InternalError", "RequestLimitExceeded", "InvalidParameter.OverLimit", "ServiceUnavailable")

#: What a person can do about a refusal of STS, by code; otherwise about the key itself.
_REMEDIES = {
    "ResourceNotFound.RoleNotFound": "the role {role} does not exist: correct its name, or create it",
    "InvalidParameter.ParamError": "the role {role} or its identity provider is not known: correct the names",
    "InvalidParameter.OverTimeError": "the role {role} gives no keys for {seconds} s: lower SPOTCOMPUTE_ROLE_SECONDS",
    "InvalidParameter.WebIdentityTokenError": "the identity provider does not accept this pod's token: compare the"
    " issuer and audience of the token with those of the identity provider",
    "UnauthorizedOperation": "the role {role} may not be taken: allow name/sts:{action}, and name who takes the role in"
    " its trust policy",
}


@dataclass(frozen=True, slots=True)
class Lent:
    """`Lent` is a key that the cloud lends, and when it ends, in seconds since 1970."""

    secret_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float = 0.0


class GivenKey:
    """`GivenKey` holds a key that stays as it is."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def current(self) -> Credential:
        """Returns the key. Raises InvalidCredentials when it cannot stand in a request."""
        key = self._credentials
        if not all(_HEADER_SAFE.fullmatch(value) for value in (key.secret_id, key.secret_key, key.token or "-")):
            raise InvalidCredentials(
                "InvalidCredential", "secret id, key or token is empty, or has spaces or non-ASCII"
            )
        return Credential(key.secret_id, key.secret_key, key.token)

    def refused(self, used: Credential) -> None:
        """Does nothing: only a person can change this key."""


class LentKey:
    """`LentKey` holds keys that the cloud lends one after the other, and renews them before they end.

    While one thread renews, the others go on with the key that is still good. A renewal that fails is tried again, and
    counts only once the key has ended.
    """

    def __init__(self, borrow: Callable[[], Lent], clock: Callable[[], float]) -> None:
        """Takes `borrow`, which asks for a new key and raises CloudError, and `clock`, in seconds since 1970."""
        self._borrow, self._clock = borrow, clock
        self._renewing = threading.Lock()
        self._held: Lent | None = None
        self._renew_at = self._since = self._ask_again_at = 0.0
        self._error: CloudError | None = None

    def current(self) -> Credential:
        """Returns a key that is good now. Waits for one when there is none. Raises NotSent or KeyNotLent."""
        held, now = self._held, self._clock()
        if held is not None and now < self._renew_at:
            return _credential(held)
        is_good = held is not None and now < held.expires_at
        if not self._renewing.acquire(blocking=not is_good) and held is not None:
            return _credential(held)
        try:
            return _credential(self._renewed())
        finally:
            self._renewing.release()

    def refused(self, used: Credential) -> None:
        """Takes note that the cloud does not accept this key, so that the next call asks for another one."""
        held, now = self._held, self._clock()
        if held is not None and held.secret_id == used.secret_id and now >= self._since + YOUNG_SECONDS:
            self._renew_at = now

    def _renewed(self) -> Lent:
        """Returns a new key, or the present one when it is good and cannot be renewed now. One thread at a time."""
        held, now = self._held, self._clock()
        is_good = held is not None and now < held.expires_at
        if held is not None and now < self._renew_at:
            return held
        if now >= self._ask_again_at:
            self._ask(now, is_good=is_good)
        if self._held is not None and self._clock() < self._held.expires_at:
            return self._held
        error = self._error or NotSent("KeyHasEnded", "the key that the cloud lends ended before it could be used")
        raise type(error)(error.code, error.message, error.request_id)

    def _ask(self, now: float, *, is_good: bool) -> None:
        self._ask_again_at = now + PAUSE_SECONDS
        try:
            lent = self._borrow()
        except CloudError as error:
            if self._error is None or self._error.code != error.code:
                _log.warning("key_not_renewed", error=str(error), still_good=is_good)
            self._error = error
            return
        redaction.register(lent.secret_id, lent.secret_key, lent.token)
        now = self._clock()
        margin = min(RENEW_SECONDS, RENEW_SHARE * (lent.expires_at - now))
        self._held, self._since, self._renew_at, self._error = lent, now, lent.expires_at - margin, None


def holder_of(key: AnyKey, settings: Settings, clock: Callable[[], float] = time.time) -> KeyHolder:
    """Returns what holds the keys of `key`. It asks nothing yet."""
    if isinstance(key, Credentials):
        if key.role_arn is None:
            return GivenKey(key)
        return LentKey(_RoleOfKey(key, key.role_arn, settings).borrowed, clock)
    if key.identity is Identity.POD:
        return LentKey(_RoleOfPod(settings).borrowed, clock)
    return LentKey(_RoleOfMachine(settings).borrowed, clock)


# --- who lends -------------------------------------------------------------------------------------------------------


class _RoleOfKey(STSAssumeRoleCredential):  # type: ignore[misc] # the SDK has no types
    """`_RoleOfKey` asks for the keys of a role that a lasting key may take. Source: STS API 2018-08-13, AssumeRole."""

    def __init__(self, key: Credentials, role_arn: str, settings: Settings) -> None:
        super().__init__(key.secret_id, key.secret_key, role_arn, SESSION, settings.role_seconds)
        self._settings, self._key = settings, GivenKey(key)

    def borrowed(self) -> Lent:
        """Asks for a key. Raises NotSent or KeyNotLent."""
        self.get_sts_tmp_role_arn()
        return Lent(self._tmp_secret_id, self._tmp_secret_key, self._token, self._expired_time)

    def get_sts_tmp_role_arn(self) -> None:
        """Does what the SDK does, over our connection."""
        asked = {
            "RoleArn": self._role_arn,
            "RoleSessionName": self._role_session_name,
            "DurationSeconds": self._duration_seconds,
        }
        _take(self, _ask_sts("AssumeRole", asked, self._key.current(), self._settings))


class _RoleOfPod(OIDCRoleArnCredential):  # type: ignore[misc] # the SDK has no types
    """`_RoleOfPod` asks for the keys of the role of this pod's ServiceAccount, with the token that TKE mounts.

    Source: STS API 2018-08-13, AssumeRoleWithWebIdentity; the SDK's DefaultTkeOIDCRoleArnProvider.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("", "", "", "", "", settings.role_seconds)
        self._is_tke, self._settings = True, settings

    def borrowed(self) -> Lent:
        """Asks for a key. Raises NotSent or KeyNotLent."""
        self.refresh()
        return Lent(self._tmp_secret_id, self._tmp_secret_key, self._token, self._expired_time)

    def refresh(self) -> None:
        """Does what the SDK does, over our connection. The token is read each time, because it is replaced too."""
        try:
            self._init_from_tke()
        except (OSError, UnicodeDecodeError) as problem:
            what = getattr(problem, "strerror", None) or str(problem)
            raise KeyNotLent(
                "NoPodIdentity",
                f"this pod has no identity ({what}): bind its ServiceAccount to a CAM role in TKE, so that it gets"
                " TKE_REGION, TKE_PROVIDER_ID, TKE_ROLE_ARN and TKE_WEB_IDENTITY_TOKEN_FILE, or set"
                " SPOTCOMPUTE_KEY_FROM to where the key is",
            ) from None
        redaction.register(self._web_identity_token, self._web_identity_token.strip())
        asked = {
            "ProviderId": self._provider_id,
            "WebIdentityToken": self._web_identity_token.strip(),
            "RoleArn": self._role_arn,
            "RoleSessionName": self._role_session_name,
            "DurationSeconds": self._duration_seconds,
        }
        _take(self, _ask_sts(self._action, asked, None, self._settings, self._region))


class _RoleOfMachine(CVMRoleCredential):  # type: ignore[misc] # the SDK has no types
    """`_RoleOfMachine` asks the metadata service for the keys of the role of the machine that the operator runs on."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._host = settings.metadata_endpoint or METADATA_HOST
        self._role_endpoint = f"http://{self._host}/latest/meta-data/cam/security-credentials/"
        self._seconds = settings.request_timeout_seconds
        # A proxy must not see these keys, and has another machine's.
        self._opener = build_opener(ProxyHandler({}))

    def borrowed(self) -> Lent:
        """Asks for a key. Raises NotSent or KeyNotLent."""
        self.role = None  # another role may have been bound since
        self.update_credential()
        return Lent(self._secret_id, self._secret_key, self._token, self._expired_ts)

    def get_role_name(self) -> str:
        """Returns the name of the machine's role. Raises like `update_credential`."""
        return self.role or self._read("").strip()

    def update_credential(self) -> None:
        """Reads the key, as the SDK does. Raises NotSent without an answer, KeyNotLent without a role."""
        self.role = self.get_role_name()
        try:
            answer = json.loads(self._read(quote(self.role)))
            if answer["Code"] != "Success":
                raise ValueError(answer["Code"])
            self._secret_id, self._secret_key = str(answer["TmpSecretId"]), str(answer["TmpSecretKey"])
            self._token, self._expired_ts = str(answer["Token"]), float(answer["ExpiredTime"])
        except (ValueError, LookupError, TypeError):
            raise KeyNotLent(
                "NoInstanceRole",
                "the metadata service has no key for the role of this machine: look at the role that is bound to it",
            ) from None

    def _read(self, path: str) -> str:
        try:
            with self._opener.open(self._role_endpoint + path, timeout=self._seconds) as answer:
                text: str = answer.read(65536).decode()
                return text
        except HTTPError as refusal:
            refusal.close()
            raise KeyNotLent(
                "NoInstanceRole",
                f"the metadata service answers {refusal.code}: bind a CAM role to the machine of the operator,"
                " or set SPOTCOMPUTE_KEY_FROM to where the key is",
            ) from None
        except (OSError, UnicodeDecodeError):
            raise NotSent(
                "MetadataUnreachable",
                f"the metadata service at {self._host} does not answer: allow the pod to reach it (NetworkPolicy, port"
                " 80), or set SPOTCOMPUTE_KEY_FROM to where the key is",
            ) from None


def _take(provider: Any, answer: dict[str, Any]) -> None:
    """Puts the key in an answer of STS where the SDK's providers have it. Raises NotSent for another shape."""
    try:
        key = answer["Credentials"]
        provider._token, provider._expired_time = str(key["Token"]), float(answer["ExpiredTime"])
        provider._tmp_secret_id, provider._tmp_secret_key = str(key["TmpSecretId"]), str(key["TmpSecretKey"])
    except (LookupError, TypeError, ValueError):
        raise NotSent("MalformedAnswer", "the answer of STS has an unexpected shape: it is asked again") from None


def _ask_sts(
    action: str, asked: dict[str, Any], key: Credential | None, settings: Settings, region: str = "ap-guangzhou"
) -> dict[str, Any]:
    """Asks STS for keys, without a signature when there is no `key`. Raises NotSent or KeyNotLent.

    No answer means NotSent, because what waits for the key has not been sent.
    """
    product, version = OTHER_PRODUCTS["GetCallerIdentity"]
    client = CommonClient(product, version, key, region, profile_of(settings, product))
    tame(client, 1)
    try:
        return dict(client.call_json(action, asked, options={"SkipSign": key is None})["Response"])
    except TencentCloudSDKException as trouble:
        raise _refusal(action, str(asked["RoleArn"]), trouble, settings) from None
    except Exception as trouble:
        # The SDK may raise anything for an unreadable answer.
        raise NotSent(type(trouble).__name__, f"the answer to {action} could not be read: it is asked again") from None
    finally:
        client.request.conn._session.close()


def _refusal(action: str, role: str, trouble: TencentCloudSDKException, settings: Settings) -> CloudError:
    """Returns our error for what STS has answered, with what a person can do about it."""
    code = str(trouble.code)
    if not trouble.requestId:
        return NotSent(code, f"STS did not lend a key of the role {role}: no answer to {action}; it is asked again")
    if code.startswith(_PASSING):
        return NotSent(code, f"STS did not lend a key of the role {role}; it is asked again", trouble.requestId)
    known = next((text for name, text in _REMEDIES.items() if code.startswith(name)), None)
    if known is None and code == "AuthFailure.UnauthorizedOperation":
        known = _REMEDIES["UnauthorizedOperation"]
    known = known or "STS does not accept the key that takes the role {role}: correct the key"
    text = known.format(role=role, action=action, seconds=settings.role_seconds)
    return KeyNotLent(code, text, trouble.requestId)


def _credential(lent: Lent) -> Credential:
    return Credential(lent.secret_id, lent.secret_key, lent.token)
