"""Leads a verification from the first read to the last end: what is asked when, and what may go on beside it.

Apart from `findings`, which judges afterwards. Slow things begin first: what is asked for when it is
gone, the instance whose token is repeated, and the one that goes through the recycle bin. The rest fits in between.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from spotcompute.cloud.tencent.verify import asks, rights
from spotcompute.cloud.tencent.verify.answered import PRICE_TOO_LOW, STOCK_CODES, inquired
from spotcompute.cloud.tencent.verify.endings import FIRST, REPLACED, token_mismatch
from spotcompute.cloud.tencent.verify.hands import Hands, Purchase
from spotcompute.cloud.tencent.verify.line import NO_ANSWER, NOT_ALLOWED, CannotVerify, call, hurry, items, seconds
from spotcompute.cloud.tencent.verify.record import (
    ABSENT,
    RUNNING,
    SHUTDOWN,
    STOPPED,
    Answer,
    Burst,
    Life,
    TokenAsk,
)
from spotcompute.cloud.tencent.verify.watching import Watcher, until_true

#: Seconds that the first instance lives at most. Then its end begins, which may take long.
FIRST_SECONDS = 200.0

#: Seconds before the end: no launch later than the first, and everything is asked to end at the second. Between them a
#: slow launch becomes RUNNING, before which it may not be possible to end it.
LAST_LAUNCH, LAST_END = 190.0, 120.0

#: Seconds after a refused batch at which its instance is looked at, besides the lag of looks: several looks.
BATCH_SECONDS = 6.0

#: Ages of a token, in seconds, at which its launch is repeated. Two of them enclose the shortest lifetime that we fear.
TOKEN_AGES = (60.0, 300.0, 592.0, 606.0, 900.0, 1200.0, 1450.0, 1640.0)

#: Inquiries at once: twice the published limit of one second at most, and some in another region.
BURST_HERE, BURST_THERE = 20, 4

#: Lists for the question in which order they come.
LISTS = 12

#: Pools that are asked for stock until one has none.
SCARCE_MAX = 6


@dataclass(frozen=True, slots=True)
class Allowance:
    """`Allowance` is what the person allows: the time in seconds, and another region to which inquiries may go."""

    seconds: float = 1800.0
    other_region: str = "ap-singapore"


class Course:
    """`Course` is one verification."""

    def __init__(self, hands: Hands, wish: asks.Preference, limits: Allowance) -> None:
        """Takes the hands, what the person wishes to buy, and what is allowed."""
        self._hands, self._wish, self._limits = hands, wish, limits
        self._line, self._record = hands.line, hands.record
        self._watcher = Watcher(hands)
        self._offers: list[asks.Goods] = []
        self._are_lists_compared = self._is_address_refused = False

    async def run(self) -> None:
        """Asks everything. Raises CannotVerify when nothing can be bought. Ending is the business of the caller."""
        record, hands = self._record, self._hands
        record.started_at = seconds()
        hands.ends_at = record.started_at + self._limits.seconds
        hands.stops_buying_at = hands.ends_at - LAST_LAUNCH
        try:
            await self._ask_for_free()
            watching = asyncio.create_task(self._watcher.run())
            try:
                async with asyncio.timeout_at(hands.ends_at - LAST_END):
                    await self._ask_with_instances()
            except TimeoutError:
                pass
            finally:
                watching.cancel()
        finally:
            record.ended_at = seconds()

    # --- without buying ----------------------------------------------------------------------------------------------

    async def _ask_for_free(self) -> None:
        answers = await rights.try_rights(self._line)
        self._record.answers |= answers
        rights.refuse_without_rights(answers)
        self._record.market = [
            item
            for charge_type in ("SPOTPAID", "POSTPAID_BY_HOUR")
            for item in items(await self._market(charge_type), "InstanceTypeQuotaSet")
        ]
        self._offers = asks.choices(self._record.market, self._wish)
        if not self._offers:
            raise CannotVerify(
                "the market quotes nothing that could be bought: no small spot type is in stock where --zone and --type"
                " allow it. Leave them out, or try another --region"
            )
        self._hands.goods = self._offers[0]
        await self._ask_dry()
        await self._ask_prices()
        await self._ask_without_stock()
        await self._hands.ask("malformed-id", "DescribeInstances", rights.NO_ID)
        await self._hands.ask("unknown-id", "DescribeInstances", {"InstanceIds": [self._unknown_id()]})
        await self._burst()

    async def _market(self, charge_type: str) -> Answer:
        filters = [{"Name": "instance-charge-type", "Values": [charge_type]}]
        return await call(self._line, "DescribeZoneInstanceConfigInfos", {"Filters": filters})

    async def _ask_dry(self) -> None:
        goods = self._hands.goods
        for key, parameters in asks.dry_runs(goods, self._hands.run).items() if goods else ():
            answer = await self._hands.ask(key, "RunInstances", parameters)
            if key == "dry-run":
                rights.refuse_without_rights({"RunInstances": answer})
            if not answer.code and answer.ids:
                raise CannotVerify("a dry run has bought an instance: nothing more was asked")

    async def _ask_prices(self) -> None:
        hands, goods = self._hands, self._hands.goods
        if goods is None:
            return
        plain = await hands.ask("inquiry", "InquiryPriceRunInstances", asks.inquiry(goods))
        self._record.answers["InquiryPriceRunInstances"] = plain
        if plain.code in NOT_ALLOWED:
            hands.record.skipped["burst"] = "the key may not send InquiryPriceRunInstances"
        await hands.ask("inquiry-of-two", "InquiryPriceRunInstances", asks.inquiry(goods, count=2))
        large = await hands.ask("inquiry-large-disk", "InquiryPriceRunInstances", asks.inquiry(goods, disk=500))
        one, other = inquired(plain), inquired(large)
        disk = Decimal(str(max(0.0, (other - one) / 450 * 50))) if one and other else Decimal(0)
        hands.per_hour = goods.bid + (disk or goods.bid * Decimal("0.3"))

    async def _ask_without_stock(self) -> None:
        """Looks for a pool without stock by dry runs. Only where one instance is refused, a low bid is really sent."""
        hands, goods = self._hands, self._hands.goods
        if goods is None:
            return
        for item, count in asks.scarce(self._record.market, asks.COUNTS[0])[:SCARCE_MAX]:
            price = asks.quoted_price(item) or Decimal(1)
            scarce = asks.Goods(item["Zone"], item["InstanceType"], price, goods.image)
            changes = {"InstanceCount": count, "DryRun": True}
            name = f"{asks.NAME_PREFIX}{hands.run}-dry"
            answer = await hands.ask("without-stock", "RunInstances", asks.launch(scarce, hands.run, name, changes))
            if answer.code in STOCK_CODES:
                await self._ask_which_comes_first(scarce, count)
                return

    async def _ask_which_comes_first(self, scarce: asks.Goods, count: int) -> None:
        hands = self._hands
        low = {"InstanceMarketOptions": asks.market_options(scarce.low_bid), "InstanceCount": count}
        name = f"{asks.NAME_PREFIX}{hands.run}-dry"
        checks_price = self._record.answers["dry-run-low-bid"].code == PRICE_TOO_LOW
        key = "low-bid-without-stock"
        if checks_price:
            await hands.ask(key, "RunInstances", asks.launch(scarce, hands.run, name, {**low, "DryRun": True}))
        elif count == 1:
            chosen, hands.goods = hands.goods, scarce
            await hands.buy(key, Purchase("scarce", 60.0, changes=low))
            hands.goods = chosen
        else:
            self._record.skipped[key] = "no pool is sold out, and a dry run does not compare the bid"

    def _unknown_id(self) -> str:
        """Returns the form of an id. Whether nothing has it is asked before it is used for more than reading."""
        return f"ins-{self._hands.run[:8]:0<8}"

    async def _burst(self) -> None:
        goods, here, there = self._hands.goods, self._line.region, self._limits.other_region
        if "burst" in self._record.skipped or goods is None:
            return
        if here == there:
            self._record.skipped["burst"] = "no other region was given"
            return
        places = [here] * BURST_HERE + [there] * BURST_THERE
        inquiry = asks.inquiry(goods)
        passed = await asyncio.gather(*(hurry(self._line, "InquiryPriceRunInstances", inquiry, one) for one in places))
        near, far = passed[:BURST_HERE], passed[BURST_HERE:]
        self._record.burst = Burst(near.count(True), near.count(False), far.count(True), far.count(False))
        await asyncio.sleep(2.0)

    # --- with instances ----------------------------------------------------------------------------------------------

    async def _ask_with_instances(self) -> None:
        first = await self._buy_first()
        early = await self._end_at_once()
        tracks = [
            self._follow_first(first),
            self._keep_one(),
            self._end_early(early),
            self._compare_lists(),
            self._refuse_and_repeat(),
            self._guard_budget(),
        ]
        guarding = asyncio.create_task(tracks.pop())
        try:
            await asyncio.gather(*tracks)
        finally:
            guarding.cancel()

    async def _buy_first(self) -> Life:
        """Buys the instance that ends by its timer, in the first pool that has one; without a timer if it must be."""
        hands = self._hands
        for goods in self._offers[:5]:
            hands.goods = goods
            order = Purchase(FIRST, FIRST_SECONDS)
            life = await hands.buy(FIRST, order)
            if life is None and hands.has_timers and "Timer" in self._code(FIRST):
                hands.has_timers = False
                life = await hands.buy(FIRST, order)
            if life is not None:
                await hands.buy("token-repeated", Purchase("repeated", 60.0, token=life.token))
                return life
        reason = self._record.skipped.get(FIRST) or f"the last launch answered {self._code(FIRST)}"
        raise CannotVerify(f"nothing could be bought: {reason}")

    def _code(self, key: str) -> str:
        answer = self._record.answers.get(key)
        return answer.code if answer else ""

    async def _guard_budget(self) -> None:
        """Ends everything when the budget is used up, which only instances that refuse to end can do."""
        hands = self._hands
        await until_true(lambda: hands.purse.is_used_up(seconds()), float("inf"))
        hands.stops_buying_at = seconds()
        await asyncio.gather(*(hands.see_off(life) for life in self._record.lives))

    async def _follow_first(self, first: Life) -> None:
        """Ends the first instance once nothing else needs it, and asks for it and for its token when it is gone."""
        hands, end = self._hands, seconds() + FIRST_SECONDS
        was_running = await self._watcher.until_running(first, FIRST_SECONDS + 60.0)
        await until_true(lambda: self._are_lists_compared and self._is_address_refused, end)
        if not was_running:
            first = await self._buy_running(REPLACED) or first
        await hands.see_off(first)
        await self._watcher.until(first, ABSENT, SHUTDOWN, within=float("inf"))
        if not first.is_gone:
            await hands.end(first)
            await self._watcher.until(first, ABSENT, within=float("inf"))
        await hands.end(first, "gone")
        await self._ask_for_freed_address()  # before the next launch, which might be given this address
        again = await hands.buy("token-of-gone", Purchase("again", 300.0, token=first.token))
        if again is not None:
            await hands.see_off(again)

    async def _keep_one(self) -> None:
        """Keeps one instance to the end: its token is repeated, it is stopped once, and it may be reclaimed."""
        lasting = await self._buy_running("lasting")
        await asyncio.gather(self._repeat_token(lasting), self._stop_and_start(lasting))

    async def _repeat_token(self, lasting: Life | None) -> None:
        """Repeats the launch of an instance that lives on, at several ages of its token."""
        if lasting is None:
            self._record.skipped["token-lifetime"] = self._record.skipped.get("lasting", "the launch was refused")
            return
        for age in TOKEN_AGES:
            await asyncio.sleep(max(0.0, lasting.born_at + age - seconds()))
            if lasting.is_gone or lasting.ended_at:
                return
            if not await self._is_remembered(lasting):
                return

    async def _is_remembered(self, lasting: Life) -> bool:
        hands, age = self._hands, seconds() - lasting.born_at
        fresh = await hands.buy("token-aged", Purchase("forgotten", 300.0, token=lasting.token))
        answer = self._record.answers.get("token-aged")
        if fresh is not None:
            self._record.token_asks.append(TokenAsk(age, is_remembered=False))
            await hands.see_off(fresh)
            return False
        if answer is not None and answer.ids == (lasting.id,):
            self._record.token_asks.append(TokenAsk(age, is_remembered=True))
        return True

    async def _stop_and_start(self, lasting: Life | None) -> None:
        if lasting is None or not await self._watcher.until_running(lasting, 300.0):
            self._record.skipped["stop"] = "no instance was RUNNING in time"
            return
        target = {"InstanceIds": [lasting.id]}
        if (await self._hands.ask("stop", "StopInstances", target)).code:
            return
        lasting.asked_at.append(seconds())
        if await self._watcher.until(lasting, STOPPED, within=300.0):
            await self._hands.ask("start", "StartInstances", target)
            lasting.asked_at.append(seconds())
            await self._watcher.until_running(lasting, 300.0)

    async def _end_at_once(self) -> Life | None:
        """Buys an instance, repeats its token with another name, and asks that it ends while it is PENDING."""
        hands = self._hands
        early = await hands.buy("early", Purchase("early", 600.0))
        if early is None:
            for key in ("terminate-pending", "token-mismatch"):
                self._record.skipped[key] = self._record.skipped.get("early", "the launch was refused")
            return None
        other = {"InstanceName": f"{early.name}-other"}
        await hands.buy("token-mismatch", Purchase("batched", 600.0, token=early.token, changes=other))
        await hands.end(early, "terminate-pending")
        return early

    async def _end_early(self, early: Life | None) -> None:
        """Ends an instance in a batch, and watches how those that were ended go."""
        batched = self._record.life("batched")
        if batched is None and early is not None and not early.ended_at:
            batched = early
        elif batched is None or not await self._watcher.until_running(batched, 300.0):
            batched = await self._buy_running("batched")
        if batched is None or not await self._watcher.until_running(batched, 300.0):
            self._record.skipped["batch"] = "no instance was RUNNING in time"
        else:
            await self._end_in_a_batch(batched)
        lives = dict.fromkeys(life.id for life in (early, batched) if life is not None)
        found = [life for life in self._record.lives if life.id in lives]
        await asyncio.gather(*(self._hands.see_off(life) for life in found if not life.ended_at))
        await asyncio.gather(*map(self._wait_for_the_bin, found))

    async def _buy_running(self, purpose: str) -> Life | None:
        """Buys an instance that becomes RUNNING, twice at most, because some launches fail."""
        life = None
        for _ in range(2):
            life = await self._hands.buy(purpose, Purchase(purpose, 600.0))
            if life is None or await self._watcher.until_running(life, 300.0):
                break
        return life

    async def _end_in_a_batch(self, life: Life) -> None:
        hands, unknown = self._hands, self._unknown_id()
        look = await hands.ask("unknown-again", "DescribeInstances", {"InstanceIds": [unknown]})
        if list(items(look, "InstanceSet")) or look.code == NO_ANSWER:
            self._record.skipped["batch"] = "no id was found that certainly belongs to nothing"
            await hands.see_off(life)
            return
        await hands.ask("batch", "TerminateInstances", {"InstanceIds": [life.id, unknown]})
        asked_at = seconds()
        lag = life.by_id.lag.upper if life.by_id.lag else 0.0
        await asyncio.sleep(lag + BATCH_SECONDS)
        self._record.state_after_batch = life.state
        if life.state == RUNNING:
            await hands.see_off(life)
        else:
            life.ended_at.append(asked_at)

    async def _wait_for_the_bin(self, life: Life) -> None:
        """Leaves what is in the recycle bin there for as long as there is time, and then ends it a second time."""
        await self._watcher.until(life, SHUTDOWN, ABSENT, within=float("inf"))
        if life.state == SHUTDOWN and not await self._watcher.until(life, ABSENT, within=self._patience()):
            await self._hands.end(life)

    def _patience(self) -> float:
        return max(0.0, self._hands.ends_at - LAST_END - 60.0 - seconds())

    # --- beside ------------------------------------------------------------------------------------------------------

    async def _compare_lists(self) -> None:
        """Lists our instances often, once two are listed, and lists by charge type."""
        record = self._record
        await until_true(self._are_two_listed, float("inf"))
        for _ in range(LISTS):
            names = [life.name for life in record.lives if not life.is_gone][:5]
            answer = await call(self._line, "DescribeInstances", {"Filters": [_filter("instance-name", *names)]})
            record.lists.append(tuple(str(item.get("InstanceId")) for item in items(answer, "InstanceSet")))
            await asyncio.sleep(1.5)
        self._are_lists_compared = True
        names = [life.name for life in record.lives if life.in_list.seen_at is not None and not life.is_gone][:5]
        spot = _filter("instance-charge-type", "SPOTPAID")
        await self._hands.ask("spot-filter", "DescribeInstances", {"Filters": [spot, _filter("instance-name", *names)]})
        others = await call(
            self._line,
            "DescribeInstances",
            {"Filters": [_filter("instance-charge-type", "POSTPAID_BY_HOUR", "PREPAID")], "Limit": 1},
        )
        other = next((str(item.get("InstanceId")) for item in items(others, "InstanceSet")), None)
        if other is not None:
            both = {"Filters": [spot, _filter("instance-id", other)]}
            shown = await call(self._line, "DescribeInstances", both)
            if not shown.code:
                record.shows_others_as_spot = any(items(shown, "InstanceSet"))

    def _are_two_listed(self) -> bool:
        return sum(life.in_list.seen_at is not None and not life.is_gone for life in self._record.lives) >= 2

    async def _refuse_and_repeat(self) -> None:
        """Lets a launch be refused, and repeats it under its token: at once when that tells, otherwise later."""
        hands, goods = self._hands, self._hands.goods
        if goods is None:
            return
        if token_mismatch(self._record).setting in ("error", "old-ids"):
            self._is_address_refused = True
            low, good = ({"InstanceMarketOptions": asks.market_options(bid)} for bid in (goods.low_bid, goods.bid))
            token = f"{hands.run}-refused"
            lives = [
                await hands.buy("token-refused", Purchase("refused", 60.0, token=token, changes=low)),
                await hands.buy("token-refused-again", Purchase("refused", 300.0, token=token, changes=good)),
            ]
            await asyncio.gather(*(hands.see_off(life) for life in lives if life is not None))
            return
        first = self._record.life(FIRST)
        if first is None or not await self._watcher.until_running(first, FIRST_SECONDS) or not first.network:
            self._record.skipped["address-free"] = "no address of ours was known while it was taken"
            return
        token, wanted = f"{hands.run}-address", {"VirtualPrivateCloud": first.network}
        life = await hands.buy("address-taken", Purchase("address", 60.0, token=token, changes=wanted))
        self._is_address_refused = True
        if life is not None:
            await hands.see_off(life)

    async def _ask_for_freed_address(self) -> None:
        hands, taken = self._hands, self._record.answers.get("address-taken")
        if taken is None or not taken.code:
            return
        life = await hands.buy("address-free", Purchase("address", 300.0, token=f"{hands.run}-address"))
        if life is not None:
            await hands.see_off(life)


def _filter(name: str, *values: str) -> dict[str, object]:
    return {"Name": name, "Values": list(values)}
