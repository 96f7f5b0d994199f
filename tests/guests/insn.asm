; SPDX-License-Identifier: MIT
; Instructions that a hypervisor may intercept, in 64-bit mode; kvmclock's page.
%include "guest.inc"
%define CLOCK 0x300000
; optional NAME, leaf, register and its bit, instructions up to end_faults: #UD unless CPUID has the bit
%macro optional 4
	mov eax, %2
	xor ecx, ecx
	cpuid
	optional_bit %1, %3, %4
%endmacro
%macro optional_bit 3
	mov r15d, 0xff
	mov r14d, 6
	bt %2, %3
	cmovnc r15d, r14d
	faults_as_r15 %1
%endmacro
%macro faults_as_r15 1
%push faults
%define %$vector r15d
%define %$name %1
	mov dword [FAULT_VECTOR], 0xff
	lea rax, [rel %$after]
	mov [FAULT_RESUME], rax
%endmacro
%macro end_optional 0
%$after:
	cmp dword [FAULT_VECTOR], r15d
	check_silicon %$name
%pop
%endmacro
	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	mov dword [FAULT_VECTOR], 0xff
	mov eax, 1
	xor ecx, ecx
	lea rdx, [rel gdt]
	xchg rax, rdx
	monitor
	xor eax, eax
	xor ecx, ecx
	mwait
	pause
	cmp dword [FAULT_VECTOR], 0xff
	check "MONITOR, MWAIT and PAUSE do nothing"
	faults 13, "RDPMC of no counter: #GP"
	mov ecx, 0x7777
	rdpmc
	end_faults
	optional "RDTSCP", 0x80000001, edx, 27
	rdtscp
	end_optional
	cmp r15d, 6
	je .no_rdtscp
	mov ecx, 0xc0000103
	mov eax, 0x1234
	xor edx, edx
	wrmsr
	rdtscp
	cmp ecx, 0x1234
	check "RDTSCP has TSC_AUX"
.no_rdtscp:
	; RDTSC does not go back
	rdtsc
	mov ebx, eax
	mov r12d, edx
	rdtsc
	sub eax, ebx
	sbb edx, r12d
	setb al
	cmp al, 0
	check "RDTSC goes on"
	; INVLPG: 0x600000 shows 2 MiB from 0x200000, then from 0
	mov dword [0x2a0000], 1
	mov dword [SCRATCH], 2
	mov dword [TABLES + 0x2000 + 3 * 8], 0x200087
	invlpg [0x600000]
	cmp dword [0x6a0000], 1
	check "INVLPG: first translation"
	mov dword [TABLES + 0x2000 + 3 * 8], 0x87
	invlpg [0x600000]
	cmp dword [0x6a0000], 2
	check "INVLPG: second translation"
	optional "RDRAND", 1, ecx, 30
	rdrand rbx
	end_optional
	optional "RDSEED", 7, ebx, 18
	rdseed rbx
	end_optional
	optional "INVPCID", 7, ebx, 10
	mov eax, 2
	mov qword [SCRATCH], 0
	mov qword [SCRATCH + 8], 0
	invpcid rax, [SCRATCH]
	end_optional
	cmp r15d, 6
	je .no_invpcid
	faults 13, "INVPCID of no type: #GP"
	mov eax, 4
	invpcid rax, [SCRATCH]
	end_faults
.no_invpcid:
	; XSAVES and XRSTORS, with nothing to save. SVM cannot take them away.
	xor eax, eax
	cpuid
	cmp ebx, 0x756e6547 ; "Genu"
	jne .no_xsaves
	mov eax, 1
	cpuid
	bt ecx, 26 ; XSAVE
	jnc .no_xsaves
	mov rax, cr4
	or eax, 0x40000
	mov cr4, rax
	mov eax, 0xd
	mov ecx, 1
	cpuid
	mov r13d, eax
	optional_bit "XSAVES", r13d, 3
	mov edi, SCRATCH
	xor eax, eax
	xor edx, edx
	xsaves [rdi]
	end_optional
	mov rcx, 1 << 63
	mov [SCRATCH + 520], rcx
	optional_bit "XRSTORS", r13d, 3
	xor eax, eax
	xor edx, edx
	xrstors [rdi]
	end_optional
.no_xsaves:
	; descriptor tables over exits
	mov eax, 0
	cpuid
	sgdt [SCRATCH]
	cmp word [SCRATCH], gdt_end - gdt - 1
	check "SGDT: limit"
	cmp dword [SCRATCH + 2], gdt
	check "SGDT: base"
	sidt [SCRATCH]
	cmp dword [SCRATCH + 2], IDT_AT
	check "SIDT: base"
	str eax
	cmp ax, SEL_TSS
	check "STR"
	sldt eax
	test ax, ax
	check "SLDT"
	faults 13, "LTR of a busy TSS: #GP"
	mov eax, SEL_TSS
	ltr ax
	end_faults
	xor eax, eax
	lldt ax
	; CR0.CD on and off
	mov rax, cr0
	or eax, 0x40000000
	mov cr0, rax
	mov rbx, cr0
	bt ebx, 30
	setc al
	cmp al, 1
	check "CR0.CD on"
	and ebx, ~0x60000000 ; NW was on since the reset
	mov cr0, rbx
	mov rax, cr0
	cmp rax, rbx
	check "CR0.CD off"
	; ICEBP is a trap; QEMU's TCG stops for its own debugger instead
	cmp dword [LENIENT], 1
	je .no_icebp
	mov qword [FAULT_RESUME], 0
	mov dword [FAULT_VECTOR], 0xff
	db 0xf1
.after:
	cmp dword [FAULT_VECTOR], 1
	check "ICEBP: #DB"
	lea rax, [rel .after]
	cmp [FAULT_RIP], rax
	check "it is a trap"
.no_icebp:
	faults 6, "RSM: #UD"
	rsm
	end_faults
	; kvmclock: even version, a scale, time that goes on over an exit
	mov ecx, 0x4b564d01
	mov eax, CLOCK | 1
	xor edx, edx
	wrmsr
	rdmsr
	cmp eax, CLOCK | 1
	check "kvmclock MSR reads back"
	mov eax, [CLOCK]
	test al, 1
	check "kvmclock: version is even"
	cmp dword [CLOCK], 0
	setz al
	cmp al, 0
	check "kvmclock: version is not 0"
	cmp dword [CLOCK + 24], 0
	setz al
	cmp al, 0
	check "kvmclock: scale"
	rdtsc
	shl rdx, 32
	or rax, rdx
	cmp rax, [CLOCK + 8]
	setb al
	cmp al, 0
	check "kvmclock: its TSC is not ahead"
	mov ecx, 0x4b564d00
	mov eax, CLOCK + 0x100
	xor edx, edx
	wrmsr
	mov eax, [CLOCK + 0x100]
	test al, 1
	check "wall clock: version is even"
	mov ecx, 0x4b564d01
	xor eax, eax
	xor edx, edx
	wrmsr
	xor eax, eax
	check "kvmclock off"
	finish
idt32_support
long_support
guest_tables
