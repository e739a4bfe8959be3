"""Lists the API actions. One module holds each kind: `buy`, `change`, `look`, `survey`, `timers`, `keypairs`, and for
other products `networks`, `disks`, `tags`, `sts`.

Apart from `world`, which knows no parameter names, and from `wire`, which knows no actions.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from cvmsim.actions import buy, change, disks, keypairs, look, networks, sts, survey, tags, timers
from cvmsim.actions.call import Answer, Call
from cvmsim.errors import ApiError
from cvmsim.world import World


class Action(NamedTuple):
    """`Action` is one API action: its function, and whether X-TC-Region must name a region of the world."""

    perform: Callable[[World, Call], Answer]
    needs_region: bool = True


VERSIONS: Mapping[str, str] = {
    "cvm": "2017-03-12",
    "vpc": "2017-03-12",
    "cbs": "2017-03-12",
    "tag": "2018-08-13",
    "sts": "2018-08-13",
}

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
    ("cvm", "DescribeInstancesAttributes"): Action(look.describe_instances_attributes),
    ("cvm", "DescribeKeyPairs"): Action(keypairs.describe_key_pairs),
    ("cvm", "CreateKeyPair"): Action(keypairs.create_key_pair),
    ("cvm", "DeleteKeyPairs"): Action(keypairs.delete_key_pairs),
    ("cvm", "ImportInstancesActionTimer"): Action(timers.import_instances_action_timer),
    ("cvm", "DeleteInstancesActionTimer"): Action(timers.delete_instances_action_timer),
    ("cvm", "DescribeInstancesActionTimer"): Action(timers.describe_instances_action_timer),
    ("vpc", "DescribeVpcs"): Action(networks.describe_vpcs),
    ("vpc", "DescribeSubnets"): Action(networks.describe_subnets),
    ("vpc", "DescribeSecurityGroups"): Action(networks.describe_security_groups),
    ("vpc", "DescribeUsedIpAddress"): Action(networks.describe_used_ip_address),
    ("vpc", "DescribeAddresses"): Action(networks.describe_addresses),
    ("cbs", "DescribeDisks"): Action(disks.describe_disks),
    ("cbs", "TerminateDisks"): Action(disks.terminate_disks),
    ("tag", "DescribeResourceTagsByResourceIds"): Action(
        tags.describe_resource_tags_by_resource_ids, needs_region=False
    ),
    ("tag", "ModifyResourceTags"): Action(tags.modify_resource_tags, needs_region=False),
    ("sts", "AssumeRole"): Action(sts.assume_role, needs_region=False),
    ("sts", "AssumeRoleWithWebIdentity"): Action(sts.assume_role_with_web_identity, needs_region=False),
    ("sts", "GetCallerIdentity"): Action(sts.get_caller_identity, needs_region=False),
}


#: Actions whose requests have no signature: what they show instead is a parameter.
UNSIGNED = frozenset({("sts", "AssumeRoleWithWebIdentity")})

#: The international SDK does not have these.
MAINLAND_ONLY = frozenset({"DescribeAccountQuota"})


def no_such_action(service: str, action: str) -> ApiError:
    """Returns the refusal of an action that is not carried out here, which says whether the vendor has it."""
    if action in published().get(service, ()):
        return ApiError(
            "UnsupportedOperation",
            f"The action `{action}` of {service} is not simulated. docs/cvmsim.md lists which are.",
        )
    return ApiError("InvalidAction", f"The action `{action}` does not exist in {service}.")


@cache
def published() -> Mapping[str, frozenset[str]]:
    """Returns the names of all actions that the vendor publishes, by product."""
    products = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    return {product: frozenset(names.split()) for product, names in products.items()}


def as_markdown() -> str:
    """Returns the table of actions as the documentation shows it."""
    rows = ["| Product | Version | Carried out | Refused with UnsupportedOperation |", "|---|---|---|---|"]
    for product, names in published().items():
        done = {action for service, action in ACTIONS if service == product}
        lists = (", ".join(f"`{name}`" for name in sorted(found)) for found in (done, names - done))
        rows.append(f"| `{product}` | {VERSIONS[product]} | {' | '.join(lists)} |")
    return "\n".join(rows)


def product_of(service: str, version: str, action: str) -> str | None:
    """Returns the product that `service` names, or otherwise the one of this version that has the action.

    None when there is none. Several products share a version, so the first of it answers an action that none has.
    """
    if service in VERSIONS:
        return service
    products = [name for name, known in VERSIONS.items() if known == version]
    return next((name for name in products if (name, action) in ACTIONS), products[0] if products else None)
