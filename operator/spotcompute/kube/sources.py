"""Reads the objects that an environment refers to in its own namespace: credentials and user data.

The namespace is always the object's own. A reference to another namespace would let users read foreign Secrets through
the operator.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from spotcompute.api.template import KeySelector, TemplateSpec
from spotcompute.cloud.credentials import Credentials
from spotcompute.kube.port import Forbidden, Invalid, KubePort, NotFound
from spotcompute.model.moments import age
from spotcompute.telemetry import redaction

_log = structlog.get_logger(__name__)

#: Time after which a Secret is read again, so that a rotation takes effect without a restart.
FRESH_FOR = timedelta(seconds=30)

#: CVM's limit for raw user data, in bytes.
USER_DATA_LIMIT = 16 * 1024


class SourceUnavailable(Exception):
    """`SourceUnavailable` means that a referenced Secret or ConfigMap is missing or broken.

    `str()` names it and the remedy, never a value.
    """


@dataclass(frozen=True, slots=True)
class UserData:
    """`UserData` holds user data ready to be sent (base64), and its digest, which may be written to status."""

    encoded: str = field(repr=False)
    digest: str


class Reader(Protocol):
    """`Reader` reads Secrets and ConfigMaps, from an API server or from files."""

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Returns its data, decoded. Raises NotFound or Forbidden."""
        ...

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        """Returns its data. Raises NotFound or Forbidden."""
        ...


class Sources:
    """`Sources` reads referenced objects, and keeps credentials for 30 s."""

    def __init__(self, kube: KubePort, default: Credentials | None, clock: Callable[[], datetime]) -> None:
        """Takes `default`, the operator's own credentials. None when the installation forbids or lacks them."""
        self._kube, self._default, self._clock = kube, default, clock
        self._cache: dict[tuple[str, str], tuple[datetime, Credentials]] = {}
        self._protected: set[tuple[str, str]] = set()

    async def credentials(self, namespace: str, secret: str | None, *, is_deleting: bool = False) -> Credentials:
        """Returns the key of an environment. Raises SourceUnavailable, or KubeError when the API server is away.

        While deleting, the last known key is used when the Secret can no longer be read: a namespace that is being
        deleted loses its Secrets and RoleBindings before the environment has released its instances.
        """
        if secret is None:
            if self._default is None:
                raise SourceUnavailable(
                    "spec.credentialsSecretRef is not set, and this install has no default credentials: create a Secret"
                    " with keys secretId and secretKey in this namespace, and set spec.credentialsSecretRef to its name"
                )
            return self._default
        key = (namespace, secret)
        if key in self._cache and age(self._cache[key][0], self._clock()) < FRESH_FOR:
            return self._cache[key][1]
        try:
            credentials = _credentials_in(secret, await self._secret(namespace, secret))
        except SourceUnavailable:
            if is_deleting and key in self._cache:
                return self._cache[key][1]
            raise
        self._cache[key] = (self._clock(), credentials)
        return credentials

    async def protect(self, namespace: str, secret: str | None) -> None:
        """Protects that Secret from deletion while it is needed: once per process, and only where we have the right.

        Raises KubeError when the API server is away. The Secret is then not protected yet, and the next call tries
        again.
        """
        if secret is None or (namespace, secret) in self._protected:
            return
        try:
            await self._kube.protect_secret(namespace, secret)
        except Forbidden as error:  # an install that may not guard Secrets is a choice, and no trouble
            _log.info("secret_not_guarded", namespace=namespace, secret=secret, error=str(error))
        except Invalid as error:
            _log.warning("secret_not_guarded", namespace=namespace, secret=secret, error=str(error))
        self._protected.add((namespace, secret))

    async def unprotect(self, namespace: str, secret: str | None) -> None:
        """Ends the protection of that Secret, because no environment needs it any more. Raises like `protect`."""
        if secret is None:
            return
        self._protected.discard((namespace, secret))
        try:
            await self._kube.unprotect_secret(namespace, secret)
        except (Forbidden, Invalid) as error:
            _log.warning("secret_not_unguarded", namespace=namespace, secret=secret, error=str(error))

    def distrust(self, namespace: str, secret: str | None) -> None:
        """Drops the cached key of that Secret, because the cloud did not accept it.

        The next call reads the Secret again.
        """
        self._cache.pop((namespace, secret or ""), None)

    async def user_data(self, namespace: str, template: TemplateSpec) -> UserData | None:
        """Returns the template's user data from the spec, a Secret or a ConfigMap. Raises like `credentials`."""
        return await user_data_of(self._kube, namespace, template)

    async def _secret(self, namespace: str, name: str) -> dict[str, bytes]:
        return await _secret(self._kube, namespace, name)


