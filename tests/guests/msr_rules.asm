; SPDX-License-Identifier: MIT
; What RDMSR and WRMSR answer for each MSR that a child has, and for some that it has not. The
; expectations are the manuals' (SDM vol. 4, "Model-Specific Registers"; APM vol. 2, appendix "MSR
; Cross-Reference") and, for what a virtual machine leaves out, those that Linux's KVM shows.
%include "guest.inc"

; What is expected of one MSR and one value
%define READS    0 ; RDMSR gives the value
%define READABLE 1 ; RDMSR gives anything
%define NO_READ  2 ; RDMSR is #GP
%define KEEPS    3 ; WRMSR, then RDMSR gives the value
%define DROPS    4 ; WRMSR succeeds, RDMSR answers as before
%define TAKES    5 ; WRMSR succeeds
%define NO_WRITE 6 ; WRMSR is #GP, RDMSR answers as before
%define END      7 ; of a section, whose name the value points to
%define SILICON  0x100 ; QEMU's TCG does not have the rule
%define NOT_KVM  0x200 ; Linux's KVM of 6.1 does not have the rule

; Where: the processor as CPUID tells it
%define AMD        BIT(0)
%define INTEL      BIT(1)
%define SVM        BIT(2)
%define SPEC_CTRL  BIT(3)
%define PRED_CMD   BIT(4)
%define TSC_ADJUST BIT(5)
%define XSAVES     BIT(6)
%define TSC_AUX    BIT(7)
%define ARCH_CAP   BIT(8)
%define OSVW       BIT(9)
%define BIT(n) (1 << n)

%macro row 3-5 0, 0 ; MSR, expectation, value, where: all of these and none of those
	dd %1, %2, %4, %5
	dq %3
%endmacro
%macro row_range 4 ; first, last MSR
%assign i %1
%rep %2 - %1 + 1
	row i, %3, %4
%assign i i + 1
%endrep
%endmacro
%macro constant 2-4 0, 0 ; MSR, its value
	row %1, READS, %2, %3, %4
	row %1, NO_WRITE, %2, %3, %4
	row %1, NO_WRITE, 1, %3, %4
%endmacro
%macro ignored 2
	row %1, READS, %2
	row %1, DROPS, 0
	row %1, DROPS, -1
%endmacro
%macro absent 1-3 0, 0
	row %1, NO_READ, 0, %2, %3
	row %1, NO_WRITE, 0, %2, %3
	row %1, NO_WRITE, 1, %2, %3
%endmacro
%macro address 1
	row %1, KEEPS, 0x00007fffffffffff
	row %1, KEEPS, 0xffff800000000000
	row %1, NO_WRITE | SILICON, 0x0000800000000000
	row %1, NO_WRITE | SILICON, 0xffff7fffffffffff
	row %1, KEEPS, 0
%endmacro
%macro section_end 1
	row 0, END, %%name
	[section .names align=1]
%%name:	db %1, 10, 0
	__SECT__
%endmacro
%macro fact 5 ; leaf, subleaf, register, bit, fact
	mov eax, %1
	mov ecx, %2
	cpuid
	bt %3, %4
	jnc %%no
	or r15d, %5
%%no:
%endmacro

	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	xor r15d, r15d
	xor eax, eax
	cpuid
	mov r13d, eax ; the highest leaf
	mov eax, AMD
	mov ecx, INTEL
	cmp ebx, 0x68747541 ; "Auth"
	cmovne eax, ecx
	mov r15d, eax
	fact 0x80000001, 0, ecx, 2, SVM
	fact 0x80000001, 0, ecx, 9, OSVW
	fact 0x80000001, 0, edx, 27, TSC_AUX
	fact 0x80000008, 0, ebx, 12, PRED_CMD
	fact 0x80000008, 0, ebx, 14, SPEC_CTRL
	fact 0x80000008, 0, ebx, 15, SPEC_CTRL
	fact 0x80000008, 0, ebx, 24, SPEC_CTRL
	cmp r13d, 7
	jb .no_leaf_7
	fact 7, 0, ebx, 1, TSC_ADJUST
	fact 7, 0, ecx, 22, TSC_AUX
	fact 7, 0, edx, 26, SPEC_CTRL | PRED_CMD
	fact 7, 0, edx, 29, ARCH_CAP
