"""The port to the cloud: what the operator asks of any cloud, for one account in one region.

Two things stand behind it: `cloud.tencent` with the official SDK, and the in-memory world of the tests.
One contract suite runs on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from spotcompute.model.instance import Instance
from spotcompute.model.launch import LaunchRequest, Template
from spotcompute.model.offering import Offering, Pool


@dataclass(frozen=True, slots=True)
class LaunchReceipt:
    """The ids a launch was answered with: accepted, not running. Never empty."""

    instance_ids: tuple[str, ...]
    request_id: str


class CloudProvider(Protocol):
    """One account in one region. Every method raises `CloudError`. Each call is at most one HTTP request per page; only
    `list_price` may ask twice.

    `on_behalf_of` names the environment a call is made for, so that waiting environments are served in turn.
    """

    @property
    def account(self) -> str:
        """A stable, non-secret name of the account and region, the key under which sweeps are shared."""
        ...

    async def list_instances(self, cluster_id: str) -> tuple[Instance, ...]:
        """List every instance that carries our marks for `cluster_id`: all pages, each id once, or raise.

        The cloud's lists lag: new instances and their tags may be missing for minutes.
        """
        ...

    async def get_instances(self, ids: Sequence[str], on_behalf_of: str) -> tuple[Instance, ...]:
        """Look instances up by id, at most 100; an id that does not exist is simply not in the answer."""
        ...

    async def find_by_name(self, name: str, on_behalf_of: str) -> tuple[Instance, ...]:
        """Instances whose name is `name`, or `name` with the number the cloud appends when count > 1."""
        ...

    async def list_offerings(self) -> tuple[Offering, ...]:
        """Every spot offering of the region, as quoted now."""
        ...

    async def list_price(self, pool: Pool, template: Template, on_behalf_of: str) -> Decimal:
        """What one instance of `template` in `pool` is listed at per hour on demand, its equipment included.

        In it are disks, and bandwidth where that is paid by the hour; traffic paid by the gigabyte is not. Refused
        when the pool is sold out, or `template` has a fault.
        Source: CVM API 2017-03-12, InquiryPriceRunInstances.
        """
        ...

    async def launch(
        self, request: LaunchRequest, user_data: str | None, token: str, on_behalf_of: str
    ) -> LaunchReceipt:
        """Ask once for `request.count` instances under the idempotency `token` (at most 64 ASCII characters).

        Accepted is not running: instances start in PENDING and may end in LAUNCH_FAILED.
        Raises `OutcomeUnknown` when it may have happened, `Refused` or `NotSent` when it has not.
        Source: CVM API 2017-03-12, RunInstances.
        """
        ...

    async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
        """Ask what a launch of `request` would be answered, without launching; return when it would be accepted now.

        Nothing is bought and no token is used up. Raises what `launch` would; of several things that are wrong the
        cloud names one. Whether the bid is compared with the price is not known. Without an `image_id` a public image
        stands in for it.
        Source: CVM API 2017-03-12, RunInstances, DryRun.
        """
        ...

    async def terminate(self, ids: Sequence[str], on_behalf_of: str) -> str:
        """Ask to destroy up to 100 instances; return the request id. One bad id may refuse the whole batch.

        Source: CVM API 2017-03-12, TerminateInstances.
        """
        ...
