/* SPDX-License-Identifier: MIT */
/* keel.efi check: what this machine is and what a launch would use, as text for a report. */
#include "boot/efi/loader.h"

#include "arch-x86/log.h"
#include "lib/efi_mp_services.h"
#include "lib/printf.h"
#include "lib/string.h"

#define CHECK_FILE		"\\EFI\\keel\\check.txt"
#define TEXT_SIZE		(64u << 10)
#define CPUID_LEAVES_HYPERVISOR 0x40000000u

static struct {
	char *text;
	u64 length;
} report;

static void tell(const char *format_text, ...) printf_like(1);
static void tell(const char *format_text, ...)
{
	char line[256];
	va_list arguments;
	u64 length;

	va_start(arguments, format_text);
	format_string(line, sizeof(line), format_text, arguments);
	va_end(arguments);
	say("%s", line);
	length = MIN(strlen(line), TEXT_SIZE - report.length);
	memcpy(report.text + report.length, line, length);
	report.length += length;
}

static void cpuid_words(u32 leaf, u32 words[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(words[0]), "=b"(words[1]), "=c"(words[2]), "=d"(words[3])
			 : "a"(leaf), "c"(0));
}

static void tell_firmware(void)
{
	EFI_GUID global = EFI_GLOBAL_VARIABLE;
	char vendor[64];
	UINT8 secure = 0;
	UINTN size = sizeof(secure);
	EFI_STATUS status;
	u32 n = 0;

	for (const CHAR16 *p = ST->FirmwareVendor; p && *p && n < sizeof(vendor) - 1; p++)
		vendor[n++] = *p < 0x7f ? (char)*p : '?';
	vendor[n] = 0;
	status = ST->RuntimeServices->GetVariable(L"SecureBoot", &global, NULL, &size, &secure);
	tell("firmware: %s, revision %x; UEFI %u.%u; Secure Boot %s\n", vendor,
	     ST->FirmwareRevision, ST->Hdr.Revision >> 16, (ST->Hdr.Revision & 0xffff) / 10,
	     EFI_ERROR(status) ? "not there"
	     : secure	       ? "on"
			       : "off");
}

static void tell_processor(void)
{
	u32 w[4], family, model;
	char vendor[13] = "", brand[49] = "";

	cpuid_words(0, w);
	memcpy(vendor, &w[1], 4);
	memcpy(vendor + 4, &w[3], 4);
	memcpy(vendor + 8, &w[2], 4);
	cpuid_words(0x80000000, w);
	for (u32 i = 0; w[0] >= 0x80000004 && i < 3; i++) {
		u32 part[4];

		cpuid_words(0x80000002 + i, part);
		memcpy(brand + 16 * i, part, 16);
	}
	cpuid_words(1, w);
	family = w[0] >> 8 & 15;
	model = (w[0] >> 4 & 15) | (w[0] >> 12 & 0xf0);
	family += family == 15 ? w[0] >> 20 & 0xff : 0;
	tell("processor: %s, family %u, model %u, stepping %u, %s\n", vendor, family, model,
	     w[0] & 15, brand);
	if (w[2] & BIT(31)) {
		cpuid_words(CPUID_LEAVES_HYPERVISOR, w);
		memcpy(vendor, &w[1], 12);
		tell("an outer hypervisor is underneath: %s\n", vendor);
	} else {
		tell("no hypervisor is underneath\n");
	}
}

static void tell_cpus(void)
{
	EFI_GUID guid = EFI_MP_SERVICES_GUID;
	UINTN total = 0, enabled = 0;
	EFI_MP_SERVICES *mp;

	if (EFI_ERROR(BS->LocateProtocol(&guid, NULL, (void **)&mp))) {
		tell("CPUs: the firmware has no MP services: one is assumed\n");
		return;
	}
	mp->GetNumberOfProcessors(mp, &total, &enabled);
	tell("CPUs: %llu, %llu enabled\n", (unsigned long long)total, (unsigned long long)enabled);
	for (UINTN i = 0; i < total; i++) {
		EFI_PROCESSOR_INFORMATION cpu;

		if (EFI_ERROR(mp->GetProcessorInfo(mp, i, &cpu)))
			continue;
		tell("  number %llu: APIC id %llu, package %u core %u thread %u%s%s%s\n",
		     (unsigned long long)i, (unsigned long long)cpu.id, cpu.package, cpu.core,
		     cpu.thread, cpu.status & PROCESSOR_IS_BSP ? ", BSP" : "",
		     cpu.status & PROCESSOR_ENABLED ? "" : ", disabled",
		     cpu.status & PROCESSOR_HEALTHY ? "" : ", not healthy");
	}
}

