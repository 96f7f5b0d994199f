; SPDX-License-Identifier: MIT
; Changes stacks between threads, and the first and last instructions of every interrupt.
bits 64
default rel

section .text

; void context_switch(u64 *save, u64 rsp)
; The System V ABI's callee-saved state: RBX, RBP, R12-R15, MXCSR's control bits, the x87 control
; word. Everything else of the FPU is the caller's to save around any call.
global context_switch:function hidden
context_switch:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	sub rsp, 8
	stmxcsr [rsp]
	fnstcw [rsp + 4]
	mov [rdi], rsp
	mov rsp, rsi
	fldcw [rsp + 4]
	ldmxcsr [rsp]
	add rsp, 8
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

extern interrupt_handle:function hidden

; A gate for every vector; where the processor pushes no error code, a zero stands for it.
%assign vector 0
%rep 256
entry_ %+ vector:
%if vector = 8 || (vector >= 10 && vector <= 14) || vector = 17 || vector = 21 || vector = 29 || vector = 30
%else
	push 0
%endif
	push vector
	jmp interrupt_common
%assign vector vector + 1
%endrep

; The handler answers 0, or the address of the firmware's own handler to go on with as if the
; processor had called it.
interrupt_common:
	cld
	push rax
	push rbx
	push rcx
	push rdx
	push rsi
	push rdi
	push rbp
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	mov rdi, rsp
	call interrupt_handle
	mov [rsp + 16 * 8], rax ; in the error code's place
	test rax, rax
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rbp
	pop rdi
	pop rsi
	pop rdx
	pop rcx
	pop rbx
	pop rax
	lea rsp, [rsp + 8]
	jnz .chain
	lea rsp, [rsp + 8]
	iretq
.chain:
	ret

section .data
align 8
global interrupt_entries:data hidden
interrupt_entries:
%assign vector 0
%rep 256
	dq entry_ %+ vector
%assign vector vector + 1
%endrep

section .note.GNU-stack noalloc noexec nowrite progbits
