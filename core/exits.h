/* SPDX-License-Identifier: MIT */
/* What a run tells the VMM, before kvm/ writes it into kvm_run. */
#pragma once

#include "arch-x86/virt.h"

enum user_exit { /* KVM_EXIT_* values */
		 USER_UNKNOWN = 0,
		 USER_IO = 2,
		 USER_DEBUG = 4,
		 USER_HLT = 5,
		 USER_MMIO = 6,
		 USER_IRQ_WINDOW = 7,
		 USER_SHUTDOWN = 8,
		 USER_FAIL_ENTRY = 9,
		 USER_INTR = 10,
		 USER_SET_TPR = 11,
		 USER_TPR_ACCESS = 12,
		 USER_INTERNAL_ERROR = 17,
		 USER_IOAPIC_EOI = 26,
		 USER_RDMSR = 29,
		 USER_WRMSR = 30,
};

enum internal_suberror { /* KVM_INTERNAL_ERROR_* */
			 INTERNAL_EMULATION = 1,
			 INTERNAL_SIMUL_EX = 2,
			 INTERNAL_DELIVERY_EV = 3,
			 INTERNAL_UNEXPECTED_EXIT = 4,
};

#define EXIT_IO_BYTES 4096 /* the page behind kvm_run */

struct vcpu_exit {
	u32 reason; /* enum user_exit */
	union {
		struct {
			union {
				struct virt_io access;
				struct {
					u16 port;
					u8 size;
					bool in;
				};
			};
			u32 count;
			/* Where the instruction stood: it is skipped only if RIP still is there. */
			u64 rip;
			u64 linear_rip;	   /* the same with CS; only if linear_known */
			bool linear_known; /* CS has been set since */
		} io; /* data: in kvm_run's second page, moved by kvm/ through vcpu->io_data */
		struct {
			gpa_t gpa;
			u8 data[8];
			u8 length;
			bool write;
		} mmio;
		struct {
			u64 rip;
			bool write;
		} tpr_access;
		struct {
			u32 exception;
			u64 pc, dr6, dr7;
		} debug;
		struct {
			u64 hardware_reason;
		} fail_entry;
		struct {
			u8 vector;
		} eoi;
		struct {
			u32 why; /* enum msr_exit_reason */
			u32 index, insn_len;
			u64 data;
			bool refused; /* the VMM's answer: #GP */
		} msr;
		struct {
			u32 suberror, count;
			u64 data[16];
		} internal;
	};
	/* Beside the VMM's union, since a fault is not for the VMM. */
	struct {
		gpa_t gpa;
		u64 hva;
		bool write;
	} memory;
};
