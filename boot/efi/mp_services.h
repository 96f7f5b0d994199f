/* SPDX-License-Identifier: MIT */
/*
 * EFI_MP_SERVICES_PROTOCOL (UEFI Platform Initialization Specification, volume 2), for which
 * gnu-efi has no header: as far as the launch needs it.
 */
#pragma once

#include <efi.h>

#define EFI_MP_SERVICES_GUID                                                                       \
	{                                                                                          \
		0x3fdda605, 0xa76e, 0x4f46,                                                        \
		{                                                                                  \
			0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08                             \
		}                                                                                  \
	}

enum { PROCESSOR_IS_BSP = 1, PROCESSOR_ENABLED = 2, PROCESSOR_HEALTHY = 4 };

typedef struct {
	UINT64 id; /* APIC id */
	UINT32 status;
	UINT32 package, core, thread;
	UINT32 extended[6];
} EFI_PROCESSOR_INFORMATION;

typedef void(EFIAPI *EFI_AP_PROCEDURE)(void *argument);

typedef struct EFI_MP_SERVICES EFI_MP_SERVICES;
struct EFI_MP_SERVICES {
	EFI_STATUS(EFIAPI *GetNumberOfProcessors)(EFI_MP_SERVICES *, UINTN *total, UINTN *enabled);
	EFI_STATUS(EFIAPI *GetProcessorInfo)
	(EFI_MP_SERVICES *, UINTN number, EFI_PROCESSOR_INFORMATION *);
	/* event NULL: returns when all have ended; else at once, and the event tells. */
	EFI_STATUS(EFIAPI *StartupAllAPs)
	(EFI_MP_SERVICES *, EFI_AP_PROCEDURE, BOOLEAN one_by_one, EFI_EVENT, UINTN timeout_us,
	 void *argument, UINTN **failed);
	void *StartupThisAP, *SwitchBSP, *EnableDisableAP; /* not used */
	EFI_STATUS(EFIAPI *WhoAmI)(EFI_MP_SERVICES *, UINTN *number);
};
