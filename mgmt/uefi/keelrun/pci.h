/* SPDX-License-Identifier: MIT */
/*
 * PCI configuration space by mechanism #1 (PCI Local Bus Specification, "Software Generation of
 * Configuration Transactions"): a host bridge and nothing else, so that a kernel finds a bus.
 */
#pragma once

#include "lib/types.h"

enum { PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc };

struct pci {
	u32 address;
};

/* Ports PCI_ADDRESS to PCI_DATA + 3, size 1, 2 or 4 bytes. */
u32 pci_read(const struct pci *p, u16 port, u32 size);
void pci_write(struct pci *p, u16 port, u32 size, u32 value);
