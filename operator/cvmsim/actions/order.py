"""Judges the parameters of RunInstances and turns them into an Order. Stock and price do not matter here.

Apart from `buy`, which asks the market, because this module depends on request and account alone.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from ipaddress import IPv4Network

from cvmsim.actions import equipment
from cvmsim.actions.call import Call, Params, is_id
from cvmsim.catalog import Image, InstanceType, Subnet, Zone
from cvmsim.errors import ApiError
from cvmsim.instance import ON_DEMAND, SPOT, Order
from cvmsim.world import Named, World

USER_DATA_MAX = 16 * 1024
TAGS_MAX = 50
TIMER_LEAD_SECONDS = 300
NOT_SOLD_HERE = ("HpcClusterId", "LaunchTemplate", "DedicatedClusterId", "ChcIds", "NetworkInterfaces")
TAG_LETTERS = {
    "live": re.compile(r"[\w +=.@:/()\[\]（）【】-]+"),
    "cvm": re.compile(r"[A-Za-z0-9+=.@-]+"),
    "tag-product": re.compile(r"[\w+=.@:/ -]+"),
}
TAG_RESERVED = {
    "live": ("qcloud", "tencent", "project", "qcs:"),
    "cvm": ("qcloud", "tencent", "project"),
    "tag-product": ("qcs:", "project"),
}
PATTERN = re.compile(r"\{R:(\d+)(?:,F:(\d+))?\}")
HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|[.-](?![.-]))*[A-Za-z0-9]")


def make_order(world: World, call: Call, token: str = "") -> Order:
    """Returns the order of a RunInstances or InquiryPriceRunInstances request, checked against catalog and account.

    Raises ApiError with the code of the first mistake. Nothing has changed then.
    """
    params = call.params
    zone = zone_of(world, call, params)
    type, image = type_of(world, params, zone), image_of(world, call)
    charge_type, bid = charge_of(world, params, type)
    subnet = subnet_of(world, call, zone)
    check_limits(world, params)
    check_login(world, call)
    check_role(world, call)
    return Order(
        account=call.account,
        region=call.region,
        zone=zone.name,
        type=type,
        charge_type=charge_type,
        bid=bid,
        subnet=subnet,
        security_groups=security_groups_of(world, call.account, call.region, params.get("SecurityGroupIds")),
        tags=tags_of(world, params),
        image_id=image.id,
        os_name=image.os,
        template=params,
        request_id=call.request_id,
        token=token,
        is_protected=bool(params.get("DisableApiTermination")),
        ends_at=end_of(world, params),
        disks=equipment.disks_of(world, params),
        bandwidth_per_hour=equipment.bandwidth_per_hour_of(world, params),
        private_ips=equipment.private_ips_of(world, params, subnet),
        has_public_ip=equipment.has_public_ip(params),
    )


def check_limits(world: World, params: Params) -> None:
    """Checks what depends on the request alone: numbers, sizes and forms. Raises ApiError."""
    absent = [name for name in NOT_SOLD_HERE if params.get(name)]
    if absent:
        raise ApiError("UnsupportedOperation", f"`{absent[0]}` is not offered by this simulator.")
    equipment.check_disks(world, params)
    equipment.check_internet(world, params)
    check_user_data(params.get("UserData"))
    check_name(world, params.get("InstanceName"))
    check_host_name(params.get("HostName"))


def zone_of(world: World, call: Call, params: Params) -> Zone:
    """Returns the zone in Placement. Raises ApiError when it is not in the region."""
    placement = params.get("Placement")
    if placement is None:
        raise ApiError("MissingParameter", "The request is missing a required parameter `Placement`.")
    zone = world.catalog.zones.get(placement["Zone"])
    if zone is None or zone.region != call.region:
        raise ApiError("InvalidZone.MismatchRegion", f"The zone `{placement['Zone']}` is not in {call.region}.")
    return zone


def type_of(world: World, params: Params, zone: Zone) -> InstanceType:
    """Returns the instance type. Raises ApiError when it is malformed, unknown, or not sold in the zone.

    Left out, the system chooses one that the zone sells. Source: RunInstances, InstanceType.
    """
    name = params.get("InstanceType") or default_type(world, zone, is_spot=params.get("InstanceChargeType") == SPOT)
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*\.[0-9A-Z]+", name):
        raise ApiError("InvalidInstanceType.Malformed", f"The instance type `{name}` is malformed.")
    type: InstanceType | None = world.catalog.types.get(name)
    if type is None:
        raise ApiError("InvalidParameterValue.InstanceTypeNotFound", f"The instance type `{name}` does not exist.")
    if (zone.name, name) not in world.offerings:
        raise ApiError("ResourceUnavailable.InstanceType", f"The zone `{zone.name}` does not sell `{name}`.")
    return type


def default_type(world: World, zone: Zone, *, is_spot: bool) -> str:
    """Returns the cheapest type that the zone has in stock. Raises ApiError when it has none.

    How the vendor chooses is not published.
    """
    sold = [one for (place, _), one in world.offerings.items() if place == zone.name and (one.type.spot or not is_spot)]
    in_stock = [one for one in sold if one.left(is_spot)]
    if not in_stock:
        raise ApiError("ResourceInsufficient.AvailabilityZoneSoldOut", f"The zone `{zone.name}` is sold out.")
    return min(in_stock, key=lambda one: (one.list_price, one.type.name)).type.name


def image_of(world: World, call: Call) -> Image:
    """Returns the image. Raises ApiError when the account cannot see it, or when it is not ready."""
    image_id = call.params.get("ImageId")
    if not image_id:
        raise ApiError("MissingParameter", "The request is missing a required parameter `ImageId`.")
    if not is_id(image_id, "img"):
        raise ApiError("InvalidImageId.Malformed", f"The image id `{image_id}` is malformed.")
    image: Image | None = world.catalog.images.get(image_id)
    if image is None or not image.is_visible(call.account, call.region):
        raise ApiError("InvalidImageId.NotFound", f"The image `{image_id}` does not exist.")
    if image.state != "NORMAL":
        raise ApiError("InvalidParameterValue.InvalidImageState", f"The image `{image_id}` is {image.state}.")
    return image


def charge_of(world: World, params: Params, type: InstanceType) -> tuple[str, Decimal | None]:
    """Returns charge type and bid. The bid is None on demand, and for spot when any price will do. Raises ApiError."""
    charge_type: str = params.get("InstanceChargeType") or ON_DEMAND
    market = params.get("InstanceMarketOptions")
    if charge_type not in (SPOT, ON_DEMAND):
        raise ApiError("InvalidParameterValue", f"`InstanceChargeType` {charge_type} is not offered by this simulator.")
    if charge_type != SPOT:
        if market:
            raise ApiError("InvalidParameterCombination", f"`InstanceMarketOptions` needs SPOTPAID, not {charge_type}.")
        return charge_type, None
    if not type.spot:
        raise ApiError("UnsupportedOperation.NoInstanceTypeSupportSpot", f"`{type.name}` is not sold as spot.")
    if not market and world.switches["spot-without-bid"] == "refused":
        raise ApiError("MissingParameter", "SPOTPAID needs a required parameter `InstanceMarketOptions`.")
    return charge_type, bid_of(market) if market else None


def bid_of(market: Params) -> Decimal:
    """Returns MaxPrice of the market options. Raises ApiError when it is not a positive decimal."""
    options = market["SpotOptions"]
    if market.get("MarketType") not in (None, "spot") or options.get("SpotInstanceType") not in (None, "one-time"):
        raise ApiError("InvalidParameterValue", "Only the market `spot` with `one-time` requests exists.")
    try:
        bid = Decimal(options["MaxPrice"])
    except InvalidOperation:
        bid = Decimal(0)
    if not bid.is_finite() or bid <= 0:
        raise ApiError("InvalidParameterValue", f"`MaxPrice` {options['MaxPrice']!r} is not a positive decimal.")
    return bid


def subnet_of(world: World, call: Call, zone: Zone) -> Subnet:
    """Returns the subnet in the request, or the account's default subnet of the zone.

    Raises ApiError when it does not fit.
    """
    network = call.params.get("VirtualPrivateCloud")
    subnets = world.account(call.account).subnets
    if not network or (network["VpcId"], network["SubnetId"]) == ("DEFAULT", "DEFAULT"):
        default = Subnet(f"subnet-default-{call.account}-{zone.name}", f"vpc-default-{call.account}", zone.region,
                         zone.name, IPv4Network("172.16.0.0/16"))  # fmt: skip
        return next((subnet for subnet in subnets.values() if subnet.zone == zone.name), default)
    vpc, subnet_id = network["VpcId"], network["SubnetId"]
    check_network_ids(vpc, subnet_id)
    if vpc not in {subnet.vpc for subnet in subnets.values() if subnet.region == call.region}:
        raise ApiError("InvalidParameterValue.VpcIdNotExist", f"The VPC `{vpc}` does not exist.")
    found = subnets.get(subnet_id)
    if found is None or found.region != call.region:
        raise ApiError("InvalidParameterValue.SubnetNotExist", f"The subnet `{subnet_id}` does not exist.")
    if found.vpc != vpc:
        raise ApiError("InvalidParameterValue.VpcIdSubnetIdNotMatch", f"`{subnet_id}` is not in the VPC `{vpc}`.")
    if found.zone != zone.name:
        raise ApiError(
            "InvalidParameterValue.SubnetIdZoneIdNotMatch", f"`{subnet_id}` is in {found.zone}, not {zone.name}."
        )
    return found


def check_network_ids(vpc: str, subnet: str) -> None:
    """Raises ApiError when an id has the wrong form."""
    if not is_id(vpc, "vpc"):
        raise ApiError("InvalidParameterValue.VpcIdMalformed", f"The VPC id `{vpc}` is malformed.")
    if not is_id(subnet, "subnet"):
        raise ApiError("InvalidParameterValue.SubnetIdMalformed", f"The subnet id `{subnet}` is malformed.")


def security_groups_of(world: World, account: str, region: str, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the security groups in the request, or the account's default group.

    Raises ApiError for an unknown group.
    """
    known = world.account(account).security_groups.get(region, ())
    for group in asked or ():
        if group not in known:
            raise ApiError("InvalidSecurityGroupId.NotFound", f"The security group `{group}` does not exist.")
    return tuple(asked) if asked else known[:1]


