/* SPDX-License-Identifier: MIT */
/* Files of the boot volume, and starting an application from it. */
#include "boot/efi/loader.h"

#include "lib/string.h"

#define PATH_MAX 256
#define FILE_MAX (1u << 20)

static bool widen(CHAR16 *to, const char *path)
{
	u64 n = 0;

	if (*path != '/' && *path != '\\')
		to[n++] = '\\';
	while (*path) {
		if (n >= PATH_MAX - 1)
			return false;
		to[n++] = *path == '/' ? '\\' : (u8)*path;
		path++;
	}
	to[n] = 0;
	return true;
}

static EFI_FILE_PROTOCOL *open_file(EFI_HANDLE device, const char *path, UINT64 mode)
{
	EFI_GUID guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
	EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *volume;
	EFI_FILE_PROTOCOL *root, *file;
	CHAR16 wide[PATH_MAX];
	EFI_STATUS status;

	if (!widen(wide, path) || EFI_ERROR(BS->HandleProtocol(device, &guid, (void **)&volume)) ||
	    EFI_ERROR(volume->OpenVolume(volume, &root)))
		return NULL;
	status = root->Open(root, &file, wide, mode, 0);
	root->Close(root);
	return EFI_ERROR(status) ? NULL : file;
}

bool file_exists(EFI_HANDLE device, const char *path)
{
	EFI_FILE_PROTOCOL *file = open_file(device, path, EFI_FILE_MODE_READ);

	if (!file)
		return false;
	file->Close(file);
	return true;
}

bool file_save(EFI_HANDLE device, const char *path, const char *text, u64 size)
{
	UINT64 mode = EFI_FILE_MODE_READ | EFI_FILE_MODE_WRITE;
	EFI_FILE_PROTOCOL *file = open_file(device, path, mode);
	UINTN count = size;
	EFI_STATUS status;

	if (file)
		file->Delete(file); /* an older one may be longer */
	file = open_file(device, path, mode | EFI_FILE_MODE_CREATE);
	if (!file)
		return false;
	status = file->Write(file, &count, (void *)text);
	if (EFI_ERROR(file->Close(file)))
		return false;
	return !EFI_ERROR(status) && count == size;
}

char *file_load(EFI_HANDLE device, const char *path, u64 *size)
{
	EFI_FILE_PROTOCOL *file = open_file(device, path, EFI_FILE_MODE_READ);
	char *text = file ? pool_take(FILE_MAX + 1) : NULL;
	UINTN count = FILE_MAX;
	EFI_STATUS status = EFI_NOT_FOUND;

	if (text)
		status = file->Read(file, &count, text);
	if (file)
		file->Close(file);
	if (EFI_ERROR(status)) {
		if (text)
			pool_release(text);
		return NULL;
	}
	text[count] = 0;
	*size = count;
	return text;
}

static u64 node_length(const EFI_DEVICE_PATH_PROTOCOL *node)
{
	return node->Length[0] | node->Length[1] << 8;
}

/* The device's own path, with a file's behind it. UEFI 2.10, "File Path Media Device Path". */
static EFI_DEVICE_PATH_PROTOCOL *file_path(EFI_HANDLE device, const CHAR16 *wide)
{
	EFI_GUID guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
	EFI_DEVICE_PATH_PROTOCOL *base, *node;
	u64 length = 0, text = sizeof(CHAR16), file;
	u8 *path;

	if (EFI_ERROR(BS->HandleProtocol(device, &guid, (void **)&base)))
		return NULL;
	for (node = base; node->Type != END_DEVICE_PATH_TYPE && node_length(node) >= 4;
	     node = (void *)((u8 *)node + node_length(node)))
		length += node_length(node);
	for (const CHAR16 *p = wide; *p; p++)
		text += sizeof(CHAR16);
	file = sizeof(*node) + text;
	path = pool_take(length + file + sizeof(*node));
	if (!path)
		return NULL;
	memcpy(path, base, length);
	node = (void *)(path + length);
	*node = (EFI_DEVICE_PATH_PROTOCOL){
		MEDIA_DEVICE_PATH, MEDIA_FILEPATH_DP, {(u8)file, (u8)(file >> 8)}};
	memcpy(node + 1, wide, text);
	node = (void *)((u8 *)node + file);
	*node = (EFI_DEVICE_PATH_PROTOCOL){
		END_DEVICE_PATH_TYPE, END_ENTIRE_DEVICE_PATH_SUBTYPE, {sizeof(*node), 0}};
	return (EFI_DEVICE_PATH_PROTOCOL *)path;
}

EFI_STATUS chain_load(EFI_HANDLE image, EFI_HANDLE device, const char *path, const char *args)
{
	EFI_GUID guid = LOADED_IMAGE_PROTOCOL;
	EFI_LOADED_IMAGE *loaded;
	EFI_DEVICE_PATH_PROTOCOL *device_path;
	EFI_HANDLE next;
	EFI_STATUS status;
	CHAR16 wide[PATH_MAX], *options = NULL;
	u64 length = strlen(args);

	if (!widen(wide, path))
		return EFI_BAD_BUFFER_SIZE;
	device_path = file_path(device, wide);
	if (!device_path)
		return EFI_OUT_OF_RESOURCES;
	status = BS->LoadImage(FALSE, image, device_path, NULL, 0, &next);
	pool_release(device_path);
	if (EFI_ERROR(status)) {
		say("keel: %s cannot be loaded\n", path);
		return status;
	}
	options = pool_take((length + 1) * sizeof(CHAR16));
	status = BS->HandleProtocol(next, &guid, (void **)&loaded);
	if (EFI_ERROR(status) || !options) {
		BS->UnloadImage(next);
		return EFI_ERROR(status) ? status : EFI_OUT_OF_RESOURCES;
	}
	for (u64 i = 0; i < length; i++)
		options[i] = (u8)args[i];
	if (length) {
		loaded->LoadOptions = options;
		loaded->LoadOptionsSize = (length + 1) * sizeof(CHAR16);
	}
	status = BS->StartImage(next, NULL, NULL);
	pool_release(options);
	return status;
}
