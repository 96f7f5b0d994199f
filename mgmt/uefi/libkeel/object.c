// SPDX-License-Identifier: MIT
/* File descriptors: /dev/kvm, its objects, and files; and the calls that work on any of them. */
#include "mgmt/uefi/libkeel/libkeel.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_FD 3
#define FD_COUNT 256

static struct spinlock object_lock;
static struct object objects[FD_COUNT];

static int fail(int error)
{
	errno = error;
	return -1;
}

int object_new(enum object_kind kind, void *data)
{
	int fd;

	spin_lock(&object_lock);
	for (fd = FIRST_FD; fd < FD_COUNT; fd++)
		if (objects[fd].kind == OBJECT_NONE)
			break;
	if (fd < FD_COUNT)
		objects[fd] = (struct object){kind, data};
	spin_unlock(&object_lock);
	return fd < FD_COUNT ? fd : fail(EMFILE);
}

struct object *object_get(int fd)
{
	if (fd >= FIRST_FD && fd < FD_COUNT && objects[fd].kind != OBJECT_NONE)
		return &objects[fd];
	errno = EBADF;
	return NULL;
}

int open(const char *path, int flags, ...)
{
	struct file *f;
	int result;

	if (!strcmp(path, "/dev/kvm"))
		return kvm_open();
	if ((flags & O_ACCMODE) != O_RDONLY)
		return fail(EACCES);
	result = file_open(path, &f);
	if (result)
		return fail(-result);
	result = object_new(OBJECT_FILE, f);
	if (result < 0)
		file_close(f);
	return result;
}

int close(int fd)
{
	struct object *o = object_get(fd), old;

	if (!o)
		return -1;
	spin_lock(&object_lock);
	old = *o;
	o->kind = OBJECT_NONE;
	spin_unlock(&object_lock);
	if (old.kind == OBJECT_FILE)
		file_close(old.data);
	else
		kvm_close(&old);
	return 0;
}

static struct file *file_get(int fd)
{
	struct object *o = object_get(fd);

	if (!o)
		return NULL;
	if (o->kind == OBJECT_FILE)
		return o->data;
	errno = EINVAL;
	return NULL;
}

static off_t answer(off_t result)
{
	return result < 0 ? fail((int)-result) : result;
}

ssize_t read(int fd, void *buffer, size_t size)
{
	struct file *f;
	size_t n;

	if (fd == STDIN_FILENO) {
		n = keel_console_read(buffer, size);
		return n ? (ssize_t)n : fail(EAGAIN);
	}
	f = file_get(fd);
	return f ? answer(file_read(f, buffer, size)) : -1;
}

ssize_t write(int fd, const void *buffer, size_t size)
{
	if (fd != STDOUT_FILENO && fd != STDERR_FILENO)
		return fail(EBADF);
	console_write(buffer, size);
	return (ssize_t)size;
}

off_t lseek(int fd, off_t offset, int whence)
{
	struct file *f = file_get(fd);

	return f ? answer(file_seek(f, offset, whence)) : -1;
}

int fstat(int fd, struct stat *s)
{
	struct file *f = file_get(fd);

	if (!f)
		return -1;
	*s = (struct stat){.st_size = file_size(f), .st_mode = 0100444};
	return 0;
}

int stat(const char *path, struct stat *s)
{
	int fd = open(path, O_RDONLY), result;

	if (fd < 0)
		return -1;
	result = fstat(fd, s);
	close(fd);
	return result;
}

static noinline int general_ioctl(int fd, unsigned long request, u64 arg)
{
	struct object *o = object_get(fd);
	int result;

	if (!o)
		return -1;
	if (o->kind == OBJECT_FILE)
		return fail(ENOTTY);
	result = kvm_ioctl(o, request, arg);
	return result < 0 ? fail(-result) : result;
}

/*
 * ioctl(), whose variable part is one word: the psABI passes it where a third parameter goes, which
 * spares KVM_RUN, the one that has to be fast, the va_list.
 */
int ioctl_word(int fd, unsigned long request, u64 arg) __asm__("ioctl");
int ioctl_word(int fd, unsigned long request, u64 arg)
{
	u32 index = fd;

	if (unlikely(index >= FD_COUNT || objects[index].kind != OBJECT_VCPU ||
		     (u32)request != KVM_RUN || arg))
		return general_ioctl(fd, request, arg);
	return kvm_run(objects[index].data);
}
