; SPDX-License-Identifier: MIT
; The backend's operations of every exit's way (arch-x86/virt.h). boot/ writes where each jump leads
; before the first call, so that an exit takes no indirect branch and no thunk.
bits 64
section .text

%macro DIRECT 1
align 8
global virt_%1
virt_%1:
	jmp strict near not_aimed
%endmacro

DIRECT run
DIRECT swap
DIRECT release

not_aimed:
	ud2

; Of a backend without that operation.
global virt_nothing
virt_nothing:
	ret
