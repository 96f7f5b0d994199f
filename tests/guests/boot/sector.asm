; SPDX-License-Identifier: MIT
; A boot sector: in real mode, with the BIOS's services, it reads the second sector of its disk, asks for
; the memory map, and tells it all to the first serial port. It ends by the port of isa-debug-exit.
	bits 16
	org 0x7c00
COM1	equ 0x3f8
EXIT	equ 0xf4
BUFFER	equ 0x8000

start:
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7c00
	cld
	sti
	mov [drive], dl
	mov si, hello
	call print

	mov ah, 0x42		; extended read
	mov dl, [drive]
	mov si, packet
	int 0x13
	jc fail
	mov si, BUFFER
	call print

	xor ebx, ebx
	xor ebp, ebp
.map:	mov eax, 0xe820
	mov edx, 0x534d4150	; "SMAP"
	mov ecx, 20
	mov di, BUFFER
	int 0x15
	jc fail
	inc bp
	test ebx, ebx
	jnz .map
	cmp bp, 3
	jb fail

	mov ah, 0		; the clock's ticks, which the timer's interrupt counts
	int 0x1a
	mov bx, dx
.tick:	hlt
	mov ah, 0
	int 0x1a
	cmp dx, bx
	je .tick
	mov si, passed
	call print
	xor al, al
	jmp end
fail:	mov al, 1
end:	mov dx, EXIT
	out dx, al
.halt:	hlt
	jmp .halt

print:	mov dx, COM1
.next:	lodsb
	test al, al
	jz .done
	out dx, al
	jmp .next
.done:	ret

drive:	db 0
	align 4
packet:	db 16, 0
	dw 1, BUFFER, 0
	dq 1
hello:	db "sector: started", 10, 0
passed:	db "sector: passed", 10, 0
	times 510 - ($ - $$) db 0
	dw 0xaa55
	db "sector: the second one was read", 10, 0
	times 0x100000 - ($ - $$) db 0	; a BIOS wants a cylinder
