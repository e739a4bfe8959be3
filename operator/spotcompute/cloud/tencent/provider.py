"""Implements the port with actions of CVM, STS and Tag: paging, filters, and answers that make sense or raise.

Apart from `client` (transport) and `translate` (shapes): this module knows what to ask, and when an answer is complete.
It does not choose what to buy or release.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from spotcompute.cloud.credentials import AnyKey, Credentials
from spotcompute.cloud.errors import (
    CloudError,
    InstanceGone,
    InvalidConfiguration,
    OutcomeUnknown,
    Throttled,
    Unavailable,
)
from spotcompute.cloud.few import few_at_once
from spotcompute.cloud.pacer import Pacer, Rate
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.cloud.tencent.client import Client, KeyHolder, refuse_unsafe_endpoint, silence_sdk_logger
from spotcompute.cloud.tencent.codes import part_named
from spotcompute.cloud.tencent.keys import holder_of
from spotcompute.cloud.tencent.leftovers import list_leftovers
from spotcompute.cloud.tencent.listing import OVERLAP, PAGE, Listing, Page, further_offsets
from spotcompute.cloud.tencent.translate import (
    CLUSTER_TAG,
    MALFORMED,
    SPOT,
    check_parameters,
    inquired_price,
    inquiry_parameters,
    instance_from,
    launch_parameters,
    mark_parameters,
    offerings_from,
    timer_of,
    timers_that_differ,
)
from spotcompute.model.instance import Instance, Ownership
from spotcompute.model.launch import MAX_LAUNCH_COUNT, LaunchRequest, Part, Template
from spotcompute.model.leftover import Leftover
from spotcompute.model.offering import Offering, Pool
from spotcompute.settings import Settings
from spotcompute.telemetry import redaction

#: How often an account is asked, by action. The documented limits are 10, 10, 40, 40, 10, 20 and 20 calls a second,
#: and 10 for each of the actions about timers.
#: Launches decide how long an environment waits, and use nearly all of it: all calls of a second at once, and then none
#: for a twentieth of a second more, because requests do not arrive as evenly as they leave. Of the others a tenth is
#: left to other programs. Source: CVM API category table and the actions' pages.
RATES = {
    "RunInstances": Rate(10, 1.05),
    "TerminateInstances": Rate.even(9.0),
    "DescribeInstances": Rate.even(36.0),
    "DescribeZoneInstanceConfigInfos": Rate.even(36.0),
    "InquiryPriceRunInstances": Rate.even(9.0),
    "GetCallerIdentity": Rate.even(18.0),
    "ModifyResourceTags": Rate.even(18.0),
    "DescribeInstancesActionTimer": Rate.even(9.0),
    "DeleteInstancesActionTimer": Rate.even(9.0),
    "ImportInstancesActionTimer": Rate.even(9.0),
}

#: Likewise for what a person asks for with a command. The operator never does.
RATES_OF_COMMANDS = {"DescribeDisks": Rate.even(9.0), "DescribeAddresses": Rate.even(9.0)}

#: Instances that a list shows in a second at the documented 40 calls. Each page begins a little before the last ended.
LISTED_PER_SECOND = 40.0 * (PAGE - OVERLAP)

#: Highest number of values in a filter. Source: CVM API 2017-03-12, DescribeInstances.
MAX_FILTER_VALUES = 5

#: Pages of one list that are read at the same time. Others need threads too.
PAGES_AT_ONCE = 6

#: How often a page after the first may be refused for the rate without the whole list being given up.
THROTTLES_PER_PAGE = 2

#: Passes over a list that keeps changing before it is given up.
MAX_PASSES = 5

#: Stands for all environments, because sweeps and market reads serve all of them.
ALL_ENVIRONMENTS = ""

#: Possible answer to a dry run that passes. An answer without an error means the same.
#: Source: the platform's "Common error codes" against the page of RunInstances.
PASSED = "DryRunOperation"

#: The form of an id. Ids are read from status, which others can edit. One malformed id would refuse a whole look-up.
_INSTANCE_ID = re.compile(r"ins-[0-9a-z]{1,32}")

T = TypeVar("T")


class TencentProvider:
    """`TencentProvider` implements `CloudProvider` for one key of an account in one region."""

    def __init__(self, client: Client, key: str, on_identified: Callable[[str], None] = lambda account: None) -> None:
        """Takes `key`, ``<name of the key>/<region>`` without any secret. `on_identified` gets the account's number."""
        self._client = client
        self._key = key
        self._on_identified = on_identified
        self._account: str | None = None

    @property
    def key(self) -> str:
        """Returns the fingerprint of the key, and the region."""
        return self._key

    @property
    def account(self) -> str | None:
        """Returns the number of the account, digits only. None until `identify` was answered."""
        return self._account

    @property
    def name(self) -> str:
        """Returns ``<number>/<region>``, or the key while the number is not known."""
        return f"{self._account}/{self._key.partition('/')[2]}" if self._account else self._key

    async def identify(self) -> str:
        """Asks with one call of GetCallerIdentity. Users and roles have the number of their main account."""
        answer = await self._client.call("GetCallerIdentity", {}, ALL_ENVIRONMENTS)
        self._account = _understood("GetCallerIdentity", answer, lambda: _number(answer["AccountId"]))
        self._on_identified(self._account)
        return self._account

    async def mark(self, instance: Instance, ownership: Ownership | None, owner: str, on_behalf_of: str) -> str:
        """Calls ModifyResourceTags once. The resource is named by the number of the account, so that is asked first."""
        account, region = self._account or await self.identify(), self._key.partition("/")[2]
        parameters = mark_parameters(instance, ownership, owner, account, region)
        answer = await self._client.call("ModifyResourceTags", parameters, on_behalf_of)
        return _understood("ModifyResourceTags", answer, lambda: _name(answer["RequestId"]))

    async def list_instances(self, cluster_id: str) -> tuple[Instance, ...]:
        """Lists every instance whose tag names `cluster_id`. Source: DescribeInstances, filter ``tag:<key>``."""
        listed = await self._list({f"tag:{CLUSTER_TAG}": [cluster_id]}, ALL_ENVIRONMENTS)
        # The cloud's filter is not trusted: an instance without our mark is not ours.
        return tuple(instance for instance in listed if instance.tags.get(CLUSTER_TAG) == cluster_id)

    async def get_instances(self, ids: Sequence[str], on_behalf_of: str) -> tuple[Instance, ...]:
        """Looks up at most 100 ids. Without ids it asks nothing. Source: DescribeInstances, `InstanceIds`.

        The documentation does not say whether an unknown id is left out or refused. A refusal does not say which id it
        means, so the ids are halved until the unknown ones stand alone.
        """
        if not ids:
            return ()
        wanted = [instance_id for instance_id in _at_most_a_page(ids) if _INSTANCE_ID.fullmatch(instance_id)]
        if not wanted:
            return ()
        try:
            _, instances = await self._page({"InstanceIds": wanted, "Limit": PAGE}, on_behalf_of)
        except InstanceGone:
            half = len(wanted) // 2
            if not half:
                return ()
            left = await self.get_instances(wanted[:half], on_behalf_of)
            return left + await self.get_instances(wanted[half:], on_behalf_of)
        return tuple({instance.id: instance for instance in instances if instance.id in wanted}.values())

    async def find_by_name(self, name: str, on_behalf_of: str) -> tuple[Instance, ...]:
        """Finds the instances of one launch. Source: DescribeInstances, filter ``instance-name``; RunInstances,
        InstanceName.

        A name that ends in a hyphen was given to several instances, and the cloud appended 1 to n. Five numbers are
        asked at a time, and the next five as long as all of the last were there. The names are compared here again,
        because it is not documented whether the filter also matches parts of names.
        """
        found: dict[str, Instance] = {}
        for names in _names_of_launch(name):
            listed = await self._list({"instance-name": names}, on_behalf_of)
            found.update((instance.id, instance) for instance in listed if _is_named(instance.name, name))
            if not {instance.name for instance in listed}.issuperset(names):
                break
        return tuple(found.values())

    async def find_by_tag(self, key: str, value: str, on_behalf_of: str) -> tuple[Instance, ...]:
        """Lists every instance with that tag. Source: DescribeInstances, filter ``tag:<key>``."""
        listed = await self._list({f"tag:{key}": [value]}, on_behalf_of)
        return tuple(instance for instance in listed if instance.tags.get(key) == value)

    async def list_leftovers(self) -> tuple[Leftover, ...]:
        """Lists them with one call a page. Raises OutcomeUnknown for rows of another shape."""
        try:
            return await list_leftovers(self._client)
        except MALFORMED as error:
            message = f"the list of leftovers has an unexpected shape ({type(error).__name__})"
            raise OutcomeUnknown("MalformedAnswer", message) from error

    async def list_offerings(self) -> tuple[Offering, ...]:
        """Returns all spot quotes of the region, in one call. Source: DescribeZoneInstanceConfigInfos."""
        action = "DescribeZoneInstanceConfigInfos"
        parameters = {"Filters": _filters({"instance-charge-type": [SPOT]})}
        answer = await self._client.call(action, parameters, ALL_ENVIRONMENTS)
        return _understood(action, answer, lambda: offerings_from(answer["InstanceTypeQuotaSet"]))

    async def list_price(self, pool: Pool, template: Template, on_behalf_of: str) -> Decimal:
        """Calls InquiryPriceRunInstances for one instance on demand, so that nothing is discounted.

        When the image is wrong, it asks once more with a public image, because the price of disks does not depend on
        it.
        """
        action = "InquiryPriceRunInstances"
        try:
            answer = await self._client.call(action, inquiry_parameters(pool, template), on_behalf_of)
        except CloudError as error:
            if part_named(error.code, error.message) is not Part.IMAGE:
                raise
            template = replace(template, image_id="")
            answer = await self._client.call(action, inquiry_parameters(pool, template), on_behalf_of)
        return _understood(action, answer, lambda: inquired_price(answer["Price"]))

    async def launch(
        self, request: LaunchRequest, user_data: str | None, token: str, on_behalf_of: str
    ) -> LaunchReceipt:
        """Calls RunInstances once.

        Raises OutcomeUnknown unless the answer has `count` ids, because it may hide a purchase.
        """
        try:
            answer = await self._client.call("RunInstances", launch_parameters(request, user_data, token), on_behalf_of)
        except InvalidConfiguration as error:
            error.about = part_named(error.code, error.message)
            raise
        return _understood("RunInstances", answer, lambda: _receipt(answer, request.count))

    async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
        """Calls RunInstances with DryRun once.

        Raises OutcomeUnknown when the answer has ids, because it may have launched.
        """
        try:
            answer = await self._client.call("RunInstances", check_parameters(request, user_data), on_behalf_of)
        except CloudError as error:
            if error.code == PASSED:
                return
            error.about = part_named(error.code, error.message)
            raise
        if answer.get("InstanceIdSet"):
            message = f"a dry run was answered with instances: {answer['InstanceIdSet']}"
            raise OutcomeUnknown("DryRunIgnored", message[:200], answer.get("RequestId"))
        _understood("RunInstances", answer, lambda: _name(answer["RequestId"]))

    async def terminate(self, ids: Sequence[str], on_behalf_of: str) -> str:
        """Calls TerminateInstances once, for 1 to 100 ids."""
        answer = await self._client.call("TerminateInstances", {"InstanceIds": _at_most_a_page(ids)}, on_behalf_of)
        return _understood("TerminateInstances", answer, lambda: _name(answer["RequestId"]))

    async def set_timers(self, ids: Sequence[str], ends_at: datetime | None, on_behalf_of: str) -> None:
        """Reads the timers that have done nothing yet, deletes those that differ, and sets what is missing then."""
        action, wanted = "DescribeInstancesActionTimer", _at_most_a_page(ids)
        answer = await self._client.call(action, {"InstanceIds": wanted, "StatusList": ["UNDO"]}, on_behalf_of)
        different, right = _understood(
            action, answer, lambda: timers_that_differ(answer["ActionTimers"], wanted, ends_at)
        )
        for start in range(0, len(different), PAGE):
            ids_of_timers = different[start : start + PAGE]
            await self._client.call("DeleteInstancesActionTimer", {"ActionTimerIds": ids_of_timers}, on_behalf_of)
        bare = [one for one in wanted if one not in right]
        if ends_at is not None and bare:
            parameters = {"InstanceIds": bare, "ActionTimer": timer_of(ends_at)}
            await self._client.call("ImportInstancesActionTimer", parameters, on_behalf_of)

    async def _list(self, filters: dict[str, list[str]], on_behalf_of: str) -> tuple[Instance, ...]:
        """Returns everything that matches, each id once. Raises Unavailable when the list keeps changing."""
        listing = Listing()
        for _ in range(MAX_PASSES):
            complete = listing.add(await self._pass(filters, on_behalf_of))
            if complete is not None:
                return complete
        message = f"{len(listing.seen)} instances seen, {listing.count} counted, after {MAX_PASSES} passes"
        raise Unavailable("ListingUnstable", message)

    async def _pass(self, filters: dict[str, list[str]], on_behalf_of: str) -> list[Page]:
        """Reads every page once, some at the same time."""
        first = await self._page_at(0, filters, on_behalf_of)
        calls = [partial(self._page_at, offset, filters, on_behalf_of) for offset in further_offsets(first[0])]
        return [first, *await few_at_once(PAGES_AT_ONCE, calls)]

    async def _page_at(self, offset: int, filters: dict[str, list[str]], on_behalf_of: str) -> Page:
        """Reads one page. One that is refused for the rate is asked for again: the pacer is slower by then."""
        parameters = {"Filters": _filters(filters), "Offset": offset, "Limit": PAGE}
        for _ in range(THROTTLES_PER_PAGE if offset else 0):
            with contextlib.suppress(Throttled):
                return await self._page(parameters, on_behalf_of)
        return await self._page(parameters, on_behalf_of)

    async def _page(self, parameters: dict[str, Any], on_behalf_of: str) -> Page:
        action = "DescribeInstances"
        answer = await self._client.call(action, parameters, on_behalf_of)
        return _understood(
            action, answer, lambda: (int(answer["TotalCount"]), [instance_from(item) for item in answer["InstanceSet"]])
        )


