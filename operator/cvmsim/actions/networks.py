"""Answers the reading actions of vpc: networks, subnets, security groups, used and elastic addresses.

Apart from the cvm actions because it is another product. Networks and groups are those of the
world file, and do not change.
"""

from collections.abc import Collection
from ipaddress import IPv4Network, collapse_addresses

from cvmsim.actions.call import Answer, Call, chosen, filters_of, fits, page, tag_facts
from cvmsim.addresses import ElasticAddress
from cvmsim.catalog import Subnet
from cvmsim.errors import ApiError
from cvmsim.instance import GONE, Instance
from cvmsim.world import World

TAGS = frozenset({"tag-key", "tag-value", "tag:"})
VPC_FILTERS = frozenset({"vpc-name", "is-default", "vpc-id", "cidr-block"}) | TAGS
SUBNET_FILTERS = frozenset({"subnet-id", "vpc-id", "cidr-block", "is-default", "subnet-name", "zone", "is-cdc-subnet",
                            "is-remote-vpc-snat", "cdc-id"}) | TAGS  # fmt: skip
GROUP_FILTERS = frozenset({"security-group-id", "project-id", "security-group-name"}) | TAGS
USED_FILTERS = frozenset({"ip-addresses", "resource-id"})
ADDRESS_FILTERS = frozenset({"address-id", "address-ip", "instance-id", "address-status", "address-type"}) | TAGS
CREATED = "2024-01-01 00:00:00"
Facts = dict[str, Collection[str]]


def _subnets(world: World, call: Call) -> list[Subnet]:
    subnets = world.account(call.account).subnets.values()
    return [subnet for subnet in subnets if subnet.region == call.region]


def _filters(call: Call, known: frozenset[str]) -> dict[str, list[str]]:
    try:
        return filters_of(call.params, known)
    except ApiError as refusal:
        code = "InvalidParameter.InvalidFilter" if refusal.code == "InvalidFilter" else refusal.code
        raise ApiError(code, refusal.message) from refusal


def describe_vpcs(world: World, call: Call) -> Answer:
    """Answers the networks of the region. The first is the default one. Source: VPC API 2017-03-12, DescribeVpcs."""
    ids, filters = chosen(call.params, "VpcIds", "vpc", "InvalidVpcId.Malformed"), _filters(call, VPC_FILTERS)
    networks: dict[str, list[IPv4Network]] = {}
    for subnet in _subnets(world, call):
        networks.setdefault(subnet.vpc, []).append(subnet.network)
    for one in ids:
        if one not in networks:
            raise ApiError("ResourceNotFound", f"The VPC `{one}` does not exist.")
    default = next(iter(networks), "")
    found = [
        _vpc(vpc, parts, is_default=vpc == default)
        for vpc, parts in networks.items()
        if (not ids or vpc in ids) and fits(_vpc_facts(vpc, parts, is_default=vpc == default), filters)
    ]
    return {"TotalCount": len(found), "VpcSet": list(page(call.params, found))}


def _vpc_facts(vpc: str, parts: list[IPv4Network], *, is_default: bool) -> Facts:
    return {
        "vpc-id": (vpc,),
        "vpc-name": (vpc,),
        "is-default": (str(is_default).lower(),),
        "cidr-block": (str(_around(parts)),),
    }


def _around(parts: list[IPv4Network]) -> IPv4Network:
    """Returns the smallest network that holds all subnets. A VPC has at most a /16."""
    found = next(collapse_addresses(parts))
    while not all(part.subnet_of(found) for part in parts):
        found = found.supernet()
    return found if found.prefixlen <= 16 else found.supernet(new_prefix=16)


def _vpc(vpc: str, parts: list[IPv4Network], *, is_default: bool) -> Answer:
    return {
        "VpcId": vpc,
        "VpcName": vpc,
        "CidrBlock": str(_around(parts)),
        "IsDefault": is_default,
        "EnableMulticast": False,
        "CreatedTime": CREATED,
        "DnsServerSet": ["183.60.83.19", "183.60.82.98"],
        "DomainName": "",
        "DhcpOptionsId": "",
        "EnableDhcp": True,
        "Ipv6CidrBlock": "",
        "TagSet": [],
        "AssistantCidrSet": [],
        "EnableRouteVpcPublish": False,
        "Ipv6CidrBlockSet": [],
    }


def describe_subnets(world: World, call: Call) -> Answer:
    """Answers the subnets of the region with their free addresses. Source: DescribeSubnets."""
    ids, filters = (
        chosen(call.params, "SubnetIds", "subnet", "InvalidParameterValue.Malformed"),
        _filters(call, SUBNET_FILTERS),
    )
    known = _subnets(world, call)
    for one in ids:
        if one not in {subnet.id for subnet in known}:
            raise ApiError("ResourceNotFound", f"The subnet `{one}` does not exist.")
    rows = [_subnet(world, subnet, is_default=subnet.vpc == known[0].vpc) for subnet in known]
    found = [row for row in rows if (not ids or row["SubnetId"] in ids) and fits(_subnet_facts(row), filters)]
    return {"TotalCount": len(found), "SubnetSet": list(page(call.params, found))}


def _subnet_facts(row: Answer) -> Facts:
    return {
        "subnet-id": (row["SubnetId"],),
        "subnet-name": (row["SubnetName"],),
        "vpc-id": (row["VpcId"],),
        "cidr-block": (row["CidrBlock"],),
        "zone": (row["Zone"],),
        "is-default": (str(row["IsDefault"]).lower(),),
        "is-cdc-subnet": ("0",),
        "is-remote-vpc-snat": ("false",),
    }


