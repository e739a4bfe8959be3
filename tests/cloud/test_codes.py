"""Every code the vendor publishes means something deliberate, and prefixes never overrule what is written down."""

from __future__ import annotations

from collections import Counter

import pytest
from tencentcloud.cvm.v20170312 import errorcodes

from spotcompute.cloud import errors
from spotcompute.cloud.errors import (
    CloudError,
    InstanceBusy,
    InstanceGone,
    InsufficientBalance,
    InsufficientCapacity,
    InvalidConfiguration,
    InvalidCredentials,
    NoRoom,
    OutcomeUnknown,
    PriceTooLow,
    QuotaExceeded,
    TerminationBlocked,
    Throttled,
    Unavailable,
    Unclassified,
)
from spotcompute.cloud.tencent.codes import EXACT, PREFIXES, classify

PUBLISHED = sorted(
    {value for name, value in vars(errorcodes).items() if name.isupper() and isinstance(value, str) and value}
)

#: Codes of other actions (images, network interfaces) that no launch and no release can be answered with.
LEFT_UNCLASSIFIED = {
    "EniNotAllowedChangeSubnet",
    "ImageQuotaLimitExceeded",
    "RegionAbilityLimit.UnsupportedToImportImage",
    "SecGroupActionFailure",
}


def test_the_sdk_publishes_as_many_codes_as_were_read() -> None:
    assert len(PUBLISHED) == 422, "the SDK's list has changed: read what is new and classify it"


def test_every_published_code_is_classified_but_the_ones_named_here() -> None:
    assert {code for code in PUBLISHED if classify("RunInstances", code) is Unclassified} == LEFT_UNCLASSIFIED


def test_no_code_stands_in_two_groups() -> None:
    counts = Counter(code for codes in EXACT.values() for code in codes)
    assert [code for code, count in counts.items() if count > 1] == []


def test_nothing_is_filed_under_a_class_without_a_reaction() -> None:
    without_reaction = {CloudError, errors.Refused, errors.NotSent, Unclassified}
    assert without_reaction.isdisjoint(EXACT)
    assert without_reaction.isdisjoint(PREFIXES.values())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        # Capacity and price under a prefix that otherwise means a wrong spec.
        ("InvalidParameterValue.InsufficientOffering", InsufficientCapacity),
        ("InvalidParameterValue.InsufficientPrice", PriceTooLow),
        ("InvalidParameterValue.TagQuotaLimitExceeded", QuotaExceeded),
        # The cloud was reached: it is the image, or the placement group, that is not as it should be.
        ("FailedOperation.InvalidImageState", InvalidConfiguration),
        ("InvalidParameterValue.InvalidImageState", InvalidConfiguration),
        ("FailedOperation.DisasterRecoverGroupNotMatch", InvalidConfiguration),
        ("InvalidParameterValue.SomethingNew", InvalidConfiguration),
        ("InvalidParameter.InvalidCloudDiskSoldOut", InsufficientCapacity),
        # Stock, spelled as a limit; the user's own limit is another matter.
        ("LimitExceeded.SpotQuota", InsufficientCapacity),
        ("LimitExceeded.UserSpotQuota", QuotaExceeded),
        ("LimitExceeded.VpcSubnetNum", NoRoom),
        ("LimitExceeded.SomethingNew", QuotaExceeded),
        # Addresses, not machines.
        ("ResourcesSoldOut.EipInsufficient", NoRoom),
        ("ResourceInsufficient.CidrBlock", NoRoom),
        ("ResourcesSoldOut.SpecifiedInstanceType", InsufficientCapacity),
        ("ResourcesSoldOut.SomethingNew", InsufficientCapacity),
        ("ResourceInsufficient.CloudDiskUnavailable", InvalidConfiguration),
        # The role named in the template, not the key.
        ("AuthFailure.CamRoleNameAuthenticateFailed", InvalidConfiguration),
        ("AuthFailure.SignatureExpire", InvalidCredentials),
        ("AuthFailure.SomethingNew", InvalidCredentials),
        ("UnauthorizedOperation.ImageNotBelongToAccount", InvalidConfiguration),
        ("InvalidAccount.InsufficientBalance", InsufficientBalance),
        ("RequestLimitExceeded", Throttled),
        ("RequestLimitExceeded.UinLimitExceeded", Throttled),
        ("NeverHeardOf.IT", Unclassified),
    ],
)
def test_a_launch_answered_with(code: str, error: type[CloudError]) -> None:
    assert classify("RunInstances", code) is error


@pytest.mark.parametrize(
    "code",
    [
        "InternalError",
        "InternalError.TradeUnknownError",
        "InternalError.SomethingNew",
        "InternalServerError",
        "ServiceUnavailable",
        "FailedOperation",
        "FailedOperation.SomethingNew",
        "FailedOperation.SecurityGroupActionFailed",
        "ResponseSizeLimitExceeded",
    ],
)
def test_a_launch_that_broke_off_inside_the_cloud_may_have_happened(code: str) -> None:
    assert classify("RunInstances", code) is OutcomeUnknown


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("UnsupportedOperation.InstanceStatePending", InstanceBusy),
        ("UnsupportedOperation.InstanceStateLaunchFailed", InstanceBusy),
        ("UnsupportedOperation.InstanceStateSomethingNew", InstanceBusy),
        ("MutexOperation.TaskRunning", InstanceBusy),
        ("InvalidInstanceId.NotFound", InstanceGone),
        ("UnsupportedOperation.InstanceStateTerminating", InstanceGone),
        ("UnsupportedOperation.InstanceStateIsolating", InstanceGone),
        ("UnsupportedOperation.InstancesProtected", TerminationBlocked),
        ("LimitExceeded.UserReturnQuota", TerminationBlocked),
        ("InvalidInstance.NotSupported", TerminationBlocked),
        ("UnsupportedOperation.SomethingNew", TerminationBlocked),
        ("InvalidInstanceId.Malformed", TerminationBlocked),
        ("RequestLimitExceeded", Throttled),
    ],
)
def test_a_release_answered_with(code: str, error: type[CloudError]) -> None:
    assert classify("TerminateInstances", code) is error


def test_the_same_code_can_mean_another_thing_to_another_action() -> None:
    assert classify("RunInstances", "InvalidInstance.NotSupported") is InvalidConfiguration
    assert classify("RunInstances", "UnsupportedOperation.InstanceStateIsolating") is Unavailable


def test_no_release_is_ever_called_a_wrong_configuration() -> None:
    assert all(classify("TerminateInstances", code) is not InvalidConfiguration for code in PUBLISHED)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("FailedOperation.DisasterRecoverGroupNotMatch", InvalidConfiguration),
        ("FailedOperation.AlreadyInDisasterRecoverGroup", InvalidConfiguration),
        ("FailedOperation.ZoneInconsistent", InvalidConfiguration),
        ("FailedOperation.PromotionalPerioRestriction", InvalidCredentials),
        ("VpcIpIsUsed", NoRoom),
        ("VpcAddrNotInSubNet", InvalidConfiguration),
    ],
)
def test_a_code_with_a_prefix_that_misleads(code: str, error: type[CloudError]) -> None:
    assert classify("RunInstances", code) is error
