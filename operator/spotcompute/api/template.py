"""Defines what one instance looks like, as users write it: image, disks, login, network, user data, tags.

Apart from `spec`, which says how many instances, where and at what price.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from spotcompute.api.schema import (
    BandwidthPackageId,
    HpcClusterId,
    ImageId,
    KeyId,
    ObjectName,
    PlacementGroupId,
    PlainName,
    SecurityGroupId,
    SnapshotId,
    SpecPart,
    checked,
    rule,
)
from spotcompute.model.launch import Disk, Template

DiskType = Literal[
    "LOCAL_BASIC",
    "LOCAL_SSD",
    "CLOUD_BASIC",
    "CLOUD_SSD",
    "CLOUD_PREMIUM",
    "CLOUD_BSSD",
    "CLOUD_HSSD",
    "CLOUD_TSSD",
]


KmsKeyId = Annotated[str, Field(min_length=1, max_length=64)]

KEY_NEEDS_LOCK = rule(
    "!has(self.kmsKeyId) || (has(self.encrypt) && self.encrypt)",
    "kmsKeyId needs encrypt: set encrypt to true, or remove the key",
)


class SystemDiskSpec(SpecPart):
    """`SystemDiskSpec` describes the disk that the instance starts from."""

    model_config = ConfigDict(json_schema_extra=checked(KEY_NEEDS_LOCK))

    disk_type: DiskType | None = Field(
        default=None,
        description="Kind of disk, as CVM names it. Left out: a kind that is in stock. BatchCompute:"
        " EnvData.SystemDisk.DiskType; CVM: SystemDisk.DiskType.",
    )
    disk_size: int | None = Field(
        default=None,
        ge=20,
        le=2048,
        description="Size in GiB. Left out: 50. BatchCompute: EnvData.SystemDisk.DiskSize; CVM: SystemDisk.DiskSize.",
    )
    encrypt: bool | None = Field(
        default=None,
        description="Encrypts the disk; accounts of the mainland site only. Left out: not encrypted."
        " BatchCompute: EnvData.SystemDisk.Encrypt;"
        " CVM: SystemDisk.Encrypt.",
    )
    kms_key_id: KmsKeyId | None = Field(
        default=None,
        description="Key of the Key Management Service for an encrypted disk. Left out: the key that CVM manages."
        " BatchCompute: EnvData.SystemDisk.KmsKeyId;"
        " CVM: SystemDisk.KmsKeyId.",
    )


class DataDiskSpec(SpecPart):
    """`DataDiskSpec` describes a data disk. It is deleted with the instance."""

    model_config = ConfigDict(json_schema_extra=checked(KEY_NEEDS_LOCK))

    disk_type: DiskType | None = Field(
        default=None,
        description="Kind of disk, as CVM names it. Left out: CVM's default, LOCAL_BASIC by its documentation."
        " BatchCompute: EnvData.DataDisks.DiskType; CVM: DataDisks.DiskType.",
    )
    disk_size: int = Field(
        ge=10,
        le=32000,
        multiple_of=10,
        description="Size in GiB, in steps of 10. BatchCompute: EnvData.DataDisks.DiskSize; CVM: DataDisks.DiskSize.",
    )
    snapshot_id: SnapshotId | None = Field(
        default=None,
        description="Snapshot that the disk is made from, such as snap-1a2b3c4d. Left out: the disk is empty."
        " BatchCompute: EnvData.DataDisks.SnapshotId; CVM: DataDisks.SnapshotId.",
    )
    encrypt: bool | None = Field(
        default=None,
        description="Encrypts the disk. Left out: not encrypted. BatchCompute: EnvData.DataDisks.Encrypt;"
        " CVM: DataDisks.Encrypt.",
    )
    kms_key_id: KmsKeyId | None = Field(
        default=None,
        description="Key of the Key Management Service for an encrypted disk. Left out: the key that CVM manages."
        " BatchCompute: EnvData.DataDisks.KmsKeyId;"
        " CVM: DataDisks.KmsKeyId.",
    )
    throughput_performance: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Extra throughput in MB/s; CLOUD_TSSD and CLOUD_HSSD disks only. Left out: none."
        " BatchCompute: EnvData.DataDisks.ThroughputPerformance;"
        " CVM: DataDisks.ThroughputPerformance.",
    )


class LoginSpec(SpecPart):
    """`LoginSpec` says how people log in."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!(has(self.keyIds) && size(self.keyIds) > 0 && has(self.keepImageLogin) && self.keepImageLogin)",
                "keyIds and keepImageLogin exclude each other: remove one",
            )
        )
    )

    key_ids: list[KeyId] = Field(
        default=[],
        max_length=5,
        description="SSH key pairs that are put into the instance, such as skey-1a2b3c4d; at most 5, and not for"
        " Windows. Left out: none. BatchCompute: EnvData.LoginSettings.KeyIds; CVM: LoginSettings.KeyIds.",
    )
    keep_image_login: bool = Field(
        default=False,
        description="Keep the login settings of the image, which must be a custom, shared or imported one. Default"
        " false. BatchCompute: EnvData.LoginSettings.KeepImageLogin; CVM: LoginSettings.KeepImageLogin.",
    )


