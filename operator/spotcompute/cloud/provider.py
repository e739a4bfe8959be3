"""Defines the port to the cloud: what the operator asks of any cloud, with one key in one region.

Two classes implement it: `cloud.tencent` with the official SDK, and the in-memory cloud of the tests. One contract
suite runs on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from spotcompute.model.instance import Instance, Ownership
from spotcompute.model.launch import LaunchRequest, Template
from spotcompute.model.leftover import Leftover
from spotcompute.model.offering import Offering, Pool


@dataclass(frozen=True, slots=True)
class LaunchReceipt:
    """`LaunchReceipt` holds the ids in the answer to a launch. They are accepted, not running. It is never empty."""

    instance_ids: tuple[str, ...]
    request_id: str


class CloudProvider(Protocol):
    """`CloudProvider` is one key of an account in one region. Every method raises CloudError.

    A call sends at most one HTTP request per page, but repeats a later page that was refused for the rate; only
    `list_price` and `mark` may send two, and
    `set_timers` three. `on_behalf_of` names the environment of a call, so that waiting environments
    are served in turn.
    """

    @property
    def key(self) -> str:
        """Returns a name of the key and the region that reveals no secret. Each key has another."""
        ...

    @property
    def account(self) -> str | None:
        """Returns the number of the account that the key belongs to. None until `identify` was answered."""
        ...

    @property
    def name(self) -> str:
        """Returns what logs call the account and region: by its number where that is known, otherwise by the key."""
        ...

    async def identify(self) -> str:
        """Asks whose the key is. Returns the number of its account, which stays the same when keys are rotated.

        Source: STS API 2018-08-13, GetCallerIdentity, `AccountId`.
        """
        ...

    async def list_instances(self, cluster_id: str) -> tuple[Instance, ...]:
        """Lists every instance with our marks for `cluster_id`: all pages, each id once. Raises CloudError otherwise.

        The cloud's lists lag: new instances and their tags may be missing for minutes.
        """
        ...

    async def get_instances(self, ids: Sequence[str], on_behalf_of: str) -> tuple[Instance, ...]:
        """Looks instances up by id, at most 100. An id that does not exist is missing from the answer."""
        ...

    async def find_by_name(self, name: str, on_behalf_of: str) -> tuple[Instance, ...]:
        """Returns the instances named `name`, or `name` with the number that the cloud appends when count > 1."""
        ...

    async def find_by_tag(self, key: str, value: str, on_behalf_of: str) -> tuple[Instance, ...]:
        """Returns the instances that bear this tag, whatever they belong to."""
        ...

    async def list_leftovers(self) -> tuple[Leftover, ...]:
        """Returns what outlives instances and no instance has: disks with our tags, and elastic addresses.

        Nothing is decided on it. Source: CBS API 2017-03-12, DescribeDisks; VPC API 2017-03-12, DescribeAddresses.
        """
        ...

    async def list_offerings(self) -> tuple[Offering, ...]:
        """Returns every spot offering of the region, as quoted now."""
        ...

    async def list_price(self, pool: Pool, template: Template, on_behalf_of: str) -> Decimal:
        """Returns the on-demand list price per hour of one instance of `template` in `pool`, equipment included.

        It includes disks, and bandwidth that is paid by the hour, but not traffic by the gigabyte. Raises Refused when
        the pool is sold out or `template` is invalid. Source: CVM API 2017-03-12, InquiryPriceRunInstances.
        """
        ...

    async def launch(
        self, request: LaunchRequest, user_data: str | None, token: str, on_behalf_of: str
    ) -> LaunchReceipt:
        """Asks once for `request.count` instances under the idempotency `token` (at most 64 ASCII characters).

        Accepted is not running: instances start in PENDING and may end in LAUNCH_FAILED. Raises OutcomeUnknown when it
        may have happened (search for its instances), Refused or NotSent when it has not. Source: CVM API 2017-03-12,
        RunInstances.
        """
        ...

    async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
        """Asks how the cloud would answer a launch of `request`, without launching. Returns when it would be accepted
        now.

        It buys nothing and uses up no token. Raises what `launch` would raise; of several mistakes the cloud names one.
        Whether the cloud compares the bid with the price is not known. Without an `image_id` a public image is used.
        Source: CVM API 2017-03-12, RunInstances, DryRun.
        """
        ...

    async def terminate(self, ids: Sequence[str], on_behalf_of: str) -> str:
        """Asks to destroy up to 100 instances, and returns the request id. One bad id may refuse the whole batch.

        Source: CVM API 2017-03-12, TerminateInstances.
        """
        ...

    async def mark(self, instance: Instance, ownership: Ownership | None, owner: str, on_behalf_of: str) -> str:
        """Changes whose an instance is by its tags, in one step, and returns the request id.

        With `ownership` it belongs to that environment, called `owner`, from then on, and bears its mark. With None it
        belongs to no environment, and its tags say that `owner` has left it. Other tags stay as they are. To repeat it
        is harmless. Lists may show the former tags for minutes. Source: Tag API 2018-08-13, ModifyResourceTags.
        """
        ...

    async def set_timers(self, ids: Sequence[str], ends_at: datetime | None, on_behalf_of: str) -> None:
        """Has the cloud end up to 100 instances at `ends_at` by itself; None: takes their timers off.

        `ends_at` is in whole seconds and more than five minutes ahead. An instance has one timer, so those that differ
        are deleted first: when an error comes after that, instances may have none. To repeat it is harmless. One bad id
        may refuse the whole batch. Source: CVM API 2017-03-12, DescribeInstancesActionTimer,
        DeleteInstancesActionTimer, ImportInstancesActionTimer.
        """
        ...
