; SPDX-License-Identifier: MIT
; Counts to 0x400000 at 0x600 with interrupts off, again and again; ends with status 0 when port
; 0xf2, which it reads after each time, is 1.
%include "guest.inc"
	guest_header 0, END_STATUS
	enter_protected
.again:
	mov dword [0x600], 0
.count:
	inc dword [0x600]
	cmp dword [0x600], 0x400000
	jne .count
	in al, 0xf2
	cmp al, 1
	jne .again
	xor eax, eax
	out 0xf4, al
	hlt
idt32_support
guest_tables
