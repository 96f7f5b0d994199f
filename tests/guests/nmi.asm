; SPDX-License-Identifier: MIT
; An NMI to itself; a second one waits for IRET.
%include "guest.inc"
%define APIC 0xfee00000
	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	mov ebx, APIC
	mov dword [rbx + 0xf0], 0x1ff
	mov edi, IDT_AT + 2 * 16
	lea rax, [rel nmi]
	mov [rdi], ax
	shr rax, 16
	mov [rdi + 6], ax
	xor r12d, r12d
	xor r13d, r13d
	mov dword [rbx + 0x300], 0x00044400
	nop
	cmp dword [SOFT_NMI], 0
	je .opened
	cmp r12d, 1
	check "NMI: the second waits for interrupts to be open"
	sti
	nop
	cli
.opened:
	cmp r12d, 2
	check "NMI: the second comes after IRET"
	cmp r13d, 0
	check "NMIs do not nest"
	finish
nmi:
	inc r12d
	cmp r12d, 1
	jne .end
	mov dword [rbx + 0x300], 0x00044400
	nop
	mov eax, 0
	push rbx
	cpuid
	pop rbx
	cmp r12d, 1
	je .end
	inc r13d
.end:
	iretq
idt32_support
long_support
guest_tables