class TencentProviders:
    """`TencentProviders` is the `ProviderFactory`.

    All accounts share its threads. All keys and regions of one account share a pacer. While the account of a key is not
    known, the regions of that key share one.
    """

    def __init__(self, settings: Settings, executor: Executor, clock: Callable[[], float] = time.time) -> None:
        """Takes `executor`, which should have `settings.cloud_threads` threads. Its owner shuts it down.

        `clock`, in seconds since 1970, says when a key that the cloud lends has to be renewed. Raises
        UnsafeEndpoint, so that unsafe settings show when the process starts and not in every run.
        """
        refuse_unsafe_endpoint(settings)
        self._settings = settings
        self._executor, self._clock = executor, clock
        # By account, and by key while that is not known. Weak references: a pacer goes with its last provider.
        self._pacers: WeakValueDictionary[str, Pacer] = WeakValueDictionary()
        self._holders: WeakValueDictionary[str, KeyHolder] = WeakValueDictionary()  # by key, for all its regions
        silence_sdk_logger()

    def __call__(self, credentials: AnyKey, region: str) -> TencentProvider:
        """Makes the provider without I/O, and has its key cut out of all logs."""
        if isinstance(credentials, Credentials):
            redaction.register(credentials.secret_id, credentials.secret_key, credentials.token)
        holder = self._holders.get(credentials.fingerprint)
        if holder is None:
            holder = holder_of(credentials, self._settings, self._clock)
            self._holders[credentials.fingerprint] = holder
        pacer = self._pacers.setdefault(credentials.fingerprint, Pacer({**RATES, **RATES_OF_COMMANDS}))
        client = Client(holder, region, self._settings, self._executor, pacer)

        def share_pacer(account: str) -> None:
            client.pacer = self._pacers.setdefault(account, client.pacer)

        return TencentProvider(client, f"{credentials.fingerprint}/{region}", share_pacer)


