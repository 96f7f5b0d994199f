// SPDX-License-Identifier: MIT
/* PCI configuration space with a host bridge at 00:00.0. */
#include "mgmt/uefi/keelrun/pci.h"

enum { ADDRESS_ENABLE = BIT(31), ADDRESS_FUNCTION = 0x00ffff00, ADDRESS_REGISTER = 0xfc };

/* The first four registers; the rest of the header is zero. */
static const u32 host_bridge[] = {
	0x00081b36, /* Red Hat's generic host bridge */
	0x00000000, /* command and status */
	0x06000000, /* class: host bridge */
	0x00000000,
};

u32 pci_read(const struct pci *p, u16 port, u32 size)
{
	u32 index = (p->address & ADDRESS_REGISTER) / 4;
	u32 value = 0;

	if (port == PCI_ADDRESS && size == 4)
		return p->address;
	if (port < PCI_DATA || !(p->address & ADDRESS_ENABLE) || p->address & ADDRESS_FUNCTION)
		return ~0u;
	if (index < ARRAY_SIZE(host_bridge))
		value = host_bridge[index];
	return value >> (port - PCI_DATA) * 8;
}

void pci_write(struct pci *p, u16 port, u32 size, u32 value)
{
	if (port == PCI_ADDRESS && size == 4)
		p->address = value;
}
