"""Records client tokens: what each of them bought or was refused.

Apart from `world`, because switches decide how long and how exactly a token is remembered. The ledger shows all
records.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cvmsim.errors import ApiError


@dataclass(slots=True)
class TokenRecord:
    """`TokenRecord` is one use of a token that counted. `replays` are the RequestIds that were answered from it."""

    account: str
    region: str
    token: str
    digest: str
    created_at: float
    request_id: str
    instance_ids: tuple[str, ...]
    refusal: ApiError | None
    replays: list[str] = field(default_factory=list)


class TokenBook:
    """`TokenBook` holds every use of every token. The latest counts, and older ones stay for the ledger."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str, str], TokenRecord] = {}
        self._all: list[TokenRecord] = []

    def keep(self, record: TokenRecord) -> None:
        """Adds a record."""
        self._latest[record.account, record.region, record.token] = record
        self._all.append(record)

    def find(self, account: str, region: str, token: str, now: float, lifetime: float) -> TokenRecord | None:
        """Returns the record of a token used less than `lifetime` seconds ago. None when there is none."""
        record = self._latest.get((account, region, token))
        return record if record is not None and now - record.created_at < lifetime else None

    def __iter__(self) -> Iterator[TokenRecord]:
        return iter(self._all)
