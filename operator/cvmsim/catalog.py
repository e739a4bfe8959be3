"""Reads what a world starts with from a YAML file: regions, types, offerings, images and accounts.

Apart from `world`, which changes. A catalog is edited by people, so every mistake in it is named by its field.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml

from cvmsim.errors import WorldFileError

DEFAULT_WORLD = Path(__file__).with_name("worlds") / "default.yaml"


@dataclass(frozen=True, slots=True)
class Zone:
    """`Zone` is one zone of a region."""

    name: str
    region: str
    number: str
    title: str


@dataclass(frozen=True, slots=True)
class InstanceType:
    """`InstanceType` is one instance type.

    `memory` and `gpu_memory` are in GiB. `spot` is False when it is never sold as spot.
    """

    name: str
    cpu: int
    memory: int
    family: str
    title: str
    processor: str
    frequency: str
    gpus: int = 0
    gpu_type: str = ""
    gpu_memory: int = 0
    spot: bool = True


@dataclass(frozen=True, slots=True)
class Opening:
    """`Opening` is the state with which one (zone, type) begins: instances in stock, prices in dollars per hour and
    instance.
    """

    zone: str
    type: str
    stock: int
    spot: Decimal
    list: Decimal


@dataclass(frozen=True, slots=True)
class Image:
    """`Image` is one image. Empty `regions` means every region, empty `accounts` means public."""

    id: str
    name: str
    os: str
    platform: str
    size: int
    state: str = "NORMAL"
    regions: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()

    def is_visible(self, account: str, region: str) -> bool:
        """True when `account` can see the image in `region`."""
        return (not self.regions or region in self.regions) and (not self.accounts or account in self.accounts)


@dataclass(frozen=True, slots=True)
class Subnet:
    """`Subnet` is one subnet of an account."""

    id: str
    vpc: str
    region: str
    zone: str
    network: IPv4Network

    @property
    def size(self) -> int:
        """Returns the number of addresses for instances. The vendor keeps the first, the gateway and the last."""
        return self.network.num_addresses - 3


@dataclass(frozen=True, slots=True)
class Credential:
    """`Credential` is one key pair of an account."""

    secret_id: str
    secret_key: str


@dataclass(frozen=True, slots=True)
class Account:
    """`Account` is one customer. `spot_quota` is in vCPU per zone, with the key `default`. `balance` is in dollars."""

    uin: str
    app_id: int
    name: str
    credentials: tuple[Credential, ...]
    balance: Decimal
    spot_quota: Mapping[str, int]
    subnets: Mapping[str, Subnet]
    security_groups: Mapping[str, tuple[str, ...]]
    key_pairs: Mapping[str, tuple[str, ...]]
    roles: tuple[str, ...]
    identity_providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """`Machine` is the machine on which clients on this host run: its account, and the CAM role it has."""

    account: str
    role: str


@dataclass(frozen=True, slots=True)
class Tariff:
    """`Tariff` holds the prices of disks (per GiB and hour) and of the internet, in dollars.

    They are never discounted.
    """

    disks: Mapping[str, Decimal] = field(default_factory=dict)
    mbps_hour: Decimal = Decimal(0)
    gigabyte: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Catalog:
    """`Catalog` is a whole world before it starts."""

    regions: Mapping[str, str]
    zones: Mapping[str, Zone]
    types: Mapping[str, InstanceType]
    openings: tuple[Opening, ...]
    images: Mapping[str, Image]
    accounts: Mapping[str, Account]
    switches: Mapping[str, object] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    tariff: Tariff = field(default_factory=Tariff)
    machine: Machine | None = None


class _Node:
    """`_Node` is one mapping of the file with its path, so that a mistake can be named."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise WorldFileError(f"{path or 'the file'}: a mapping is needed, not {value!r}")
        self.value: dict[str, Any] = {str(key): item for key, item in value.items()}
        self.path = path

    def only(self, *names: str) -> "_Node":
        """Returns the node. Raises WorldFileError when it has a field that is not in `names`."""
        unknown = sorted(set(self.value) - set(names))
        if unknown:
            raise WorldFileError(f"{self.at(unknown[0])}: unknown field; known are {', '.join(names)}")
        return self

    def at(self, name: str) -> str:
        """Returns the path of field `name`."""
        return f"{self.path}.{name}" if self.path else name

    def text(self, name: str, default: str | None = None) -> str:
        """Returns a text field. Raises WorldFileError."""
        value = self.value.get(name, default)
        if not isinstance(value, str) or (not value and default is None):
            raise WorldFileError(f"{self.at(name)}: text is needed (quote numbers), not {value!r}")
        return value

    def whole(self, name: str, default: int | None = None) -> int:
        """Returns a whole number >= 0. Raises WorldFileError."""
        value = self.value.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise WorldFileError(f"{self.at(name)}: a whole number >= 0 is needed, not {value!r}")
        return value

    def money(self, name: str, default: str | None = None) -> Decimal:
        """Returns an amount of money. Raises WorldFileError."""
        return money(self.value.get(name, default), self.at(name))

    def child(self, name: str) -> "_Node":
        """Returns the mapping under `name`. Raises WorldFileError."""
        return _Node(self.value.get(name, {}), self.at(name))

    def children(self) -> "list[tuple[str, _Node]]":
        """Returns every mapping with its name. Raises WorldFileError."""
        return [(name, _Node(value, self.at(name))) for name, value in self.value.items()]

    def rows(self, name: str) -> "list[_Node]":
        """Returns a list of mappings. Raises WorldFileError."""
        return [_Node(row, f"{self.at(name)}[{n}]") for n, row in enumerate(self._list(name))]

    def words(self, name: str) -> tuple[str, ...]:
        """Returns a list of texts. Raises WorldFileError."""
        return tuple(str(word) for word in self._list(name))

    def _list(self, name: str) -> list[object]:
        value = self.value.get(name, [])
        if not isinstance(value, list):
            raise WorldFileError(f"{self.at(name)}: a list is needed, not {value!r}")
        return value