.no_leaf_7:
	cmp r13d, 0xd
	jb .facts_known
	fact 0xd, 1, eax, 3, XSAVES
.facts_known:
	mov rbp, rules
	xor edi, edi ; wrong rows of this section
.row:
	cmp rbp, rules_end
	jae .end
	mov r12d, [rbp]
	mov ebx, [rbp + 4]
	mov eax, [rbp + 8]
	mov edx, [rbp + 12]
	mov r14, [rbp + 16]
	cmp ebx, END
	je .section
	mov ecx, r15d
	and ecx, eax
	cmp ecx, eax
	jne .next
	test r15d, edx
	jnz .next
	call judge
	je .next
	test ebx, NOT_KVM
	jz .strict
	cmp dword [LINUX_KVM], 1
	je .next
.strict:
	test ebx, SILICON
	jz .wrong
	cmp dword [LENIENT], 1
	je .next
.wrong:
	inc edi
	print "FAIL MSR "
	mov rcx, r12
	call hex
	print " row "
	mov rcx, rbx
	call hex
	print " value "
	mov rcx, r14
	call hex
	print " fault "
	mov rcx, r8
	call hex
	print " read "
	mov rcx, r9
	call hex
	print 10
.next:
	add rbp, 24
	jmp .row
.section:
	test edi, edi
	jz .section_ok
	inc dword [FAILURES]
	print "FAIL "
	jmp .section_name
.section_ok:
	print "ok "
.section_name:
	mov rsi, r14
	call puts64
	xor edi, edi
	jmp .next
.end:
	finish

; ZF: MSR R12 does with R14 what EBX says. R8: what the last access faulted with, R9: what was read
judge:
	movzx eax, bl
	cmp eax, KEEPS
	jae .write
	call read
	cmp eax, NO_READ
	je .fault
	cmp r8d, 0xff
	jne .done
	cmp eax, READABLE
	je .done
	cmp r9, r14
	ret
.write:
	call read
	mov r10, r8
	mov r11, r9
	call write
	cmp eax, NO_WRITE
	je .no_write
	cmp r8d, 0xff
	jne .done
	cmp eax, TAKES
	je .done
	cmp eax, DROPS
	je .as_before
	call read
	cmp r8d, 0xff
	jne .done
	cmp r9, r14
	ret
.no_write:
	cmp r8d, 13
	jne .done
.as_before:
	call read
	cmp r8, r10
	jne .done
	cmp r9, r11
	ret
.fault:
	cmp r8d, 13
.done:
	ret

read:
	push rax
	mov dword [FAULT_VECTOR], 0xff
	mov qword [FAULT_RESUME], .after
	xor eax, eax
	xor edx, edx
	mov ecx, r12d
	rdmsr
.after:
	mov r9d, eax
	shl rdx, 32
	or r9, rdx
	mov r8d, [FAULT_VECTOR]
	pop rax
	ret

write:
	push rax
	mov dword [FAULT_VECTOR], 0xff
	mov qword [FAULT_RESUME], .after
	mov eax, r14d
	mov rdx, r14
	shr rdx, 32
	mov ecx, r12d
	wrmsr
.after:
	mov r8d, [FAULT_VECTOR]
	pop rax
	ret

hex: ; RCX
	mov edx, 16
.digit:
	rol rcx, 4
	mov al, cl
	and al, 15
	add al, '0'
	cmp al, '9'
	jbe .out
	add al, 'a' - '0' - 10
.out:
	out 0xe9, al
	dec edx
	jnz .digit
	ret

	align 8, db 0
