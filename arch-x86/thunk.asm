; SPDX-License-Identifier: MIT
; The compiler's indirect branches go through these (-mindirect-branch=thunk-extern): the return
; predictor is led into a loop, so that no trained target is ever speculated to.
bits 64
section .text

%macro THUNK 1
align 16
global __x86_indirect_thunk_%1
__x86_indirect_thunk_%1:
	call %%target
%%trap:
	pause
	lfence
	jmp %%trap
%%target:
	mov [rsp], %1
	ret
%endmacro

THUNK rax
THUNK rbx
THUNK rcx
THUNK rdx
THUNK rsi
THUNK rdi
THUNK rbp
THUNK r8
THUNK r9
THUNK r10
THUNK r11
THUNK r12
THUNK r13
THUNK r14
THUNK r15
