/* SPDX-License-Identifier: MIT */
/*
 * Starts one UEFI program after the other, so that several test cases share one boot: each line of
 * \batch.txt is the path of a program and its arguments.
 */
#include <efi.h>
#include <efilib.h>

#define LIST	 L"\\batch.txt"
#define LIST_MAX 4096

static UINTN read_list(EFI_HANDLE device, char *text, UINTN size)
{
	EFI_FILE_HANDLE root = LibOpenRoot(device), file;

	if (!root || EFI_ERROR(root->Open(root, &file, LIST, EFI_FILE_MODE_READ, 0)))
		return 0;
	if (EFI_ERROR(file->Read(file, &size, text)))
		size = 0;
	file->Close(file);
	return size;
}

static EFI_STATUS start(EFI_HANDLE image, EFI_HANDLE device, CHAR16 *path, CHAR16 *arguments)
{
	EFI_LOADED_IMAGE *loaded;
	EFI_HANDLE program;
	EFI_STATUS status;

	status = BS->LoadImage(FALSE, image, FileDevicePath(device, path), NULL, 0, &program);
	if (EFI_ERROR(status))
		return status;
	BS->HandleProtocol(program, &LoadedImageProtocol, (void **)&loaded);
	loaded->LoadOptions = arguments;
	loaded->LoadOptionsSize = StrSize(arguments);
	return BS->StartImage(program, NULL, NULL);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	static char text[LIST_MAX];
	static CHAR16 path[LIST_MAX], arguments[LIST_MAX];
	EFI_LOADED_IMAGE *loaded;
	UINTN size, i = 0;

	InitializeLib(image, table);
	BS->HandleProtocol(image, &LoadedImageProtocol, (void **)&loaded);
	size = read_list(loaded->DeviceHandle, text, sizeof(text) - 1);
	while (i < size) {
		EFI_STATUS status;
		UINTN n = 0;

		for (; i < size && text[i] != ' ' && text[i] != '\n'; i++)
			path[n++] = text[i] == '/' ? '\\' : text[i];
		path[n] = 0;
		i += i < size && text[i] == ' ';
		for (n = 0; i < size && text[i] != '\n'; n++)
			arguments[n] = text[i++];
		arguments[n] = 0;
		i++;
		Print(L"batch: starting %s %s\n", path, arguments);
		status = start(image, loaded->DeviceHandle, path, arguments);
		if (EFI_ERROR(status))
			Print(L"batch: %s ended with EFI error %d\n", path, status & 0xffff);
		else
			Print(L"batch: %s ended\n", path);
	}
	return EFI_SUCCESS;
}
