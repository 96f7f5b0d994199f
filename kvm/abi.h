/* SPDX-License-Identifier: MIT */
/*
 * The hypercall interface between the management guest's kernel and Keel: docs/hypercalls.md.
 * Shared by kvm/, mgmt/uefi and mgmt/linux; nothing but numbers and plain structs.
 *
 * VMCALL or VMMCALL, without a prefix, at CPL 0:
 *   in   RAX KEEL_CALL   RDI object handle   RSI request (a KVM ioctl's 32-bit number, or KEEL_*)
 *        RDX argument: physical address of its struct, or the immediate value
 *        RCX bytes at RDX (not looked at where RDX is immediate)   R8 extra
 *   out  RAX >= 0 or -errno   RDX second result   RCX enum keel_reply   R8 third result
 * All other registers are kept. What is not named is 0.
 *
 * Errors of every request: EBADF no such object; EBUSY another CPU works on this vCPU: call again;
 * EIO the VM is being destroyed; EINVAL RCX is less than the struct; EFAULT the struct does not
 * lie in the management guest's RAM; an unknown request is EINVAL on the system and on a vCPU,
 * ENOTTY on a VM.
 */
#pragma once

#include <linux/ioctl.h>
#include <linux/types.h>

#define KEEL_CALL	   0x6c65654bu /* "Keel" */
#define KEEL_INTERFACE	   1u	       /* version: CPUID leaf base + 1, EAX */
#define KEEL_CPUID_STRING  "KeelKeelKeel"
#define KEEL_SYSTEM_HANDLE 0u

/* A VM's handle has 0 in bits 7..0; a vCPU's is its VM's | (index + 1). Bit 63 is clear. */
#define KEEL_HANDLE_VCPU 0xffu

#define KEEL_DONATE_PAGES 8192u	       /* one donation at most, in 4 KiB pages */
#define KEEL_MAP_BYTES	  (1ull << 30) /* one KEEL_MAP or KEEL_UNMAP at most */

enum keel_reply {
	KEEL_REPLY_WAKE = 1, /* vCPUs of this VM must be woken: ask KEEL_TAKE_WAKE */
};

/* Requests beside KVM's. 0xce is not among the ioctl types of <linux/kvm.h>. */
#define KEEL_IO(nr) _IO(0xce, nr)
#define KEEL_INFO   KEEL_IO(0x00) /* struct keel_info out */
#define KEEL_SYNC   KEEL_IO(0x01) /* this CPU has flushed for every donation so far */
#define KEEL_DONATE                                                                                \
	KEEL_IO(0x02) /* RDX base, R8 pages: they leave the management guest.                      \
			 The result is the epoch to wait for */
#define KEEL_DONATED                                                                               \
	KEEL_IO(0x03) /* RDX epoch: 1 once every CPU has flushed, else 0; R8 1: those that have    \
			 not are made to, for CPUs that the caller does not run */
#define KEEL_ADD_POOL                                                                              \
	KEEL_IO(0x04) /* on a VM: RDX base, R8 pages (donated): its pool grows;                    \
			 EAGAIN: its epoch has not passed */
#define KEEL_CREATE_VM                                                                             \
	KEEL_IO(0x05) /* struct keel_create_vm: result is the VM's handle;                         \
			 EAGAIN as above */
#define KEEL_DESTROY                                                                               \
	KEEL_IO(0x06) /* on a VM: kicks its vCPUs; EAGAIN until no CPU works                       \
			 on it and its guest memory is unmapped; then 0 */
#define KEEL_TAKE_BACK                                                                             \
	KEEL_IO(0x07)		       /* on a destroyed VM: 1, RDX base | pages (below 4096):     \
					  they came back zeroed; EBADF: that was all, and          \
					  the handle is gone */
