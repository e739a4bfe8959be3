"""Which keys have bought instances, and in which regions: noted outside every environment, before the first launch.

An environment can vanish without our leave while we are down. Without this note nobody would know any more with
which key to look for the instances it left. The note holds names only, never a key.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

import structlog

from spotcompute.kube.port import Forbidden, Invalid, KubePort, NotFound

_log = structlog.get_logger(__name__)

#: What namespaces, Secrets and regions are called.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class AccountRef:
    """A Secret (None: the operator's own default key) in a namespace, used in a region."""

    namespace: str
    secret: str | None
    region: str

    @property
    def key(self) -> str:
        """Sixteen hex digits that name this note."""
        return hashlib.sha256(f"{self.namespace}/{self.secret}/{self.region}".encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The text that is kept."""
        return json.dumps({"namespace": self.namespace, "secret": self.secret, "region": self.region})


class AccountRegistry:
    """The notes; each is written at most once by a process."""

    def __init__(self, kube: KubePort) -> None:
        self._kube = kube
        self._written: set[str] = set()
        self._is_blind = False

    async def add(self, note: AccountRef) -> None:
        """Write it down, unless this process has. Where that is refused, go on without: it is a second net.

        Raises `KubeError` when the API server is away.
        """
        if note.key in self._written:
            return
        try:
            await self._kube.remember_account(note.key, note.to_json())
        except (Forbidden, NotFound, Invalid) as error:
            _log.warning("account_not_noted", namespace=note.namespace, region=note.region, error=str(error))
        self._written.add(note.key)

    async def all(self) -> list[AccountRef] | None:
        """Every note that makes sense, in a stable order; None where reading them is not granted."""
        try:
            notes = await self._kube.remembered_accounts()
        except Forbidden as error:
            if not self._is_blind:
                _log.warning("accounts_not_read", error=str(error))
            self._is_blind = True
            return None
        self._is_blind = False
        return [note for key in sorted(notes) if (note := _read(key, notes[key])) is not None]

    async def renew(self, note: AccountRef) -> None:
        """Write it down again: another replica, or a person, has removed it although it is in use."""
        self._written.discard(note.key)
        await self.add(note)

    async def forget(self, note: AccountRef) -> None:
        """Nothing is left that this key would be needed for."""
        self._written.discard(note.key)
        await self._kube.forget_account(note.key)


def _read(key: str, text: str) -> AccountRef | None:
    """The note under `key`, or None when somebody has written something else there.

    Its parts become a path of the API server's and a region of the cloud's, so they must look like that.
    """
    try:
        raw = json.loads(text)
        note = AccountRef(raw["namespace"], raw["secret"], raw["region"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    names = [note.namespace, note.region] + ([] if note.secret is None else [note.secret])
    is_sound = all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)
    return note if is_sound and note.key == key else None
