/* SPDX-License-Identifier: MIT */
/* Bits of the control, flags and debug registers, in manual order, and exception vectors. */
#pragma once

#include "lib/types.h"

/* SDM vol. 3, "Control Registers". */
enum cr0 {
	CR0_PE = BIT(0),
	CR0_MP = BIT(1),
	CR0_EM = BIT(2),
	CR0_TS = BIT(3),
	CR0_ET = BIT(4),
	CR0_NE = BIT(5),
	CR0_WP = BIT(16),
	CR0_AM = BIT(18),
	CR0_NW = BIT(29),
	CR0_CD = BIT(30),
	CR0_PG = BIT(31),
};

#define CR3_PWT	     BIT(3)
#define CR3_PCD	     BIT(4)
#define CR3_NO_FLUSH BIT(63) /* with CR4.PCIDE: MOV to CR3 keeps the PCID's translations */

enum cr4 {
	CR4_VME = BIT(0),
	CR4_PVI = BIT(1),
	CR4_TSD = BIT(2),
	CR4_DE = BIT(3),
	CR4_PSE = BIT(4),
	CR4_PAE = BIT(5),
	CR4_MCE = BIT(6),
	CR4_PGE = BIT(7),
	CR4_PCE = BIT(8),
	CR4_OSFXSR = BIT(9),
	CR4_OSXMMEXCPT = BIT(10),
	CR4_UMIP = BIT(11),
	CR4_LA57 = BIT(12),
	CR4_VMXE = BIT(13),
	CR4_SMXE = BIT(14),
	CR4_FSGSBASE = BIT(16),
	CR4_PCIDE = BIT(17),
	CR4_OSXSAVE = BIT(18),
	CR4_KL = BIT(19),
	CR4_SMEP = BIT(20),
	CR4_SMAP = BIT(21),
	CR4_PKE = BIT(22),
	CR4_CET = BIT(23),
	CR4_PKS = BIT(24),
	CR4_UINTR = BIT(25),
	CR4_LAM_SUP = BIT(28),
};

/* APM vol. 2, "Extended Feature Enable Register (EFER)". */
enum efer {
	EFER_SCE = BIT(0),
	EFER_LME = BIT(8),
	EFER_LMA = BIT(10),
	EFER_NXE = BIT(11),
	EFER_SVME = BIT(12),
	EFER_LMSLE = BIT(13),
	EFER_FFXSR = BIT(14),
	EFER_TCE = BIT(15),
	EFER_MCOMMIT = BIT(17),
	EFER_INTWB = BIT(18),
	EFER_UAIE = BIT(20),
	EFER_AIBRSE = BIT(21),
};

enum rflags {
	RFLAGS_CF = BIT(0),
	RFLAGS_ONE = BIT(1), /* always set */
	RFLAGS_PF = BIT(2),
	RFLAGS_AF = BIT(4),
	RFLAGS_ZF = BIT(6),
	RFLAGS_SF = BIT(7),
	RFLAGS_TF = BIT(8),
	RFLAGS_IF = BIT(9),
	RFLAGS_DF = BIT(10),
	RFLAGS_OF = BIT(11),
	RFLAGS_IOPL = BIT(12) | BIT(13),
	RFLAGS_NT = BIT(14),
	RFLAGS_RF = BIT(16),
	RFLAGS_VM = BIT(17),
	RFLAGS_AC = BIT(18),
	RFLAGS_VIF = BIT(19),
	RFLAGS_VIP = BIT(20),
	RFLAGS_ID = BIT(21),
};

/* SDM vol. 3, "Debug Status Register (DR6)" and "Debug Control Register (DR7)". */
enum dr6 {
	DR6_B0 = BIT(0),
	DR6_B1 = BIT(1),
	DR6_B2 = BIT(2),
	DR6_B3 = BIT(3),
	DR6_BLD = BIT(11), /* active low */
	DR6_BD = BIT(13),
	DR6_BS = BIT(14),
	DR6_BT = BIT(15),
	DR6_RTM = BIT(16), /* active low */
};
#define DR6_INIT 0xffff0ff0ull

enum dr7 {
	DR7_L0 = BIT(0),
	DR7_G0 = BIT(1),
	DR7_L1 = BIT(2),
	DR7_G1 = BIT(3),
	DR7_L2 = BIT(4),
	DR7_G2 = BIT(5),
	DR7_L3 = BIT(6),
	DR7_G3 = BIT(7),
	DR7_LE = BIT(8),
	DR7_GE = BIT(9),
	DR7_ONE = BIT(10), /* always set */
	DR7_RTM = BIT(11),
	DR7_GD = BIT(13),
};
#define DR7_INIT   0x400ull
#define DR7_ENABLE 0xffull /* L0 to G3 */

/* SDM vol. 3, "IA32_DEBUGCTL MSR". */
enum debugctl {
	DEBUGCTL_LBR = BIT(0),
	DEBUGCTL_BTF = BIT(1), /* RFLAGS.TF: single-step on branches only */
};

/* SDM vol. 1, "XSAVE-Supported Features and State-Component Bitmaps". */
enum xcr0 {
	XCR0_X87 = BIT(0),
	XCR0_SSE = BIT(1),
	XCR0_AVX = BIT(2),
	XCR0_BNDREGS = BIT(3),
	XCR0_BNDCSR = BIT(4),
	XCR0_OPMASK = BIT(5),
	XCR0_ZMM_HI256 = BIT(6),
	XCR0_HI16_ZMM = BIT(7),
	XCR0_PKRU = BIT(9),
	XCR0_TILECFG = BIT(17),
	XCR0_TILEDATA = BIT(18),
};

enum vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_OF = 4,
	VECTOR_BR = 5,
	VECTOR_UD = 6,
	VECTOR_NM = 7,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_MF = 16,
	VECTOR_AC = 17,
	VECTOR_MC = 18,
	VECTOR_XM = 19,
	VECTOR_VE = 20,
	VECTOR_CP = 21,
	VECTOR_HV = 28,
	VECTOR_VC = 29,
	VECTOR_SX = 30,
};

/* Exceptions that push an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX. */
#define VECTORS_WITH_ERROR                                                                         \
	((u32)(BIT(VECTOR_DF) | BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) |                 \
	       BIT(VECTOR_GP) | BIT(VECTOR_PF) | BIT(VECTOR_AC) | BIT(VECTOR_CP) |                 \
	       BIT(VECTOR_VC) | BIT(VECTOR_SX)))

/* SDM vol. 3, "Page-Fault Exceptions": the error code. */
enum pf_error {
	PF_PRESENT = BIT(0),
	PF_WRITE = BIT(1),
	PF_USER = BIT(2),
	PF_RESERVED = BIT(3),
	PF_FETCH = BIT(4),
	PF_PKEY = BIT(5),
	PF_SHADOW_STACK = BIT(6),
};

/* Page table entries of the host's own format, which NPT shares. */
enum pte {
	PTE_P = BIT(0),
	PTE_W = BIT(1),
	PTE_U = BIT(2),
	PTE_PWT = BIT(3),
	PTE_PCD = BIT(4),
	PTE_A = BIT(5),
	PTE_D = BIT(6),
	PTE_PS = BIT(7), /* in a PDPTE or PDE: the leaf */
	PTE_G = BIT(8),
	PTE_NX = BIT(63),
};
#define PTE_ADDRESS MASK(51, 12)