#define KEEL_CREATE_VCPU KEEL_IO(0x08) /* on a VM: struct keel_create_vcpu: vCPU handle */
#define KEEL_MAP	 KEEL_IO(0x09) /* on a VM: struct keel_map */
#define KEEL_UNMAP	 KEEL_IO(0x0a) /* on a VM: struct keel_map (hpa and flags not used) */
#define KEEL_RUN                                                                                   \
	KEEL_IO(0x0b)		       /* on a vCPU: RDX host TSC at which the caller's timer      \
					  fires (~0: never), R8 enum keel_run_flags; result        \
					  enum keel_outcome; RDX, R8 as stated there */
#define KEEL_KICK	 KEEL_IO(0x0c) /* on a vCPU: its KEEL_RUN ends; also while it runs */
#define KEEL_TAKE_WAKE	 KEEL_IO(0x0d) /* on a VM: RDX vCPU indexes to wake, one bit each */
#define KEEL_KICK_VECTOR KEEL_IO(0x0e) /* RDX: the fixed vector for kicks, 32 to 255 */
#define KEEL_STATS	 KEEL_IO(0x0f) /* on a vCPU: struct keel_stats out; also while it runs */
#define KEEL_LOG_READ                                                                              \
	KEEL_IO(0x10)		     /* RDX buffer, RCX bytes, R8 position: bytes copied (at       \
					most 4096 a call), RDX the position after them */
#define KEEL_RING_DUMP KEEL_IO(0x11) /* the last exits of every CPU to the log */
#define KEEL_GET_DIRTY_LOG                                                                         \
	KEEL_IO(0x12) /* on a VM: RDX buffer (physically contiguous, 8-byte                        \
			 aligned), RCX its bytes, R8 slot */
#define KEEL_CLEAR_DIRTY_LOG                                                                       \
	KEEL_IO(0x18) /* on a VM: struct kvm_clear_dirty_log, where dirty_bitmap is a physical     \
			 address (as above) */
#define KEEL_RESAMPLE                                                                              \
	KEEL_IO(0x19) /* on a VM: RDX GSI, R8 1: the end of its interrupt lets the level down that \
			 KVM_IRQ_LINE set with KEEL_LINE_RESAMPLE, and is told by KEEL_RESAMPLED;  \
			 0: no more, and it is let down */
#define KEEL_RECLAIM                                                                               \
	KEEL_IO(0x13) /* RDX base, R8 pages: donated but not used, they come                       \
			 back; EINVAL: not such pages */
#define KEEL_DO_WITHOUT                                                                            \
	KEEL_IO(0x14) /* on a VM: RDX optional features of the processor (bits as in               \
			 docs/hypercalls.md) that it shall not use; result: those that it uses */
#define KEEL_FRAMES                                                                                \
	KEEL_IO(0x15) /* RDX first physical address, R8 frames (at most 2^20): 1: there are        \
			 more behind; RDX how many are Keel's or leave, R8 how many are            \
			 mapped by guests */
#define KEEL_YOUNG                                                                                 \
	KEEL_IO(0x17) /* on a VM: struct keel_map (hpa not used), enum keel_young_flags: 1: the    \
			 guest has used some page of it; RDX: where to go on */
#define KEEL_SHOW_VIRT KEEL_IO(0x16) /* RDX 1: CPUID at CPL 3 shows VMX or SVM, 0: it does not */

enum keel_young_flags {
	KEEL_YOUNG_CLEAR = 1, /* from now on they count as not used */
	KEEL_YOUNG_FLUSH = 2, /* also where a processor's TLB still has them */
};

enum keel_run_flags {
	KEEL_RUN_IMMEDIATE = 1, /* a signal is pending: complete I/O, then KEEL_EINTR */
	KEEL_RUN_DELAYED = 2,	/* RCX: ns that the caller's thread has waited for a CPU by now */
};

