"""Defines what one run works for and with: the environment, its desired state, user data and access to the cloud."""

from __future__ import annotations

from dataclasses import dataclass

from spotcompute.api.environment import Environment
from spotcompute.cloud.accounts import AccountAccess
from spotcompute.kube.sources import UserData
from spotcompute.model.desired import Desired


@dataclass(frozen=True, slots=True)
class Target:
    """`Target` is one environment as its object is written now, with everything its spec names.

    `desired` has the pools that the spec names. Those that meet requirements come with the market (`plan.selection`).
    """

    environment: Environment
    desired: Desired
    user_data: UserData | None
    access: AccountAccess

    @property
    def label(self) -> str:
        """Returns the name under which the pacer lets calls for this environment wait."""
        return self.environment.label

    @property
    def encoded_user_data(self) -> str | None:
        """Returns user data in base64, as the cloud takes it. None when the spec names none."""
        return self.user_data.encoded if self.user_data else None
