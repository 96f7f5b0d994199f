; SPDX-License-Identifier: MIT
; Events whose delivery itself faults at the second level: under a dirty log each first push onto a
; page does. None is lost, none is doubled, and error codes and CR2 survive.
%include "guest.inc"
%define ROUNDS 64
	guest_header FLAG_DIRTY_LOG, END_STATUS
	enter_protected
	enter_long
	mov r14, rsp
	mov esp, 0x300000
	xor r12d, r12d
	xor r13d, r13d
.exceptions:
	mov dword [FAULT_VECTOR], 0xff
	lea rax, [rel .next]
	mov [FAULT_RESUME], rax
	ud2
	inc r13d
.next:
	cmp dword [FAULT_VECTOR], 6
	setne al
	movzx eax, al
	add r13d, eax
	sub rsp, 0x1000
	inc r12d
	cmp r12d, ROUNDS
	jb .exceptions
	mov rsp, r14
	cmp r13d, 0
	check "64 exceptions onto fresh stacks"

	mov esp, 0x340000
	xor r12d, r12d
	xor r13d, r13d
.page_faults:
	mov dword [FAULT_VECTOR], 0xff
	lea rax, [rel .next2]
	mov [FAULT_RESUME], rax
	mov rax, 0x0000700000000000
	mov [rax + r12], eax
	inc r13d
.next2:
	cmp dword [FAULT_VECTOR], 14
	setne al
	movzx eax, al
	add r13d, eax
	cmp dword [FAULT_ERROR], 2
	setne al
	movzx eax, al
	add r13d, eax
	mov rax, 0x0000700000000000
	add rax, r12
	cmp [FAULT_CR2], rax
	setne al
	movzx eax, al
	add r13d, eax
	sub rsp, 0x1000
	inc r12d
	cmp r12d, ROUNDS
	jb .page_faults
	mov rsp, r14
	cmp r13d, 0
	check "64 page faults onto fresh stacks, with CR2 and error code"

	mov qword [FAULT_RESUME], 0
	mov esp, 0x380000
	xor r12d, r12d
	mov dword [IRQ_COUNT], 0
	mov edi, IDT_AT + 0x33 * 16
	lea rax, [rel software]
	mov [rdi], ax
	shr rax, 16
	mov [rdi + 6], ax
	xor r13d, r13d
.software:
	int 0x33
	sub rsp, 0x1000
	inc r12d
	cmp r12d, ROUNDS
	jb .software
	mov rsp, r14
	cmp r13d, ROUNDS
	check "64 software interrupts onto fresh stacks"
	finish
software:
	inc r13d
	iretq
idt32_support
long_support
guest_tables
