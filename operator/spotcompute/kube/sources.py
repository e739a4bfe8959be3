"""Reads the objects that an environment refers to in its own namespace: credentials and user data.

The namespace is always the object's own. A reference to another namespace would let users read foreign Secrets through
the operator.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import structlog

from spotcompute.api.template import KeySelector, TemplateSpec
from spotcompute.cloud.credentials import AnyKey, Credentials
from spotcompute.kube.names import SECRET_FINALIZER
from spotcompute.kube.port import Forbidden, Invalid, KubePort, NotFound, SecretData
from spotcompute.model.moments import age
from spotcompute.telemetry import redaction

_log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Time after which a Secret is read again, so that a rotation takes effect without a restart.
FRESH_FOR = timedelta(seconds=30)

#: Time after which a key that the cloud refuses is compared with its Secret. With the pause of 20 s between two runs it
#: makes a corrected key work within a minute, and asks for one Secret about a hundred times an hour at most, however
#: many environments use it.
REFUSED_FRESH_FOR = timedelta(seconds=35)

#: Keys that no environment has asked for so long are let go: their namespace is gone. Each environment asks more often.
KEPT_FOR = timedelta(hours=2)

#: CVM's limit for raw user data, in bytes.
USER_DATA_LIMIT = 16 * 1024


#: The first characters of what the programs that read user data (cloud-init, cloudbase-init) understand.
_STARTS = (b"#", b"<powershell>", b"rem cmd", b"Content-Type:", b"MIME-Version:", b"\x1f\x8b")

ENCODED_TWICE = (
    "the user data looks like base64 of a script or of #cloud-config. The operator encodes it itself, so instances"
    " would start with the base64: give the plain text"
)


class SourceUnavailable(Exception):
    """`SourceUnavailable` means that a referenced Secret or ConfigMap is missing or broken.

    `str()` names it and the remedy, never a value.
    """


@dataclass(frozen=True, slots=True)
class UserData:
    """`UserData` holds user data ready to be sent (base64), and its digest, which may be written to status.

    `looks_encoded` is True when what was given is base64 already, so that instances would start with base64.
    """

    encoded: str = field(repr=False)
    digest: str
    looks_encoded: bool = False

    @property
    def hint(self) -> str | None:
        """Returns what a person should look at, None when nothing is suspicious. It quotes no part of the data."""
        return ENCODED_TWICE if self.looks_encoded else None


@dataclass(slots=True)
class _Held:
    """`_Held` is the key of one Secret: when that was last read or compared, and when the key was last asked for.

    `read_at` is None when it is to be read at once. `version` is that of the Secret, known only for a key that the
    cloud refuses. `is_going` is True when the Secret was deleted, and our finalizer keeps it.
    """

    credentials: Credentials
    read_at: datetime | None
    used_at: datetime
    is_refused: bool = False
    version: str | None = None
    is_going: bool = False


class Reader(Protocol):
    """`Reader` reads Secrets and ConfigMaps, from an API server or from files."""

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Returns its data, decoded. Raises NotFound or Forbidden."""
        ...

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Returns its data. Raises NotFound or Forbidden."""
        ...


class Sources:
    """`Sources` reads referenced objects, and keeps credentials for 30 s.

    A key that the cloud refuses is read again only when its Secret has changed.
    """

    def __init__(self, kube: KubePort, default: AnyKey | None, clock: Callable[[], datetime]) -> None:
        """Takes `default`, the operator's own key or identity. None when the installation forbids or lacks it."""
        self._kube, self._default, self._clock = kube, default, clock
        self._cache: dict[tuple[str, str], _Held] = {}
        self._protected: set[tuple[str, str]] = set()

    async def credentials(
        self, namespace: str, secret: str | None, role: str | None = None, *, is_deleting: bool = False
    ) -> AnyKey:
        """Returns the key of an environment, which takes that role if one is given.

        Raises SourceUnavailable, or KubeError when the API server is away.

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
        key = await self._of_secret(namespace, secret, is_deleting=is_deleting)
        return key if role is None else replace(key, role_arn=role)

    async def _of_secret(self, namespace: str, secret: str, *, is_deleting: bool) -> Credentials:
        now, held = self._clock(), self._cache.get((namespace, secret))
        if held is not None:
            held.used_at = now
            fresh_for = REFUSED_FRESH_FOR if held.is_refused else FRESH_FOR
            if held.read_at is not None and age(held.read_at, now) < fresh_for:
                return held.credentials
        try:
            return await self._read(namespace, secret, held)
        except SourceUnavailable:
            if is_deleting and held is not None:
                return held.credentials
            raise

    async def _read(self, namespace: str, secret: str, held: _Held | None) -> Credentials:
        """Returns the key in the Secret; without reading it while a refused key is still what stands there."""
        version, now = None, self._clock()
        if held is not None and held.is_refused:
            before, held.read_at = held.read_at, now  # others use what is known meanwhile
            try:
                version = await _found("Secret", secret, self._kube.secret_version(namespace, secret))
            except BaseException:
                held.read_at = before
                raise
            if version == held.version:
                return held.credentials
        data = await self._secret(namespace, secret)
        credentials, is_going = _credentials_in(secret, data), isinstance(data, SecretData) and data.is_going
        if held is not None and held.is_going and not is_going:
            self._protected.discard((namespace, secret))  # another one has its name now
        is_refused = held is not None and held.is_refused and held.credentials == credentials
        self._cache = {key: one for key, one in self._cache.items() if age(one.used_at, now) < KEPT_FOR}
        self._cache[namespace, secret] = _Held(credentials, now, now, is_refused, version, is_going)
        return credentials

    def kept_from_deletion(self, namespace: str, secret: str | None) -> str | None:
        """Returns what a person should know who has deleted that Secret while its key is needed. None otherwise."""
        held = self._cache.get((namespace, secret or ""))
        if held is None or not held.is_going:
            return None
        return (
            f"Secret {secret} has been deleted, and is kept while instances need its key. For another key, take its"
            f" finalizer {SECRET_FINALIZER} off and create it anew at once; the next time, change it in place with"
            " kubectl apply"
        )

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
        self._cache.pop((namespace, secret), None)
        try:
            await self._kube.unprotect_secret(namespace, secret)
        except (Forbidden, Invalid) as error:
            _log.warning("secret_not_unguarded", namespace=namespace, secret=secret, error=str(error))

    def distrust(self, namespace: str, secret: str | None) -> bool:
        """Takes note that the cloud does not accept the key of that Secret. True when that is news.

        The Secret is read once more at once, and then only when it has changed.
        """
        held = self._cache.get((namespace, secret or ""))
        if held is None or held.is_refused:
            return held is None
        held.is_refused, held.read_at = True, None
        return True

    async def user_data(self, namespace: str, template: TemplateSpec) -> UserData | None:
        """Returns the template's user data from the spec, a Secret or a ConfigMap. Raises like `credentials`."""
        return await user_data_of(self._kube, namespace, template)

    async def _secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
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
    config_map = await _found("ConfigMap", ref.name, reader.read_config_map(namespace, ref.name))
    return _user_data(_entry("ConfigMap", ref, dict(config_map)))


