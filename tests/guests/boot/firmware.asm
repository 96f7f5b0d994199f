; SPDX-License-Identifier: MIT
; The whole firmware of a machine of QEMU's (-bios): from the reset vector on in real mode it writes 64 KiB
; of RAM and reads them back, asks CPUID for the hypervisor's name, goes to 32-bit protected mode and back
; to the serial port. It ends by the port of isa-debug-exit: 0, status 1, when all was right.
	bits 16
	org 0
COM1	equ 0x3f8
EXIT	equ 0xf4

start:
	cli
	cld
	mov ax, cs
	mov ds, ax
	xor ax, ax
	mov ss, ax
	mov sp, 0x1000
	mov si, hello
	call print

	mov ax, 0x1000
	mov es, ax
	xor di, di
.fill:	mov ax, di
	xor ax, 0x5a5a
	stosw
	test di, di
	jnz .fill
.read:	mov ax, di
	xor ax, 0x5a5a
	scasw
	jne fail
	test di, di
	jnz .read

	mov eax, 0x40000000
	cpuid
	mov [es:0], ebx
	mov [es:4], ecx
	mov [es:8], edx
	mov byte [es:12], 0
	push es
	pop ds
	xor si, si
	call print
	push cs
	pop ds

	o32 lgdt [gdtr]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword 8:0xf0000 + protected

fail:	mov al, 1
	jmp end

print:	mov dx, COM1
.next:	lodsb
	test al, al
	jz .done
	out dx, al
	jmp .next
.done:	ret

end:	mov dx, EXIT
	out dx, al
.halt:	hlt
	jmp .halt

	bits 32
protected:
	mov ax, 16
	mov ds, ax
	mov esi, 0xf0000 + passed
	mov dx, COM1
.next:	lodsb
	test al, al
	jz .done
	out dx, al
	jmp .next
.done:	mov dx, EXIT
	out dx, al
	hlt

hello:	db "firmware: a guest of Keel's own under ", 0
passed:	db 10, "firmware: passed", 10, 0
	align 8
gdt:	dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:	dw gdtr - gdt - 1
	dd 0xf0000 + gdt

	times 0xfff0 - ($ - $$) db 0
	bits 16
	jmp 0xf000:start
	times 0x10000 - ($ - $$) db 0