def money(value: object, path: str) -> Decimal:
    """Returns a decimal amount >= 0 from text or a number. Raises WorldFileError that names `path`."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise WorldFileError(f'{path}: an amount such as "0.0214" is needed, not {value!r}')
    return amount


def load(path: Path = DEFAULT_WORLD) -> Catalog:
    """Reads a world file. Raises WorldFileError that names file and field."""
    try:
        text = path.read_text(encoding="utf-8")
        return parse(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506 - both are safe loaders
    except (OSError, yaml.YAMLError, WorldFileError) as problem:
        raise WorldFileError(f"{path}: {problem}") from problem


def parse(document: object) -> Catalog:
    """Returns the Catalog in the parsed YAML. Raises WorldFileError when it uses a name that is not defined."""
    names = ("regions", "types", "offerings", "disks", "internet", "images", "accounts", "machine", "switches",
             "limits")  # fmt: skip
    root = _Node(document, "").only(*names)
    regions = {name: node.text("name", name) for name, node in root.child("regions").children()}
    zones = {zone.name: zone for name, node in root.child("regions").children() for zone in _zones(name, node)}
    types = {name: _type(name, node) for name, node in root.child("types").children()}
    images = {image.id: image for image in map(_image, root.rows("images"))}
    accounts = {account.uin: account for account in (_account(row, zones) for row in root.rows("accounts"))}
    openings = tuple(_openings(root.child("offerings"), zones, types))
    limits = {name: float(root.child("limits").whole(name)) for name in root.child("limits").value}
    switches = root.child("switches").value
    machine = _machine(root.child("machine"), accounts) if "machine" in root.value else None
    return Catalog(regions, zones, types, openings, images, accounts, switches, limits, _tariff(root), machine)


def _machine(node: _Node, accounts: Mapping[str, Account]) -> Machine:
    machine = Machine(node.only("account", "role").text("account"), node.text("role"))
    _known(machine.account, accounts, node.at("account"), "account")
    _known(machine.role, accounts[machine.account].roles, node.at("role"), "role")
    return machine


def _zones(region: str, node: _Node) -> list[Zone]:
    rows = node.only("name", "zones").child("zones").children()
    return [Zone(name, region, zone.only("id", "name").text("id"), zone.text("name", name)) for name, zone in rows]


def _type(name: str, node: _Node) -> InstanceType:
    node.only("cpu", "memory", "family", "name", "processor", "frequency", "gpus", "gpuType", "gpuMemory", "spot")
    return InstanceType(
        name=name,
        cpu=node.whole("cpu"),
        memory=node.whole("memory"),
        family=node.text("family", name.split(".")[0]),
        title=node.text("name", name),
        processor=node.text("processor", ""),
        frequency=node.text("frequency", ""),
        gpus=node.whole("gpus", 0),
        gpu_type=node.text("gpuType", ""),
        gpu_memory=node.whole("gpuMemory", 0),
        spot=bool(node.value.get("spot", True)),
    )


def _openings(node: _Node, zones: Mapping[str, Zone], types: Mapping[str, InstanceType]) -> list[Opening]:
    found = []
    for zone, offered in node.children():
        _known(zone, zones, offered.path, "zone")
        for name, row in offered.children():
            _known(name, types, row.path, "type")
            row.only("stock", "spot", "list")
            found.append(Opening(zone, name, row.whole("stock"), row.money("spot"), row.money("list")))
    return found


def _tariff(root: _Node) -> Tariff:
    internet = root.child("internet").only("mbpsHour", "gigabyte")
    disks = root.child("disks")
    return Tariff(
        disks={name: disks.money(name) for name in disks.value},
        mbps_hour=internet.money("mbpsHour", "0"),
        gigabyte=internet.money("gigabyte", "0"),
    )


def _image(node: _Node) -> Image:
    node.only("id", "name", "os", "platform", "size", "state", "regions", "accounts")
    return Image(
        id=node.text("id"),
        name=node.text("name"),
        os=node.text("os"),
        platform=node.text("platform"),
        size=node.whole("size"),
        state=node.text("state", "NORMAL"),
        regions=node.words("regions"),
        accounts=node.words("accounts"),
    )


def _account(node: _Node, zones: Mapping[str, Zone]) -> Account:
    node.only("uin", "appId", "name", "credentials", "balance", "spotQuota", "networks", "securityGroups", "keyPairs",
              "roles", "identityProviders")  # fmt: skip
    credentials = tuple(Credential(row.text("secretId"), row.text("secretKey")) for row in node.rows("credentials"))
    quota = node.value.get("spotQuota", 50)
    limits = _Node(quota if isinstance(quota, dict) else {"default": quota}, node.at("spotQuota"))
    return Account(
        uin=node.text("uin"),
        app_id=node.whole("appId"),
        name=node.text("name"),
        credentials=credentials,
        balance=node.money("balance"),
        spot_quota={"default": 50} | {zone: limits.whole(zone) for zone in limits.value},
        subnets={subnet.id: subnet for subnet in _subnets(node.child("networks"), zones)},
        security_groups={
            region: node.child("securityGroups").words(region) for region in node.child("securityGroups").value
        },
        key_pairs={region: node.child("keyPairs").words(region) for region in node.child("keyPairs").value},
        roles=node.words("roles"),
        identity_providers=node.words("identityProviders"),
    )


def _subnets(node: _Node, zones: Mapping[str, Zone]) -> list[Subnet]:
    found = []
    for vpc, network in node.children():
        region = network.only("region", "subnets").text("region")
        for subnet_id, row in network.child("subnets").children():
            zone = row.only("zone", "cidr").text("zone")
            _known(zone, zones, row.at("zone"), "zone")
            found.append(Subnet(subnet_id, vpc, region, zone, _network(row)))
    return found


def _network(node: _Node) -> IPv4Network:
    try:
        return IPv4Network(node.text("cidr"))
    except ValueError as problem:
        raise WorldFileError(f"{node.at('cidr')}: {problem}") from problem


def _known(name: str, known: Collection[str], path: str, what: str) -> None:
    if name not in known:
        raise WorldFileError(f"{path}: no {what} {name!r}; known are {', '.join(known)}")
