"""Checks the shape of every request: which parameters exist, their types, and which are required.

It is a table of our own, so that the simulator needs no SDK to run. A test compares it with the models of the installed
official SDK. `*` marks a list, `!` a required parameter (as in the official CLI's api.json).
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from cvmsim.errors import ApiError

ACTIONS = """
RunInstances: InstanceChargeType:str InstanceChargePrepaid:InstanceChargePrepaid Placement:Placement InstanceType:str
  ImageId:str SystemDisk:SystemDisk DataDisks:*DataDisk VirtualPrivateCloud:VirtualPrivateCloud
  InternetAccessible:InternetAccessible InstanceCount:int MinCount:int InstanceName:str LoginSettings:LoginSettings
  SecurityGroupIds:*str EnhancedService:EnhancedService ClientToken:str HostName:str ActionTimer:ActionTimer
  DisasterRecoverGroupIds:*str TagSpecification:*TagSpecification InstanceMarketOptions:InstanceMarketOptionsRequest
  UserData:str Metadata:Metadata DryRun:bool CpuTopology:CpuTopology CamRoleName:str HpcClusterId:str
  LaunchTemplate:LaunchTemplate DedicatedClusterId:str ChcIds:*str PartitionNumber:int DisableApiTermination:bool
  EnableJumboFrame:bool NetworkInterfaces:*NetworkInterfaces
InquiryPriceRunInstances: Placement!:Placement ImageId!:str InstanceChargeType:str
  InstanceChargePrepaid:InstanceChargePrepaid InstanceType:str SystemDisk:SystemDisk DataDisks:*DataDisk
  VirtualPrivateCloud:VirtualPrivateCloud InternetAccessible:InternetAccessible InstanceCount:int InstanceName:str
  LoginSettings:LoginSettings SecurityGroupIds:*str EnhancedService:EnhancedService ClientToken:str HostName:str
  TagSpecification:*TagSpecification InstanceMarketOptions:InstanceMarketOptionsRequest Metadata:Metadata
  HpcClusterId:str CpuTopology:CpuTopology LaunchTemplate:LaunchTemplate NetworkInterfaces:*NetworkInterfaces
DescribeInstances: InstanceIds:*str Filters:*Filter Offset:int Limit:int
DescribeInstancesStatus: InstanceIds:*str Offset:int Limit:int
TerminateInstances: InstanceIds!:*str ReleaseAddress:bool ReleasePrepaidDataDisks:bool
StopInstances: InstanceIds!:*str ForceStop:bool StopType:str StoppedMode:str
StartInstances: InstanceIds!:*str
ModifyInstancesAttribute: InstanceIds!:*str InstanceName:str UserData:str SecurityGroups:*str CamRoleName:str
  HostName:str DisableApiTermination:bool CamRoleType:str AutoReboot:bool EnableJumboFrame:bool
DescribeZoneInstanceConfigInfos: Filters:*Filter
DescribeInstanceTypeConfigs: Filters:*Filter
DescribeZones:
DescribeRegions:
DescribeImages: ImageIds:*str Filters:*Filter Offset:int Limit:int InstanceType:str
DescribeAccountQuota: Filters:*Filter
DescribeInstancesAttributes: Attributes!:*str InstanceIds!:*str
DescribeKeyPairs: KeyIds:*str Filters:*Filter Offset:int Limit:int
CreateKeyPair: KeyName!:str ProjectId!:int TagSpecification:*TagSpecification
DeleteKeyPairs: KeyIds!:*str
ImportInstancesActionTimer: InstanceIds!:*str ActionTimer!:ActionTimer
DeleteInstancesActionTimer: ActionTimerIds!:*str
DescribeInstancesActionTimer: ActionTimerIds:*str InstanceIds:*str TimerAction:str EndActionTime:str
  StartActionTime:str StatusList:*str
DescribeVpcs: VpcIds:*str Filters:*Filter Offset:str Limit:str
DescribeSubnets: SubnetIds:*str Filters:*Filter Offset:str Limit:str MaxResults:int NextToken:str
DescribeSecurityGroups: SecurityGroupIds:*str Filters:*Filter Offset:str Limit:str OrderField:str OrderDirection:str
DescribeUsedIpAddress: VpcId!:str SubnetId:str IpAddresses:*str Filters:*Filter Offset:int Limit:int
DescribeAddresses: AddressIds:*str Filters:*Filter Offset:int Limit:int
DescribeDisks: Filters:*Filter Limit:int OrderField:str Offset:int ReturnBindAutoSnapshotPolicy:bool DiskIds:*str
  Order:str
TerminateDisks: DiskIds!:*str DeleteSnapshot:int
DescribeResourceTagsByResourceIds: ServiceType!:str ResourcePrefix!:str ResourceIds!:*str ResourceRegion!:str Offset:int
  Limit:int Category:str
ModifyResourceTags: Resource!:str ReplaceTags:*ResourceTag DeleteTags:*TagKeyObject
GetCallerIdentity:
AssumeRole: RoleArn!:str RoleSessionName!:str DurationSeconds:int Policy:str ExternalId:str Tags:*Tag
  SourceIdentity:str SerialNumber:str TokenCode:str