async def user_data_of(reader: Reader, namespace: str, template: TemplateSpec) -> UserData | None:
    """Returns the template's user data from the spec, a Secret or a ConfigMap. None when there is none.

    Raises SourceUnavailable.
    """
    if template.user_data is not None:
        return _user_data(template.user_data.encode())
    source = template.user_data_from
    if source is None:
        return None
    if source.secret_key_ref is not None:
        ref = source.secret_key_ref
        secret = _user_data(_entry("Secret", ref, await _secret(reader, namespace, ref.name)))
        redaction.register(secret.encoded, base64.b64decode(secret.encoded).decode(errors="replace"))
        return secret
    ref = source.config_map_key_ref or KeySelector(name="?", key="?")
    try:
        config_map = await reader.read_config_map(namespace, ref.name)
    except NotFound:
        raise SourceUnavailable(f"ConfigMap {ref.name} does not exist in this namespace: create it") from None
    except Forbidden:
        raise SourceUnavailable(_grant("ConfigMap", ref.name)) from None
    except Invalid as error:
        raise SourceUnavailable(_refused("ConfigMap", ref.name, error)) from None
    return _user_data(_entry("ConfigMap", ref, {key: text.encode() for key, text in config_map.items()}))


async def _secret(reader: Reader, namespace: str, name: str) -> dict[str, bytes]:
    try:
        return dict(await reader.read_secret(namespace, name))
    except NotFound:
        raise SourceUnavailable(f"Secret {name} does not exist in this namespace: create it") from None
    except Forbidden:
        raise SourceUnavailable(_grant("Secret", name)) from None
    except Invalid as error:
        raise SourceUnavailable(_refused("Secret", name, error)) from None


def _refused(kind: str, name: str, error: Invalid) -> str:
    """Returns the message about an object with an invalid name. Only specs older than the schema can have one."""
    return f"{kind} {name} cannot be asked for: correct the name in the spec. {error}"


def _grant(kind: str, name: str) -> str:
    return f"the operator may not read {kind} {name}: grant its ServiceAccount `get` on it in this namespace"


def _credentials_in(name: str, data: dict[str, bytes]) -> Credentials:
    values = {}
    for key in ("secretId", "secretKey", "token"):
        try:
            values[key] = data.get(key, b"").decode("ascii").strip()
        except UnicodeDecodeError:
            raise SourceUnavailable(
                f"key {key} of Secret {name} is not plain text: encode it once, not twice"
            ) from None
    for key in ("secretId", "secretKey"):
        if not values[key] or any(character.isspace() for character in values[key]):
            raise SourceUnavailable(f"key {key} of Secret {name} is missing, empty or holds spaces: set it")
    return Credentials(values["secretId"], values["secretKey"], values["token"] or None)


def _entry(kind: str, ref: KeySelector, data: dict[str, bytes]) -> bytes:
    if ref.key not in data:
        raise SourceUnavailable(f"{kind} {ref.name} has no key {ref.key}: add it, or name another key")
    return data[ref.key]


def _user_data(raw: bytes) -> UserData:
    if len(raw) > USER_DATA_LIMIT:
        raise SourceUnavailable(
            f"user data is {len(raw)} bytes, more than 16 KiB: let a short script download the rest"
        )
    return UserData(base64.b64encode(raw).decode("ascii"), hashlib.sha256(raw).hexdigest()[:12])
