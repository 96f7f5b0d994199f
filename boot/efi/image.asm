; SPDX-License-Identifier: MIT
; The root image, carried inside the UEFI application.
section .rodata
global root_image, root_image_end
align 4096, db 0
root_image:
	incbin ROOT_BIN
root_image_end:
section .note.GNU-stack noalloc noexec nowrite progbits
