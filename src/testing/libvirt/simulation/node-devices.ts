/** The devices that a simulated host has from the start. */

export const NODE_DEVICES = [
  "<device><name>computer</name><capability type='system'><product>Simulated</product><hardware><vendor>hypervise</vendor><uuid>5f2b8c46-0f3a-4c52-9b1e-6d8a7c4e2f10</uuid></hardware><firmware><vendor>hypervise</vendor></firmware></capability></device>",
  `<device><name>pci_0000_00_1f_2</name><parent>computer</parent><capability type='pci'><class>0x010601</class><domain>0</domain>
<bus>0</bus><slot>31</slot><function>2</function><product id='0x2922'/><vendor id='0x8086'/></capability></device>`,
  `<device><name>pci_0000_03_00_0</name><parent>computer</parent><capability type='pci'><class>0x020000</class><domain>0</domain>
<bus>3</bus><slot>0</slot><function>0</function><product id='0x10fb'>Network card</product><vendor id='0x8086'>Intel</vendor>
<iommuGroup number='7'><address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></iommuGroup></capability></device>`,
  `<device><name>pci_0000_3b_00_0</name><parent>computer</parent><driver><name>mlx5_core</name></driver><capability type='pci'><class>0x020000</class>
<domain>0</domain><bus>59</bus><slot>0</slot><function>0</function><product id='0x1017'>ConnectX-5</product><vendor id='0x15b3'>Mellanox</vendor>
<capability type='virt_functions' maxCount='8'><address domain='0x0000' bus='0x3b' slot='0x00' function='0x2'/></capability>
<iommuGroup number='40'><address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></iommuGroup><numa node='1'/></capability></device>`,
  `<device><name>pci_0000_3b_00_2</name><parent>computer</parent><driver><name>vfio-pci</name></driver><capability type='pci'><class>0x020000</class>
<domain>0</domain><bus>59</bus><slot>0</slot><function>2</function><product id='0x1018'>ConnectX-5 virtual function</product><vendor id='0x15b3'>Mellanox</vendor>
<capability type='phys_function'><address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></capability>
<iommuGroup number='41'><address domain='0x0000' bus='0x3b' slot='0x00' function='0x2'/></iommuGroup><numa node='1'/></capability></device>`,
  `<device><name>net_eth0_52_54_00_00_00_fe</name><parent>pci_0000_03_00_0</parent><capability type='net'><interface>eth0</interface>
<address>52:54:00:00:00:fe</address><link speed='10000' state='up'/></capability></device>`,
] as const;

/** The network that every libvirt comes with. */
export const DEFAULT_NETWORK = `<network><name>default</name><forward mode='nat'/><bridge name='virbr0' stp='on' delay='0'/>
<mac address='52:54:00:00:00:ff'/><ip address='192.0.2.1' netmask='255.255.255.0'><dhcp><range start='192.0.2.2' end='192.0.2.254'/></dhcp></ip></network>`;

/** A pool of files. */
export const DEFAULT_POOL =
  "<pool type='dir'><name>default</name><target><path>/var/lib/libvirt/images</path></target></pool>";
