; SPDX-License-Identifier: MIT
; A kernel by Linux's 64-bit boot protocol for keelrun: all of its vCPUs spin with interrupts off for
; 1.6 s and watch the TSC. Says how much of its share each vCPU had, and the longest time in which
; one did not run. Fails where a share is not within 50 to 200 %, or where the command line begins
; with a digit and a vCPU waited longer than that many slices of 4 ms and half a millisecond.
;
;   0x10000 the other vCPUs' code   0x11000 how many have come, GO, STOP   0x12000 a slot a vCPU

%define COUNT 0x11000
%define GO    0x11004
%define STOP  0x11008
%define AWAY  0x1100c ; TSC ticks: a longer time between two looks was somebody else's
%define SLOTS 0x12000
%define RAN   0	 ; of a slot: TSC ticks, qword
%define WAIT  8	 ; the longest, dword
%define LAST  16 ; TSC at the last look
%define SLOT  32
%define LOAD_AT 0x100000
%define PM1_CONTROL 0x604 ; keelrun's ACPI tables name it
%define S5 0x3400

	org LOAD_AT - 0x400
	bits 16
; ---- the setup header: Documentation/x86/boot.rst ----------------------------------------------
	times 0x1f1 db 0
	db 1 ; one sector of setup code
	dw 0
	dd (image_end - image_start) / 16
	dw 0, 0, 0, 0xaa55
	db 0xeb, 0x66 ; the header ends at 0x268
	db "HdrS"
	dw 0x20c
	times 0x211 - ($ - $$) db 0
	db 1 ; loaded high
	times 0x22c - ($ - $$) db 0
	dd 0x7fffffff
	dd 0x200000 ; alignment
	db 0, 21
	dw 1 ; 64-bit entry
	dd 255
	times 0x258 - ($ - $$) db 0
	dq LOAD_AT
	dd 0x100000
	times 0x400 - ($ - $$) db 0

; ---- the boot processor, at LOAD_AT + 0x200 in long mode ----------------------------------------
image_start:
	times 0x200 db 0
	bits 64
	cli
	mov rsp, LOAD_AT + 0x80000
	mov ebx, [rsi + 0x228] ; the command line
	movzx ebx, byte [rbx]
	call calibrate
	mov esi, other
	mov edi, 0x10000
	mov ecx, other_end - other
	rep movsb
	mov edi, COUNT
	xor eax, eax
	mov ecx, 0x1000
	rep stosd
	mov dword [COUNT], 1 ; this one
	mov eax, [khz]
	mov ecx, 20
	xor edx, edx
	div ecx ; 50 us
	mov [AWAY], eax
	mov edi, 0xfee00000 ; the local APIC
	mov dword [rdi + 0xf0], 0x1ff
	mov dword [rdi + 0x300], 0xc4500 ; INIT to all others
	mov ecx, 10
	call delay_ms
	mov dword [rdi + 0x300], 0xc4610 ; SIPI: 0x10000
	mov ecx, 200
	call delay_ms
	mov dword [GO], 1
	call tsc
	mov r8, rax ; the last look
	mov r9d, [khz]
	imul r9, r9, 1600
	add r9, rax ; the end
	xor r10, r10 ; ran
	xor r11, r11 ; longest wait
.watch:
	call tsc
	mov rcx, rax
	sub rcx, r8
	mov r8, rax
	cmp rcx, r11
	cmova r11, rcx
	cmp ecx, [AWAY]
	ja .away
	add r10, rcx
.away:
	cmp rax, r9
	jb .watch
	mov dword [STOP], 1
	mov [SLOTS + RAN], r10
	mov [SLOTS + WAIT], r11d
	mov ecx, 50
	call delay_ms ; the others have seen it

	; R8: sum, R9: least, R10: most, R11: longest wait
	xor r8, r8
	mov r9, -1
	xor r10, r10
	xor r11, r11
	mov ecx, [COUNT]
	mov esi, SLOTS
