"""Lists every question of a verification: the switches of cvmsim, what we assume of each, and its judge.

Apart from the judges, which stand in `answered`, `measured` and `endings`. A test compares this list with cvmsim's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spotcompute.cloud.tencent.verify import answered, endings, measured
from spotcompute.cloud.tencent.verify.finding import Finding, by_answer
from spotcompute.cloud.tencent.verify.record import Record


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """`OpenQuestion` is one switch of cvmsim: what we assume, what else may be, and how a record answers it.

    `tried` are values of a number that the tests use. A measured number that fits one of them is called by it.
    """

    name: str
    assumed: str
    judge: Callable[[Record], Finding]


GONE_CODES = ("InvalidInstanceId.NotFound", "UnsupportedOperation.InstanceStateTerminated")
MALFORMED_CODES = ("InvalidInstanceId.Malformed", "InvalidParameterValue.InstanceIdMalformed")

QUESTIONS: tuple[OpenQuestion, ...] = (
    OpenQuestion("site", "mainland", answered.site),
    OpenQuestion("token-lifetime", "86400", endings.lifetime_of_token),
    OpenQuestion("token-of-terminated", "same-ids", endings.token_of_terminated),
    OpenQuestion("token-mismatch", "error", endings.token_mismatch),
    OpenQuestion("token-after-failure", "free", endings.token_after_failure),
    OpenQuestion("dry-run-answer", "empty", by_answer("dry-run", answered.dry_run_answer)),
    OpenQuestion("dry-run-checks-price", "yes", by_answer("dry-run-low-bid", answered.dry_run_checks_price)),
    OpenQuestion("min-count", "supported", by_answer("min-count", answered.min_count)),
    OpenQuestion("price-check", "before-stock", by_answer("low-bid-without-stock", answered.price_check)),
    OpenQuestion(
        "sold-out-code",
        "ResourceInsufficient.SpecifiedInstanceType",
        by_answer("without-stock", answered.sold_out_code),
    ),
    OpenQuestion("instance-name-limit", "60", answered.name_limit),
    OpenQuestion("instance-count-limit", "100", answered.count_limit),
    OpenQuestion("spot-without-bid", "accepted", by_answer("no-bid", answered.spot_without_bid)),
    OpenQuestion("tag-charset", "live", answered.tag_charset),
    OpenQuestion("pending-seconds", "3", measured.pending_seconds),
    OpenQuestion("launch-failure-rate", "0", measured.launch_failure_rate),
    OpenQuestion("launch-failed-lifetime", "60", measured.launch_failed_lifetime),
    OpenQuestion("list-lag", "0", measured.list_lag),
    OpenQuestion("id-lag", "0", measured.id_lag),
    OpenQuestion("tag-lag", "0", measured.tag_lag),
    OpenQuestion("order", "creation", measured.order),
    OpenQuestion("spot-charge-type-filter", "works", measured.spot_filter),
    OpenQuestion("unknown-id", "absent", by_answer("unknown-id", answered.unknown_id)),
    OpenQuestion("price-currency", "USD", answered.price_currency),
    OpenQuestion("inquiry-price", "whole", answered.inquiry_price),
    OpenQuestion("inquiry-disks", "included", answered.inquiry_disks),
    OpenQuestion("price-steps", "flat", answered.price_steps),
    OpenQuestion("quote-lag", "0", measured.quote_lag),
    OpenQuestion("terminate-batch", "all-or-nothing", endings.terminate_batch),
    OpenQuestion("terminate-pending", "refused", endings.terminate_pending),
    OpenQuestion(
        "terminate-gone",
        "InvalidInstanceId.NotFound",
        by_answer("gone", answered.one_of(*GONE_CODES, what="TerminateInstances for an instance that is gone")),
    ),
    OpenQuestion(
        "malformed-id",
        "InvalidInstanceId.Malformed",
        by_answer("malformed-id", answered.one_of(*MALFORMED_CODES, what="a query for a malformed id")),
    ),
    OpenQuestion("terminating-seconds", "5", measured.terminating_seconds),
    OpenQuestion("recycle-bin", "no", measured.recycle_bin),
    OpenQuestion("recycle-bin-seconds", "7200", measured.recycle_bin_seconds),
    OpenQuestion("price-interrupts", "no", endings.price_interrupts),
    OpenQuestion("reclaim-visible", "terminating", endings.reclaim_visible),
    OpenQuestion("latest-operation-of-console", "recorded", endings.console_operation),
    OpenQuestion("stop-seconds", "2", measured.stop_seconds),
    OpenQuestion("limit-scope", "region", answered.limit_scope),
    OpenQuestion("caller-identity", "answered", answered.caller_identity),
    OpenQuestion(
        "skew-clock", "wall", endings.watched("skew", "this is a choice of the simulator, and no question to the cloud")
    ),
)

#: What the operator relies on, and no switch of cvmsim changes.
FURTHER: tuple[OpenQuestion, ...] = (OpenQuestion("token-repeated", "same-ids", endings.token_repeated),)


def findings(record: Record) -> Mapping[str, Finding]:
    """Returns the finding of every question, in the order of the switches."""
    return {question.name: question.judge(record) for question in (*QUESTIONS, *FURTHER)}
