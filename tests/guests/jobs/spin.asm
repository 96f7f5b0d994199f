; SPDX-License-Identifier: MIT
; Counts at 0x600 for ever, with interrupts off.
%include "guest.inc"
	guest_header 0, END_STATUS
	enter_protected
	mov dword [0x600], 0
.again:
	inc dword [0x600]
	jmp .again
idt32_support
guest_tables
