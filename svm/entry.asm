; SPDX-License-Identifier: MIT
; Enters an SVM guest and returns to C. GIF is 0 in all of root mode (design D3).
%include "offsets.inc"
%include "arch-x86/entry.inc"

bits 64
default rel
section .text

extern svm_features

; No guest value may steer speculation in root: those that nothing else overwrites.
%macro clear 0
	xor ecx, ecx
	xor esi, esi
	xor r8d, r8d
	xor r9d, r9d
	xor r10d, r10d
	xor r11d, r11d
	xor edi, edi
	xor edx, edx
%endmacro

; void svm_enter(struct virt_vcpu *v)
;
; RIP, RSP, RFLAGS and RAX of the guest are in the VMCB. RFLAGS.IF=1 at VMRUN: with V_INTR_MASKING it
; is the host's IF that lets a physical interrupt end the guest (APM vol. 2, "Interrupt Masking in
; EFLAGS and V_INTR_MASKING"); under GIF=0 it opens nothing before the guest runs. VMRUN must not stand
; in STI's own interrupt shadow: processors let that leak into the guest.
global svm_enter
svm_enter:
	save_host
	push rdi
	mov rax, [rdi + V_HW_HPA]
	load_guest
	sti
	mov rdi, [rdi + V_RDI]
	vmrun
	cli

; The exit gave back RAX, RSP, RFLAGS, segments and control registers of the host; the vCPU is on the
; stack.
svm_exit_point:
	pop rax
	store_guest rax +
	clear
	cmp byte [svm_features + RSB_FILL], 0
	jne .fill
.return:
	restore_host
	ret

.fill:
	fill_returns
	jmp .return

; Opens NMIs by GIF: one that is pending is taken here, at STGI's boundary or after the NOP.
global svm_open_nmi
svm_open_nmi:
	stgi
	nop
	clgi
	ret

; void svm_sleep_nmi(void)
; Sleeps until an NMI. One that arrives before the HLT would leave it asleep: root's NMI handler
; returns to svm_sleep_end from there. The guest may have left NMIs masked (an INIT that found it in its
; NMI handler).
global svm_sleep_nmi, svm_sleep_begin, svm_sleep_end
svm_sleep_nmi:
	open_nmi
	stgi
svm_sleep_begin:
	nop
	hlt
svm_sleep_end:
	clgi
	ret