def tags_of(world: World, params: Params, resource: str = "instance") -> dict[str, str]:
    """Returns the tags in TagSpecification.

    Raises ApiError when one is illegal or given twice, or there are too many.
    """
    tags: dict[str, str] = {}
    for specification in params.get("TagSpecification") or []:
        if specification["ResourceType"] != resource:
            raise ApiError("InvalidParameterValue", f"The only `ResourceType` of `TagSpecification` is {resource}.")
        for tag in specification["Tags"]:
            check_tag(world.switches["tag-charset"], tag["Key"], tag["Value"])
            if tag["Key"] in tags:
                raise ApiError("InvalidParameterValue.DuplicateTags", f"The tag key `{tag['Key']}` is given twice.")
            tags[tag["Key"]] = tag["Value"]
    if len(tags) > TAGS_MAX:
        raise ApiError("InvalidParameterValue.TagQuotaLimitExceeded", f"At most {TAGS_MAX} tags, not {len(tags)}.")
    return tags


def check_tag(charset: str, key: str, value: str) -> None:
    """Raises ApiError when a tag is illegal.

    The lengths are the smaller ones of the two published pages. The characters follow the switch `tag-charset`.
    """
    letters = TAG_LETTERS[charset]
    if key.startswith(TAG_RESERVED[charset]):
        raise ApiError("FailedOperation.TagKeyReserved", f"The tag key `{key}` has a reserved prefix.")
    if len(key) > 127 or not letters.fullmatch(key):
        raise ApiError("FailedOperation.IllegalTagKey", f"The tag key `{key}` is illegal.")
    if not value and charset == "live":
        raise ApiError("InvalidParameter", f"The tag `{key}` has no value.")
    if len(value) > 127 or (value and not letters.fullmatch(value)):
        raise ApiError("FailedOperation.IllegalTagValue", f"The tag value `{value}` is illegal.")


