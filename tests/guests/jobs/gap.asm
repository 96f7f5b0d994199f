; SPDX-License-Identifier: MIT
; Watches the TSC: at 0x608 the longest time (TSC ticks) in which it did not run. At 0x600 a count.
%include "guest.inc"
	guest_header 0, END_STATUS
	enter_protected
	enter_long
	mov qword [0x600], 0
	mov qword [0x608], 0
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r8, rax
.again:
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov rcx, rax
	sub rcx, r8
	mov r8, rax
	inc qword [0x600]
	cmp rcx, [0x608]
	jbe .again
	mov [0x608], rcx
	jmp .again
idt32_support
long_support
guest_tables
