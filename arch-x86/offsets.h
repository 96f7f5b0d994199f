/* SPDX-License-Identifier: MIT */
/* For a backend's offsets.in: C offsets that the build turns into NASM %defines, one an OFFSET. */
#pragma once

#include "arch-x86/virt.h"

#define OFFSET(name, value) __asm__ volatile("@@" #name " %0" : : "i"(value))
#define GPR_OFFSET(name)    OFFSET(V_##name, offsetof(struct virt_vcpu, gpr[GPR_##name]))
#define GPR_OFFSETS                                                                                \
	GPR_OFFSET(RAX);                                                                           \
	GPR_OFFSET(RCX);                                                                           \
	GPR_OFFSET(RDX);                                                                           \
	GPR_OFFSET(RBX);                                                                           \
	GPR_OFFSET(RBP);                                                                           \
	GPR_OFFSET(RSI);                                                                           \
	GPR_OFFSET(RDI);                                                                           \
	GPR_OFFSET(R8);                                                                            \
	GPR_OFFSET(R9);                                                                            \
	GPR_OFFSET(R10);                                                                           \
	GPR_OFFSET(R11);                                                                           \
	GPR_OFFSET(R12);                                                                           \
	GPR_OFFSET(R13);                                                                           \
	GPR_OFFSET(R14);                                                                           \
	GPR_OFFSET(R15)
