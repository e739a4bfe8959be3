"""Lists the API actions. One module holds each kind: `buy`, `change`, `look`, `survey`, `sts`.

Apart from `world`, which knows no parameter names, and from `wire`, which knows no actions.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from cvmsim.actions import buy, change, look, sts, survey
from cvmsim.actions.call import Answer, Call
from cvmsim.world import World


class Action(NamedTuple):
    """`Action` is one API action: its function, and whether X-TC-Region must name a region of the world."""

    perform: Callable[[World, Call], Answer]
    needs_region: bool = True


VERSIONS: Mapping[str, str] = {"cvm": "2017-03-12", "sts": "2018-08-13"}

ACTIONS: Mapping[tuple[str, str], Action] = {
    ("cvm", "RunInstances"): Action(buy.run_instances),
    ("cvm", "InquiryPriceRunInstances"): Action(buy.inquire_price),
    ("cvm", "DescribeInstances"): Action(look.describe_instances),
    ("cvm", "DescribeInstancesStatus"): Action(look.describe_instances_status),
    ("cvm", "TerminateInstances"): Action(change.terminate_instances),
    ("cvm", "StopInstances"): Action(change.stop_instances),
    ("cvm", "StartInstances"): Action(change.start_instances),
    ("cvm", "ModifyInstancesAttribute"): Action(change.modify_instances_attribute),
    ("cvm", "DescribeZoneInstanceConfigInfos"): Action(survey.describe_zone_instance_config_infos),
    ("cvm", "DescribeInstanceTypeConfigs"): Action(survey.describe_instance_type_configs),
    ("cvm", "DescribeZones"): Action(survey.describe_zones),
    ("cvm", "DescribeRegions"): Action(survey.describe_regions, needs_region=False),
    ("cvm", "DescribeImages"): Action(survey.describe_images),
    ("cvm", "DescribeAccountQuota"): Action(survey.describe_account_quota),
    ("sts", "AssumeRole"): Action(sts.assume_role, needs_region=False),
    ("sts", "GetCallerIdentity"): Action(sts.get_caller_identity, needs_region=False),
}


def product_of(service: str, version: str, action: str) -> str | None:
    """Returns the product that `service` names, or otherwise the one of this version that has the action.

    None when there is none. Several products share a version, so the first of it answers an action that none has.
    """
    if service in VERSIONS:
        return service
    products = [name for name, known in VERSIONS.items() if known == version]
    return next((name for name in products if (name, action) in ACTIONS), products[0] if products else None)
