// SPDX-License-Identifier: MIT
/* PCI configuration space: what a kernel's probe of mechanism #1 looks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mgmt/uefi/keelrun/pci.h"

static void test_address_reads_back(void **state)
{
	struct pci p = {0};

	pci_write(&p, PCI_ADDRESS, 4, 0x80000000);
	assert_int_equal(pci_read(&p, PCI_ADDRESS, 4), 0x80000000);
	pci_write(&p, PCI_ADDRESS, 1, 0x12); /* a byte there is another device's */
	assert_int_equal(pci_read(&p, PCI_ADDRESS, 4), 0x80000000);
}

static void test_host_bridge(void **state)
{
	struct pci p = {0x80000008};

	assert_int_equal(pci_read(&p, PCI_DATA, 4), 0x06000000);
	assert_int_equal(pci_read(&p, PCI_DATA + 2, 2), 0x0600);
	p.address = 0x80000000;
	assert_int_equal((u16)pci_read(&p, PCI_DATA, 2), 0x1b36);
	p.address = 0x800000fc;
	assert_int_equal(pci_read(&p, PCI_DATA, 4), 0);
}

static void test_nobody_else(void **state)
{
	struct pci p = {0x80000800}; /* device 1 */

	assert_int_equal(pci_read(&p, PCI_DATA, 4), ~0u);
	p.address = 0; /* not enabled */
	assert_int_equal(pci_read(&p, PCI_DATA, 4), ~0u);
	assert_int_equal(pci_read(&p, PCI_ADDRESS + 2, 2), ~0u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address_reads_back),
		cmocka_unit_test(test_host_bridge),
		cmocka_unit_test(test_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
