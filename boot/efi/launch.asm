; SPDX-License-Identifier: MIT
; From the firmware's world into root's, and back when a launch failed.
bits 64
default rel
section .text

; struct launch_call (main.c)
%define C_TRAMPOLINE 0
%define C_CR3        8
%define C_STACK      16
%define C_ENTRY      24
%define C_INFO       32
%define C_INDEX      40
%define C_COMMAND    48
%define C_STATE      56
; struct boot_cpu_state (arch-x86/cpu_state.h; main.c asserts the offsets)
%define S_RSP      32
%define S_RIP      128
%define S_RFLAGS   136
%define S_CR0      144
%define S_CR2      152
%define S_CR3      160
%define S_CR4      168
%define S_EFER     176
%define S_GDT_BASE 184
%define S_IDT_BASE 192
%define S_GDT_LIM  200
%define S_IDT_LIM  202
%define S_ES       204
%define S_CS       206
%define S_SS       208
%define S_DS       210
%define S_FS       212
%define S_GS       214
%define S_LDTR     216
%define S_TR       218

%define MSR_EFER 0xc0000080
%define EFER_NXE_BIT 11

; s64 launch_call(const struct launch_call *c, struct boot_cpu_state *s)
; Captures this CPU into *s and calls root. 0: this is the guest, going on; else root's error.
global launch_call
launch_call:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	pushfq
	cli
	mov rbx, rsi
	mov r12, rdi
	mov [rbx + S_RSP], rsp
	lea rax, [.guest]
	mov [rbx + S_RIP], rax
	pushfq
	pop qword [rbx + S_RFLAGS]
	mov rax, cr0
	mov [rbx + S_CR0], rax
	mov rax, cr2
	mov [rbx + S_CR2], rax
	mov rax, cr3
	mov [rbx + S_CR3], rax
	mov rax, cr4
	mov [rbx + S_CR4], rax
	mov ecx, MSR_EFER
	rdmsr
	mov [rbx + S_EFER], eax
	mov [rbx + S_EFER + 4], edx
	sub rsp, 16
	sgdt [rsp]
	mov ax, [rsp]
	mov [rbx + S_GDT_LIM], ax
	mov rax, [rsp + 2]
	mov [rbx + S_GDT_BASE], rax
	sidt [rsp]
	mov ax, [rsp]
	mov [rbx + S_IDT_LIM], ax
	mov rax, [rsp + 2]
	mov [rbx + S_IDT_BASE], rax
	add rsp, 16
	mov [rbx + S_ES], es
	mov [rbx + S_CS], cs
	mov [rbx + S_SS], ss
	mov [rbx + S_DS], ds
	mov [rbx + S_FS], fs
	mov [rbx + S_GS], gs
	sldt [rbx + S_LDTR]
	str [rbx + S_TR]

	mov rdi, [r12 + C_INFO]
	mov rsi, [r12 + C_INDEX]
	mov rdx, [r12 + C_COMMAND]
	mov rcx, [r12 + C_STATE]
	mov r8, [r12 + C_STACK]
	mov r9, [r12 + C_ENTRY]
	mov r10, [r12 + C_CR3]
	call [r12 + C_TRAMPOLINE]

	; Root came back: everything as the firmware had it.
	mov r12, rax
	mov rax, [rbx + S_CR4]
	mov cr4, rax
	mov rax, [rbx + S_CR0]
	mov cr0, rax
	mov ecx, MSR_EFER
	mov eax, [rbx + S_EFER]
	mov edx, [rbx + S_EFER + 4]
	wrmsr
	sub rsp, 16
	mov ax, [rbx + S_GDT_LIM]
	mov [rsp], ax
	mov rax, [rbx + S_GDT_BASE]
	mov [rsp + 2], rax
	lgdt [rsp]
	mov ax, [rbx + S_IDT_LIM]
	mov [rsp], ax
	mov rax, [rbx + S_IDT_BASE]
	mov [rsp + 2], rax
	lidt [rsp]
	add rsp, 16
	mov es, [rbx + S_ES]
	mov ds, [rbx + S_DS]
	mov ss, [rbx + S_SS]
	mov fs, [rbx + S_FS]
	mov gs, [rbx + S_GS]
	lldt [rbx + S_LDTR]
	movzx eax, word [rbx + S_TR]
	test eax, eax
	jz .no_tr
	; LTR wants the TSS available, not busy.
	mov rcx, [rbx + S_GDT_BASE]
	and eax, 0xfff8
	and byte [rcx + rax + 5], 0xfd
	ltr [rbx + S_TR]
.no_tr:
	movzx eax, word [rbx + S_CS]
	push rax
	lea rax, [.firmware_cs]
	push rax
	o64 retf
.firmware_cs:
	mov rax, r12
	jmp .out
.guest:
	xor eax, eax
.out:
	popfq
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; Runs from a page that both address spaces map at the same address.
;   rdi, rsi, rdx, rcx  root_entry's arguments   r8 stack   r9 entry   r10 CR3
global launch_trampoline, launch_trampoline_end
launch_trampoline:
	mov r13, cr3
	mov r14, rsp
	mov r15, rcx
	mov r11, rdx
	mov ecx, MSR_EFER
	rdmsr
	bts eax, EFER_NXE_BIT ; root's tables use it
	wrmsr
	mov rcx, r15
	mov rdx, r11
	mov cr3, r10
	mov rsp, r8
	call r9
	mov cr3, r13
	mov rsp, r14
	ret
launch_trampoline_end:
section .note.GNU-stack noalloc noexec nowrite progbits