static void tell_memory(const struct boot_info *info)
{
	u64 pages = 0;

	for (u32 i = 0; i < info->range_count; i++)
		pages += info->ranges[i].pages;
	tell("RAM: %llu MiB in %u ranges:\n", (unsigned long long)pages >> 8, info->range_count);
	for (u32 i = 0; i < info->range_count; i++)
		tell("  %012llx to %012llx\n", (unsigned long long)info->ranges[i].base,
		     (unsigned long long)(info->ranges[i].base + info->ranges[i].pages * PAGE_SIZE -
					  1));
	tell("Keel would reserve %llu KiB at %llx\n", (unsigned long long)info->reserved_pages * 4,
	     (unsigned long long)info->reserved_base);
}

static void tell_platform(const struct boot_info *info)
{
	tell("ACPI: RSDP at %llx, PM1 control %x %x, PM1 events %x %x, S3 type %x, S4 type %x\n",
	     (unsigned long long)info->rsdp, info->pm1a_control, info->pm1b_control,
	     info->pm1a_event, info->pm1b_event, info->s3_type, info->s4_type);
	tell("TSC: %llu MHz\n", (unsigned long long)info->tsc_khz / 1000);
	if (info->framebuffer)
		tell("framebuffer: %u x %u at %llx, for a panic\n", info->fb_width, info->fb_height,
		     (unsigned long long)info->framebuffer);
	else
		tell("framebuffer: none that Keel can write: a panic needs a serial port\n");
}

static void tell_features(const char *head, u64 features)
{
	tell("%s", head);
	for (u32 i = 0; i < 64; i++)
		if (features & BIT(i) && config_feature_name(BIT(i)))
			tell(" %s", config_feature_name(BIT(i)));
	tell("\n");
}

/* Root's lines without their prefix. */
static void tell_said(const char *p)
{
	static const char prefix[] = "keel: ";

	while (*p) {
		u32 length = 0;

		if (!strncmp(p, prefix, strlen(prefix)))
			p += strlen(prefix);
		while (p[length] && p[length] != '\n')
			length++;
		tell("%.*s\n", (int)length, p);
		p += length + !!p[length];
	}
}

static void tell_launch(const struct launch_report *launch)
{
	tell_memory(&launch->info);
	tell_platform(&launch->info);
	tell_said(launch->said);
	if (!launch->others_asked)
		tell("the firmware did not start the other CPUs for this check\n");
	tell_features("optional features used:",
		      launch->info.features & ~(u64)launch->info.backend_forbidden);
	tell_features("off by hw-off=:", launch->info.features & launch->info.backend_forbidden);
	tell("result: %s\n",
	     launch->able ? "Keel can be launched here" : "Keel cannot be launched here");
}

static void tell_all(const struct config *config)
{
	struct launch_report *launch = pool_take(sizeof(*launch));

	tell("keel: check, version " KEEL_VERSION ": nothing is launched\n");
	tell_firmware();
	tell_processor();
	tell_cpus();
	if (launch_is_running())
		tell("result: Keel runs already, and hides what this looks for\n");
	else if (launch && launch_check(config, launch))
		tell_launch(launch);
	else
		tell("result: Keel cannot be launched here: the line before says why\n");
	if (launch)
		pool_release(launch);
}

void check_machine(const struct config *config, EFI_HANDLE device)
{
	struct config quiet = *config;

	/* Root's lines come out here, not on a port of their own. */
	quiet.serial_port = 0;
	quiet.log_level = LOG_INFO;
	quiet.max_cpus = 0;
	report.text = pool_take(TEXT_SIZE);
	if (!report.text) {
		say("keel: no memory\n");
		return;
	}
	tell_all(&quiet);
	if (file_save(device, CHECK_FILE, report.text, report.length))
		say("keel: this text is in " CHECK_FILE "\n");
	else
		say("keel: " CHECK_FILE " cannot be written\n");
	pool_release(report.text);
}
