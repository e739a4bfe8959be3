"""Holds the numbers by which decisions are made, in one value, so that tests can choose them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Policy:
    """`Policy` holds the durations and limits of the protocol.

    `app.policy` fills in those that an install chooses. The others are fixed here.
    """

    #: Whether every request for spot states a price. On the international site one without may be refused.
    states_bids: bool = False
    backoff_base: timedelta = timedelta(seconds=5)
    backoff_max: timedelta = timedelta(seconds=60)
    blocked_recheck: timedelta = timedelta(minutes=5)
    #: All environments of an account that wait for stock ask together at most once in this time: a tenth of the
    #: documented rate of RunInstances. Each has the same share, and waits for a pool no longer than `waiting_max`.
    waiting_interval: timedelta = timedelta(seconds=1)
    waiting_max: timedelta = timedelta(hours=1)
    launch_timeout: timedelta = timedelta(minutes=10)
    replay_window: timedelta = timedelta(seconds=120)
    #: Most answers to a launch come within this time. Until then only its sender repeats it.
    answer_wait_max: timedelta = timedelta(seconds=15)
    signature_lifetime: timedelta = timedelta(seconds=300)
    listing_lag_max: timedelta = timedelta(seconds=180)
    absence_sweeps: int = 3
    #: Look-ups with witnesses that prove the end of an instance that lists had shown, and the time between two of them.
    #: docs/decisions/2026-11-30-an-end-is-proven-by-witnesses.md says why they suffice.
    absence_looks: int = 3
    look_interval: timedelta = timedelta(seconds=1)
    #: How long a deletion with an empty ledger waits for credentials before it skips the check for forgotten instances.
    key_wait_max: timedelta = timedelta(seconds=15)
    #: How long a deletion waits for a key that shows its instances: when the key in use belongs to another account, and
    #: when the cloud does not tell to which account it belongs. In the latter case an environment that is not deleted
    #: waits for the former time: so a person has a working day to put the former key back.
    other_account_wait_max: timedelta = timedelta(hours=24)
    unknown_account_wait_max: timedelta = timedelta(minutes=30)
    #: An instance that is lost sooner than this after its launch counts as a failure of its pool.
    early_loss: timedelta = timedelta(minutes=10)
    #: After this time an early loss weighs half.
    half_life: timedelta = timedelta(minutes=30)
    #: A pool whose early losses weigh this much is avoided, until they weigh as little as `probe_at`.
    avoid_from: float = 1.5
    probe_at: float = 0.75
    #: Most that early losses weigh, however many there were: so a pool is asked again within 1.74 half-lives.
    early_limit: float = 2.5
    #: A pool that has lost no instance for so many half-lives is trusted again, whether it was tried or not.
    forgiven_after: int = 4
    #: Least time between two changes from spot to on demand or back.
    switch_interval_min: timedelta = timedelta(minutes=30)
    #: Each failed trial of spot doubles the time until the next one, so many times at most: up to four hours.
    trial_doublings_max: int = 3
    #: A gang that could not be completed is built from parts again after so many times its hold.
    gang_pause: int = 10
    #: A failure longer ago than this no longer counts as "in a row".
    failure_memory: timedelta = timedelta(minutes=15)
    #: Time between two looks at something on its way: a launch being settled, an instance that is not listed yet.
    poll_interval: timedelta = timedelta(seconds=5)
    #: How long status shows that something in it was not believed.
    refusal_shown_for: timedelta = timedelta(minutes=10)
    #: A release that was accepted and shows no effect is asked for again after this time.
    repeat_release: timedelta = timedelta(seconds=60)
    #: A release that was refused because of the instance is asked for again after this time, or when its state changes.
    repeat_refused: timedelta = timedelta(minutes=10)

    #: Every environment is looked at again within this time, whatever else happens.
    resync: timedelta = timedelta(minutes=5)

    #: Least time between the first and the last sighting of an instance without an environment before it is released.
    orphan_confirmed_after: timedelta = timedelta(seconds=45)
    #: How long instances of a former cluster wait for their objects to be restored into this one.
    restore_grace: timedelta = timedelta(hours=1)
    #: Younger instances may belong to an environment whose status is still being written.
    orphan_age_min: timedelta = timedelta(seconds=90)

    @property
    def self_ends_within(self) -> timedelta:
        """Returns how close together two instances must end by themselves for the brake to act."""
        return self.early_loss

    @property
    def place_held(self) -> timedelta:
        """Returns how long the place of an instance that ended by itself stays empty under the brake: 20 minutes with
        the half-hour of an installation, and so at most three launches an hour in each place.
        """
        return self.half_life * 2 / 3

    @property
    def self_ends_memory(self) -> timedelta:
        """Returns after how long without such an end the brake is loosened."""
        return 2 * self.half_life

    @property
    def last_resort(self) -> timedelta:
        """Returns the time after which one pool is tried again when all pools are avoided.

        With the half-hour of an installation, a pool that takes every instance back early is asked three times in the
        first hour. With less time it would be four times.
        """
        return self.half_life

    @property
    def launch_uncertain_for(self) -> timedelta:
        """Returns how long after its intent a launch can still bring an instance that was never seen.

        It may be sent during `replay_window`, be accepted until its signature expires, and stay unlisted for
        `listing_lag_max`.
        """
        return self.replay_window + self.signature_lifetime + self.listing_lag_max