def check_login(world: World, call: Call) -> None:
    """Raises ApiError when the login settings contradict each other, or name an unknown key pair."""
    login = call.params.get("LoginSettings") or {}
    if sum(bool(login.get(name)) for name in ("Password", "KeyIds", "KeepImageLogin")) > 1:
        raise ApiError("InvalidParameterCombination", "`LoginSettings` takes one of Password, KeyIds, KeepImageLogin.")
    password = login.get("Password")
    if password is not None and not (8 <= len(password) <= 30 and kinds_of(password) >= 3):
        raise ApiError("InvalidPassword", "A password has 8 to 30 characters of at least three kinds.")
    known = world.key_pairs.of(call.account, call.region)
    for key in login.get("KeyIds") or []:
        if not is_id(key, "skey"):
            raise ApiError("InvalidKeyPairId.Malformed", f"The key pair id `{key}` is malformed.")
        if key not in known:
            raise ApiError("InvalidParameterValue.KeyPairNotFound", f"The key pair `{key}` does not exist.")


def check_role(world: World, call: Call) -> None:
    """Raises ApiError when the account has no such role."""
    role = call.params.get("CamRoleName")
    if role and role not in world.account(call.account).roles:
        raise ApiError("AuthFailure.CamRoleNameAuthenticateFailed", f"The role `{role}` does not exist.")


