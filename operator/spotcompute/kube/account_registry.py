"""Records which keys have bought instances, and in which regions. It does so before the first launch.

An environment can vanish without our finalizer while we are down. Only this record then says which key to use for the
search for its instances. It holds names only, never a key. Apart from the environments because it must outlive them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime

import structlog

from spotcompute.api.signing import role_arn
from spotcompute.api.times import from_text, to_text
from spotcompute.kube.port import Forbidden, Invalid, KubePort, NotFound

_log = structlog.get_logger(__name__)

#: The form of names of namespaces, Secrets and regions.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class AccountRef:
    """`AccountRef` names a Secret (None: the operator's own default key) in a namespace, and a region of the cloud.

    `role` is the CAM role that the key takes, None when the key itself signs.
    """

    namespace: str
    secret: str | None
    region: str
    role: str | None = None

    @property
    def key(self) -> str:
        """Returns sixteen hex digits that identify this reference."""
        parts = [self.namespace, str(self.secret), self.region, *([self.role] if self.role else [])]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Returns the text that is stored."""
        role = {"role": self.role} if self.role else {}
        return json.dumps({"namespace": self.namespace, "secret": self.secret, "region": self.region, **role})


class AccountRegistry:
    """`AccountRegistry` stores the references. One process writes each of them at most once."""

    def __init__(self, kube: KubePort) -> None:
        self._kube = kube
        self._written: set[str] = set()
        self._is_unreadable = False
        self._first_starts: dict[str, datetime] = {}

    async def add(self, account: AccountRef) -> None:
        """Stores `account`, unless this process has already done so.

        Raises KubeError when the API server is away. When the write is refused we go on, because the registry is only a
        second line of safety.
        """
        if account.key in self._written:
            return
        try:
            await self._kube.remember_account(account.key, account.to_json())
        except (Forbidden, NotFound, Invalid) as error:
            _log.warning("account_not_noted", namespace=account.namespace, region=account.region, error=str(error))
        self._written.add(account.key)

    async def all(self) -> list[AccountRef] | None:
        """Returns every valid reference, in a stable order. None when we have no right to read them."""
        try:
            texts = await self._kube.remembered_accounts()
        except Forbidden as error:
            if not self._is_unreadable:
                _log.warning("accounts_not_read", error=str(error))
            self._is_unreadable = True
            return None
        self._is_unreadable = False
        return [ref for key in sorted(texts) if (ref := _read(key, texts[key])) is not None]

    async def first_start(self, cluster_id: str, now: datetime) -> datetime:
        """Returns when an operator first ran here under that cluster id; that is `now` the first time.

        Raises KubeError when the API server is away. Without the right to note it, every start is the first.
        """
        if cluster_id in self._first_starts:
            return self._first_starts[cluster_id]
        key, first = f"started-{hashlib.sha256(cluster_id.encode()).hexdigest()[:16]}", now
        try:
            text = (await self._kube.remembered_accounts()).get(key)
            if text is None:
                await self._kube.remember_account(key, to_text(now))
            else:
                first = min(from_text(text), now)
        except (Forbidden, NotFound, Invalid, ValueError) as error:
            _log.info("first_start_not_noted", error=str(error))
        self._first_starts[cluster_id] = first
        return first

    async def renew(self, account: AccountRef) -> None:
        """Stores `account` again, because another replica or a person has removed it while it is in use."""
        self._written.discard(account.key)
        await self.add(account)

    async def forget(self, account: AccountRef) -> None:
        """Removes `account`, because its key is not needed any more."""
        self._written.discard(account.key)
        await self._kube.forget_account(account.key)


def _read(key: str, text: str) -> AccountRef | None:
    """Returns the reference under `key`. None when another program or a person has written something else there.

    Its parts become a path on the API server and a region of the cloud, so their form is checked.
    """
    try:
        raw = json.loads(text)
        role = raw.get("role")
        account = AccountRef(raw["namespace"], raw["secret"], raw["region"], None if role is None else role_arn(role))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    names = [account.namespace, account.region] + ([] if account.secret is None else [account.secret])
    is_sound = all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)
    return account if is_sound and account.key == key else None
