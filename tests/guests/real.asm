; SPDX-License-Identifier: MIT
; Real mode: the IVT, software interrupts, segment arithmetic, port widths, CPUID, unreal mode.
%include "guest.inc"
	guest_header 0, END_STATUS
	mov word [0x40 * 4], handler
	mov word [0x40 * 4 + 2], 0
	xor bx, bx
	int 0x40
	cmp bx, 0x1234
	check "INT n through the IVT"

	mov word [0], divide ; vector 0: it points at the DIV itself, which is 2 bytes long
	mov word [2], 0
	xor bx, bx
	mov ax, 1
	xor cx, cx
	div cl
	cmp bx, 1
	check "#DE through the IVT"

	mov ax, 0x1000
	mov es, ax
	mov dword [es:0x10], 0xfeedface
	mov ax, 0x1001
	mov fs, ax
	cmp dword [fs:0], 0xfeedface
	check "segment arithmetic"

	mov eax, 0xdeadbeef
	in al, 0xe8
	cmp eax, 0xdeadbe11
	check "IN AL merges"
	mov eax, 0xdeadbeef
	in ax, 0xe8
	cmp eax, 0xdead2222
	check "IN AX merges"
	in eax, 0xe8
	cmp eax, 0x44444444
	check "IN EAX"

	mov eax, 0
	cpuid
	cmp eax, 1
	setae al
	cmp al, 1
	check "CPUID leaf 0"

	mov cx, 5
	mov si, text
	mov dx, 0xe9
	rep outsb
	test cx, cx
	check "REP OUTSB"
	push es
	mov ax, 0
	mov es, ax
	mov di, 0x600
	mov cx, 8
	mov dx, 0xe8
	cld
	rep insw
	pop es
	cmp word [0x60e], 0x2222
	check "REP INSW"
	cmp di, 0x610
	check "REP INSW moves DI"

	; unreal mode: 4 GiB limits survive the way back to real mode
	lgdt [gdt_pointer]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	mov bx, SEL_DATA
	mov fs, bx
	and al, 0xfe
	mov cr0, eax
	jmp 0:.back
.back:
	mov eax, 0x200000
	mov dword [fs:eax], 0x55aa
	cmp dword [fs:eax], 0x55aa
	check "unreal mode"
	finish

handler:
	mov bx, 0x1234
	iret
divide:
	inc bx
	push bp
	mov bp, sp
	add word [bp + 2], 2
	pop bp
	iret
text:	db "text", 10
guest_tables
