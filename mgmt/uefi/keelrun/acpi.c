// SPDX-License-Identifier: MIT
/* The guest's ACPI tables. Section titles are those of the ACPI specification 6.4. */
#include "mgmt/uefi/keelrun/acpi.h"
#include <string.h>

#define LAPIC_BASE  0xfee00000u
#define IOAPIC_BASE 0xfec00000u
#define NS_PER_S    1000000000u

enum { /* where the tables stand, from ACPI_BASE */
       RSDP = 0,
       XSDT = 0x40,
       FACS = 0x80,
       FADT = 0x100,
       MADT = 0x240,
       DSDT = 0x400,
};
enum { SLEEP_TYPE_S5 = 5, SLEEP_ENABLE = BIT(13), SCI_ENABLED = BIT(0) };
enum { /* "Fixed ACPI Description Table Fixed Feature Flags" */
       FLAG_WBINVD = BIT(0),
       FLAG_C1 = BIT(2),
       FLAG_NO_POWER_BUTTON = BIT(4),
       FLAG_NO_SLEEP_BUTTON = BIT(5),
       FLAG_NO_RTC_WAKE = BIT(6),
       FLAG_TIMER_32 = BIT(8),
       FLAG_RESET = BIT(10),
};
enum { ARCH_LEGACY = BIT(0), ARCH_NO_VGA = BIT(2), ARCH_NO_ASPM = BIT(4) };

struct packed header {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem[6], oem_table[8];
	u32 oem_revision;
	char creator[4];
	u32 creator_revision;
};

struct packed address { /* "Generic Address Structure" */
	u8 space, bits, offset, access;
	u64 address;
};

struct packed rsdp {
	char signature[8];
	u8 checksum;
	char oem[6];
	u8 revision;
	u32 rsdt, length;
	u64 xsdt;
	u8 extended_checksum, reserved[3];
};

struct packed fadt {
	struct header header;
	u32 facs, dsdt;
	u8 reserved0, profile;
	u16 sci;
	u32 smi_command;
	u8 enable, disable, s4, pstate;
	u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	u8 pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
	u8 gpe0_length, gpe1_length, gpe1_base, cstate;
	u16 c2_latency, c3_latency, flush_size, flush_stride;
	u8 duty_offset, duty_width, day_alarm, month_alarm, century;
	u16 boot_architecture;
	u8 reserved1;
	u32 flags;
	struct address reset;
	u8 reset_value;
	u16 arm;
	u8 minor;
	u64 x_facs, x_dsdt;
	struct address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control,
		x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
};
ASSERT_OFFSET(struct fadt, sci, 46);
ASSERT_OFFSET(struct fadt, pm1a_event, 56);
ASSERT_OFFSET(struct fadt, boot_architecture, 109);
ASSERT_OFFSET(struct fadt, reset, 116);
ASSERT_OFFSET(struct fadt, x_dsdt, 140);
_Static_assert(sizeof(struct fadt) == 268, "FADT of revision 5");
_Static_assert(sizeof(struct rsdp) == 36, "RSDP");
_Static_assert(sizeof(struct header) == 36, "table header");

/* Name (_S5, Package { 5, 5, 0, 0 }): the sleep types of soft off */
static const u8 dsdt_aml[] = {0x08, '_',  'S',		 '5',  '_',	      0x12, 0x08,
			      0x04, 0x0a, SLEEP_TYPE_S5, 0x0a, SLEEP_TYPE_S5, 0x00, 0x00};

/* The bytes of a table sum up to zero. */
static u8 checksum(const void *table, u32 length)
{
	const u8 *p = table;
	u8 sum = 0;

	while (length--)
		sum += *p++;
	return (u8)-sum;
}

static void finish(void *table, const char *signature, u32 length, u8 revision)
{
	struct header *h = table;

	memcpy(h->signature, signature, 4);
	h->length = length;
	h->revision = revision;
	memcpy(h->oem, "KEEL  ", 6);
	memcpy(h->oem_table, "KEELRUN ", 8);
	h->oem_revision = 1;
	memcpy(h->creator, "KEEL", 4);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(table, length);
}

static struct address io_port(u16 port, u8 bits)
{
	return (struct address){.space = 1, .bits = bits, .access = bits / 16 + 1, .address = port};
}

