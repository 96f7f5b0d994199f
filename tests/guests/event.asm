; SPDX-License-Identifier: MIT
; Events, with the interrupt controllers in the hypervisor: self IPI, LAPIC timer, PIC and PIT, TPR,
; interrupt shadows.
%include "guest.inc"
%define APIC 0xfee00000
	guest_header FLAG_IRQCHIP, END_STATUS
	enter_protected
	enter_long
	mov ebx, APIC
	mov dword [rbx + 0xf0], 0x1ff
	mov eax, [rbx + 0x30]
	and eax, 0xff
	cmp eax, 0x14
	check "LAPIC version"
	mov qword [FAULT_RESUME], 0
	; self IPI, IF=0: nothing; then one
	mov dword [IRQ_COUNT], 0
	mov dword [rbx + 0x300], 0x00044041
	cmp dword [IRQ_COUNT], 0
	check "IF=0 holds a self IPI"
	test dword [rbx + 0x220], 2 ; IRR bit 0x41
	setnz al
	cmp al, 1
	check "IRR shows it"
	sti
	nop
	cli
	cmp dword [IRQ_COUNT], 1
	check "STI; NOP lets it in"
	test dword [rbx + 0x220], 2
	check "IRR clear"
	; STI shadow
	mov dword [IRQ_COUNT], 0
	mov dword [rbx + 0x300], 0x00044042
	sti
	cli
	cmp dword [IRQ_COUNT], 0
	check "STI; CLI takes none"
	sti
	nop
	cli
	cmp dword [IRQ_COUNT], 1
	check "it comes later"
	; MOV SS shadow: over an exit too
	mov dword [IRQ_COUNT], 0
	mov ax, ss
	mov dword [rbx + 0x300], 0x00044043
	sti
	nop
	cli
	cmp dword [IRQ_COUNT], 1
	check "interrupt after MOV SS"
	; TPR by CR8 holds what is at or below its class
	mov dword [IRQ_COUNT], 0
	mov eax, 5
	mov cr8, rax
	mov dword [rbx + 0x300], 0x00044051
	sti
	nop
	nop
	cmp dword [IRQ_COUNT], 0
	check "CR8 holds an interrupt"
	cmp dword [rbx + 0x80], 0x50
	check "TPR register follows CR8"
	xor eax, eax
	mov cr8, rax
	nop
	nop
	cli
	cmp dword [IRQ_COUNT], 1
	check "lowering CR8 lets it in"
	mov dword [rbx + 0x80], 0x60
	mov rax, cr8
	cmp rax, 6
	check "CR8 follows the TPR register"
	mov dword [rbx + 0x80], 0
	; priority: the higher first
	mov dword [rbx + 0x300], 0x00044048
	mov dword [rbx + 0x300], 0x00044068
	mov dword [IRQ_COUNT], 0
	sti
	nop
	nop
	cli
	cmp dword [IRQ_COUNT], 2
	check "two interrupts"
	cmp dword [FAULT_VECTOR], 0x48
	check "the lower one last"
	; LAPIC timer, one-shot, waking HLT
	mov dword [IRQ_COUNT], 0
	mov dword [rbx + 0x3e0], 0xb
	mov dword [rbx + 0x320], 0x45
	mov dword [rbx + 0x380], 100000
	sti
	hlt
	cli
	cmp dword [FAULT_VECTOR], 0x45
	check "LAPIC timer wakes HLT"
	cmp dword [rbx + 0x390], 0
	check "its count ends at 0"
	; periodic
	mov dword [IRQ_COUNT], 0
	mov dword [rbx + 0x320], 0x20046
	mov dword [rbx + 0x380], 2000000 ; longer than check=entry takes
	sti
	hlt
	hlt
	hlt
	cli
	mov dword [rbx + 0x320], 0x10046
	cmp dword [IRQ_COUNT], 3
	setb al
	cmp al, 0
	check "periodic LAPIC timer"
	sti
	nop
	cli
	; interrupts whose delivery touches pages for the first time: none is lost or doubled
	mov dword [IRQ_COUNT], 0
	mov r14, rsp
	mov ecx, 64
	mov esp, 0x300000
.many:
	mov dword [rbx + 0x300], 0x00044047
	sti
	nop
	cli
	sub rsp, 0x1000
	loop .many
	mov rsp, r14
	cmp dword [IRQ_COUNT], 64
	check "64 interrupts onto fresh stacks"
	mov qword [FAULT_RESUME], 0
	; the PIC and the PIT, through LINT0 as ExtINT
	mov dword [rbx + 0x350], 0x700
	mov al, 0x11
	out 0x20, al
	out 0xa0, al
	mov al, 0x70
	out 0x21, al
	mov al, 0x78
	out 0xa1, al
	mov al, 4
	out 0x21, al
	mov al, 2
	out 0xa1, al
	mov al, 1
	out 0x21, al
	out 0xa1, al
	mov al, 0xfe
	out 0x21, al
	mov al, 0xff
	out 0xa1, al
	mov al, 0x34
	out 0x43, al
	mov al, 0xa9 ; 1193 = 1 ms
	out 0x40, al
	mov al, 4
	out 0x40, al
	mov edi, IDT_AT + 0x70 * 16
	lea rax, [rel pit]
	mov [rdi], ax
	shr rax, 16
	mov [rdi + 6], ax
	xor r12d, r12d
	sti
.wait:
	hlt
	cmp r12d, 5
	jb .wait
	cli ; more than 5 where ticks that were missed are made up for
	cmp r12d, 5
	setb al
	cmp al, 0
	check "PIT ticks through the PIC"
	mov al, 0xff
	out 0x21, al
	mov al, 0x0a ; read IRR
	out 0x20, al
	in al, 0x21
	cmp al, 0xff
	check "PIC mask reads back"
	; IOAPIC
	mov edi, 0xfec00000
	mov dword [rdi], 1
	mov eax, [rdi + 0x10]
	and eax, 0xff00ff
	cmp eax, 0x170011
	check "IOAPIC version, 24 pins"
	mov dword [rdi], 0x10
	mov dword [rdi + 0x10], 0x49
	mov dword [rdi], 0x11
	mov dword [rdi + 0x10], 0
	mov dword [IRQ_COUNT], 0
	mov dword [rbx + 0x350], 0x10700
	sti
	hlt
	cli
	cmp dword [FAULT_VECTOR], 0x49
	check "PIT through the IOAPIC"
	mov dword [rdi], 0x10
	mov dword [rdi + 0x10], 0x10000
	finish
pit:
	inc r12d
	push rax
	mov al, 0x20
	out 0x20, al
	pop rax
	iretq
idt32_support
long_support
guest_tables