rules:
	; Read-only, the machine's
	constant 0, 0		     ; P5_MC_ADDR
	constant 1, 0		     ; P5_MC_TYPE
	constant 0x17, 0	     ; PLATFORM_ID
	constant 0x2a, 0	     ; EBL_CR_POWERON
	constant 0x2c, 0x1000000     ; EBC_FREQUENCY_ID
	constant 0x34, 0	     ; SMI_COUNT
	constant 0xcd, 3	     ; FSB_FREQ
	constant 0xce, 0x80000000    ; PLATFORM_INFO: CPUID faulting
	constant 0xfe, 0x508	     ; MTRRCAP: write-combining, fixed ranges, 8 others
	constant 0x198, 0x400000003e8 ; PERF_STATUS
	constant 0x199, 0	     ; PERF_CTL
	constant 0x1db, 0	     ; the last branch and interrupt
	constant 0x1dc, 0
	constant 0x1dd, 0
	constant 0x1de, 0
	constant 0xc0010010, 0	     ; SYSCFG
	constant 0xc0010055, 0	     ; interrupt pending message
	constant 0xc0010112, 0	     ; TSEG
	constant 0xc0010113, 0
	row 0xc0010114, READS | NOT_KVM, 0x18, AMD, SVM ; VM_CR: SVM off and locked
	row 0xc0010114, NO_WRITE | NOT_KVM, 0x18, AMD, SVM
	row 0xc0010114, NO_WRITE | NOT_KVM, 0, AMD, SVM
	section_end "constant"

	ignored 0x11e, 0xbe702111 ; BBL_CR_CTL3
	ignored 0xc1, 0		  ; the P6 family's counters
	ignored 0xc2, 0
	ignored 0x186, 0
	ignored 0x187, 0
	ignored 0xc001001b, 0x20000000 ; CLK_CTL
	ignored 0xc001001f, 0	  ; NB_CFG
	ignored 0xc0011022, 0	  ; DC_CFG
	ignored 0xc0011023, 0	  ; BU_CFG
	ignored 0xc001102a, 0	  ; BU_CFG2
	ignored 0xc001102c, 0	  ; EX_CFG
	row_range 0xc0010000, 0xc0010007, READS, 0 ; AMD's counters
	row_range 0xc0010000, 0xc0010007, DROPS, 0
	row 0x8b, READABLE, 0	  ; BIOS_SIGN_ID: Intel's way to ask for it begins with a write
	row 0x8b, DROPS, 0
	row 0x8b, DROPS, -1
	row 0xc0010058, READS, 0  ; MMIO configuration base
	row 0xc0010058, DROPS, 0
	row 0xc0010058, NO_WRITE, 1
	row 0xc0011029, READABLE, 0, AMD ; DE_CFG
	row 0xc0011029, DROPS | NOT_KVM, 2, AMD
	absent 0xc0011029, INTEL
	section_end "ignored"

	row 0x79, NO_READ, 0	   ; BIOS_UPDT_TRIG
	row 0x79, DROPS, 0x1234
	row 0xc0010020, NO_READ, 0 ; PATCH_LOADER
	row 0xc0010020, DROPS, 0x1234
	row 0xc0010115, NO_READ, 0, AMD ; IGNNE
	row 0xc0010115, DROPS, 1, AMD
	absent 0xc0010115, INTEL
	row 0x49, NO_READ, 0	   ; PRED_CMD
	row 0x49, TAKES, 0, PRED_CMD
	row 0x49, NO_WRITE, 2, PRED_CMD
	absent 0x49, 0, PRED_CMD
	section_end "write-only"

	absent 0x9e	  ; SMBASE outside SMM
	absent 0xc3	  ; counters that CPUID leaf 0xA does not count
	absent 0xc8
	absent 0x188
	absent 0x18d
	absent 0x119
	absent 0x19a
	absent 0x19c	  ; THERM_STATUS
	absent 0x210	  ; MTRRs beyond MTRRCAP's count
	absent 0x251
	absent 0x280	  ; MC0_CTL2: MCG_CAP has no CMCI
	absent 0x29f
	absent 0x345
	absent 0x38f
	absent 0x480
	absent 0x570
	absent 0x802	  ; x2APIC in xAPIC mode
	absent 0x83f
	absent 0x40000999
	absent 0xc0000104
	absent 0xc0010008
	absent 0xc0010016
	absent 0xc001001a
	absent 0xc001001d
	absent 0xc0010061
	absent 0xc0010064
	row 0xc0010117, NO_READ | NOT_KVM, 0, AMD, SVM ; VM_HSAVE_PA
	row 0xc0010117, NO_WRITE | NOT_KVM, 0, AMD, SVM
	absent 0xc0010114, INTEL
	row 0xc0010117, NO_READ | NOT_KVM, 0, INTEL
	row 0xc0010117, NO_WRITE | NOT_KVM, 0, INTEL
	row 0xc0010117, NO_WRITE | NOT_KVM, 1, INTEL
	absent 0xc0010200
	absent 0xc001020b
	absent 0xc0011020
	absent 0xffffffff
	section_end "absent"

	row 0x174, KEEPS, 0x10 ; SYSENTER_CS
	row 0x175, KEEPS, 0x7fff0000 ; SYSENTER_ESP
	row 0x176, KEEPS, 0x7fff0000
	row 0x175, NO_WRITE | SILICON, 0x0000800000000000, INTEL
	row 0x176, NO_WRITE | SILICON, 0x0000800000000000, INTEL
	row 0xc0000081, KEEPS, 0x0023001012345678 ; STAR
	row 0xc0000084, KEEPS, 0x47700 ; SFMASK
	address 0xc0000082 ; LSTAR
	address 0xc0000083
	address 0xc0000100 ; FS.base
	address 0xc0000101
	address 0xc0000102
	section_end "system calls and bases"

	row 0xc0000080, READS, 0xd01
	row 0xc0000080, NO_WRITE, 0xd03
	row 0xc0000080, NO_WRITE, 0x1d01, 0, SVM
	row 0xc0000080, NO_WRITE, 0x8000000000000d01
	row 0xc0000080, NO_WRITE, 0xc01 ; LME under paging
	row 0xc0000080, KEEPS, 0x501	; NXE off
	row 0xc0000080, KEEPS, 0xd01
	row 0xc0000080, DROPS, 0x901	; LMA is the processor's
	section_end "EFER"

	row 0x1b, READS, 0xfee00900
	row 0x1b, KEEPS, 0xfee00900
	row 0x1b, NO_WRITE, 0xfee00901
	row 0x1b, NO_WRITE, 0xfee00980
	row 0x1b, NO_WRITE, 0xfee00b00
	row 0x1b, NO_WRITE, 0xfee00500 ; x2APIC without enable
	row 0x1b, NO_WRITE, 0x80000000fee00900
	section_end "APIC_BASE"

	row 0x1a0, READABLE, 0
	row 0x1a0, KEEPS, 0x1800
	row 0x1a0, KEEPS, 0x1801
	row 0x1a0, NO_WRITE, 0x0801 ; PEBS and BTS are not there for good
	row 0x1a0, NO_WRITE, 0x1001
	row 0x140, KEEPS, 1 ; MISC_FEATURES_ENABLES: CPUID faulting
	row 0x140, KEEPS, 0
	row 0x140, NO_WRITE, 2
	row 0x1fc, KEEPS, 2 ; POWER_CTL
	row 0x1fc, KEEPS, 0
	row 0x3a, READS, 0, INTEL ; FEATURE_CONTROL
	row 0x3a, NO_WRITE, 4, INTEL
	row 0x3a, KEEPS, 1, INTEL
	row 0x3a, NO_WRITE, 1, INTEL
	row 0x3a, NO_WRITE, 0, INTEL
	absent 0x3a, AMD
	row 0xc0010015, READS, 0 ; HWCR
	row 0xc0010015, DROPS, 8 ; FFDIS, MONMWAIT_DIS
	row 0xc0010015, DROPS, 0x100
	row 0xc0010015, NO_WRITE, 1
	row 0xc0010015, NO_WRITE, 0x8000000000000000
	row 0x1d9, READS, 0 ; DEBUGCTL: no last branch
	row 0x1d9, DROPS, 1
	row 0x1d9, DROPS, 2
	row 0x1d9, NO_WRITE | NOT_KVM, 0x8000000000000000
	section_end "modes"

	row 0x277, READS, 0x0007040600070406
	row 0x277, KEEPS, 0x0706050401000706
	row 0x277, NO_WRITE, 0x0007040600070402
	row 0x277, NO_WRITE, 0x0307040600070406
	row 0x277, NO_WRITE, 0x0007080600070406
	row 0x277, KEEPS, 0x0007040600070406
	section_end "PAT"

	row 0x200, KEEPS, 0x80000006
	row 0x200, NO_WRITE, 0x80000002
	row 0x200, NO_WRITE, 0x80000007
	row 0x200, NO_WRITE, 0x80000009
	row 0x200, NO_WRITE, 0x80000106
	row 0x200, NO_WRITE, 0x8000000080000006
	row 0x201, KEEPS, 0xfc0000800
	row 0x201, NO_WRITE, 0xfc0000400
	row 0x201, NO_WRITE, 0x8000000fc0000800
	row 0x20e, KEEPS, 0x90000001
	row 0x20f, KEEPS, 0xff0000800
	row 0x20f, KEEPS, 0
	row 0x250, KEEPS, 0x0605040100060504
	row 0x250, NO_WRITE, 2
	row 0x250, NO_WRITE, 0x0700000000000000
	row 0x258, KEEPS, 0x0606060606060606
	row 0x259, NO_WRITE, 0x0000030000000000
	row_range 0x268, 0x26f, KEEPS, 0x0505050505050505
	row_range 0x268, 0x26f, NO_WRITE, 8
	row 0x2ff, KEEPS, 0xc06
	row 0x2ff, NO_WRITE, 0xc02
	row 0x2ff, NO_WRITE, 0xc09
	row 0x2ff, NO_WRITE, 0xd06
	row 0x2ff, NO_WRITE, 0x1c06
	row 0x2ff, NO_WRITE, 0x8000000000000c06
	section_end "MTRRs"

	row 0x179, READABLE, 0
	row 0x179, NO_WRITE, 0
	row 0x17a, KEEPS, 5
	row 0x17a, NO_WRITE | NOT_KVM, 0x80000000
	row 0x17a, KEEPS, 0
	absent 0x17b ; MCG_CTL: MCG_CAP has no MCG_CTL_P
	row 0x400, KEEPS, 0
	row 0x400, KEEPS, -1
	row 0x400, KEEPS, ~0x400
	row 0x400, NO_WRITE, 1
	row 0x401, KEEPS, 0
	row 0x401, NO_WRITE, 1
	row 0xc0010015, KEEPS, 0x40000, AMD ; McStatusWrEn
	row 0x401, KEEPS, 0x123, AMD
	row 0x401, KEEPS, 0, AMD
	row 0xc0010015, KEEPS | NOT_KVM, 0, AMD
	row 0x401, NO_WRITE | NOT_KVM, 0x123
	row 0x402, KEEPS, 0x123456
	row 0x403, KEEPS, 0x123456
	row 0x47f, KEEPS, 0x123456
	row 0x47c, NO_WRITE, 2
	section_end "machine check"

	row 0x3b, KEEPS, 0x1000, TSC_ADJUST
	row 0x3b, KEEPS, 0, TSC_ADJUST
	row 0x6e0, READS, 0 ; TSC_DEADLINE: the timer is in another mode
	row 0x6e0, DROPS, 0x123456
	row 0xc0000103, KEEPS, 0xffffffff, TSC_AUX
	row 0xc0000103, NO_WRITE, 0x100000001, TSC_AUX | INTEL
	row 0xc0000103, TAKES, 0x100000001, TSC_AUX | AMD ; the upper half is dropped
	row 0xc0000103, READS, 1, TSC_AUX | AMD
	absent 0xc0000103, 0, TSC_AUX
	row 0x4b564d00, KEEPS, 0 ; kvmclock: off
	row 0x4b564d01, KEEPS, 0
	row 0x4b564d02, KEEPS, 0 ; asynchronous page faults
	row 0x4b564d02, NO_WRITE, -1
	row 0x4b564d03, KEEPS, 0 ; steal time
	row 0x4b564d03, NO_WRITE, -1
	row 0x4b564d04, KEEPS, 0 ; paravirtual end of interrupt
	row 0x4b564d04, NO_WRITE, -1
	section_end "time"

	row 0x48, KEEPS, 1, SPEC_CTRL
	row 0x48, KEEPS, 0, SPEC_CTRL
	row 0x48, NO_WRITE, 0x8000000000000000, SPEC_CTRL
	absent 0x48, 0, SPEC_CTRL
	row 0x10a, READABLE, 0, ARCH_CAP
	row 0x10a, NO_WRITE, 0, ARCH_CAP
	absent 0x10a, 0, ARCH_CAP
	row 0xda0, READS, 0, XSAVES
	row 0xda0, KEEPS, 0, XSAVES
	row 0xda0, NO_WRITE, 1, XSAVES
	absent 0xda0, 0, XSAVES
	row 0xc0010140, READABLE, 0, OSVW
	row 0xc0010141, READABLE, 0, OSVW
	absent 0xc0010140, 0, OSVW
	absent 0xc0010141, 0, OSVW
	section_end "with a CPUID bit"
rules_end:
idt32_support
long_support
guest_tables
