"""Lists every behaviour of CVM that Tencent does not document, as a named switch with all its settings.

The operator must survive every setting of each switch, and the tests must be able to choose each. The defaults are what
the sources make most likely.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cvmsim.errors import WorldFileError

SECONDS = "seconds"  # marks a switch whose value is any number of seconds >= 0
FRACTION = "fraction"  # marks a switch whose value is a probability, 0 to 1
FOREVER = 10.0**12  # seconds; `forever` on the command line


@dataclass(frozen=True, slots=True)
class Switch:
    """`Switch` is one open question. `settings` are its allowed words, or for a number the values worth trying."""

    name: str
    default: str
    settings: tuple[str, ...]
    question: str
    source: str
    kind: str = "choice"


TABLE: tuple[Switch, ...] = (
    Switch("site", "mainland", ("mainland", "international"), "On which site is the account?",
           "each site has an SDK of its own; `serve --site` sets all that differs"),
    # --- RunInstances -----------------------------------------------------------------------------
    Switch("token-lifetime", "86400", ("600", "86400", "forever"), "How long is a ClientToken remembered?",
           "RunInstances: ClientToken; no page gives a lifetime", SECONDS),
    Switch("token-of-terminated", "same-ids", ("same-ids", "error", "relaunch"),
           "What does a token answer whose instances are all gone: the old ids, a refusal, or a new purchase?",
           "undocumented; EC2 refuses"),
    Switch("token-mismatch", "error", ("error", "old-ids", "relaunch"),
           "What does a token answer with other parameters: a refusal, the old ids, or a new purchase?",
           "no mismatch code exists in the product's error list"),
    Switch("token-after-failure", "free", ("free", "consumed"),
           "Is a token free again after a refusal, or does it repeat the refusal?", "undocumented"),
    Switch("dry-run-answer", "empty", ("empty", "code"),
           "What does a dry run answer that passes: an empty success, or the code DryRunOperation?",
           "CONFLICT: RunInstances page against the platform's common error codes"),
    Switch("dry-run-checks-price", "yes", ("yes", "no"), "Does a dry run compare the bid with the price?",
           "RunInstances: DryRun lists parameters, limits and stock only"),
    Switch("min-count", "supported", ("supported", "unsupported-charge-type", "unsupported-region"),
           "May this account, region and charge type use partial delivery (MinCount)?",
           "RunInstances: MinCount, only for some accounts, regions and charge types"),
    Switch("price-check", "before-stock", ("before-stock", "after-stock"),
           "Which refusal comes first when the bid is too low and there is no stock?", "undocumented"),
    Switch("sold-out-code", "ResourceInsufficient.SpecifiedInstanceType",
           ("ResourceInsufficient.SpecifiedInstanceType", "ResourcesSoldOut.SpecifiedInstanceType",
            "InvalidParameterValue.InsufficientOffering", "LimitExceeded.SpotQuota",
            "ResourceInsufficient.AvailabilityZoneSoldOut", "ResourceUnavailable.InstanceType"),
           "Which code does the cloud use for missing stock?", "RunInstances lists all of them, and does not say when"),
    Switch("instance-name-limit", "60", ("60", "128"), "How long may an instance name be, in bytes?",
           "CONFLICT: 128 in RunInstances, 60 in the code's comment and ModifyInstancesAttribute"),
    Switch("instance-count-limit", "100", ("100", "500"), "For how many instances may one request ask?",
           "CONFLICT: 500 on the mainland page, for other charge types; 100 on the international one"),
    Switch("spot-without-bid", "accepted", ("accepted", "refused"),
           "Does SPOTPAID without InstanceMarketOptions bid the present price, or is it refused?",
           "the international page does not say what the mainland page says"),
    Switch("tag-charset", "live", ("live", "cvm", "tag-product"), "Which characters may a tag have?",
           "CONFLICT: what live accounts answer, the CVM tag page, and the page of the Tag product"),
    Switch("pending-seconds", "3", ("0", "3", "120"), "How long does a launch stay PENDING (varies by a third)?",
           "undocumented", SECONDS),
    Switch("launch-failure-rate", "0", ("0", "0.1"), "Which fraction of accepted launches ends in LAUNCH_FAILED?",
           "undocumented", FRACTION),
    Switch("launch-failed-lifetime", "60", ("0", "60", "3600"),
           "How long does a LAUNCH_FAILED instance stay listed?", "undocumented; it cannot be terminated", SECONDS),
    # --- Describe… --------------------------------------------------------------------------------
    Switch("list-lag", "0", ("0", "5", "60", "180"), "How old is the state that a list shows?",
           "undocumented; known clients wait", SECONDS),
    Switch("id-lag", "0", ("0", "5", "60"), "How old is the state that a query by id shows?", "undocumented", SECONDS),
    Switch("tag-lag", "0", ("0", "5", "60", "180"), "How long after a launch can tags be read and filtered?",
           "Terraform's provider waits for them", SECONDS),
    Switch("order", "creation", ("creation", "newest-first", "shuffled"), "In which order does a list come?",
           "undocumented"),
    Switch("spot-charge-type-filter", "works", ("works", "ignored", "empty", "refused"),
           "Does the filter instance-charge-type know SPOTPAID?", "DescribeInstances names three other values only"),
    Switch("unknown-id", "absent", ("absent", "error"), "Is an unknown id left out of the answer, or an error?",
           "no NotFound in the action's list"),
    Switch("price-currency", "USD", ("USD", "CNY"), "Which currency do prices and bids have?",
           "yuan on the mainland site, dollars on the international one; answers do not say it"),
    Switch("inquiry-price", "whole", ("whole", "each"), "Is an inquired price that of all instances, or of one?",
           "InquiryPriceRunInstances does not say"),
    Switch("inquiry-disks", "included", ("included", "excluded"), "Is the price of disks part of an inquired price?",
           "InquiryPriceRunInstances takes disks, and does not say"),
    Switch("price-steps", "flat", ("flat", "falling"),
           "Does an hour on demand cost less after 96 and after 360 hours (here 60 % and 50 %)?",
           "ItemPrice has fields for it; no page says which types have it"),
    Switch("quote-lag", "0", ("0", "30", "300"), "How old are the stock and price that the market quotes?",
           "undocumented", SECONDS),
    # --- TerminateInstances and reclaim -----------------------------------------------------------
    Switch("terminate-batch", "all-or-nothing", ("all-or-nothing", "partial"),
           "With one bad id in a batch, does nothing happen, or are the ids before it terminated?",
           "TerminateInstances has no result per instance"),
    Switch("terminate-pending", "refused", ("refused", "accepted"), "May a PENDING instance be terminated?",
           "UnsupportedOperation.InstanceStatePending is listed, but not when it is used"),
    Switch("terminate-gone", "InvalidInstanceId.NotFound",
           ("InvalidInstanceId.NotFound", "UnsupportedOperation.InstanceStateTerminated"),
           "What does TerminateInstances answer for an instance that is gone?", "TerminateInstances lists both codes"),
    Switch("malformed-id", "InvalidInstanceId.Malformed",
           ("InvalidInstanceId.Malformed", "InvalidParameterValue.InstanceIdMalformed"),
           "Which code does a malformed id get?", "most actions list both"),
    Switch("terminating-seconds", "5", ("0", "5", "1200"), "How long does an instance stay TERMINATING?",
           "undocumented", SECONDS),
    Switch("recycle-bin", "no", ("no", "yes"),
           "Is a terminated spot instance gone at once, or first in SHUTDOWN (the recycle bin)?",
           "CONFLICT: mainland and international pages; neither mentions spot"),
    Switch("recycle-bin-seconds", "7200", ("60", "7200"), "How long does the recycle bin keep it?",
           "international page: two hours", SECONDS),
    Switch("price-interrupts", "no", ("no", "yes"), "Are instances reclaimed when the price rises above their bid?",
           "CONFLICT: spot page (only for stock at present) against its FAQ"),
    Switch("reclaim-visible", "terminating", ("terminating", "shutdown", "absent"),
           "Which state does a reclaimed instance show before it is gone?", "undocumented"),
    Switch("latest-operation-of-console", "recorded", ("recorded", "absent"),
           "Does LatestOperation show what a person does in the console?", "undocumented"),
    Switch("stop-seconds", "2", ("0", "2", "60"), "How long do STOPPING and STARTING last?", "undocumented", SECONDS),
    # --- Requests ---------------------------------------------------------------------------------
    Switch("limit-scope", "region", ("region", "account"), "Does a rate limit count per region, or over all of them?",
           "the API category page does not say"),
    # --- The simulator ----------------------------------------------------------------------------
    Switch("caller-identity", "answered",
           ("answered", "AuthFailure.UnauthorizedOperation", "UnauthorizedOperation"),
           "May a key ask for its owner, when its CAM policy does not allow the action by name?",
           "GetCallerIdentity names neither a permission nor a code"),
    Switch("skew-clock", "wall", ("wall", "world"), "Which clock judges the five minutes of a signature's age?",
           "the simulator's own choice: with a stepped clock, clients still sign in real time"),
)  # fmt: skip

#: What `serve --site` sets: the differences that the two SDKs and pages name.
SITES: Mapping[str, Mapping[str, str]] = {
    "mainland": {"site": "mainland", "price-currency": "CNY", "instance-count-limit": "500", "recycle-bin": "no"},
    "international": {
        "site": "international",
        "price-currency": "USD",
        "instance-count-limit": "100",
        "instance-name-limit": "128",
        "recycle-bin": "yes",
        "spot-without-bid": "refused",
    },
}

BY_NAME = {switch.name: switch for switch in TABLE}


def as_markdown() -> str:
    """Returns the table as the documentation shows it."""
    head = "| Switch | Question | Default | Settings | Left open by |\n|---|---|---|---|---|"
    return "\n".join([head, *map(_markdown_row, TABLE)])


def _markdown_row(switch: Switch) -> str:
    settings = ", ".join(f"`{setting}`" for setting in switch.settings)
    if switch.kind != "choice":
        settings = f"any number of {switch.kind}" if switch.kind == SECONDS else "0 to 1"
        settings += f"; try {', '.join(f'`{setting}`' for setting in switch.settings)}"
    return f"| `{switch.name}` | {switch.question} | `{switch.default}` | {settings} | {switch.source} |"


class Switches:
    """`Switches` holds the current settings. Numbers come as floats, choices as words.

    Raises WorldFileError for an unknown name, or for a value that is not a setting of the switch.
    """

    def __init__(self, settings: Mapping[str, object] | None = None) -> None:
        self._values: dict[str, str] = {switch.name: switch.default for switch in TABLE}
        self._numbers: dict[str, float] = {s.name: _number(s, s.default) for s in TABLE if s.kind != "choice"}
        for name, value in (settings or {}).items():
            self.set(name, value)

    def set(self, name: str, value: object) -> None:
        """Sets one switch. YAML's yes/no and numbers are accepted as well as words. Raises WorldFileError."""
        switch = BY_NAME.get(name)
        if switch is None:
            raise WorldFileError(f"no switch {name!r}; the switches are: {', '.join(BY_NAME)}")
        word = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        if switch.kind != "choice":
            self._numbers[name] = _number(switch, word)
        elif word not in switch.settings:
            raise WorldFileError(f"switch {name}: {word!r} is not one of {', '.join(switch.settings)}")
        self._values[name] = word

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def number(self, name: str) -> float:
        """Returns the value of a switch of seconds or of a fraction."""
        return self._numbers[name]

    def items(self) -> Iterator[tuple[str, str]]:
        """Yields every switch with its value."""
        yield from self._values.items()


def _number(switch: Switch, word: str) -> float:
    if word == "forever" and switch.kind == SECONDS:
        return FOREVER
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not 0 <= number <= (1 if switch.kind == FRACTION else FOREVER):
        raise WorldFileError(f"switch {switch.name}: {word!r} is not a number of {switch.kind}")
    return number
