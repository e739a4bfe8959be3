"""Hands out addresses: private ones of subnets, and public ones, assigned or elastic.

Apart from `world`, which moves instances and only asks for an address or gives one back.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from cvmsim.catalog import Subnet

PUBLIC_FIRST = int(IPv4Address("43.128.0.1"))  # a range of the vendor's; nothing is sent there


@dataclass(slots=True, eq=False)
class ElasticAddress:
    """`ElasticAddress` is a public address that belongs to an account and not to an instance."""

    id: str
    account: str
    region: str
    address: str
    created_at: float
    instance_id: str = ""  # empty while it is not bound


class Addresses:
    """`Addresses` knows which addresses are taken."""

    def __init__(self) -> None:
        self.elastic: dict[str, ElasticAddress] = {}
        self._taken: dict[str, set[int]] = {}
        self._public = 0

    def free(self, subnet: Subnet) -> int:
        """Returns how many addresses of the subnet are free."""
        return subnet.size - len(self._taken.get(subnet.id, ()))

    def is_taken(self, subnet: Subnet, address: str) -> bool:
        """True when an instance has the address."""
        return part_of(subnet, address) in self._taken.get(subnet.id, ())

    def take(self, subnet: Subnet, wanted: str = "") -> str:
        """Takes an address of the subnet: the wanted one, which must be free, or the next one."""
        taken = self._taken.setdefault(subnet.id, set())
        if wanted:
            taken.add(part_of(subnet, wanted))
            return wanted
        part = len(taken) + 2  # .0 is the network, .1 the gateway
        while part in taken or part >= subnet.size + 2:
            part = 2 + (part - 1) % subnet.size
        taken.add(part)
        return str(subnet.network[part])

    def give_back(self, subnet: Subnet, address: str) -> None:
        """Gives an address back to its subnet."""
        self._taken.get(subnet.id, set()).discard(part_of(subnet, address))

    def new_public(self) -> str:
        """Returns a public address that nothing has had yet."""
        self._public += 1
        return str(IPv4Address(PUBLIC_FIRST + self._public))

    def new_elastic(self, id: str, account: str, region: str, now: float) -> ElasticAddress:
        """Makes an elastic address that is not bound."""
        self.elastic[id] = ElasticAddress(id, account, region, self.new_public(), now)
        return self.elastic[id]

    def bound_to(self, instance_id: str) -> list[ElasticAddress]:
        """Returns the elastic addresses of an instance."""
        return [one for one in self.elastic.values() if one.instance_id == instance_id]

    def unbind(self, instance_id: str, *, releases: bool) -> None:
        """Frees the elastic addresses of an instance that is gone. They stay, unless `releases` ends them."""
        for one in self.bound_to(instance_id):
            one.instance_id = ""
            if releases:
                del self.elastic[one.id]


def part_of(subnet: Subnet, address: str) -> int:
    """Returns the place of an address in its subnet."""
    return int(IPv4Address(address)) - int(subnet.network.network_address)
