; SPDX-License-Identifier: MIT
; x2APIC mode: its MSRs, self IPIs, the ICR in one write, what is reserved there.
%include "guest.inc"
%macro wr 3 ; msr, low, high
	mov ecx, %1
	mov eax, %2
	mov edx, %3
	wrmsr
%endmacro
%macro wr_gp 4
	faults 13, %4
	wr %1, %2, %3
	end_faults
%endmacro
%macro wr_gp_not_kvm 4
	faults 13, %4
	wr %1, %2, %3
	end_faults_not_kvm
%endmacro
%macro rd_gp 2
	faults 13, %2
	mov ecx, %1
	rdmsr
	end_faults
%endmacro
	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	mov eax, 1
	cpuid
	bt ecx, 21
	setc al
	cmp al, 1
	check "CPUID: x2APIC"
	mov edi, IDT_AT + 0x41 * 16
	lea rax, [rel irq]
	mov [rdi], ax
	shr rax, 16
	mov [rdi + 6], ax
	rd_gp 0x802, "its MSRs in xAPIC mode: #GP"
	wr_gp 0x1b, 0xfee00500, 0, "EXTD without enable: #GP"
	mov dword [FAULT_VECTOR], 0xff
	mov ecx, 0x1b
	rdmsr
	or eax, 0x400
	wrmsr
	rdmsr
	and eax, 0xd00
	cmp eax, 0xd00
	check "APIC_BASE keeps EXTD"
	wr_gp 0x1b, 0xfee00900, 0, "back to xAPIC at once: #GP"
	mov ecx, 0x802
	rdmsr
	test eax, eax
	check "ID"
	mov ecx, 0x803
	rdmsr
	and eax, 0xff
	cmp eax, 0x14
	check "version"
	mov ecx, 0x80d
	rdmsr
	cmp eax, 1
	check "LDR of ID 0"
	wr 0x80f, 0x1ff, 0
	wr 0x83f, 0x41, 0
	mov ecx, 0x822
	rdmsr
	cmp eax, 2
	check "self IPI in the IRR"
	xor r12d, r12d
	sti
	nop
	cli
	cmp r12d, 1
	check "self IPI"
	wr 0x830, 0x00044041, 0
	sti
	nop
	cli
	cmp r12d, 2
	check "ICR: to itself"
	wr 0x830, 0x00004041, 0
	sti
	nop
	cli
	cmp r12d, 3
	check "ICR: to ID 0"
	wr 0x830, 0x00004841, 1
	sti
	nop
	cli
	cmp r12d, 4
	check "ICR: logical"
	wr 0x830, 0x00084041, 0
	sti
	nop
	cli
	cmp r12d, 5
	check "ICR: to all"
	wr 0x830, 0x00004041, 0x12345
	sti
	nop
	cli
	cmp r12d, 5
	check "ICR: to nobody"
	mov ecx, 0x830
	rdmsr
	cmp edx, 0x12345
	check "ICR reads back whole"
	wr 0x808, 0x50, 0
	mov rax, cr8
	cmp eax, 5
	check "CR8 follows the TPR"
	wr 0x808, 0, 0
	wr_gp_not_kvm 0x80b, 1, 0, "EOI of 1: #GP"
	wr_gp 0x802, 0, 0, "write of ID: #GP"
	wr_gp_not_kvm 0x808, 0x100, 0, "TPR above 0xff: #GP"
	wr_gp 0x83f, 0x141, 0, "self IPI above 0xff: #GP"
	rd_gp 0x80e, "no DFR"
	rd_gp 0x831, "no second half of ICR"
	rd_gp 0x83f, "self IPI cannot be read"
	rd_gp 0x80b, "EOI cannot be read"
	mov eax, 0xfee00020
	mov eax, [rax]
	cmp eax, -1
	check "its page is the VMM's now"
	wr 0x1b, 0xfee00100, 0
	wr 0x1b, 0xfee00900, 0
	mov eax, 0xfee00030
	mov eax, [rax]
	cmp al, 0x14
	check "through disabled to xAPIC"
	finish
irq:
	push rax
	push rcx
	push rdx
	inc r12d
	wr 0x80b, 0, 0
	pop rdx
	pop rcx
	pop rax
	iretq
idt32_support
long_support
guest_tables
