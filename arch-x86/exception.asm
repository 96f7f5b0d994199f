; SPDX-License-Identifier: MIT
; Entry points of root's exceptions, and the instructions that may fault on purpose.
bits 64
default rel
section .text

extern exception_handler

; One entry a vector, EXCEPTION_ENTRY_SIZE apart: an error code where the processor pushes none.
%define WITH_ERROR (1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30)

align 16
global exception_entries
exception_entries:
%assign vector 0
%rep 32
	align 16
%if (WITH_ERROR >> vector & 1) == 0
	push 0
%endif
	push vector
	jmp strict near exception_common
%assign vector vector + 1
%endrep

align 16
exception_common:
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
	; 22 words since a 16-byte aligned RSP (the processor aligns it): aligned for the call.
	call exception_handler
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
	add rsp, 16
	iretq

; void desc_reload_segments(void)
global desc_reload_segments
desc_reload_segments:
	pop rax
	push 0x08
	push rax
	mov eax, 0x10
	mov ss, eax
	mov ds, eax
	mov es, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	retfq

; int rdmsr_safe(u32 index, u64 *value)
global rdmsr_safe
rdmsr_safe:
	mov ecx, edi
rdmsr_safe.at:
	rdmsr
	shl rdx, 32
	or rax, rdx
	mov [rsi], rax
	xor eax, eax
	ret

; int wrmsr_safe(u32 index, u64 value)
global wrmsr_safe
wrmsr_safe:
	mov ecx, edi
	mov rax, rsi
	mov rdx, rsi
	shr rdx, 32
wrmsr_safe.at:
	wrmsr
	xor eax, eax
	ret

; int xsetbv_safe(u32 index, u64 value)
global xsetbv_safe
xsetbv_safe:
	mov ecx, edi
	mov rax, rsi
	mov rdx, rsi
	shr rdx, 32
xsetbv_safe.at:
	xsetbv
	xor eax, eax
	ret

failed:
	mov eax, -5 ; -EIO
	ret

section .rodata
align 8
global exception_fixups, exception_fixups_end
exception_fixups:
	dq rdmsr_safe.at, failed
	dq wrmsr_safe.at, failed
	dq xsetbv_safe.at, failed
exception_fixups_end:
