; SPDX-License-Identifier: MIT
; One-shot timers, the TSC in TSC-deadline mode; half of them wait in HLT, half in a loop. At 0x608 the
; largest lateness in TSC ticks. The VMM leaves the delay (TSC ticks) at 0x610, and how many at 0x618.
%include "guest.inc"
	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	mov ebx, 0xfee00000
	mov dword [rbx + 0xf0], 0x1ff
	mov qword [FAULT_RESUME], 0
	mov dword [rbx + 0x320], 0x40045
	mov qword [0x608], 0
	mov r12d, [0x618]
.next:
	mov dword [IRQ_COUNT], 0
	rdtsc
	shl rdx, 32
	or rax, rdx
	add rax, [0x610]
	mov r13, rax
	mov rdx, rax
	shr rdx, 32
	mov ecx, 0x6e0
	wrmsr
	test r12d, 1
	jz .spin
	sti
	hlt
	jmp .came
.spin:
	sti
.loop:
	cmp dword [IRQ_COUNT], 0
	je .loop
.came:
	rdtsc
	cli
	shl rdx, 32
	or rax, rdx
	cmp dword [IRQ_COUNT], 1
	jne .bad
	sub rax, r13
	jb .bad ; too early
	cmp rax, [0x608]
	jbe .enough
	mov [0x608], rax
.enough:
	dec r12d
	jnz .next
	xor eax, eax
	out 0xf4, al
	hlt
.bad:
	mov al, 1
	out 0xf4, al
	hlt
idt32_support
long_support
guest_tables