enum keel_outcome {		      /* of KEEL_RUN */
		    KEEL_USER,	      /* kvm_run is filled: return 0 to the VMM */
		    KEEL_INTERRUPTED, /* enable interrupts once, then run again */
		    KEEL_FAULT,	    /* RDX gpa, R8 hva | 1 write: map the page, run again; no page:
				       EFAULT */
		    KEEL_HALTED,    /* sleep until woken or RDX (host TSC; ~0: none) */
		    KEEL_ARM,	    /* set the timer to RDX, run again */
		    KEEL_MEMORY,    /* donate RDX pages to the VM, run again */
		    KEEL_RESAMPLED, /* RDX: the guest ended the interrupt of this GSI, whose line
				       KEEL_RESAMPLE holds: signal its eventfds, run again */
		    KEEL_EINTR,	 /* kvm_run.immediate_exit or KEEL_RUN_IMMEDIATE: -EINTR to the VMM
				  */
		    KEEL_EAGAIN, /* left wait-for-SIPI: -EAGAIN to the VMM */
		    KEEL_SPINS,	 /* the guest waits in a loop: let another thread run, run again */
};

/* R8 of KVM_IRQ_LINE: the level is not the VMM's own, but a resampling irqfd's. */
#define KEEL_LINE_RESAMPLE 1u

struct keel_info {
	__u32 interface_version, cpu_count;
	__u64 tsc_khz;
	__u64 keel_base, keel_size; /* reserved RAM: physical address, bytes */
	__u64 writes_refused;	    /* writes to Keel's or donated memory, over all CPUs */
	__u64 epoch;		    /* of the newest donation */
	__u32 vm_min_pages;	    /* pool pages that KEEL_CREATE_VM needs */
	__u32 vcpu_pages;	    /* and each KEEL_CREATE_VCPU */
	__u32 vendor;		    /* 0 SVM, 1 VMX */
	__u32 pad;
};

struct keel_create_vm {
	__u64 base, pages;  /* donated, epoch passed: the first range of its pool */
	__u64 wall_time_ns; /* now, since 1970 */
	__u64 type;	    /* KVM_CREATE_VM's argument */
};

struct keel_create_vcpu {
	__u64 id;  /* KVM_CREATE_VCPU's argument */
	__u64 run; /* physical address of the 3 contiguous pages that the VMM will map */
};

/*
 * KVM_HAS_DEVICE_ATTR (the first 24 bytes suffice), KVM_GET_DEVICE_ATTR, KVM_SET_DEVICE_ATTR:
 * struct kvm_device_attr, whose addr is not looked at, and the value.
 */
struct keel_device_attr {
	__u32 flags, group;
	__u64 attr, addr, value;
};

#define KEEL_MAP_WRITE 1u

struct keel_map {
	__u64 gpa, hpa, size; /* bytes, page aligned */
	__u64 flags;	      /* KEEL_MAP_WRITE */
};

#define KEEL_STAT_REASONS 64
#define KEEL_STAT_BUCKETS 32

struct keel_stats {
	__u64 count[KEEL_STAT_REASONS];			       /* by enum exit_reason */
	__u64 cycles[KEEL_STAT_REASONS];		       /* TSC from exit to entry */
	__u32 histogram[KEEL_STAT_REASONS][KEEL_STAT_BUCKETS]; /* log2 of cycles */
};

/* What to call each reason when printing: in the order of enum exit_reason (arch-x86/virt.h). */
#define KEEL_STAT_NAMES                                                                            \
	{                                                                                          \
		"none", "interrupt", "NMI", "machine check", "INIT", "interrupt window",           \
			"NMI window", "exception", "triple fault", "task switch", "CPUID",         \
			"RDMSR", "WRMSR", "I/O", "nested page fault", "nested misconfiguration",   \
			"CR read", "CR write", "CLTS, LMSW, SMSW", "DR read", "DR write", "HLT",   \
			"PAUSE", "MWAIT", "MONITOR", "INVD", "WBINVD", "INVLPG", "INVPCID",        \
			"RDTSC", "RDTSCP", "RDPMC", "XSETBV", "XSAVES", "XRSTORS", "RDRAND",       \
			"RDSEED", "descriptor table", "hypercall", "VMX or SVM instruction",       \
			"invalid state", "preemption timer", "PML full", "APIC access",            \
			"TPR below threshold", "SMI", "SIPI", "unknown",                           \
	}