def _subnet(world: World, subnet: Subnet, *, is_default: bool) -> Answer:
    return {
        "VpcId": subnet.vpc,
        "SubnetId": subnet.id,
        "SubnetName": subnet.id,
        "CidrBlock": str(subnet.network),
        "IsDefault": is_default,
        "EnableBroadcast": False,
        "Zone": subnet.zone,
        "RouteTableId": f"rtb-{subnet.vpc[4:]}",
        "CreatedTime": CREATED,
        "AvailableIpAddressCount": world.addresses.free(subnet),
        "Ipv6CidrBlock": "",
        "NetworkAclId": "",
        "IsRemoteVpcSnat": False,
        "TotalIpAddressCount": subnet.size,
        "TagSet": [],
        "CdcId": "",
        "IsCdcSubnet": 0,
    }


def describe_security_groups(world: World, call: Call) -> Answer:
    """Answers the security groups of the region. The first is the default one. Source: DescribeSecurityGroups."""
    ids = chosen(call.params, "SecurityGroupIds", "sg", "InvalidSecurityGroupID.Malformed")
    filters, known = _filters(call, GROUP_FILTERS), world.account(call.account).security_groups.get(call.region, ())
    for one in ids:
        if one not in known:
            raise ApiError("ResourceNotFound", f"The security group `{one}` does not exist.")
    facts: dict[str, Facts] = {
        one: {"security-group-id": (one,), "security-group-name": (one,), "project-id": ("0",)} for one in known
    }
    found = [one for one in known if (not ids or one in ids) and fits(facts[one], filters)]
    rows = [_group(one, is_default=one == known[0]) for one in page(call.params, found)]
    return {"TotalCount": len(found), "SecurityGroupSet": rows}


def _group(group: str, *, is_default: bool) -> Answer:
    return {
        "SecurityGroupId": group,
        "SecurityGroupName": group,
        "SecurityGroupDesc": "",
        "ProjectId": "0",
        "IsDefault": is_default,
        "CreatedTime": CREATED,
        "TagSet": [],
        "UpdateTime": CREATED,
    }


def describe_used_ip_address(world: World, call: Call) -> Answer:
    """Answers which private addresses of a network instances use. Source: DescribeUsedIpAddress."""
    params, filters = call.params, _filters(call, USED_FILTERS)
    wanted = params.get("IpAddresses") or []
    if wanted and filters:
        raise ApiError("InvalidParameter.Coexist", "`IpAddresses` and `Filters` must not be given together.")
    subnets = [subnet for subnet in _subnets(world, call) if subnet.vpc == params["VpcId"]]
    if not subnets:
        raise ApiError("ResourceNotFound", f"The VPC `{params['VpcId']}` does not exist.")
    asked = params.get("SubnetId")
    if asked and asked not in {subnet.id for subnet in subnets}:
        raise ApiError("ResourceNotFound", f"The subnet `{asked}` does not exist.")
    found = [
        _used(one)
        for one in world.listed(call.account, call.region).values()
        if one.state != GONE
        and one.order.subnet.vpc == params["VpcId"]
        and (not asked or one.order.subnet.id == asked)
        and (not wanted or one.private_ip in wanted)
        and fits({"ip-addresses": (one.private_ip,), "resource-id": (one.id,)}, filters)
    ]
    return {"TotalCount": len(found), "IpAddressStates": list(page(params, found))}


def _used(one: Instance) -> Answer:
    return {
        "VpcId": one.order.subnet.vpc,
        "SubnetId": one.order.subnet.id,
        "IpAddress": one.private_ip,
        "ResourceType": "CVM",
        "ResourceId": one.id,
    }


def describe_addresses(world: World, call: Call) -> Answer:
    """Answers the elastic addresses of the region. Source: DescribeAddresses."""
    ids = chosen(call.params, "AddressIds", "eip", "InvalidParameterValue.AddressIdMalformed")
    filters = _filters(call, ADDRESS_FILTERS)
    own = [one for one in world.addresses.elastic.values() if (one.account, one.region) == (call.account, call.region)]
    for one in ids:
        if one not in {address.id for address in own}:
            raise ApiError("InvalidAddressId.NotFound", f"The address `{one}` does not exist.")
    found = [one for one in own if (not ids or one.id in ids) and fits(_address_facts(one), filters)]
    return {"TotalCount": len(found), "AddressSet": [_address(world, one) for one in page(call.params, found)]}


def _address_facts(one: ElasticAddress) -> Facts:
    return {
        "address-id": (one.id,),
        "address-ip": (one.address,),
        "instance-id": (one.instance_id,) if one.instance_id else (),
        "address-status": ("BIND" if one.instance_id else "UNBIND",),
        "address-type": ("EIP",),
        **tag_facts({}),
    }


def _address(world: World, one: ElasticAddress) -> Answer:
    instance = world.instances.get(one.instance_id)
    return {
        "AddressId": one.id,
        "AddressName": "",
        "AddressStatus": "BIND" if instance else "UNBIND",
        "AddressIp": one.address,
        "InstanceId": one.instance_id,
        "CreatedTime": CREATED,
        "NetworkInterfaceId": "",
        "PrivateAddressIp": instance.private_ip if instance else "",
        "IsArrears": False,
        "IsBlocked": False,
        "IsEipDirectConnection": False,
        "AddressType": "EIP",
        "CascadeRelease": False,
        "InternetServiceProvider": "BGP",
        "LocalBgp": False,
        "Bandwidth": 5,
        "InternetChargeType": "TRAFFIC_POSTPAID_BY_HOUR",
        "TagSet": [],
    }
