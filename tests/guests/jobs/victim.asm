; SPDX-License-Identifier: MIT
; Never ends by itself: memory writes, CPUID, ports, a device's registers, self IPIs.
%include "guest.inc"
	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	mov ebx, 0xfee00000
	mov dword [rbx + 0xf0], 0x1ff
	mov qword [FAULT_RESUME], 0
.again:
	mov rdi, 0x100000
	mov ecx, 0x1000
	mov rax, 0x5555aaaa5555aaaa
	rep stosq
	mov eax, 0
	push rbx
	cpuid
	pop rbx
	out 0xf1, eax
	mov ecx, MMIO_BASE
	mov [rcx], eax
	mov dword [rbx + 0x300], 0x00044041
	sti
	nop
	cli
	jmp .again
idt32_support
long_support
guest_tables
