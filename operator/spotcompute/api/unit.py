"""Defines what cannot be asked for where replicas counts vCPU: what is about a number of instances.

Apart from `spec`, which says what replicas counts.
"""

from __future__ import annotations

from spotcompute.api.schema import rule

#: A rule of the whole spec.
UNIT_RULE = rule(
    "self.capacityUnit == 'Instance' || (!has(self.gang) && !has(self.capacity)"
    " && (!has(self.requestPolicy) || self.requestPolicy != 'OneTime')"
    " && (!has(self.template.privateIpAddresses) || size(self.template.privateIpAddresses) == 0))",
    "capacityUnit vCPU leaves open how many instances there are: remove gang, capacity, requestPolicy"
    " OneTime and template.privateIpAddresses, or count Instance",
)
