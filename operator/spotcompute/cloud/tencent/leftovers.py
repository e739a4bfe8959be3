"""Lists what no instance has any more, in the vendor's words: disks of CBS and elastic addresses of VPC.

Apart from `provider`, whose lists are of instances: here half a list is better than none, and nothing is decided on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spotcompute.cloud.tencent.client import Client
from spotcompute.cloud.tencent.translate import CLUSTER_TAG, OWNER_TAG
from spotcompute.model.leftover import Leftover, LeftoverKind

#: Rows of one page, the most that both actions give.
PAGE = 100

Json = Mapping[str, Any]


async def list_leftovers(client: Client) -> tuple[Leftover, ...]:
    """Returns the disks that bear our tags and the addresses, as far as no instance has them. Raises CloudError.

    Source: CBS API 2017-03-12, DescribeDisks; VPC API 2017-03-12, DescribeAddresses.
    """
    disks = await _rows(client, "DescribeDisks", "DiskSet", {"disk-state": ["UNATTACHED"], "tag-key": [CLUSTER_TAG]})
    addresses = await _rows(client, "DescribeAddresses", "AddressSet", {"address-status": ["UNBIND"]})
    return (*map(disk_from, disks), *map(address_from, addresses))


async def _rows(client: Client, action: str, name: str, filters: Mapping[str, list[str]]) -> list[Json]:
    """Returns all rows, a page after the other."""
    rows = list[Json]()
    while True:
        asked = [{"Name": key, "Values": values} for key, values in filters.items()]
        answer = await client.call(action, {"Filters": asked, "Offset": len(rows), "Limit": PAGE}, "")
        rows += answer[name]
        if not answer[name] or len(rows) >= answer["TotalCount"]:
            return rows


def disk_from(row: Json) -> Leftover:
    """Returns the disk in a row of DescribeDisks."""
    what = f"{row['DiskType']} {row['DiskSize']}GiB"
    return _leftover(LeftoverKind.DISK, row["DiskId"], what, row.get("CreateTime"), row, row["Placement"]["Zone"])


def address_from(row: Json) -> Leftover:
    """Returns the address in a row of DescribeAddresses."""
    return _leftover(LeftoverKind.ADDRESS, row["AddressId"], row["AddressIp"], row.get("CreatedTime"), row, None)


def _leftover(kind: LeftoverKind, id: str, what: str, since: str | None, row: Json, zone: str | None) -> Leftover:
    tags: Mapping[str, str] = _tags(row)
    return Leftover(kind, id, what, since or "", zone, tags.get(CLUSTER_TAG), tags.get(OWNER_TAG))


def _tags(row: Json) -> dict[str, str]:
    """Returns the tags of a row. The two actions spell them in two ways."""
    found = row.get("Tags") or row.get("TagSet") or ()
    return {tag["Key"]: tag["Value"] for tag in found}
