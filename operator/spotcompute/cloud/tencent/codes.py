"""Classifies each error code of the CVM API by what it means for the caller: one table, exact code before prefix.

Apart from `translate` because it is data: the vendor's codes, one by one. Prefixes mislead (capacity and price codes
have the prefix ``InvalidParameterValue.``, missing addresses ``ResourcesSoldOut.``), so a prefix decides only about a
code that is not listed here. `classify`, at the end, asks `BY_ACTION`, then `EXACT`, then `PREFIXES`.

Sources: the per-action error lists of the vendor's Go SDK (RunInstances, TerminateInstances, DescribeInstances,
DescribeInstancesStatus, InquiryPriceRunInstances, DescribeZoneInstanceConfigInfos: 218 codes), `errorcodes.py` of the
Python SDK (422 codes, all actions), and the platform's "Common error codes". The classes are our judgement. When in
doubt a code is `OutcomeUnknown`, because a launch that is wrongly taken for refused leaves an instance uncounted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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
from spotcompute.model.launch import Part

EXACT: Mapping[type[CloudError], tuple[str, ...]] = {
    InsufficientCapacity: (
        # RunInstances and quotes: no stock, whatever the prefix says (SpotQuota's English text reads "out of stock").
        "InvalidParameterValue.InsufficientOffering",
        "LimitExceeded.SpotQuota",
        "ResourceInsufficient.AvailabilityZoneSoldOut",
        "ResourceInsufficient.CloudDiskSoldOut",
        "ResourceInsufficient.InsufficientOfferingMinimum",
        "ResourceInsufficient.SpecifiedInstanceType",
        "ResourceNotFound.NoDefaultCbs",
        "ResourceNotFound.NoDefaultCbsWithReason",
        "ResourceUnavailable.InstanceType",
        "ResourcesSoldOut.SpecifiedInstanceType",
        # Other actions of the product, or of the platform, in the same sense.
        "ResourceInsufficient",
        "ResourceInsufficient.InsufficientGroupQuota",
        "ResourceInsufficient.ZoneSoldOutForSpecifiedInstance",
        "ResourceNotFound.InvalidZoneInstanceType",
        "ResourceUnavailable",
        "ResourceUnavailable.SnapshotCreating",
        "ResourcesSoldOut",
        "ResourcesSoldOut.AvailableZone",
        "InvalidParameter.InvalidCloudDiskSoldOut",
    ),
    NoRoom: (
        # About addresses and placement groups, not about stock.
        "FailedOperation.NoAvailableIpAddressCountInSubnet",
        "LimitExceeded.VpcSubnetNum",
        "ResourceInsufficient.CidrBlock",
        "ResourceInsufficient.DisasterRecoverGroupCvmQuota",
        "ResourcesSoldOut.EipInsufficient",
        # The wanted private address is still that of a predecessor.
        "VpcIpIsUsed",
    ),
    PriceTooLow: (
        # RunInstances: the bid is below the market, in spite of its prefix.
        "InvalidParameterValue.InsufficientPrice",
    ),
    QuotaExceeded: (
        # RunInstances.
        "InstancesQuotaLimitExceeded",
        "InvalidParameterValue.TagQuotaLimitExceeded",
        "LimitExceeded.CvmInstanceQuota",
        "LimitExceeded.CvmsVifsPerSecGroupLimitExceeded",
        "LimitExceeded.DisasterRecoverGroup",
        "LimitExceeded.IPv6AddressNum",
        "LimitExceeded.InstanceEniNumLimit",
        "LimitExceeded.InstanceQuota",
        "LimitExceeded.PrepayQuota",
        "LimitExceeded.PrepayUnderwriteQuota",
        "LimitExceeded.SingleUSGQuota",
        "LimitExceeded.UserSpotQuota",
        "InvalidParameterValue.ExternalIpQuotaLimited",
        # Other actions of the product, and the platform.
        "LimitExceeded",
        "LimitExceeded.AssociateUSGLimitExceeded",
        "LimitExceeded.EipNumLimit",
        "LimitExceeded.EniNumLimit",
        "LimitExceeded.LaunchTemplateQuota",
        "LimitExceeded.LaunchTemplateVersionQuota",
        "LimitExceeded.TagResourceQuota",
        "OverQuota",
        "UnsupportedOperation.InsufficientClusterQuota",
    ),
    InsufficientBalance: (
        # RunInstances.
        "AccountQualificationRestrictions",
        "InvalidAccount.InsufficientBalance",
    ),
    InvalidCredentials: (
        # The gateway, before the action is looked at (platform codes).
        "AuthFailure",
        "AuthFailure.InvalidAuthorization",
        "AuthFailure.InvalidSecretId",
        "AuthFailure.MFAFailure",
        "AuthFailure.SecretIdNotFound",
        "AuthFailure.SignatureExpire",
        "AuthFailure.SignatureFailure",
        "AuthFailure.TokenFailure",
        "AuthFailure.UnauthorizedOperation",
        "IpInBlacklist",
        "IpNotInWhitelist",
        "UnauthorizedOperation",
        "UnauthorizedOperation.PermissionDenied",
        # The six actions: the account may not do this.
        "FailedOperation.PromotionalPerioRestriction",
        "FailedOperation.PromotionalRegionRestriction",
        "InvalidPermission",
        "OperationDenied.AccountNotSupported",
        "UnauthorizedOperation.InvalidToken",
        "UnauthorizedOperation.MFAExpired",
        "UnauthorizedOperation.MFANotFound",
        "UnsupportedOperation.UnsupportedInternationalUser",
    ),
    Throttled: (
        # The gateway (platform codes): refused for the rate of an address, an account, or an account in a region.
        "RequestLimitExceeded",
        "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
        "RequestLimitExceeded.IPLimitExceeded",
        "RequestLimitExceeded.UinLimitExceeded",
    ),
    Unavailable: (
        # Checked before anything is bought. It ends by itself.
        "ResourceInUse",
        "ResourceInUse.DiskRollbacking",
    ),
    OutcomeUnknown: (
        # The action stopped somewhere. It may have done more than the answer says.
        "FailedOperation",
        "FailedOperation.InquiryPriceFailed",
        "FailedOperation.SecurityGroupActionFailed",
        "InternalError",
        "InternalError.TradeUnknownError",
        "InternalServerError",
        "ServiceUnavailable",
        # The action was carried out, but its answer was too large for the gateway (platform code).
        "ResponseSizeLimitExceeded",
    ),
    InstanceBusy: (
        # TerminateInstances: not in this state, but the state will change.
        "UnsupportedOperation.InstanceStateEnterRescueMode",
        "UnsupportedOperation.InstanceStateEnterServiceLiveMigrate",
        "UnsupportedOperation.InstanceStateExitRescueMode",
        "UnsupportedOperation.InstanceStateExitServiceLiveMigrate",
        "UnsupportedOperation.InstanceStateLaunchFailed",
        "UnsupportedOperation.InstanceStatePending",
        "UnsupportedOperation.InstanceStateRebooting",
        "UnsupportedOperation.InstanceStateStarting",
        "UnsupportedOperation.InstanceStateStopping",
        "MutexOperation.TaskRunning",
        "OperationDenied.InstanceOperationInProgress",
        "UnsupportedOperation.InstanceStateRescueMode",
        "UnsupportedOperation.InstanceStateServiceLiveMigrate",
    ),
    InstanceGone: (
        # TerminateInstances: nothing left to do.
        "InvalidInstanceId.NotFound",
        "UnsupportedOperation.InstanceStateIsolating",
        "UnsupportedOperation.InstanceStateTerminated",
        "UnsupportedOperation.InstanceStateTerminating",
        "ResourceNotFound.InvalidInstanceIdNotFound",
    ),
    TerminationBlocked: (
        # TerminateInstances: protection, a freeze, a policy, a debt or a limit on returns.
        "FailedOperation.InvalidInstanceApplicationRole",
        "FailedOperation.InvalidInstanceApplicationRoleEmr",
        "FailedOperation.Unreturnable",
        "InvalidInstance.NotSupported",
        "InvalidInstanceNotSupportedPrepaidInstance",
        "UnsupportedOperation.InstanceChargeType",
        "UnsupportedOperation.InstanceStateBanning",
        "UnsupportedOperation.InstanceStateFreezing",
        "UnsupportedOperation.InstancesProtected",
        "UnsupportedOperation.RedHatInstanceTerminateUnsupported",
        "UnsupportedOperation.RedHatInstanceUnsupported",
        "UnsupportedOperation.SpecialInstanceType",
        "InvalidAccount.UnpaidOrder",
        "LimitExceeded.UserReturnQuota",
        "UnsupportedOperation.InvalidInstanceNotSupportedProtectedInstance",
        "UnsupportedOperation.InvalidInstancesOwner",
        "UnsupportedOperation.UserLimitOperationExceedQuota",
    ),
    InvalidConfiguration: (
        # The six actions: this request can never succeed unchanged.
        "AuthFailure.CamRoleNameAuthenticateFailed",
        "FailedOperation.DisasterRecoverGroupNotFound",
        "FailedOperation.IllegalTagKey",
        "FailedOperation.IllegalTagValue",
        "FailedOperation.SnapshotSizeLargerThanDataSize",
        "FailedOperation.SnapshotSizeLessThanDataSize",
        "FailedOperation.TagKeyReserved",
        "FailedOperation.TatAgentNotSupport",
        "InvalidClientToken.TooLong",
        "InvalidFilter",
        "InvalidFilterValue.LimitExceeded",
        "InvalidHostId.Malformed",
        "InvalidHostId.NotFound",
        "InvalidImageId.Malformed",
        "InvalidImageId.NotFound",
        "InvalidInstanceId.Malformed",
        "InvalidInstanceName.TooLong",
        "InvalidInstanceType.Malformed",
        "InvalidKeyPairId.Malformed",
        "InvalidParameter",
        "InvalidParameter.CdcNotSupported",
        "InvalidParameter.EdgeZoneMissInternetAccessible",
        "InvalidParameter.HostIdCustomizedInstanceTypeNotSupport",
        "InvalidParameter.HostIdInstanceTypeNotSupport",
        "InvalidParameter.HostIdStandardInstanceTypeNotSupport",
        "InvalidParameter.HostIdStatusNotSupport",
        "InvalidParameter.InstanceImageNotSupport",
        "InvalidParameter.InstanceTypeSupportedHostNotFound",
        "InvalidParameter.InternetAccessibleNotSupported",
        "InvalidParameter.InvalidIpFormat",
        "InvalidParameter.LackCoreCountOrThreadPerCore",
        "InvalidParameter.OnlySupportForEdgeZone",
        "InvalidParameter.ParameterConflict",
        "InvalidParameter.SnapshotNotFound",
        "InvalidParameter.SpecialParameterForSpecialAccount",
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "InvalidParameterValue.BandwidthPackageIdMalformed",
        "InvalidParameterValue.BandwidthPackageIdNotFound",
        "InvalidParameterValue.BandwidthPackageIspNotMatch",
        "InvalidParameterValue.BandwidthPackageZoneNotMatch",
        "InvalidParameterValue.CamRoleNameMalformed",
        "InvalidParameterValue.ChcHostsNotFound",
        "InvalidParameterValue.CloudSsdDataDiskSizeTooSmall",
        "InvalidParameterValue.CoreCountValue",
        "InvalidParameterValue.DedicatedClusterNotSupportedChargeType",
        "InvalidParameterValue.DedicatedResourcePackIdsNotFound",
        "InvalidParameterValue.DedicatedResourcePackNotValid",
        "InvalidParameterValue.DedicatedResourcePackTenancyMismatch",
        "InvalidParameterValue.Duplicate",
        "InvalidParameterValue.DuplicateTags",
        "InvalidParameterValue.ElasticNetworkNotExist",
        "InvalidParameterValue.ElasticNetworkVpcSubnetMismatch",
        "InvalidParameterValue.HpcClusterIdZoneIdNotMatch",
        "InvalidParameterValue.IPAddressMalformed",
        "InvalidParameterValue.IPv6AddressMalformed",
        "InvalidParameterValue.IllegalHostName",
        "InvalidParameterValue.IncorrectFormat",
        "InvalidParameterValue.InstanceIdMalformed",
        "InvalidParameterValue.InstanceTypeNotFound",
        "InvalidParameterValue.InstanceTypeNotSupportElasticNetworks",
        "InvalidParameterValue.InstanceTypeNotSupportHpcCluster",
        "InvalidParameterValue.InstanceTypeRequiredHpcCluster",
        "InvalidParameterValue.InvalidAppIdFormat",
        "InvalidParameterValue.InvalidImageForGivenInstanceType",
        "InvalidParameterValue.InvalidImageFormat",
        "InvalidParameterValue.InvalidImageId",
        "InvalidParameterValue.InvalidImageOsName",
        "InvalidParameterValue.InvalidInstanceTypePeriodicContract",
        "InvalidParameterValue.InvalidIpFormat",
        "InvalidParameterValue.InvalidNetworkInterfaceId",
        "InvalidParameterValue.InvalidParameterMinCount",
        "InvalidParameterValue.InvalidPassword",
        "InvalidParameterValue.InvalidTimeFormat",
        "InvalidParameterValue.InvalidUserDataFormat",
        "InvalidParameterValue.InvalidVagueName",
        "InvalidParameterValue.InvalidVpcIdSubnetIdNotFound",
        "InvalidParameterValue.IspNotSupportForEdgeZone",
        "InvalidParameterValue.IspValueRepeated",
        "InvalidParameterValue.KeyPairNotFound",
        "InvalidParameterValue.LaunchTemplateIdMalformed",
        "InvalidParameterValue.LaunchTemplateIdNotExisted",
        "InvalidParameterValue.LaunchTemplateNotFound",
        "InvalidParameterValue.LaunchTemplateVersion",
        "InvalidParameterValue.LimitExceeded",
        "InvalidParameterValue.MustDhcpEnabledVpc",
        "InvalidParameterValue.MustEnabledIsRdma",
        "InvalidParameterValue.NotCdcSubnet",
        "InvalidParameterValue.NotSupported",
        "InvalidParameterValue.Range",
        "InvalidParameterValue.RequiredLocationImage",
        "InvalidParameterValue.SnapshotIdMalformed",
        "InvalidParameterValue.SubnetIdMalformed",
        "InvalidParameterValue.SubnetIdZoneIdNotMatch",
        "InvalidParameterValue.SubnetNotExist",
        "InvalidParameterValue.TagKeyNotFound",
        "InvalidParameterValue.ThreadPerCoreValue",
        "InvalidParameterValue.TooLarge",
        "InvalidParameterValue.UuidMalformed",
        "InvalidParameterValue.VpcIdMalformed",
        "InvalidParameterValue.VpcIdNotExist",
        "InvalidParameterValue.VpcIdSubnetIdNotMatch",
        "InvalidParameterValue.VpcIdZoneIdNotMatch",
        "InvalidParameterValue.VpcNotSupportIpv6Address",
        "InvalidParameterValue.ZoneNotSupported",
        "InvalidPassword",
        "InvalidPeriod",
        "InvalidProjectId.NotFound",
        "InvalidRegion.NotFound",
        "InvalidSecurityGroupId.NotFound",
        "InvalidSgId.Malformed",
        "InvalidZone.MismatchRegion",
        "MissingParameter",
        "MissingParameter.DPDKInstanceTypeRequiredVPC",
        "MissingParameter.MonitorService",
        "OperationDenied.ChcInstallCloudImageWithoutDeployNetwork",
        "OperationDenied.NotBandwidthShiftUpUserApplyEdgeZoneEip",
        "ResourceInsufficient.CloudDiskUnavailable",
        "ResourceNotFound.HpcCluster",
        "ResourceNotFound.KeyPairNotFound",
        "UnsupportedOperation",
        "UnsupportedOperation.BandwidthPackageIdNotSupported",
        "UnsupportedOperation.HibernationOsVersion",
        "UnsupportedOperation.InstanceMixedPricingModel",
        "UnsupportedOperation.InstanceTypeNotSupportConfidentiality",
        "UnsupportedOperation.InstanceTypeNotSupportGridLicence",
        "UnsupportedOperation.InstanceTypeNotSupportJumboFrame",
        "UnsupportedOperation.InstancesEnableJumboWithoutReboot",
        "UnsupportedOperation.InvalidDisk",
        "UnsupportedOperation.InvalidRegionDiskEncrypt",
        "UnsupportedOperation.KeyPairUnsupportedWindows",
        "UnsupportedOperation.MinCountUnsupportedChargeType",
        "UnsupportedOperation.MinCountUnsupportedRegion",
        "UnsupportedOperation.NoInstanceTypeSupportSpot",
        "UnsupportedOperation.NotSupportImportInstancesActionTimer",
        "UnsupportedOperation.OnlyForPrepaidAccount",
        "UnsupportedOperation.PeriodicContractNotSupportManualRenew",
        "UnsupportedOperation.RawLocalDiskInsReinstalltoQcow2",
        "UnsupportedOperation.Region",
        "UnsupportedOperation.SpotUnsupportedRegion",
        "UnsupportedOperation.UnderwritingInstanceTypeOnlySupportAutoRenew",
        "UnsupportedOperation.UnsupportedPool",
        "VpcAddrNotInSubNet",
        # A value that the request names, in spite of its prefix; most are new since the end of 2024.
        "FailedOperation.AlreadyInDisasterRecoverGroup",
        "FailedOperation.MutActionTimerExist",
        "FailedOperation.NotFoundEIP",
        "FailedOperation.ZoneInconsistent",
        # The image or the placement group is named in the template. An image that is being made is asked for again.
        "FailedOperation.DisasterRecoverGroupNotMatch",
        "FailedOperation.InvalidImageState",
        "InvalidParameterValue.InvalidImageState",
        # Other actions of the product, in the same sense.
        "InvalidInstanceState",
        "InvalidKeyPairId.NotFound",
        "InvalidParameterConflict",
        "InvalidParameterValueLimit",
        "InvalidParameterValueOffset",
        "InvalidRegion.Unavailable",
        "MissingParameter.AtLeastOne",
        "UnauthorizedOperation.ImageNotBelongToAccount",
        "UnknownParameter",
        "UnsupportedOperation.InvalidZone",
        # The gateway (platform codes): it does not serve such requests.
        "ActionOffline",
        "InvalidAction",
        "InvalidRequest",
        "NoSuchProduct",
        "NoSuchVersion",
        "OperationDenied",
        "RequestSizeLimitExceeded",
        "ResourceNotFound",
        "UnsupportedProtocol",
        "UnsupportedRegion",
    ),
}

#: Codes with another meaning in the answer to a certain action.
BY_ACTION: Mapping[str, Mapping[str, type[CloudError]]] = {
    "RunInstances": {
        # Here it is about the template's parameters, not about an instance to be released.
        "InvalidInstance.NotSupported": InvalidConfiguration,
        # An instance that is being launched cannot be ending: a race inside the cloud.
        "UnsupportedOperation.InstanceStateIsolating": Unavailable,
    },
    # The instance is the resource. Source: Tag API 2018-08-13, error codes of the action.
    "ModifyResourceTags": {"InvalidParameterValue.ResourceIdInvalid": InstanceGone},
    # A timer that was read just before has done its work, is gone, or another request has set one meanwhile.
    "DeleteInstancesActionTimer": {"InvalidParameterValue": InstanceBusy, "UnsupportedOperation": InstanceBusy},
    "ImportInstancesActionTimer": {"FailedOperation.MutActionTimerExist": InstanceBusy},
}

#: Prefixes of codes that are not listed above. The longest match wins. Source: platform docs, "Common error codes".
PREFIXES: Mapping[str, type[CloudError]] = {
    "AuthFailure": InvalidCredentials,
    "FailedOperation": OutcomeUnknown,
    "Internal": OutcomeUnknown,
    "Invalid": InvalidConfiguration,
    "InvalidAccount.": InsufficientBalance,
    "LimitExceeded": QuotaExceeded,
    "MissingParameter": InvalidConfiguration,
    "MutexOperation": Unavailable,
    "OperationDenied": InvalidConfiguration,
    "RequestLimitExceeded": Throttled,
    "ResourceInUse": Unavailable,
    "ResourceInsufficient": InsufficientCapacity,
    "ResourceNotFound": InvalidConfiguration,
    "ResourceUnavailable": InsufficientCapacity,
    "ResourcesSoldOut": InsufficientCapacity,
    "UnauthorizedOperation": InvalidCredentials,
    "UnknownParameter": InvalidConfiguration,
    "UnsupportedOperation": InvalidConfiguration,
    "UnsupportedOperation.InstanceState": InstanceBusy,
    "Vpc": InvalidConfiguration,
}

_BY_CODE = {code: error for error, codes in EXACT.items() for code in codes}
_LONGEST_FIRST = sorted(PREFIXES.items(), key=lambda item: -len(item[0]))


def classify(action: str, code: str) -> type[CloudError]:
    """Returns the class of `code` in an answer to `action`. An unknown code is Unclassified.

    A release has no configuration that could be wrong, so a lasting refusal of TerminateInstances is
    TerminationBlocked.
    """
    error = BY_ACTION.get(action, {}).get(code) or _BY_CODE.get(code) or _by_prefix(code)
    if action == "TerminateInstances" and error is InvalidConfiguration:
        return TerminationBlocked
    return error


def _by_prefix(code: str) -> type[CloudError]:
    return next((error for prefix, error in _LONGEST_FIRST if code.startswith(prefix)), Unclassified)


#: Words in a code, or otherwise in its message, and the part of the request they are about. The first match counts, so
#: a pattern that covers two parts stands before a pattern for one of them.
_WORDS: tuple[tuple[str, Part], ...] = (
    ("ActionTime", Part.TIMER),
    ("Image", Part.IMAGE),
    ("Hpc", Part.HPC_CLUSTER),
    ("DisasterRecover", Part.PLACEMENT_GROUP),
    ("Sg(Id)?[.]|SecurityGroup|VifsPerSecGroup", Part.SECURITY_GROUPS),
    ("KeyPair|Password", Part.LOGIN),
    ("CamRole", Part.ROLE),
    ("UserData", Part.USER_DATA),
    ("HostName", Part.HOST_NAME),
    ("Bandwidth|Internet|Isp", Part.INTERNET),
    ("MonitorService|SecurityService|TatAgent", Part.SERVICES),
    ("Subnet|Vpc|Cidr", Part.NETWORK),
    ("Tag(s|Key|Value|Quota)", Part.TAGS),
    ("ProjectId", Part.PROJECT),
    ("Snapshot|DataDisk|data disk", Part.DATA_DISKS),
    ("SystemDisk|system disk", Part.SYSTEM_DISK),
    ("InstanceType|SupportSpot", Part.INSTANCE_TYPE),
    ("Zone|Region", Part.ZONE),
)


def part_named(code: str, message: str) -> Part | None:
    """Returns the part of a launch that a refusal seems to be about.

    None when its words name none. A hint, not a proof.
    """
    for text in (code, message):
        for words, part in _WORDS:
            if re.search(words, text):
                return part
    return None
