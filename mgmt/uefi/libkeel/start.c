// SPDX-License-Identifier: MIT
/* The program's beginning and end as a UEFI application. */
#include "mgmt/uefi/libkeel/arguments.h"
#include "mgmt/uefi/libkeel/libkeel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ATEXIT_MAX 16

EFI_SYSTEM_TABLE *efi_system;
EFI_BOOT_SERVICES *efi_boot;
EFI_HANDLE efi_image;

static struct arguments arguments;
static char name[64];
static struct keel_thread *main_thread;
static int exit_status;
static u32 ended_elsewhere, exiting;
static void (*at_exit[ATEXIT_MAX])(void);
static u32 at_exit_count;

int main(int argc, char **argv);
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

const char *program_name(void)
{
	return name;
}

int atexit(void (*function)(void))
{
	if (at_exit_count == ATEXIT_MAX)
		return -1;
	at_exit[at_exit_count++] = function;
	return 0;
}

/* ---- the end ---- */

static void free_threads(void)
{
	for (u32 i = 0; i < processor_count; i++) {
		struct keel_thread *first = processors[i].idle, *t = first->next, *next;

		for (; t != first; t = next) {
			next = t->next;
			if (t != main_thread)
				thread_free(t);
		}
		thread_free(first);
	}
}

/* On the main thread: back to the firmware, with everything given back. */
static void leave(void)
{
	u64 unused;

	while (at_exit_count)
		at_exit[--at_exit_count]();
	kvm_end();
	if (processors_stop()) {
		for (int fd = 3; fd < 256; fd++)
			close(fd);
		free_threads();
		memory_free_all();
	} else {
		printf("%s: a CPU does not come back; its memory stays reserved\n", name);
	}
	console_drain();
	context_switch(&unused, processors[0].firmware_rsp);
	__builtin_unreachable();
}

void program_end(int status)
{
	if (!__atomic_exchange_n(&ended_elsewhere, 1, __ATOMIC_ACQ_REL))
		exit_status = status;
	if (main_thread->state == THREAD_SLEEPING)
		main_thread->wake_at = 0;
	processor_kick(&processors[0]);
}

void program_check(void)
{
	if (!__atomic_load_n(&ended_elsewhere, __ATOMIC_ACQUIRE) || exiting)
		return;
	exiting = 1;
	console_drain();
	leave();
}

void exit(int status)
{
	if (thread_self() != main_thread) {
		program_end(status);
		thread_end();
	}
	if (!exiting) {
		exiting = 1;
		exit_status = status;
	}
	leave();
	__builtin_unreachable();
}

void _exit(int status)
{
	exit(status);
}

void abort(void)
{
	exit(134); /* as a shell reports SIGABRT */
}

/* ---- the beginning ---- */

static void main_entry(void)
{
	sti();
	exit(main(arguments.count, arguments.values));
}

/* The main thread starts in main_entry(), unlike others: nobody joins it. */
static bool make_main_thread(void)
{
	struct processor *cpu = &processors[0];

	processor_count = 1;
	cpu->timer = NO_DEADLINE;
	main_thread = thread_new(cpu, NULL, NULL);
	cpu->idle = thread_new(cpu, sched_idle, cpu);
	if (!main_thread || !cpu->idle)
		return false;
	cpu->idle->next = main_thread;
	main_thread->next = cpu->idle;
	((u64 *)main_thread->rsp)[7] = (u64)main_entry;
	return true;
}

/* The name of the file, from its device path (UEFI, "File Path Media Device Path"). */
static void find_name(EFI_LOADED_IMAGE_PROTOCOL *image)
{
	const u8 *node = (const u8 *)image->FilePath;
	const u16 *path;
	u32 n = 0, length;

	strcpy(name, "program");
	if (!node || node[0] != 4 || node[1] != 4)
		return;
	length = (node[2] | (u32)node[3] << 8) - 4;
	path = (const u16 *)(node + 4);
	for (u32 i = 0; i < length / 2 && path[i]; i++) {
		if (path[i] == '\\' || path[i] == '/')
			n = 0;
		else if (n < sizeof(name) - 1)
			name[n++] = (char)path[i];
	}
	name[n] = 0;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
	static EFI_GUID guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
	EFI_LOADED_IMAGE_PROTOCOL *loaded;

	efi_image = image;
	efi_system = system;
	efi_boot = system->BootServices;
	if (efi_boot->HandleProtocol(image, &guid, (void **)&loaded))
		return EFI_LOAD_ERROR;
	efi_boot->SetWatchdogTimer(0, 0, 0, NULL);
	find_name(loaded);
	arguments_parse(&arguments, name, loaded->LoadOptions, loaded->LoadOptionsSize);
	if (!make_main_thread())
		return EFI_OUT_OF_RESOURCES;
	context_switch(&processors[0].firmware_rsp, main_thread->rsp);
	efi_boot->FreePages((EFI_PHYSICAL_ADDRESS)main_thread, STACK_SIZE / PAGE_SIZE);
	/* A program's status in the code space that UEFI leaves to vendors. */
	return exit_status ? EFIERR_OEM((EFI_STATUS)exit_status) : EFI_SUCCESS;
}