async def _secret(reader: Reader, namespace: str, name: str) -> Mapping[str, bytes]:
    return await _found("Secret", name, reader.read_secret(namespace, name))


async def _found(kind: str, name: str, answer: Awaitable[T]) -> T:
    """Returns the answer about an object. Raises SourceUnavailable, with the remedy, when there is none to be had."""
    try:
        return await answer
    except NotFound:
        raise SourceUnavailable(f"{kind} {name} does not exist in this namespace: create it") from None
    except Forbidden:
        raise SourceUnavailable(_grant(kind, name)) from None
    except Invalid as error:
        raise SourceUnavailable(_refused(kind, name, error)) from None


def _refused(kind: str, name: str, error: Invalid) -> str:
    """Returns the message about an object with an invalid name. Only specs older than the schema can have one."""
    return f"{kind} {name} cannot be asked for: correct the name in the spec. {error}"


def _grant(kind: str, name: str) -> str:
    return f"the operator may not read {kind} {name}: grant its ServiceAccount `get` on it in this namespace"


def _credentials_in(name: str, data: Mapping[str, bytes]) -> Credentials:
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


def _entry(kind: str, ref: KeySelector, data: Mapping[str, bytes]) -> bytes:
    if ref.key not in data:
        raise SourceUnavailable(f"{kind} {ref.name} has no key {ref.key}: add it, or name another key")
    return data[ref.key]


def _user_data(raw: bytes) -> UserData:
    if len(raw) > USER_DATA_LIMIT:
        raise SourceUnavailable(
            f"user data is {len(raw)} bytes, more than 16 KiB: compress it with gzip, or let a short script download"
            " the rest"
        )
    encoded, digest = base64.b64encode(raw).decode("ascii"), hashlib.sha256(raw).hexdigest()[:12]
    return UserData(encoded, digest, _is_base64_of_a_script(raw))


def _is_base64_of_a_script(raw: bytes) -> bool:
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True).startswith(_STARTS)
    except ValueError:
        return False
