"""Finds out which CAM permissions a key lacks, before anything is bought.

Apart from the questions, because a key that may buy and may not end would leave instances behind.
"""

from __future__ import annotations

from collections.abc import Mapping

from spotcompute.cloud.tencent.verify.line import NOT_ALLOWED, CannotVerify, RequestLine, call
from spotcompute.cloud.tencent.verify.record import Answer, Json

PAGE = "docs/reference/cam-policy.md"

#: Malformed on purpose: such a request changes nothing, whatever the key may do.
NO_ID = {"InstanceIds": ["ins-!"]}

#: Requests that change nothing, and show whether the key may send their action. The dry run that completes them needs
#: to know the market first.
HARMLESS: Mapping[str, Json] = {
    "DescribeInstances": {"Limit": 1},
    "DescribeZoneInstanceConfigInfos": {"Filters": [{"Name": "instance-charge-type", "Values": ["SPOTPAID"]}]},
    "TerminateInstances": NO_ID,
    "StopInstances": NO_ID,
    "StartInstances": NO_ID,
    "GetCallerIdentity": {},
}

#: All that a verification sends.
ACTIONS = frozenset({*HARMLESS, "RunInstances", "InquiryPriceRunInstances"})

#: Without these nothing is bought. Without the others some questions stay open.
NEEDED = ("DescribeInstances", "DescribeZoneInstanceConfigInfos", "TerminateInstances", "RunInstances")


async def try_rights(line: RequestLine) -> dict[str, Answer]:
    """Returns the answer to one harmless request of each action."""
    return {action: await call(line, action, parameters) for action, parameters in HARMLESS.items()}


def lacking(answers: Mapping[str, Answer]) -> list[str]:
    """Returns the actions that the key may not send, in the words of a CAM policy."""
    products = {"GetCallerIdentity": "sts"}
    return [
        f"name/{products.get(action, 'cvm')}:{action}"
        for action, answer in answers.items()
        if action in ACTIONS and answer.code in NOT_ALLOWED
    ]


def refuse_without_rights(answers: Mapping[str, Answer]) -> None:
    """Raises CannotVerify when the key may not do what buying and ending one instance needs."""
    needed = lacking({action: answer for action, answer in answers.items() if action in NEEDED})
    if not needed:
        return
    text = f"the key lacks {', '.join(needed)}: nothing was bought. {PAGE} has a policy for `spotcompute verify`"
    if any(one.endswith(":TerminateInstances") for one in needed):
        text += ". If its policy allows TerminateInstances only for tagged instances, leave that condition out for it"
    raise CannotVerify(text)
