; SPDX-License-Identifier: MIT
; Every kind of instruction on a device's registers (the VMM's 4 KiB at MMIO_BASE).
%include "guest.inc"
	guest_header 0, END_STATUS
	enter_protected
	enter_long
	mov ebx, MMIO_BASE
	mov rax, 0x1122334455667788
	mov [rbx], rax
	cmp qword [rbx], rax
	check "MOV 8 bytes, CMP"
	mov byte [rbx + 1], 0xff
	movzx ecx, word [rbx]
	cmp ecx, 0xff88
	check "MOV 1 byte, MOVZX"
	movsx rcx, byte [rbx + 1]
	cmp rcx, -1
	check "MOVSX"
	movsxd rcx, dword [rbx + 4]
	cmp rcx, 0x11223344
	check "MOVSXD"
	mov dword [rbx + 8], 5
	add dword [rbx + 8], 7
	cmp dword [rbx + 8], 12
	check "ADD"
	sub dword [rbx + 8], 13
	sets al
	cmp al, 1
	check "SUB sets SF"
	cmp dword [rbx + 8], -1
	check "SUB"
	mov dword [rbx + 8], 0xf0
	or dword [rbx + 8], 0xf
	and dword [rbx + 8], 0x3c
	xor dword [rbx + 8], 0xff
	cmp dword [rbx + 8], 0xc3
	check "OR, AND, XOR"
	mov eax, 0x77
	xchg eax, [rbx + 8]
	cmp eax, 0xc3
	check "XCHG reads"
	cmp dword [rbx + 8], 0x77
	check "XCHG writes"
	mov eax, 0x77
	mov ecx, 0x88
	lock cmpxchg [rbx + 8], ecx
	check "CMPXCHG equal"
	mov eax, 0x77
	lock cmpxchg [rbx + 8], ecx
	setnz dl
	mov r10d, eax
	cmp dl, 1
	check "CMPXCHG not equal"
	cmp r10d, 0x88
	check "CMPXCHG loads EAX"
	mov eax, 2
	lock xadd [rbx + 8], eax
	cmp eax, 0x88
	check "XADD"
	cmp dword [rbx + 8], 0x8a
	check "XADD sums"
	inc dword [rbx + 8]
	neg dword [rbx + 8]
	not dword [rbx + 8]
	cmp dword [rbx + 8], 0x8a
	check "INC, NEG, NOT"
	bts dword [rbx + 8], 31
	bt dword [rbx + 8], 31
	setc al
	cmp al, 1
	check "BTS, BT"
	test dword [rbx + 8], 0x80000000
	setnz al
	cmp al, 1
	check "TEST"
	mov edi, MMIO_BASE + 0x100
	mov eax, 0xabcdef01
	mov ecx, 16
	cld
	rep stosd
	cmp edi, MMIO_BASE + 0x140
	check "REP STOSD moves RDI"
	mov esi, MMIO_BASE + 0x100
	mov edi, SCRATCH
	mov ecx, 16
	rep movsd
	cmp dword [SCRATCH + 60], 0xabcdef01
	check "REP MOVSD from the device"
	mov esi, SCRATCH
	mov edi, MMIO_BASE + 0x200
	mov ecx, 64
	rep movsb
	cmp dword [rbx + 0x23c], 0xabcdef01
	check "REP MOVSB to the device"
	mov esi, MMIO_BASE + 0x23c
	lodsd
	cmp eax, 0xabcdef01
	check "LODSD"
	mov edi, MMIO_BASE + 0x100
	mov ecx, 20
	mov eax, 0xabcdef01
	repe scasd
	cmp ecx, 3
	check "REPE SCASD"
	push qword [rbx]
	pop rcx
	cmp rcx, [rbx]
	check "PUSH from the device"
	push 0x1234
	pop qword [rbx + 0x300]
	cmp qword [rbx + 0x300], 0x1234
	check "POP to the device"
	mov rax, [abs qword MMIO_BASE + 0x300]
	cmp rax, 0x1234
	check "MOV moffs"
	mov eax, 0x1234
	mov qword [rbx + 0x301], rax
	cmp qword [rbx + 0x301], 0x1234
	check "unaligned 8 bytes"
	lea rsp, [rsp - 16]
	mov r12d, MMIO_BASE
	mov r13d, 0x100
	cmp dword [r12 + r13 * 2 + 4], 0xabcdef01
	check "SIB with extended registers"
	lea rsp, [rsp + 16]
	; a page that is not writable beside the device: #PF before any access
	faults 14, "#PF of the memory operand of MOVS to an absent page"
	mov esi, MMIO_BASE
	mov rdi, 0x0000700000000000
	movsd
	end_faults
	finish
idt32_support
long_support
guest_tables
