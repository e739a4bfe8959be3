"""Names what can go wrong at the cloud by what the caller does next.

    CloudError                       an error that the cloud reported, or no answer at all
    ├── OutcomeUnknown               sent, no usable answer: it may have happened; settle before deciding
    ├── Refused                      the cloud said no: nothing happened
    │   ├── InsufficientCapacity     no stock in this pool: back off, try the next one, or ask for fewer
    │   ├── NoRoom                   subnet or placement group is full: back off, tell the user
    │   ├── PriceTooLow              the bid is below the market: wait, or try another pool
    │   ├── QuotaExceeded            a limit of the account: wait, tell the user
    │   ├── InsufficientBalance      the account cannot pay: wait, tell the user
    │   ├── InvalidConfiguration     the spec is wrong for the cloud: a person must correct it
    │   ├── InvalidCredentials       key wrong, expired or not permitted: a person must correct it
    │   │   └── KeyNotLent           no role, no identity: the message says what to change
    │   ├── Throttled                refused by the gateway for its rate: slow down and repeat
    │   ├── Unavailable              refused for now by a cloud in trouble: repeat later
    │   ├── InstanceBusy             this instance cannot be terminated in its current state: wait
    │   ├── InstanceGone             the instance is gone or ending already: done
    │   ├── TerminationBlocked       protection or policy forbids it: a person must act, or wait
    │   └── Unclassified             a refusal this version does not know: wait, and show it
    └── NotSent                      never left this machine (connection refused, no route): repeat later

Apart from `provider` so that pure packages can name an error without importing the port's I/O.
"""

from __future__ import annotations

from spotcompute.model.launch import Part


class CloudError(Exception):
    """`CloudError` is the base of all errors of the cloud.

    `code` and `message` are the vendor's (never a secret), `request_id` is the id of the call when there is one.
    `about` is the part of the launch that a dry run found to be wrong, where the message allows to tell.
    """

    about: Part | None = None

    def __init__(self, code: str, message: str, request_id: str | None = None) -> None:
        """Keeps the vendor's code and message. `str()` of the error reads ``code: message (request …)``."""
        self.code = code
        self.message = message
        self.request_id = request_id
        super().__init__(code, message, request_id)

    def __str__(self) -> str:
        """Returns one line for logs and status, with the RequestId that the cloud's support asks for."""
        suffix = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.message}{suffix}"


class OutcomeUnknown(CloudError):
    """`OutcomeUnknown` means that a request was sent without a trustworthy answer. It may have been carried out."""


class NotSent(CloudError):
    """`NotSent` means that the request never reached the cloud."""


class Refused(CloudError):
    """`Refused` means that the cloud said no, and that nothing has happened."""


class InsufficientCapacity(Refused):
    """`InsufficientCapacity` means that this pool has no stock for that many instances."""


class NoRoom(Refused):
    """`NoRoom` means that the subnet has no free address, or the placement group no free slot."""


class PriceTooLow(Refused):
    """`PriceTooLow` means that the bid is below the market price."""


class QuotaExceeded(Refused):
    """`QuotaExceeded` means that a limit of the account is reached."""


class InsufficientBalance(Refused):
    """`InsufficientBalance` means that the account cannot pay for it."""


class InvalidConfiguration(Refused):
    """`InvalidConfiguration` means that the request can never succeed unchanged. A person must correct the spec."""


class InvalidCredentials(Refused):
    """`InvalidCredentials` means that the key is unknown, wrong, expired, or not permitted to do this."""


class KeyNotLent(InvalidCredentials):
    """`KeyNotLent` means that the cloud lends no key to who asks for one. Its message says what a person can change."""


class Throttled(Refused):
    """`Throttled` means that there were too many requests. This one was not carried out."""


class Unavailable(Refused):
    """`Unavailable` means that the cloud cannot do this now, and said so before doing anything."""


class InstanceBusy(Refused):
    """`InstanceBusy` means that the instance's state does not allow the call (PENDING, STARTING, …)."""


class InstanceGone(Refused):
    """`InstanceGone` means that the instance no longer exists, or is already being destroyed."""


class TerminationBlocked(Refused):
    """`TerminationBlocked` means that termination protection, a freeze or an account policy forbids the release."""


class Unclassified(Refused):
    """`Unclassified` means that this version does not know the code."""


#: Errors of a release that may be about one instance of a call. The others of the call may be released without it.
OF_ONE_INSTANCE = (InstanceBusy, InstanceGone, TerminationBlocked, InvalidConfiguration, Unclassified)
