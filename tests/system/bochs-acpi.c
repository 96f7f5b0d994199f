/* SPDX-License-Identifier: MIT */
/*
 * OVMF has no ACPI tables on Bochs, and without them Linux finds one CPU. This UEFI application
 * installs what describes Bochs' i440FX machine, then starts \EFI\BOOT\NEXT.EFI. Layouts: ACPI 6.4,
 * "ACPI Software Programming Model"; ports: 82371AB (PIIX4), "Power Management I/O Space
 * Registers".
 */
#include <efi.h>
#include <efilib.h>

#include "lib/efi_mp_services.h"
#include "lib/types.h"

#define NEXT	 L"\\EFI\\BOOT\\NEXT.EFI"
#define PIIX4_PM 0x80000b00u /* configuration address of bus 0, device 1, function 3 */
#define PMBA	 0x40	     /* its register: the I/O base */
#define CPUS_MAX 64

typedef struct ACPI_TABLE ACPI_TABLE; /* UEFI 2.10, "EFI ACPI Table Protocol" */
struct ACPI_TABLE {
	EFI_STATUS(EFIAPI *Install)(ACPI_TABLE *, void *table, UINTN size, UINTN *key);
};

struct packed header {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem[6], oem_table[8];
	u32 oem_revision;
	char creator[4];
	u32 creator_revision;
};

struct packed facs {
	char signature[4];
	u32 length;
	u8 rest[56];
};

struct packed dsdt {
	struct header header;
	u8 aml[12];
};

struct packed fadt {
	struct header header;
	u32 facs, dsdt;
	u8 reserved, profile;
	u16 sci;
	u32 smi_command;
	u8 unused[4];
	u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	u8 pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
	u8 gpe0_bytes, gpe1_bytes, gpe1_base, cst_control;
	u16 c2_latency, c3_latency, flush_size, flush_stride;
	u8 duty_offset, duty_width, day_alarm, month_alarm, century;
	u16 boot_flags;
	u8 reserved2;
	u32 flags;
	u8 rest[128];
};
_Static_assert(offsetof(struct fadt, pm_timer) == 76, "FADT");
_Static_assert(offsetof(struct fadt, flags) == 112, "FADT");
_Static_assert(sizeof(struct fadt) == 244, "FADT");

struct packed madt {
	struct header header;
	u32 lapic, flags;
	struct packed {
		u8 type, length, id, reserved;
		u32 address, gsi;
	} ioapic;
	struct packed {
		u8 type, length, bus, irq;
		u32 gsi;
		u16 flags;
	} overrides[2];
	struct packed {
		u8 type, length, uid;
		u16 flags;
		u8 lint;
	} nmi;
	struct packed {
		u8 type, length, uid, id;
		u32 flags;
	} cpus[CPUS_MAX];
};

static struct header head(const char *signature, u32 length, u8 revision)
{
	struct header h = {.length = length, .revision = revision, .oem_revision = 1};

	CopyMem(h.signature, (void *)signature, sizeof(h.signature));
	CopyMem(h.oem, "KEEL  ", sizeof(h.oem));
	CopyMem(h.oem_table, "BOCHS   ", sizeof(h.oem_table));
	CopyMem(h.creator, "KEEL", sizeof(h.creator));
	return h;
}

static u32 pm_base(void)
{
	u32 value;

	__asm__ volatile("outl %0, %w1" : : "a"(PIIX4_PM | PMBA), "d"(0xcf8));
	__asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(0xcfc));
	return value & 0xffc0;
}

static u32 list_cpus(struct madt *madt)
{
	EFI_GUID guid = EFI_MP_SERVICES_GUID;
	EFI_PROCESSOR_INFORMATION cpu;
	EFI_MP_SERVICES *mp;
	UINTN total = 0, enabled;
	u32 n = 0;

	if (EFI_ERROR(LibLocateProtocol(&guid, (void **)&mp)))
		return 0;
	mp->GetNumberOfProcessors(mp, &total, &enabled);
	while (n < CPUS_MAX && n < total && !EFI_ERROR(mp->GetProcessorInfo(mp, n, &cpu))) {
		madt->cpus[n].length = 8;
		madt->cpus[n].uid = n;
		madt->cpus[n].id = cpu.id;
		madt->cpus[n++].flags = 1; /* enabled */
	}
	return n;
}

static EFI_STATUS install_tables(void)
{
	/* Name (\_S5, Package {0, 0, 0, 0}): sleep type 0 switches Bochs' machine off. */
	static struct dsdt dsdt = {.aml = {0x08, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0}};
	static struct facs facs = {"FACS", sizeof(facs), {0}};
	static struct fadt fadt = {.sci = 9,
				   .pm1_event_bytes = 4,
				   .pm1_control_bytes = 2,
				   .pm_timer_bytes = 4,
				   .c2_latency = 101,
				   .c3_latency = 1001, /* neither state */
				   .century = 0x32,
				   .boot_flags = 3, /* ISA devices, keyboard controller */
				   .flags = 0x35 /* WBINVD, C1, buttons only as devices */};
	static struct madt madt = {.lapic = 0xfee00000,
				   .flags = 1, /* two 8259s */
				   .ioapic = {1, 12, .address = 0xfec00000},
				   .overrides = {{2, 10, .irq = 0, .gsi = 2},
						 {2, 10, .irq = 9, .gsi = 9, .flags = 0xd}},
				   .nmi = {4, 6, .uid = 0xff, .lint = 1}};
	EFI_GUID guid = {
		0xffe06bdd, 0x6107, 0x46a6, {0x7b, 0xb2, 0x5a, 0x9c, 0x7e, 0xc5, 0x27, 0x5c}};
	u32 base = pm_base(), cpus = list_cpus(&madt);
	struct header *tables[] = {(void *)&facs, &dsdt.header, &fadt.header, &madt.header};
	ACPI_TABLE *acpi;
	EFI_STATUS status = LibLocateProtocol(&guid, (void **)&acpi);

	dsdt.header = head("DSDT", sizeof(dsdt), 1);
	fadt.header = head("FACP", sizeof(fadt), 3);
	fadt.pm1a_event = base;
	fadt.pm1a_control = base + 4;
	fadt.pm_timer = base + 8;
	madt.header = head("APIC", offsetof(struct madt, cpus) + cpus * sizeof(madt.cpus[0]), 3);
	madt.ioapic.id = cpus;
	for (u32 i = 0; i < ARRAY_SIZE(tables) && !EFI_ERROR(status); i++) {
		UINTN key;

		status = acpi->Install(acpi, tables[i], tables[i]->length, &key);
	}
	return status;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	EFI_LOADED_IMAGE *loaded;
	EFI_HANDLE next;
	EFI_STATUS status;

	InitializeLib(image, table);
	status = install_tables();
	if (EFI_ERROR(status))
		Print(L"no ACPI tables: %r\n", status);
	BS->HandleProtocol(image, &LoadedImageProtocol, (void **)&loaded);
	status = BS->LoadImage(FALSE, image, FileDevicePath(loaded->DeviceHandle, NEXT), NULL, 0,
			       &next);
	if (!EFI_ERROR(status))
		status = BS->StartImage(next, NULL, NULL);
	return status;
}
