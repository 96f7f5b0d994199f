; SPDX-License-Identifier: MIT
; Every number of the three MSR ranges, read and written with ones: each is settled or #GP.
%include "guest.inc"
%macro sweep 3 ; first, 1: write, name
	mov dword [FAULT_VECTOR], 13
	mov r12d, %1
	xor r13d, r13d
%%next:
	lea rax, [rel %%after]
	mov [FAULT_RESUME], rax
	mov ecx, r12d
%if %2
	mov eax, -1
	mov edx, -1
	wrmsr
%else
	rdmsr
%endif
	inc r13d
%%after:
	cmp dword [FAULT_VECTOR], 13
	jne %%end
	inc r12d
	cmp r12d, %1 + 0x2000
	jb %%next
	test r13d, r13d ; some have a value
	setz al
	cmp al, 0
%%end:
	check %3
%endmacro
	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	sweep 0, 0, "RDMSR from 0"
	sweep 0xc0000000, 0, "RDMSR from 0xc0000000"
	sweep 0xc0010000, 0, "RDMSR from 0xc0010000"
	sweep 0, 1, "WRMSR from 0"
	sweep 0xc0000000, 1, "WRMSR from 0xc0000000"
	mov ecx, 0xc0010000
.high:
	lea rax, [rel .after]
	mov [FAULT_RESUME], rax
	mov eax, -1
	mov edx, eax
	wrmsr
.after:
	inc ecx
	cmp ecx, 0xc0012000
	jb .high
	cmp dword [FAULT_VECTOR], 13
	check "WRMSR from 0xc0010000"
	finish
idt32_support
long_support
guest_tables
