; SPDX-License-Identifier: MIT
; Enters a VMX guest and returns to C. Interrupts are off in all of root mode; NMIs are not.
%include "offsets.inc"
%include "arch-x86/entry.inc"

bits 64
default rel
section .text

ROOT_NMI      equ 1	; CPU_ROOT_NMI
HOST_RSP      equ 0x6c14

extern vmx_features, vmx_exited, vmx_not_entered

; No guest value may steer speculation in root: those that nothing else overwrites.
%macro clear 0
	xor eax, eax
	xor ecx, ecx
	xor r8d, r8d
	xor r9d, r9d
	xor r10d, r10d
	xor r11d, r11d
%endmacro

; void vmx_enter(struct virt_vcpu *v, struct vm_exit *e, struct vmx_vcpu *x)
;
; RIP, RSP and RFLAGS of the guest are in the VMCS. An NMI that hits root from the look at the CPU's
; root_flags on would wait for the guest's next exit: root's handler therefore returns to
; vmx_check_end from any address in between. MOV changes no flags: ZF tells up to the entry which
; instruction it takes.
global vmx_enter, vmx_exit_point, vmx_check_begin, vmx_check_end
vmx_enter:
	save_host
	push rsi
	push rdi
	cmp rsp, [rdx + X_HOST_RSP]
	jne set_host_rsp
vmx_check_begin:
	mov rax, [rdi + V_CPU]
	test byte [rax + CPU_FLAGS], ROOT_NMI
	jnz vmx_check_end
	cmp byte [rdx + X_LAUNCHED], 0
	mov rax, [rdi + V_RAX]
	load_guest
	mov rdi, [rdi + V_RDI]
	jz enter_launch
	vmresume
	jmp enter_failed
enter_launch:
	vmlaunch
	jmp enter_failed
vmx_check_end:
	mov edx, 1	; VMX_NMI_FIRST
	jmp enter_none
enter_failed:
	mov edx, 2	; VMX_FAILED
enter_none:
	pop rdi
	pop rsi
	clear
	restore_host
	jmp vmx_not_entered

set_host_rsp:
	mov [rdx + X_HOST_RSP], rsp
	mov eax, HOST_RSP
	vmwrite rax, rsp
	jna vmx_insn_failed
	jmp vmx_check_begin

; The exit gave back RSP, RFLAGS, segments and control registers of the host; the base of FS is the
; vCPU.
vmx_exit_point:
	mov [fs:V_RAX], rax
	store_guest fs:
	pop rdi
	pop rsi
	clear
	xor edx, edx
	cmp byte [vmx_features + RSB_FILL], 0
	jne .fill
.return:
	restore_host
	jmp vmx_exited

.fill:
	fill_returns
	jmp .return

; Opens NMIs by an IRET: one that is pending is taken here.
global vmx_open_nmi
vmx_open_nmi:
	open_nmi
	ret

; void vmx_sleep_nmi(const u8 *flags)
; Sleeps until an NMI. One that arrives after the look at *flags and before the HLT would leave it
; asleep: root's NMI handler returns to vmx_sleep_end from there.
global vmx_sleep_nmi, vmx_sleep_begin, vmx_sleep_end
vmx_sleep_nmi:
	call vmx_open_nmi
vmx_sleep_begin:
	test byte [rdi], ROOT_NMI
	jnz vmx_sleep_end
	hlt
vmx_sleep_end:
	ret

; Where VMX instructions of arch-x86/insn.h go that failed.
extern vmx_insn_panic
global vmx_insn_failed
vmx_insn_failed:
	and rsp, -16
	call vmx_insn_panic
	ud2
