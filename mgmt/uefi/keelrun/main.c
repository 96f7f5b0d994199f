// SPDX-License-Identifier: MIT
/* keelrun: runs a Linux kernel in a virtual machine of Keel. */
#include "mgmt/uefi/keelrun/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <keel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (1u << 20)
#define MIB   (1ull << 20)

enum { STATUS_USAGE = 2, STATUS_FAILED = 3 }; /* when it is not the guest's */

struct input {
	const char *path;
	int fd;
	u64 bytes;
};

static int open_input(struct input *in, const char *path)
{
	off_t size;

	*in = (struct input){.path = path, .fd = open(path, O_RDONLY)};
	if (in->fd < 0) {
		printf("keelrun: %s: %s\n", path, strerror(errno));
		return -1;
	}
	size = lseek(in->fd, 0, SEEK_END);
	if (size < 0) {
		printf("keelrun: %s: %s\n", path, strerror(errno));
		return -1;
	}
	in->bytes = (u64)size;
	lseek(in->fd, 0, SEEK_SET);
	return 0;
}

/* The kernel's header and its payload's first bytes, before anything is created. */
static int check_kernel(struct input *in, struct bzimage *k, u64 memory)
{
	u8 head[BZIMAGE_HEAD];
	char error[160];
	ssize_t n = read(in->fd, head, sizeof(head));
	int result;

	if (n < 0) {
		printf("keelrun: %s: %s\n", in->path, strerror(errno));
		return -1;
	}
	result = bzimage_check(k, head, (u32)n, in->bytes, memory, error, sizeof(error));
	if (!result && bzimage_payload(k)) {
		lseek(in->fd, (off_t)bzimage_payload(k), SEEK_SET);
		n = read(in->fd, head, 4);
		result = n == 4 ? bzimage_check_payload(head, error, sizeof(error)) : -EIO;
		if (n != 4)
			snprintf(error, sizeof(error), "read error");
	}
	if (result)
		printf("keelrun: %s: %s\n", in->path, error);
	return result;
}

/* A part of a file into the guest's memory, saying how far it is. */
static int load(struct machine *m, const struct input *in, u64 offset, u64 bytes, u64 gpa)
{
	u64 done = 0, shown = 0;

	printf("keelrun: loading %s, %lu KiB:", in->path, bytes / 1024);
	lseek(in->fd, (off_t)offset, SEEK_SET);
	while (done < bytes) {
		u64 room = 0;
		u8 *to = machine_memory(m, gpa + done, &room);
		ssize_t n = to ? read(in->fd, to, MIN(MIN(room, bytes - done), CHUNK)) : -1;

		if (n <= 0) {
			printf(" failed: %s\n", to ? strerror(n ? errno : EIO) : "no memory there");
			return -1;
		}
		done += (u64)n;
		for (; shown < done * 4 / bytes; shown++)
			printf(" %lu %%", (shown + 1) * 25);
	}
	printf("\n");
	return 0;
}

static int load_guest(struct machine *m, const struct options *o, const struct bzimage *k,
		      const struct input *kernel, const struct input *initrd, u64 initrd_at)
{
	u64 room = 0;
	u8 *low = machine_memory(m, 0, &room);

	if (!low || room < MIB)
		return -1;
	if (load(m, kernel, k->offset, k->bytes, k->load) ||
	    (initrd_at && load(m, initrd, 0, initrd->bytes, initrd_at)))
		return -1;
	bzimage_low_memory(k, low, m->memory, o->params, initrd_at, initrd_at ? initrd->bytes : 0,
			   ACPI_BASE);
	acpi_build(low + ACPI_BASE, o->cpus);
	return 0;
}

/* False: Keel has lost something of this side's. */
static bool vectors_kept(void)
{
	uint64_t runs, wrong;

	keel_vectors_result(&runs, &wrong);
	printf("keelrun: YMM and MXCSR of the management guest: %lu runs, %lu wrong\n", runs,
	       wrong);
	return !wrong;
}

static int run_guest(struct machine *m, const struct options *o)
{
	static const char *const ends[] = {
		[MACHINE_OFF] = "the guest powered off",
		[MACHINE_RESET] = "the guest asked for a reset",
	};
	int status = STATUS_FAILED;

	if (o->check_vectors && keel_vectors_check())
		printf("keelrun: --check-vectors: %s\n", strerror(errno));
	if (!machine_run(m))
		status = m->guest_status;
	printf("\nkeelrun: %s\n", m->state == MACHINE_FAILED ? m->why : ends[m->state]);
	machine_print_exits(m);
	if (o->check_vectors && !vectors_kept())
		status = STATUS_FAILED;
	return status;
}

static void announce(const struct options *o)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	printf("keelrun: %s with %u vCPU%s on %ld CPU%s, %llu MiB: %s\n", o->kernel, o->cpus,
	       o->cpus > 1 ? "s" : "", cpus, cpus > 1 ? "s" : "", o->memory / MIB, o->params);
}

static int start(const struct options *o, struct input *kernel, struct input *initrd)
{
	static struct machine m;
	static struct bzimage k;
	char error[160];
	u64 initrd_at = 0;
	int status = STATUS_FAILED;

	if (open_input(kernel, o->kernel) || (o->initrd && open_input(initrd, o->initrd)) ||
	    check_kernel(kernel, &k, o->memory))
		return STATUS_FAILED;
	if (strlen(o->params) > MIN(k.command_line_max, BOOT_COMMAND_LINE_MAX)) {
		printf("keelrun: the kernel's command line is too long\n");
		return STATUS_FAILED;
	}
	if (o->initrd) {
		initrd_at =
			bzimage_place_initrd(&k, initrd->bytes, o->memory, error, sizeof(error));
		if (!initrd_at) {
			printf("keelrun: %s: %s\n", initrd->path, error);
			return STATUS_FAILED;
		}
	}
	if (!machine_create(&m, o) && !load_guest(&m, o, &k, kernel, initrd, initrd_at) &&
	    !machine_boot_state(&m, k.load + 0x200)) {
		announce(o);
		status = run_guest(&m, o);
	}
	machine_close(&m);
	return status;
}

static int finish(const struct options *o, int status)
{
	printf("keelrun: guest status %d\n", status);
	if (o->exit_port)
		keel_out32((u16)o->exit_port, (u32)status);
	if (o->power_off)
		keel_power_off();
	return status;
}

int main(int argc, char **argv)
{
	struct input kernel = {.fd = -1}, initrd = {.fd = -1};
	struct options o;
	char error[160];
	int status;

	setvbuf(stdout, NULL, _IONBF, 0); /* in turns with write() */
	if (options_parse(&o, argc, argv, error, sizeof(error))) {
		printf("keelrun: %s\n%s", error, options_usage);
		return finish(&o, STATUS_USAGE);
	}
	if (o.help) {
		printf("%s", options_usage);
		return 0;
	}
	status = start(&o, &kernel, &initrd);
	if (kernel.fd >= 0)
		close(kernel.fd);
	if (initrd.fd >= 0)
		close(initrd.fd);
	return finish(&o, status);
}