def kinds_of(password: str) -> int:
    """Returns how many kinds of characters the password has: lower case, upper case, digits, others."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda letter: not letter.isalnum())
    return sum(any(kind(letter) for letter in password) for kind in kinds)


def check_user_data(encoded: str | None) -> None:
    """Raises ApiError when user data is not base64, or is longer than 16 KiB."""
    try:
        raw = base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, ValueError) as problem:
        raise ApiError("InvalidParameterValue.InvalidUserDataFormat", "`UserData` is not base64.") from problem
    if len(raw) > USER_DATA_MAX:
        raise ApiError("InvalidParameterValue.InvalidUserDataFormat", "`UserData` has more than 16 KB before encoding.")


def check_name(world: World, name: str | None) -> None:
    """Raises ApiError when the name is longer than the switch `instance-name-limit` allows."""
    limit = int(world.switches["instance-name-limit"])
    if len((name or "").encode()) > limit:
        raise ApiError("InvalidInstanceName.TooLong", f"`InstanceName` has more than {limit} bytes.")


def check_host_name(name: str | None) -> None:
    """Raises ApiError when the host name is illegal."""
    if name is None:
        return
    plain = PATTERN.sub("0", name).replace("{IP}", "0")
    if not 2 <= len(plain) <= 60 or plain.isdigit() or not HOST_NAME.fullmatch(plain):
        raise ApiError("InvalidParameterValue.IllegalHostName", f"The host name `{name}` is illegal.")


def end_of(world: World, params: Params) -> float | None:
    """Returns the moment of an ActionTimer, in world seconds.

    None without one. Raises ApiError when it is not valid.
    """
    timer = params.get("ActionTimer")
    if not timer:
        return None
    if timer.get("TimerAction") != "TerminateInstances":
        raise ApiError("InvalidParameterValue", "The only `TimerAction` is TerminateInstances.")
    try:
        moment = datetime.strptime(timer.get("ActionTime") or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as problem:
        raise ApiError(
            "InvalidParameterValue.InvalidTimeFormat", "`ActionTime` must be YYYY-MM-DDThh:mm:ssZ."
        ) from problem
    if moment < world.now + TIMER_LEAD_SECONDS:
        raise ApiError("InvalidParameterValue", "`ActionTime` must be at least five minutes ahead.")
    return moment


def count_of(world: World, params: Params) -> tuple[int, int]:
    """Returns InstanceCount and MinCount. They are equal when no MinCount is given. Raises ApiError."""
    asked, most = params.get("InstanceCount"), int(world.switches["instance-count-limit"])
    count = 1 if asked is None else asked
    if not 1 <= count <= most:
        raise ApiError("InvalidParameterValue.Range", f"`InstanceCount` must be 1 to {most}, not {count}.")
    least = params.get("MinCount")
    if least is not None and not 1 <= least <= count:
        raise ApiError(
            "InvalidParameterValue.InvalidParameterMinCount", f"`MinCount` must be 1 to {count}, not {least}."
        )
    return count, count if least is None else least


def names_of(params: Params, count: int) -> list[Named]:
    """Returns the names as the vendor expands them.

    Patterns {R:x} and {R:x,F:y} are replaced. Otherwise 1 to n is appended when there are several instances.
    """
    name, host = params.get("InstanceName") or "unnamed", params.get("HostName") or ""
    return [Named(expand(name, index, count), expand(host, index, count)) for index in range(count)]


def expand(name: str, index: int, count: int) -> str:
    """Returns the name of the instance at `index`."""
    if PATTERN.search(name):
        return PATTERN.sub(lambda found: str(int(found[1]) + index).zfill(int(found[2] or 0)), name)
    return f"{name}{index + 1}" if name and count > 1 else name
