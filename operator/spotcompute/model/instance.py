"""Defines `Instance`: one machine as the cloud shows it, reduced to what decisions and reports need.

Apart from `offering` because an instance costs money, while an offering is only what the market says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from spotcompute.model.offering import Pool


class InstanceState(StrEnum):
    """`InstanceState` lists the states of a CVM instance as the vendor spells them. OTHER is every state not listed
    here.

    A destroyed instance has no state, because it is no longer listed. Source: CVM API 2017-03-12, data type Instance.
    """

    PENDING = "PENDING"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    STARTING = "STARTING"
    STOPPING = "STOPPING"
    REBOOTING = "REBOOTING"
    SHUTDOWN = "SHUTDOWN"
    TERMINATING = "TERMINATING"
    OTHER = "OTHER"


#: States between two others. While one lasts, the cloud refuses to release the instance.
TRANSIENT_STATES = frozenset(
    {InstanceState.PENDING, InstanceState.STARTING, InstanceState.STOPPING, InstanceState.REBOOTING}
)

#: States of instances that are ending or never started: they give no capacity and never will again.
ENDED_STATES = frozenset({InstanceState.SHUTDOWN, InstanceState.TERMINATING, InstanceState.LAUNCH_FAILED})


@dataclass(frozen=True, slots=True)
class Ownership:
    """`Ownership` holds the two tags that mark our instances in the cloud: the cluster and the environment."""

    cluster_id: str
    environment_id: str


@dataclass(frozen=True, slots=True)
class Instance:
    """`Instance` is one machine as one observation shows it.

    `ownership` is read from its tags, and None when it has no such tags. Tags attach some seconds after the launch.
    `owner` is the environment's name in its tags (`model.identity.owner_label`). `retained` is the name of the
    environment that was deleted and has left the instance running, `adopted` the mark of the one that has taken it over
    (`model.identity.adoption_mark`). `charge_type` is how the cloud charges for it, where it is neither spot nor on
    demand. `created_at` is the cloud's time
    (aware UTC). `last_operation` is the last API call on the instance, where the cloud shows one (`TerminateInstances`
    after a release), and `last_operation_request_id` is the id of that call. `subnet_id` is None for the account's
    default network where the cloud does not show one.
    """

    id: str
    name: str
    state: InstanceState
    pool: Pool
    created_at: datetime
    ownership: Ownership | None = None
    owner: str | None = None
    retained: str | None = None
    adopted: str | None = None
    image_id: str | None = None
    charge_type: str | None = None
    private_ip: str | None = None
    public_ip: str | None = None
    subnet_id: str | None = None
    protected: bool = False
    on_demand: bool = False
    failure: str | None = None
    last_operation: str | None = None
    last_operation_request_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def was_released(self) -> bool:
        """True when the cloud shows a call that released the instance, by us or by a person.

        A reclaim shows no such call.
        """
        return self.last_operation == "TerminateInstances"

    @property
    def was_stopped(self) -> bool:
        """True when the cloud shows a call that stopped the instance. One that powers itself off shows no such call."""
        return self.last_operation == "StopInstances"

    @property
    def is_in_recycle_bin(self) -> bool:
        """True when the instance was destroyed but is kept for some hours. A second release ends it at once."""
        return self.state is InstanceState.SHUTDOWN

    @property
    def has_ended(self) -> bool:
        """True when the instance gives no capacity and never will again."""
        return self.state in ENDED_STATES
