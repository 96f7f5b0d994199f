/* SPDX-License-Identifier: MIT */
/* What the files of the UEFI application share. */
#pragma once

#include <efi.h>

#include "boot/efi/config.h"
#include "boot/info.h"
#include "lib/types.h"

extern EFI_SYSTEM_TABLE *ST;
extern EFI_BOOT_SERVICES *BS;

/* Pool memory; NULL: none left. Freed by pool_release(). */
void *pool_take(u64 size);
void pool_release(void *p);

/* Formatted text on the firmware's console. */
void say(const char *format, ...) printf_like(1);

/* main.c: names the wrong lines of the configuration once more, in Keel's log. */
void config_log(void);

/* file.c: whole files of the volume that Keel was started from; paths in ASCII, either slash. */
/* NULL: not there or not readable. Free with pool_release(). One zero byte follows the content. */
char *file_load(EFI_HANDLE device, const char *path, u64 *size);
bool file_exists(EFI_HANDLE device, const char *path);
/* Loads and starts a UEFI application with its arguments as load options. */
EFI_STATUS chain_load(EFI_HANDLE image, EFI_HANDLE device, const char *path, const char *args);

/* False: it could not be written. */
bool file_save(EFI_HANDLE device, const char *path, const char *text, u64 size);

/* launch.c: false: this machine goes on without Keel, and why has been said. */
bool launch(const struct config *config);
/* A line for Keel's log: its ring and its port, as far as there are some already. */
void launch_log(const char *line);
/* Keel is underneath already. */
bool launch_is_running(void);
/* What a launch would find and use; nothing is launched, and all memory has been given back. */
struct launch_report {
	bool able;	       /* every CPU that was asked can run Keel */
	bool others_asked;     /* the firmware ran the check on the other CPUs */
	struct boot_info info; /* as for a launch; `features` is what CPU 0 has */
	char said[32768];      /* root's lines */
};
/* False: Keel's memory cannot be laid out here, and why has been said. */
bool launch_check(const struct config *config, struct launch_report *report);

/* check.c: the report of keel.efi check, on the console and in a file of the boot volume. */
void check_machine(const struct config *config, EFI_HANDLE device);
