; SPDX-License-Identifier: MIT
; A firmware (-bios) that does nothing but use its CPU.
	bits 16
	org 0
	times 0xfff0 - ($ - $$) nop
	jmp $
	times 0x10000 - ($ - $$) db 0