class KeySelector(SpecPart):
    """`KeySelector` names one key of a Secret or ConfigMap in the object's own namespace."""

    name: ObjectName = Field(description="Name of the Secret or ConfigMap, in the namespace of this object.")
    key: str = Field(min_length=1, max_length=253, description="Key in its data under which the text is stored.")


class UserDataSource(SpecPart):
    """`UserDataSource` says where user data comes from."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "has(self.secretKeyRef) != has(self.configMapKeyRef)",
                "give exactly one of secretKeyRef and configMapKeyRef",
            )
        )
    )

    secret_key_ref: KeySelector | None = Field(
        default=None, description="One key of a Secret. Left out: give configMapKeyRef instead. CVM: UserData."
    )
    config_map_key_ref: KeySelector | None = Field(
        default=None, description="One key of a ConfigMap. Left out: give secretKeyRef instead. CVM: UserData."
    )


class InternetSpec(SpecPart):
    """`InternetSpec` describes access to and from the internet."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!has(self.bandwidthPackageId) || (has(self.internetChargeType)"
                " && self.internetChargeType == 'BANDWIDTH_PACKAGE')",
                "bandwidthPackageId needs internetChargeType BANDWIDTH_PACKAGE",
            ),
            rule(
                "!has(self.internetChargeType) || self.internetChargeType != 'BANDWIDTH_PACKAGE'"
                " || has(self.bandwidthPackageId)",
                "internetChargeType BANDWIDTH_PACKAGE charges through a package of yours: set bandwidthPackageId to its"
                " id, or choose another internetChargeType",
            ),
        )
    )

    internet_charge_type: (
        Literal["TRAFFIC_POSTPAID_BY_HOUR", "BANDWIDTH_POSTPAID_BY_HOUR", "BANDWIDTH_PACKAGE"] | None
    ) = Field(
        default=None,
        description="How the connection is charged: by traffic, by bandwidth and hour, or through a bandwidth package"
        " of the account, which bandwidthPackageId names. An account of the international site has no"
        " BANDWIDTH_POSTPAID_BY_HOUR. Left out: by the hour, as CVM chooses. BatchCompute:"
        " EnvData.InternetAccessible.InternetChargeType; CVM: InternetAccessible.InternetChargeType.",
    )
    internet_max_bandwidth_out: int | None = Field(
        default=None,
        ge=0,
        le=2000,
        description="Highest bandwidth out of the instance, in Mbit/s. Left out: 0. BatchCompute:"
        " EnvData.InternetAccessible.InternetMaxBandwidthOut; CVM: InternetAccessible.InternetMaxBandwidthOut.",
    )
    public_ip_assigned: bool | None = Field(
        default=None,
        description="Gives each instance a public address; this needs bandwidth. Left out: an instance gets one when"
        " internetMaxBandwidthOut is above 0. BatchCompute: EnvData.InternetAccessible.PublicIpAssigned;"
        " CVM: InternetAccessible.PublicIpAssigned.",
    )
    bandwidth_package_id: BandwidthPackageId | None = Field(
        default=None,
        description="Bandwidth package that the public addresses join, such as bwp-1a2b3c4d. Left out: none;"
        " BANDWIDTH_PACKAGE needs one."
        " BatchCompute: EnvData.InternetAccessible.BandwidthPackageId;"
        " CVM: InternetAccessible.BandwidthPackageId.",
    )


class EnhancedServiceSpec(SpecPart):
    """`EnhancedServiceSpec` says which of the vendor's agents run in the instance."""

    security_service: bool | None = Field(
        default=None,
        description="The agent of Cloud Workload Protection. Left out: CVM's default, on. BatchCompute:"
        " EnvData.EnhancedService.SecurityService.Enabled; CVM: EnhancedService.SecurityService.Enabled.",
    )
    monitor_service: bool | None = Field(
        default=None,
        description="The agent of Cloud Monitor. Left out: CVM's default, on. BatchCompute:"
        " EnvData.EnhancedService.MonitorService.Enabled; CVM: EnhancedService.MonitorService.Enabled.",
    )
    automation_service: bool | None = Field(
        default=None,
        description="The agent of TencentCloud Automation Tools (TAT). Left out: CVM's default, on with public images"
        " and off with others. BatchCompute: EnvData.EnhancedService.AutomationService.Enabled; CVM:"
        " EnhancedService.AutomationService.Enabled.",
    )


