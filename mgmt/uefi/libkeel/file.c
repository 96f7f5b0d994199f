// SPDX-License-Identifier: MIT
/* Files of the volume that the program was loaded from, for reading. */
#include "mgmt/uefi/libkeel/libkeel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_MAX 512

struct file {
	EFI_FILE_HANDLE handle;
	u64 size, position;
};

static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
static EFI_GUID file_system_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;

static int open_volume(EFI_FILE_HANDLE *root)
{
	EFI_LOADED_IMAGE_PROTOCOL *image;
	EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *volume;

	if (efi_boot->HandleProtocol(efi_image, &loaded_image_guid, (void **)&image) ||
	    efi_boot->HandleProtocol(image->DeviceHandle, &file_system_guid, (void **)&volume) ||
	    volume->OpenVolume(volume, root))
		return -ENODEV;
	return 0;
}

struct open_request {
	const char *path;
	struct file *file;
	int result;
};

static void open_file(void *arg)
{
	struct open_request *r = arg;
	CHAR16 path[PATH_MAX];
	EFI_FILE_HANDLE root;
	EFI_STATUS status;
	size_t n = strlen(r->path);

	if (n >= PATH_MAX) {
		r->result = -ENAMETOOLONG;
		return;
	}
	for (size_t i = 0; i <= n; i++)
		path[i] = r->path[i] == '/' ? '\\' : (u8)r->path[i];
	r->result = open_volume(&root);
	if (r->result)
		return;
	status = root->Open(root, &r->file->handle, path, EFI_FILE_MODE_READ, 0);
	root->Close(root);
	if (status) {
		r->result = status == EFI_NOT_FOUND ? -ENOENT : -EIO;
		return;
	}
	/* UEFI, "EFI_FILE_PROTOCOL.SetPosition()": all ones is the end of the file; not for
	 * folders. */
	if (r->file->handle->SetPosition(r->file->handle, ~0ull) ||
	    r->file->handle->GetPosition(r->file->handle, &r->file->size) ||
	    r->file->handle->SetPosition(r->file->handle, 0)) {
		r->file->handle->Close(r->file->handle);
		r->result = -EISDIR;
	}
}

int file_open(const char *path, struct file **out)
{
	struct open_request r = {path, calloc(1, sizeof(struct file)), 0};

	if (!r.file)
		return -ENOMEM;
	on_bsp(open_file, &r);
	if (r.result)
		free(r.file);
	else
		*out = r.file;
	return r.result;
}

struct read_request {
	struct file *file;
	void *buffer;
	UINTN size;
	EFI_STATUS status;
};

static void read_file(void *arg)
{
	struct read_request *r = arg;

	r->status = r->file->handle->SetPosition(r->file->handle, r->file->position);
	if (!r->status)
		r->status = r->file->handle->Read(r->file->handle, &r->size, r->buffer);
}

ssize_t file_read(struct file *f, void *buffer, size_t size)
{
	struct read_request r = {f, buffer, size, 0};

	if (f->position >= f->size)
		return 0;
	on_bsp(read_file, &r);
	if (r.status)
		return -EIO;
	f->position += r.size;
	return (ssize_t)r.size;
}

off_t file_seek(struct file *f, off_t offset, int whence)
{
	off_t base = whence == SEEK_END	  ? (off_t)f->size
		     : whence == SEEK_CUR ? (off_t)f->position
					  : 0;

	if (base + offset < 0 || whence > SEEK_END || whence < 0)
		return -EINVAL;
	f->position = (u64)(base + offset);
	return base + offset;
}

off_t file_size(struct file *f)
{
	return (off_t)f->size;
}

static void close_file(void *arg)
{
	struct file *f = arg;

	f->handle->Close(f->handle);
}

void file_close(struct file *f)
{
	on_bsp(close_file, f);
	free(f);
}