def _understood(action: str, answer: dict[str, Any], read: Callable[[], T]) -> T:
    """Returns what `read` makes of `answer`.

    Raises OutcomeUnknown when the answer does not have the documented shape.
    """
    try:
        return read()
    except MALFORMED as error:
        message = f"the answer to {action} has an unexpected shape ({type(error).__name__})"
        raise OutcomeUnknown("MalformedAnswer", message, answer.get("RequestId")) from error


def _receipt(answer: dict[str, Any], count: int) -> LaunchReceipt:
    ids = answer["InstanceIdSet"]
    if not isinstance(ids, list):  # a string would also be accepted below, as one id per letter
        raise TypeError("expected a list of ids")
    distinct = tuple(dict.fromkeys(map(_name, ids)))
    if len(distinct) != count:
        raise ValueError(f"{len(distinct)} ids for {count} instances")
    return LaunchReceipt(distinct, _name(answer["RequestId"]))


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("expected a name")
    return value


def _number(value: Any) -> str:
    """Returns the number of an account as text. Raises TypeError for anything but digits."""
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,32}", text):
        raise TypeError("expected the number of an account")
    return text


def _filters(filters: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": values} for name, values in filters.items()]


def _at_most_a_page(ids: Sequence[str]) -> list[str]:
    if not 0 < len(ids) <= PAGE:
        raise ValueError(f"{len(ids)} ids in one call; it takes 1 to {PAGE}")
    return list(ids)


def _names_of_launch(name: str) -> Iterator[list[str]]:
    """Yields groups of names to filter by: `name` itself, or the numbered names that the cloud makes of it."""
    if not name.endswith("-"):
        yield [name]
        return
    for given in range(0, MAX_LAUNCH_COUNT, MAX_FILTER_VALUES):
        yield [f"{name}{given + number}" for number in range(1, MAX_FILTER_VALUES + 1)]


def _is_named(candidate: str, name: str) -> bool:
    if not name.endswith("-"):
        return candidate == name
    return re.fullmatch(re.escape(name) + r"\d{1,3}", candidate) is not None