static void build_fadt(u8 *tables)
{
	struct fadt *f = (struct fadt *)(tables + FADT);

	f->facs = ACPI_BASE + FACS;
	f->dsdt = ACPI_BASE + DSDT;
	f->x_dsdt = ACPI_BASE + DSDT;
	f->sci = 9;
	/* No SMI command port: the machine is always in ACPI mode. */
	f->pm1a_event = ACPI_PM_EVENT;
	f->pm1a_control = ACPI_PM_CONTROL;
	f->pm_timer = ACPI_PM_TIMER;
	f->pm1_event_length = 4;
	f->pm1_control_length = 2;
	f->pm_timer_length = 4;
	f->x_pm1a_event = io_port(ACPI_PM_EVENT, 32);
	f->x_pm1a_control = io_port(ACPI_PM_CONTROL, 16);
	f->x_pm_timer = io_port(ACPI_PM_TIMER, 32);
	f->c2_latency = 0xffff;
	f->c3_latency = 0xffff;
	f->century = 0x32;
	f->boot_architecture = ARCH_LEGACY | ARCH_NO_VGA | ARCH_NO_ASPM;
	f->flags = FLAG_WBINVD | FLAG_C1 | FLAG_NO_POWER_BUTTON | FLAG_NO_SLEEP_BUTTON |
		   FLAG_NO_RTC_WAKE | FLAG_TIMER_32 | FLAG_RESET;
	f->reset = io_port(ACPI_RESET_PORT, 8);
	f->reset_value = ACPI_RESET_VALUE;
	f->minor = 1;
	finish(f, "FACP", sizeof(*f), 5);
}

/* "Multiple APIC Description Table" */
static void build_madt(u8 *tables, u32 cpus)
{
	u8 *start = tables + MADT, *p = start + sizeof(struct header);

	*(u32 *)p = LAPIC_BASE;
	*(u32 *)(p + 4) = 1; /* the 8259s are there, too */
	p += 8;
	for (u32 i = 0; i < cpus; i++) {
		memcpy(p, (u8[]){0, 8, (u8)i, (u8)i, 1, 0, 0, 0}, 8);
		p += 8;
	}
	memcpy(p, (u8[]){1, 12, (u8)cpus, 0}, 4);
	*(u32 *)(p + 4) = IOAPIC_BASE;
	*(u32 *)(p + 8) = 0; /* first GSI */
	p += 12;
	/* The SCI is level triggered, active high. */
	memcpy(p, (u8[]){2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0}, 10);
	p += 10;
	memcpy(p, (u8[]){4, 6, 0xff, 0, 0, 1}, 6); /* NMI at every LINT1 */
	p += 6;
	finish(start, "APIC", (u32)(p - start), 3);
}

void acpi_build(u8 *tables, u32 cpus)
{
	struct rsdp *r = (struct rsdp *)(tables + RSDP);
	u64 *entries = (u64 *)(tables + XSDT + sizeof(struct header));
	u64 list[2] = {ACPI_BASE + FADT, ACPI_BASE + MADT};

	memset(tables, 0, ACPI_SIZE);
	memcpy(tables + DSDT + sizeof(struct header), dsdt_aml, sizeof(dsdt_aml));
	finish(tables + DSDT, "DSDT", sizeof(struct header) + sizeof(dsdt_aml), 2);
	memcpy(tables + FACS, "FACS", 4);
	tables[FACS + 4] = 64;
	tables[FACS + 32] = 2;
	build_fadt(tables);
	build_madt(tables, cpus);
	memcpy(entries, list, sizeof(list));
	finish(tables + XSDT, "XSDT", sizeof(struct header) + sizeof(list), 1);
	memcpy(r->signature, "RSD PTR ", 8);
	memcpy(r->oem, "KEEL  ", 6);
	r->revision = 2;
	r->length = sizeof(*r);
	r->xsdt = ACPI_BASE + XSDT;
	r->checksum = checksum(r, 20);
	r->extended_checksum = checksum(r, sizeof(*r));
}

u32 acpi_pm_read(const struct acpi_pm *pm, u16 port, u64 nanoseconds)
{
	switch (port) {
	case ACPI_PM_EVENT: /* nothing ever happens */
		return (u32)pm->enable << 16;
	case ACPI_PM_EVENT + 2:
		return pm->enable;
	case ACPI_PM_CONTROL:
		return SCI_ENABLED;
	case ACPI_PM_TIMER:
		return (u32)(nanoseconds / NS_PER_S * 3579545 +
			     nanoseconds % NS_PER_S * 3579545 / NS_PER_S);
	default:
		return 0;
	}
}

bool acpi_pm_write(struct acpi_pm *pm, u16 port, u32 value)
{
	if (port == ACPI_PM_EVENT + 2)
		pm->enable = (u16)value;
	return port == ACPI_PM_CONTROL && value & SLEEP_ENABLE &&
	       (value >> 10 & 7) == SLEEP_TYPE_S5;
}
