/* SPDX-License-Identifier: MIT */
/* What the files of the UEFI application share. */
#pragma once

#include <efi.h>

#include "boot/efi/config.h"
#include "lib/types.h"

extern EFI_SYSTEM_TABLE *ST;
extern EFI_BOOT_SERVICES *BS;

/* Pool memory; NULL: none left. Freed by pool_release(). */
void *pool_take(u64 size);
void pool_release(void *p);

/* Formatted text on the firmware's console. */
void say(const char *format, ...) printf_like(1);

/* file.c: whole files of the volume that Keel was started from; paths in ASCII, either slash. */
/* NULL: not there or not readable. Free with pool_release(). One zero byte follows the content. */
char *file_load(EFI_HANDLE device, const char *path, u64 *size);
bool file_exists(EFI_HANDLE device, const char *path);
/* Loads and starts a UEFI application with its arguments as load options. */
EFI_STATUS chain_load(EFI_HANDLE image, EFI_HANDLE device, const char *path, const char *args);

/* launch.c: false: this machine goes on without Keel, and why has been said. */
bool launch(const struct config *config);