AssumeRoleWithWebIdentity: ProviderId!:str WebIdentityToken!:str RoleArn!:str RoleSessionName!:str DurationSeconds:int
"""

STRUCTURES = """
InstanceChargePrepaid: Period!:int RenewFlag:str
Placement: Zone!:str ProjectId:int HostIds:*str HostId:str DedicatedResourcePackTenancy:str
  DedicatedResourcePackIds:*str RackId:str
SystemDisk: DiskType:str DiskId:str DiskSize:int CdcId:str DiskName:str Encrypt:bool KmsKeyId:str
DataDisk: DiskSize!:int DiskType:str DiskId:str DeleteWithInstance:bool SnapshotId:str Encrypt:bool KmsKeyId:str
  ThroughputPerformance:int CdcId:str BurstPerformance:bool DiskName:str
VirtualPrivateCloud: VpcId!:str SubnetId!:str AsVpcGateway:bool PrivateIpAddresses:*str Ipv6AddressCount:int
InternetAccessible: InternetChargeType:str InternetMaxBandwidthOut:int PublicIpAssigned:bool BandwidthPackageId:str
  InternetServiceProvider:str IPv4AddressType:str IPv6AddressType:str AntiDDoSPackageId:str
LoginSettings: Password:str KeyIds:*str KeepImageLogin:str
EnhancedService: SecurityService:RunSecurityServiceEnabled MonitorService:RunMonitorServiceEnabled
  AutomationService:RunAutomationServiceEnabled
RunSecurityServiceEnabled: Enabled:bool
RunMonitorServiceEnabled: Enabled:bool
RunAutomationServiceEnabled: Enabled:bool
ActionTimer: TimerAction:str ActionTime:str Externals:Externals ActionTimerId:str Status:str InstanceId:str
Externals: ReleaseAddress:bool UnsupportNetworks:*str StorageBlockAttr:StorageBlock
StorageBlock: Type:str MinSize:int MaxSize:int
TagSpecification: ResourceType!:str Tags!:*Tag
Tag: Key!:str Value!:str
InstanceMarketOptionsRequest: SpotOptions!:SpotMarketOptions MarketType:str
SpotMarketOptions: MaxPrice!:str SpotInstanceType:str
Metadata: Items!:*MetadataItem
MetadataItem: Key!:str Value!:str
CpuTopology: CoreCount:int ThreadPerCore:int
LaunchTemplate: LaunchTemplateId:str LaunchTemplateVersion:int
NetworkInterfaces: InterfaceType!:str VpcId!:str SubnetId!:str PrivateIpv4AddressCount!:int NetworkInterfaceId:str
  SecurityGroupIds:*str DeleteWithInstance:bool
Filter: Name!:str Values!:*str
ResourceTag: TagKey!:str TagValue!:str Category:str
TagKeyObject: TagKey!:str
"""

SCALARS: Mapping[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
}


class Field(NamedTuple):
    """`Field` is one parameter. `type` is a scalar of SCALARS or the name of a structure."""

    type: str
    is_list: bool
    is_required: bool


@cache
def shapes() -> Mapping[str, Mapping[str, Field]]:
    """Returns both tables, parsed: action or structure → parameter → Field."""
    found: dict[str, dict[str, Field]] = {}
    name = ""
    for word in (ACTIONS + STRUCTURES).split():
        if word.endswith(":"):
            name = word[:-1]
            found[name] = {}
        else:
            parameter, _, type = word.partition(":")
            found[name][parameter.rstrip("!")] = Field(type.lstrip("*"), type.startswith("*"), "!" in parameter)
    return found


def check(action: str, params: Mapping[str, Any]) -> None:
    """Refuses what the vendor's gateway refuses before it reads a value.

    Raises ApiError: UnknownParameter, InvalidParameter (wrong type) or MissingParameter, with the path. A null counts
    as absent, because the SDKs send it so.
    """
    _check_structure(action, params, "")


def _check_structure(shape: str, values: Mapping[str, Any], path: str) -> None:
    fields = shapes()[shape]
    for name, value in values.items():
        field = fields.get(name)
        if field is None:
            raise ApiError("UnknownParameter", f"The parameter `{path}{name}` is not recognized.")
        if value is not None:
            _check_value(field, value, f"{path}{name}")
    for name, field in fields.items():
        if field.is_required and values.get(name) is None:
            raise ApiError("MissingParameter", f"The request is missing a required parameter `{path}{name}`.")


def _check_value(field: Field, value: object, path: str) -> None:
    if not field.is_list:
        _check_item(field.type, value, path)
    elif not isinstance(value, list):
        raise _wrong_type(path, "list")
    else:
        for index, item in enumerate(value):
            _check_item(field.type, item, f"{path}.{index}")


def _check_item(type: str, value: object, path: str) -> None:
    is_scalar = SCALARS.get(type)
    if is_scalar is not None:
        if not is_scalar(value):
            raise _wrong_type(path, type)
    elif not isinstance(value, dict):
        raise _wrong_type(path, "object")
    else:
        _check_structure(type, value, f"{path}.")


def _wrong_type(path: str, type: str) -> ApiError:
    return ApiError("InvalidParameter", f"The value type of parameter `{path}` is wrong: {type} is needed.")
