; SPDX-License-Identifier: MIT
; Enters an SVM guest and returns to C. GIF is 0 in all of root mode (design D3).
%include "offsets.inc"

bits 64
default rel
section .text

extern svm_features

; void svm_enter(struct virt_vcpu *v)
;
; RAX and RSP of the guest are in the VMCB. RFLAGS.IF=1 at VMRUN: with V_INTR_MASKING it is the
; host's IF that lets a physical interrupt end the guest (APM vol. 2, "Interrupt Masking in EFLAGS
; and V_INTR_MASKING"); under GIF=0 it opens nothing before the guest runs. VMRUN must not stand in
; STI's own interrupt shadow: processors let that leak into the guest.
global svm_enter
svm_enter:
	push rbp
	push rbx
	push r12
	push r13
	push r14
	push r15
	push rdi
	mov rax, [rdi + V_HW_HPA]
	mov rcx, [rdi + V_RCX]
	mov rdx, [rdi + V_RDX]
	mov rbx, [rdi + V_RBX]
	mov rbp, [rdi + V_RBP]
	mov rsi, [rdi + V_RSI]
	mov r8, [rdi + V_R8]
	mov r9, [rdi + V_R9]
	mov r10, [rdi + V_R10]
	mov r11, [rdi + V_R11]
	mov r12, [rdi + V_R12]
	mov r13, [rdi + V_R13]
	mov r14, [rdi + V_R14]
	mov r15, [rdi + V_R15]
	sti
	mov rdi, [rdi + V_RDI]
	vmrun
	cli
	; #VMEXIT gave back RAX, RSP, RFLAGS, segments and control registers of the host.
	pop rax
	mov [rax + V_RCX], rcx
	mov [rax + V_RDX], rdx
	mov [rax + V_RBX], rbx
	mov [rax + V_RBP], rbp
	mov [rax + V_RSI], rsi
	mov [rax + V_RDI], rdi
	mov [rax + V_R8], r8
	mov [rax + V_R9], r9
	mov [rax + V_R10], r10
	mov [rax + V_R11], r11
	mov [rax + V_R12], r12
	mov [rax + V_R13], r13
	mov [rax + V_R14], r14
	mov [rax + V_R15], r15
	; No guest value may steer speculation in root; the others are popped.
	xor ecx, ecx
	xor esi, esi
	xor r8d, r8d
	xor r9d, r9d
	xor r10d, r10d
	xor r11d, r11d
	xor edi, edi
	xor edx, edx
	cmp byte [svm_features + RSB_FILL], 0
	jne .fill
.return:
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbx
	pop rbp
	ret

; 32 calls whose returns never execute: every entry of the return predictor is ours afterwards.
; An LFENCE stops what runs ahead of the stack's repair.
%macro stuff 0
	call %%next
	int3
%%next:
%endmacro

.fill:
%rep 32
	stuff
%endrep
	add rsp, 32 * 8
	lfence
	jmp .return

; An NMI that is pending is taken here, at STGI's boundary or after the NOP.
global svm_open_nmi
svm_open_nmi:
	stgi
	nop
	clgi
	ret

; Sleeps until an NMI. One that arrives before the HLT would leave it asleep: root's NMI handler
; therefore returns to svm_sleep_end from any address in between. The guest may have left NMIs
; masked (an INIT that found it in its NMI handler); only an IRET opens them.
global svm_sleep_nmi, svm_sleep_begin, svm_sleep_end
svm_sleep_nmi:
	mov rax, rsp
	mov ecx, ss
	push rcx
	push rax
	pushfq
	mov ecx, cs
	push rcx
	lea rax, [.open]
	push rax
	iretq
.open:
	stgi
svm_sleep_begin:
	nop
	hlt
svm_sleep_end:
	clgi
	ret
