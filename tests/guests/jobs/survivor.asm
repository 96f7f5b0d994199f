; SPDX-License-Identifier: MIT
; Sums 256 KiB of memory over and over while a periodic timer interrupts; tells the VMM the count of
; interrupts (port 0xf1) after each pass, ends with status 1 at a wrong sum, with 0 when port 0xf2
; reads 1. At 0x608 the time that it ran (TSC ticks): without the gaps longer than what the VMM left
; at 0x610.
%include "guest.inc"
%define DATA 0x100000
	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	mov rdi, DATA
	mov ecx, 0x8000
	xor r14d, r14d ; the last look at the TSC
	mov rax, 0x9e3779b97f4a7c15
	xor edx, edx
.fill:
	add rdx, rax
	rol rdx, 7
	mov [rdi], rdx
	add rdi, 8
	loop .fill
	call sum
	mov r15, rax
	mov ebx, 0xfee00000
	mov dword [rbx + 0xf0], 0x1ff
	mov qword [FAULT_RESUME], 0
	mov dword [IRQ_COUNT], 0
	mov qword [0x608], 0
	mov dword [rbx + 0x3e0], 0xb
	mov dword [rbx + 0x320], 0x20045
	mov dword [rbx + 0x380], 1000000 ; 1 ms: KVM's APIC bus runs at 1 GHz
	sti
.pass:
	call sum
	cmp rax, r15
	mov al, 1
	jne .end
	mov eax, [IRQ_COUNT]
	out 0xf1, eax
	in al, 0xf2
	cmp al, 1
	jne .pass
	xor eax, eax
.end:
	out 0xf4, al
	hlt
sum:
	mov rsi, DATA
	mov ecx, 0x8000
	xor r8d, r8d
.next:
	add r8, [rsi]
	rol r8, 3
	add rsi, 8
	test cl, 0xff
	jnz .more
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov rdx, rax
	sub rdx, r14
	mov r14, rax
	cmp rdx, [0x610]
	ja .more
	add [0x608], rdx
.more:
	loop .next
	mov rax, r8
	ret
idt32_support
long_support
guest_tables
