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

/* Kept: they are read once more when Keel's log is there. */
static struct config_text conf_file, options;

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

static void load_options(const EFI_LOADED_IMAGE *loaded)
{
	const CHAR16 *wide = loaded->LoadOptions;
	u64 count = MIN((u64)loaded->LoadOptionsSize / 2, (u64)OPTIONS_MAX);
	static char text[OPTIONS_MAX];
	u64 n = 0;

	while (n < count && wide[n] >= ' ' && wide[n] < 0x7f) {
		text[n] = (char)wide[n];
		n++;
	}
	/* Boot managers leave binary data of their own there: that is no mistake of the user's. */
	if (n == count || !wide[n])
		options = (struct config_text){.start = text, .size = n};
}

static void tell(bool to_log, const char *format_text, ...) printf_like(2);
static void tell(bool to_log, const char *format_text, ...)
{
	char line[200];
	va_list arguments;

	va_start(arguments, format_text);
	format_string(line, sizeof(line), format_text, arguments);
	va_end(arguments);
	if (to_log)
		launch_log(line);
	else
		say("%s", line);
}

/* The whole configuration; wrong lines are named on the console, or in Keel's log. */
static void read_config(struct config *config, bool to_log)
{
	struct config_text file = conf_file, words = options;
	const char *what;

	config_defaults(config);
	while ((what = config_read_file(config, &file)))
		tell(to_log, "keel: " CONFIG_FILE " line %u: %s: skipped\n", file.line, what);
	while ((what = config_read_options(config, &words)))
		tell(to_log, "keel: load options: %s: skipped\n", what);
}

void config_log(void)
{
	static struct config again;

	read_config(&again, true);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	static struct config config;
	EFI_GUID guid = LOADED_IMAGE_PROTOCOL;
	EFI_LOADED_IMAGE *loaded;
	EFI_STATUS status;
	bool launched;

	ST = table;
	BS = table->BootServices;
	status = BS->HandleProtocol(image, &guid, (void **)&loaded);
	if (EFI_ERROR(status))
		return status;
	say("keel: a thin hypervisor, version " KEEL_VERSION "\n");
	BS->SetWatchdogTimer(0, 0, 0, NULL);
	conf_file.start = file_load(loaded->DeviceHandle, CONFIG_FILE, &conf_file.size);
	load_options(loaded);
	read_config(&config, false);
	if (config.check_machine) {
		check_machine(&config, loaded->DeviceHandle);
		if (config.power_off)
			ST->RuntimeServices->ResetSystem(EfiResetShutdown, EFI_SUCCESS, 0, NULL);
		return EFI_SUCCESS;
	}
	if (!config.next[0] && file_exists(loaded->DeviceHandle, DEFAULT_NEXT))
		memcpy(config.next, DEFAULT_NEXT, sizeof(DEFAULT_NEXT));
	launched = launch(&config);
	if (conf_file.start)
		pool_release((void *)conf_file.start);
	if (!launched && config.stop_on_fail) {
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