.sum:
	mov rax, [rsi + RAN]
	add r8, rax
	cmp rax, r9
	cmovb r9, rax
	cmp rax, r10
	cmova r10, rax
	mov edx, [rsi + WAIT]
	cmp rdx, r11
	cmova r11, rdx
	add esi, SLOT
	loop .sum
	mov eax, [COUNT]
	call number
	mov rsi, text_least
	call say
	mov rax, r9
	call per_cent
	mov r9, rax
	call number
	mov rsi, text_most
	call say
	mov rax, r10
	call per_cent
	mov r10, rax
	call number
	mov rsi, text_wait
	call say
	imul rax, r11, 1000
	mov ecx, [khz]
	xor edx, edx
	div rcx
	mov r11, rax ; us
	call number
	mov rsi, text_us
	call say
	cmp r9, 50
	jb .failed
	cmp r10, 200
	ja .failed
	sub ebx, '0'
	cmp ebx, 9
	ja .passed
	imul ebx, ebx, 4000
	add ebx, 500
	cmp r11, rbx
	ja .failed
.passed:
	mov rsi, text_passed
	xor ebx, ebx
	jmp .end
.failed:
	mov rsi, text_failed
	mov ebx, 1
.end:
	call say
	mov eax, ebx
	out 0xf4, al
	mov dx, PM1_CONTROL
	mov ax, S5
	out dx, ax
	hlt

per_cent: ; of its share: RAX * count * 100 / sum
	mov ecx, [COUNT]
	imul rcx, rcx, 100
	mul rcx
	div r8
	ret

tsc:
	rdtsc
	shl rdx, 32
	or rax, rdx
	ret

delay_ms: ; ECX
	push rax
	mov edx, [khz]
	imul rcx, rdx
	call tsc
	add rcx, rax
.wait:
	call tsc
	cmp rax, rcx
	jb .wait
	pop rax
	ret

; TSC ticks in a millisecond, by 50 ms of the PIT's channel 2
calibrate:
	in al, 0x61
	and al, 0xfc
	or al, 1
	out 0x61, al
	mov al, 0xb0 ; channel 2, mode 0
	out 0x43, al
	mov al, 59659 & 0xff
	out 0x42, al
	mov al, 59659 >> 8
	out 0x42, al
	call tsc
	mov rcx, rax
.wait:
	in al, 0x61
	test al, 0x20
	jz .wait
	call tsc
	sub rax, rcx
	mov ecx, 50
	xor edx, edx
	div rcx
	mov [khz], eax
	ret

say: ; RSI
	mov dx, 0x3f8
.next:
	lodsb
	test al, al
	jz .end
	out dx, al
	jmp .next
.end:
	ret

number: ; RAX
	push rax
	push rcx
	push rdx
	push rsi
	mov esi, digits_end
	mov ecx, 10
.digit:
	xor edx, edx
	div rcx
	add dl, '0'
	dec esi
	mov [rsi], dl
	test rax, rax
	jnz .digit
	call say
	pop rsi
	pop rdx
	pop rcx
	pop rax
	ret

digits:	times 20 db 0
digits_end: db 0
khz:	dd 0
text_least: db " vCPUs: the least had ", 0
text_most: db " %, the most ", 0
text_wait: db " % of its share; the longest wait was ", 0
text_us: db " us", 13, 10, 0
text_passed: db "SHARES passed", 13, 10, 0
text_failed: db "SHARES failed", 13, 10, 0

; ---- the others, in real mode at 0x1000:0 ---------------------------------------------------------
	bits 16
other:
	mov ax, COUNT >> 4
	mov ds, ax
	mov eax, 1
	lock xadd [0], eax ; COUNT
	imul si, ax, SLOT
	add si, SLOTS - COUNT
.wait:
	cmp dword [GO - COUNT], 0
	je .wait
	rdtsc
	mov [si + LAST], eax
.watch:
	rdtsc
	mov ecx, eax
	sub ecx, [si + LAST]
	mov [si + LAST], eax
	cmp ecx, [si + WAIT]
	jbe .not_longest
	mov [si + WAIT], ecx
.not_longest:
	cmp ecx, [AWAY - COUNT]
	ja .away
	add [si + RAN], ecx
	adc dword [si + RAN + 4], 0
.away:
	cmp dword [STOP - COUNT], 0
	je .watch
.stay:
	hlt
	jmp .stay
other_end:
	align 16, db 0
image_end:
