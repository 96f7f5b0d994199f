/* SPDX-License-Identifier: MIT */
/* keel.efi: reads the configuration, launches root mode, starts what comes next. */
#include "boot/efi/loader.h"

#include "lib/printf.h"
#include "lib/string.h"

#define CONFIG_FILE  "\\EFI\\keel\\keel.conf"
#define DEFAULT_NEXT "\\EFI\\keel\\keelrun.efi"
#define OPTIONS_MAX  1024

EFI_SYSTEM_TABLE *ST;
EFI_BOOT_SERVICES *BS;

void *pool_take(u64 size)
{
	void *p;

	if (EFI_ERROR(BS->AllocatePool(EfiLoaderData, size, &p)))
		return NULL;
	memset(p, 0, size);
	return p;
}

void pool_release(void *p)
{
	BS->FreePool(p);
}

void say(const char *format_text, ...)
{
	char text[512];
	CHAR16 wide[2 * sizeof(text)];
	va_list arguments;
	size_t n = 0;

	va_start(arguments, format_text);
	format_string(text, sizeof(text), format_text, arguments);
	va_end(arguments);
	for (const char *p = text; *p; p++) {
		if (*p == '\n')
			wide[n++] = '\r';
		wide[n++] = (u8)*p;
	}
	wide[n] = 0;
	ST->ConOut->OutputString(ST->ConOut, wide);
}

static void read_options(struct config *config, const EFI_LOADED_IMAGE *loaded)
{
	const CHAR16 *wide = loaded->LoadOptions;
	u64 count = MIN((u64)loaded->LoadOptionsSize / 2, (u64)OPTIONS_MAX - 1);
	char text[OPTIONS_MAX];
	u64 n = 0;

	while (n < count && wide[n] >= ' ' && wide[n] < 0x7f) {
		text[n] = (char)wide[n];
		n++;
	}
	text[n] = 0;
	/* Boot managers leave binary data of their own there: that is no mistake of the user's. */
	if (n < count && wide[n])
		return;
	config_parse_options(config, text);
}

static void read_config(struct config *config, const EFI_LOADED_IMAGE *loaded)
{
	u64 size;
	char *text = file_load(loaded->DeviceHandle, CONFIG_FILE, &size);

	config_defaults(config);
	if (text) {
		config_parse_file(config, text, size);
		pool_release(text);
	}
	read_options(config, loaded);
	for (u32 i = 0; i < MIN(config->error_count, (u32)CONFIG_ERRORS); i++) {
		const struct config_error *e = &config->errors[i];

		if (e->line)
			say("keel: " CONFIG_FILE " line %u: %s: skipped\n", e->line, e->what);
		else
			say("keel: load options: %s: skipped\n", e->what);
	}
	if (config->error_count > CONFIG_ERRORS)
		say("keel: and %u more wrong lines: skipped\n",
		    config->error_count - CONFIG_ERRORS);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	static struct config config;
	EFI_GUID guid = LOADED_IMAGE_PROTOCOL;
	EFI_LOADED_IMAGE *loaded;
	EFI_STATUS status;

	ST = table;
	BS = table->BootServices;
	status = BS->HandleProtocol(image, &guid, (void **)&loaded);
	if (EFI_ERROR(status))
		return status;
	say("keel: a thin hypervisor, version " KEEL_VERSION "\n");
	BS->SetWatchdogTimer(0, 0, 0, NULL);
	read_config(&config, loaded);
	if (config.check_machine) {
		check_machine(&config, loaded->DeviceHandle);
		if (config.power_off)
			ST->RuntimeServices->ResetSystem(EfiResetShutdown, EFI_SUCCESS, 0, NULL);
		return EFI_SUCCESS;
	}
	if (!config.next[0] && file_exists(loaded->DeviceHandle, DEFAULT_NEXT))
		memcpy(config.next, DEFAULT_NEXT, sizeof(DEFAULT_NEXT));
	if (!launch(&config) && config.stop_on_fail) {
		say("keel: on-fail=stop: back to the firmware\n");
		return EFI_UNSUPPORTED;
	}
	if (!config.next[0]) {
		say("keel: nothing to start: no next= and no " DEFAULT_NEXT "\n");
		return EFI_SUCCESS;
	}
	say("keel: starting %s %s\n", config.next, config.args);
	status = chain_load(image, loaded->DeviceHandle, config.next, config.args);
	if (EFI_ERROR(status))
		say("keel: %s ended with EFI error %llu\n", config.next,
		    (unsigned long long)(status & 0xffff));
	else
		say("keel: %s ended\n", config.next);
	if (config.power_off)
		ST->RuntimeServices->ResetSystem(EfiResetShutdown, EFI_SUCCESS, 0, NULL);
	return status;
}
