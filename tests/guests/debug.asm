; SPDX-License-Identifier: MIT
; Debug registers and single step: breakpoints, DR6, DR7 rules, TF over exits.
%include "guest.inc"
	guest_header 0, END_STATUS
	enter_protected
	enter_long
	mov rax, dr6
	cmp eax, 0xffff0ff0
	check "DR6 at reset"
	mov rax, dr7
	cmp eax, 0x400
	check "DR7 at reset"
	mov eax, 0x12345678
	mov dr0, rax
	mov dr3, rax
	mov eax, 0
	cpuid
	mov rax, dr3
	cmp eax, 0x12345678
	check "DR3 keeps over an exit"
	faults 13, "DR7 upper half: #GP"
	mov rax, 0x100000000
	mov dr7, rax
	end_faults
	; data breakpoint: a trap
	mov qword [FAULT_RESUME], 0
	mov eax, SCRATCH
	mov dr0, rax
	mov eax, 0xd0401 | 1 ; write, 4 bytes, local 0
	mov dr7, rax
	mov dword [FAULT_VECTOR], 0xff
	mov dword [SCRATCH], 1
	nop
	cmp dword [FAULT_VECTOR], 1
	check "data breakpoint"
	mov rax, dr6
	test al, 1
	setnz al
	cmp al, 1
	check "DR6.B0"
	; instruction breakpoint: a fault
	mov eax, 0xffff0ff0
	mov dr6, rax
	lea rax, [rel .here]
	mov dr0, rax
	mov eax, 0x401
	mov dr7, rax
	faults 1, "instruction breakpoint"
.here:
	nop
	end_faults
	lea rax, [rel .here]
	cmp [FAULT_RIP], rax
	check "it is a fault"
	mov eax, 0x400
	mov dr7, rax
	; general detect
	mov eax, 0x2400
	mov dr7, rax
	faults 1, "DR7.GD"
	mov rax, dr0
	end_faults_silicon
	mov rax, dr6
	bt eax, 13
	setc al
	cmp al, 1
	check_silicon "DR6.BD"
	mov eax, 0x400
	mov dr7, rax
	; TF over CPUID, IN and OUT, which exit
	mov qword [FAULT_RESUME], 0
	mov dword [FAULT_VECTOR], 0xff
	mov eax, 0
	pushfq
	or dword [rsp], 0x100
	popfq
	cpuid
after_cpuid:
	pushfq
	and dword [rsp], ~0x100
	popfq
	cmp dword [FAULT_VECTOR], 1
	check "TF traps"
	mov rax, dr6
	bt eax, 14
	setc al
	cmp al, 1
	check "DR6.BS"
	mov ebx, MMIO_BASE
	mov dword [FAULT_VECTOR], 0xff
	pushfq
	or dword [rsp], 0x100
	popfq
	mov [rbx], eax
	nop
	cmp dword [FAULT_VECTOR], 1
	check "TF traps after an emulated MOV"
	pushfq
	and dword [rsp], ~0x100
	popfq
	finish
idt32_support
long_support
guest_tables
