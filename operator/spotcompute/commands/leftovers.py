"""Lists what has outlived the instances of a region and still costs money: disks and elastic addresses.

Apart from `check`, which asks about the install: this asks the cloud, and ends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spotcompute.api.spec import region_name
from spotcompute.cloud.credentials import AnyKey, ProviderFactory
from spotcompute.cloud.endpoint import Endpoint
from spotcompute.cloud.errors import CloudError
from spotcompute.commands.advice import Advice, advice_on
from spotcompute.commands.market import Unreadable
from spotcompute.commands.table import table
from spotcompute.model.identity import owner_label
from spotcompute.model.leftover import Leftover

#: What the list cannot show.
NOT_SHOWN = "Snapshots, secondary interfaces and what is attached to an instance are not shown: look in the console."


async def read_leftovers(
    providers: ProviderFactory, credentials: AnyKey, region: str, endpoint: Endpoint
) -> tuple[Leftover, ...]:
    """Returns all that no instance of `region` has any more. Raises Unreadable."""
    try:
        return await providers(credentials, region_name(region)).list_leftovers()
    except ValueError as error:
        raise Unreadable(Advice(f"--region {region}: {error}", is_wrong=True)) from None
    except CloudError as error:
        raise Unreadable(advice_on(error, endpoint)) from None


def chosen(found: Sequence[Leftover], cluster_id: str | None, environment: str | None) -> list[Leftover]:
    """Returns those of a cluster and of an environment (``namespace/name``), in a stable order.

    Without either it returns all, also those without tags.
    """
    namespace, _, name = (environment or "").partition("/")
    owner = owner_label(namespace, name) if environment else None
    wanted = [one for one in found if cluster_id in (None, one.cluster_id) and (owner is None or one.owner == owner)]
    return sorted(wanted, key=lambda one: (one.kind, one.owner or "~", one.id))


def leftovers_table(shown: Sequence[Leftover], region: str) -> str:
    """Returns them as text for people. It ends with a newline."""
    if not shown:
        return f"Nothing of that is left in {region}. {NOT_SHOWN}\n"
    head = ("KIND", "ID", "WHAT", "ZONE", "SINCE", "ENVIRONMENT", "CLUSTER")
    rows = [head, *map(_row, shown)]
    foot = f"No instance has them, and they cost money until you end them in the console. {NOT_SHOWN}"
    return "\n".join([*table(rows, indent=""), foot]) + "\n"


def _row(one: Leftover) -> tuple[str, ...]:
    words = (one.zone, one.since, one.owner, one.cluster_id)
    return (str(one.kind), one.id, one.what, *(word or "-" for word in words))


def leftovers_json(shown: Sequence[Leftover], region: str) -> dict[str, Any]:
    """Returns them as JSON values, for programs. What is not known is absent."""
    lines = [{_NAMES.get(name, name): value for name, value in asdict(one).items() if value} for one in shown]
    return {"region": region, "leftovers": lines}


_NAMES = {"cluster_id": "cluster", "owner": "environment"}
