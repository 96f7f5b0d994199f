; SPDX-License-Identifier: MIT
; A call between a load and a store of YMM0 to YMM15 and MXCSR. Offsets: struct vector_call.
bits 64
default rel

BEFORE equ 64
AFTER  equ 584
MXCSR  equ 512

section .text

; void vector_call(struct vector_call *c)
global vector_call:function hidden
vector_call:
	push rbx
	sub rsp, 8
	stmxcsr [rsp]
	mov rbx, rdi ; kept over the call, as all but the results are
%assign i 0
%rep 16
	vmovdqu ymm%+i, [rbx + BEFORE + 32 * i]
%assign i i + 1
%endrep
	ldmxcsr [rbx + BEFORE + MXCSR]
	mov rax, [rbx]
	mov rdi, [rbx + 8]
	mov rsi, [rbx + 16]
	mov rdx, [rbx + 24]
	mov rcx, [rbx + 32]
	mov r8, [rbx + 40]
	mov r9, [rbx + 48]
	cmp qword [rbx + 56], 1
	je .vmcall
	ja .syscall
	vmmcall
	jmp .done
.vmcall:
	vmcall
	jmp .done
.syscall:
	syscall
.done:
	mov [rbx], rax
	mov [rbx + 24], rdx
	mov [rbx + 32], rcx
	mov [rbx + 40], r8
	stmxcsr [rbx + AFTER + MXCSR]
%assign i 0
%rep 16
	vmovdqu [rbx + AFTER + 32 * i], ymm%+i
%assign i i + 1
%endrep
	ldmxcsr [rsp]
	vzeroupper
	add rsp, 8
	pop rbx
	ret

section .note.GNU-stack noalloc noexec nowrite progbits