RoleName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        json_schema_extra=checked(
            rule(
                "self.matches('^[A-Za-z0-9+=,.@_-]+$')",
                "must be the name of a CAM role: letters, digits and + = , . @ _ -",
            )
        ),
    ),
]


TagText = Annotated[str, Field(max_length=127)]

MetadataText = Annotated[str, Field(min_length=1, max_length=256)]

PrivateAddress = Annotated[
    str,
    Field(
        max_length=15,
        json_schema_extra=checked(
            rule(
                "self.matches('^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$')",
                "must be an IPv4 address, such as 10.0.0.77",
            )
        ),
    ),
]


class TemplateSpec(SpecPart):
    """`TemplateSpec` describes what one instance looks like. A change applies to instances launched from then on."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!(has(self.userData) && has(self.userDataFrom))",
                "userData and userDataFrom exclude each other: remove one",
            )
        )
    )

    image_id: ImageId = Field(
        description="Image the instances start from, such as img-487zeit5. BatchCompute: EnvData.ImageId; CVM: ImageId."
    )
    instance_name: PlainName | None = Field(
        default=None,
        description="Beginning of the instances' names, at most 32 characters. The operator appends a part of the"
        " environment's identity and the number of the launch; CVM appends the number within the launch."
        " Left out: the name of this object. BatchCompute: EnvData.InstanceName; CVM: InstanceName.",
    )
    host_name: PlainName | None = Field(
        default=None,
        description="Host name inside the instance, at most 32 characters. When several are launched together, CVM"
        " appends 1, 2 and so on. Left out: CVM chooses. CVM: HostName.",
    )
    system_disk: SystemDiskSpec | None = Field(
        default=None,
        description="The disk that the instance starts from. Left out: CVM chooses its kind and size. BatchCompute:"
        " EnvData.SystemDisk; CVM: SystemDisk.",
    )
    data_disks: list[DataDiskSpec] = Field(
        default=[],
        max_length=20,
        description="Disks besides the system disk, at most 20; they are deleted with the instance. Left out: none."
        " BatchCompute: EnvData.DataDisks; CVM: DataDisks.",
    )
    security_group_ids: list[SecurityGroupId] = Field(
        default=[],
        max_length=10,
        description="Security groups of the instance, such as sg-1a2b3c4d; at most 10. Left out: the default group of"
        " the project. BatchCompute: EnvData.SecurityGroupIds; CVM: SecurityGroupIds.",
    )
    login_settings: LoginSpec | None = Field(
        default=None,
        description="How people log in. Left out: CVM makes a random password and sends it to the account as a"
        " message. BatchCompute: EnvData.LoginSettings; CVM: LoginSettings.",
    )
    user_data: (
        Annotated[
            str,
            Field(
                max_length=65536,
                json_schema_extra=checked(
                    rule(
                        "size(bytes(self)) <= 16384",
                        "must be at most 16 KiB: put a larger script where the instance can download it",
                    )
                ),
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Script or cloud-config that runs at first boot, as plain text of at most 16 KiB; the operator"
        " encodes it. Every user who may read this object can read it: use userDataFrom for secrets. Left"
        " out: none. CVM: UserData.",
    )
    user_data_from: UserDataSource | None = Field(
        default=None,
        description="User data from a Secret or a ConfigMap in this namespace, so that it does not appear in this"
        " object. Left out: userData, if given. CVM: UserData.",
    )
    internet_accessible: InternetSpec | None = Field(
        default=None,
        description="Public address and bandwidth. Left out: no bandwidth, and therefore no address. BatchCompute:"
        " EnvData.InternetAccessible; CVM: InternetAccessible.",
    )
    enhanced_service: EnhancedServiceSpec | None = Field(
        default=None,
        description="Which of the vendor's agents run in the instance. Left out: protection and monitoring with public"
        " images; with other images, the agents that the image contains. BatchCompute:"
        " EnvData.EnhancedService; CVM: EnhancedService.",
    )
    project_id: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Number of the project the instances belong to. Left out: 0, the default project. BatchCompute:"
        " Placement.ProjectId; CVM: Placement.ProjectId.",
    )
    cam_role_name: RoleName | None = Field(
        default=None,
        description="CAM role that programs in the instance can assume. Left out: none. CVM: CamRoleName.",
    )
    hpc_cluster_id: HpcClusterId | None = Field(
        default=None,
        description="High-performance cluster that the instances join, such as hpc-1a2b3c4d. High-performance types"
        " need one, other types must not have one. Left out: none. CVM: HpcClusterId.",
    )
    disaster_recover_group_ids: list[PlacementGroupId] = Field(
        default=[],
        max_length=1,
        description="Placement group of the instances, such as ps-1a2b3c4d; at most one. Left out: none. CVM:"
        " DisasterRecoverGroupIds.",
    )
    private_ip_addresses: list[PrivateAddress] = Field(
        default=[],
        max_length=1,
        description="The private address of the instance, for an environment of one. It must be a free one of the"
        " placement's subnet. A successor waits until the address of its predecessor is free. Left out: the subnet's"
        " next ones. BatchCompute: EnvData.VirtualPrivateCloud.PrivateIpAddresses;"
        " CVM: VirtualPrivateCloud.PrivateIpAddresses.",
    )
    ipv6_address_count: int | None = Field(
        default=None,
        ge=0,
        le=10,
        description="How many IPv6 addresses each instance gets; the VPC needs an IPv6 block. Left out: none."
        " BatchCompute: EnvData.VirtualPrivateCloud.Ipv6AddressCount;"
        " CVM: VirtualPrivateCloud.Ipv6AddressCount.",
    )
    metadata: dict[str, MetadataText] = Field(
        default={},
        max_length=10,
        description="Custom pairs of keys and values, at most 10, that a program in the instance reads from the"
        " metadata service. CVM offers this to some accounts only. Left out: none. CVM: Metadata.Items.",
        json_schema_extra=checked(
            rule(
                "self.all(k, size(k) <= 128 && k.matches('^[A-Za-z0-9_-]+$'))",
                "metadata keys must be at most 128 characters of letters, digits, _ and -",
            )
        ),
    )
    tags: dict[str, TagText] = Field(
        default={},
        max_length=10,
        description="Tags of the instances and their disks, at most 10, in addition to the four by which the operator"
        " knows its own. Left out: only those four. CVM: TagSpecification.Tags.",
        json_schema_extra=checked(
            rule(
                "self.all(k, size(k) <= 127 && k.matches('^[A-Za-z0-9@=+._:/-]+$'))",
                "tag keys must be at most 127 characters of letters, digits and @ = + . _ : / -",
            ),
            rule(
                "self.all(k, !k.startsWith('qcloud') && !k.startsWith('tencent') && !k.startsWith('project')"
                " && !k.startsWith('spotcompute-') && k != 'managed-by')",
                "tag keys must not begin with qcloud, tencent, project or spotcompute-, and managed-by is reserved:"
                " choose another key",
            ),
            rule(
                "self.all(k, self[k].matches('^[\\\\p{L}\\\\p{N} @=+._:/()\\\\[\\\\]（）【】-]+$'))",
                "tag values must not be empty, and hold letters of any language, digits, spaces and"
                " + - = . _ : / @ ( ) [ ]",
            ),
        ),
    )

    def resolved(self) -> Template:
        """Returns the template as the operator's `Template`. User data is passed separately."""
        login, internet, services = self.login_settings, self.internet_accessible, self.enhanced_service
        return Template(
            image_id=self.image_id,
            system_disk=_disk(self.system_disk),
            data_disks=tuple(
                Disk(
                    type=disk.disk_type,
                    size=disk.disk_size,
                    snapshot_id=disk.snapshot_id,
                    encrypt=disk.encrypt,
                    kms_key_id=disk.kms_key_id,
                    throughput_performance=disk.throughput_performance,
                )
                for disk in self.data_disks
            ),
            security_group_ids=tuple(self.security_group_ids),
            key_ids=tuple(login.key_ids) if login else (),
            keep_image_login=login.keep_image_login if login else False,
            host_name=self.host_name,
            internet_charge_type=internet.internet_charge_type if internet else None,
            internet_max_bandwidth_out=internet.internet_max_bandwidth_out if internet else None,
            public_ip=internet.public_ip_assigned if internet else None,
            bandwidth_package_id=internet.bandwidth_package_id if internet else None,
            private_ips=tuple(self.private_ip_addresses),
            ipv6_address_count=self.ipv6_address_count,
            metadata=tuple(sorted(self.metadata.items())),
            project_id=self.project_id,
            cam_role_name=self.cam_role_name,
            hpc_cluster_id=self.hpc_cluster_id,
            placement_group_ids=tuple(self.disaster_recover_group_ids),
            security_service=services.security_service if services else None,
            monitor_service=services.monitor_service if services else None,
            automation_service=services.automation_service if services else None,
            tags=tuple(sorted(self.tags.items())),
        )


def _disk(spec: SystemDiskSpec | None) -> Disk | None:
    if spec is None:
        return None
    return Disk(type=spec.disk_type, size=spec.disk_size, encrypt=spec.encrypt, kms_key_id=spec.kms_key_id)
