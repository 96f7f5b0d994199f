; SPDX-License-Identifier: MIT
; 32-bit protected mode: faults, limits, rings, string I/O, LMSW and CLTS.
%include "guest.inc"
	guest_header 0, END_STATUS
	enter_protected
	faults 6, "UD2 raises #UD"
	ud2
	end_faults
	faults 0, "DIV by zero raises #DE"
	xor ecx, ecx
	div ecx
	end_faults
	mov ax, SEL_SMALL
	mov fs, ax
	faults 13, "beyond the limit: #GP"
	mov eax, [fs:0xffd]
	end_faults_silicon
	mov dword [FAULT_VECTOR], 0xff
	mov eax, [fs:0xffc]
	cmp dword [FAULT_VECTOR], 0xff
	check "at the limit: no fault"
	faults 11, "absent segment: #NP"
	mov ax, SEL_ABSENT
	mov gs, ax
	end_faults
	cmp dword [FAULT_ERROR], SEL_ABSENT
	check "#NP error code is the selector"
	faults 13, "selector beyond the GDT: #GP"
	mov ax, 0xff8
	mov gs, ax
	end_faults
	faults 13, "RDMSR of an unknown MSR: #GP"
	mov ecx, 0x12345
	rdmsr
	end_faults
	mov dword [FAULT_RESUME], 0
	mov dword [FAULT_VECTOR], 0xff
	int3
	cmp dword [FAULT_VECTOR], 3
	check "INT3"

	mov eax, cr0
	or eax, 8
	mov cr0, eax
	clts
	mov eax, cr0
	test al, 8
	check "CLTS"
	smsw ax
	test al, 1
	setz al
	cmp al, 0
	check "SMSW"
	mov eax, cr0
	or eax, 8
	lmsw ax
	mov eax, cr0
	and al, 8
	cmp al, 8
	check "LMSW sets TS"
	clts
	push dword 5
	lmsw [esp]
	smsw [esp]
	pop ebx
	mov eax, cr0
	xor ebx, eax
	and eax, ~4
	mov cr0, eax
	cmp bx, 0
	check "LMSW and SMSW with memory"
	faults 13, "CR0.PG without PE: #GP"
	mov eax, 0x80000000
	mov cr0, eax
	end_faults
	faults 13, "CR0.NW without CD: #GP"
	mov eax, cr0
	and eax, ~0x40000000
	or eax, 0x20000000
	mov cr0, eax
	end_faults
	faults 13, "reserved CR4 bit: #GP"
	mov eax, cr4
	or eax, 0x80000000
	mov cr4, eax
	end_faults

	mov edi, SCRATCH + 0xff8 ; crosses a page
	mov ecx, 4
	mov edx, 0xe8
	cld
	rep insd
	cmp edi, SCRATCH + 0x1008
	check "REP INSD over a page end"
	cmp dword [SCRATCH + 0x1004], 0x44444444
	check "REP INSD data"
	mov edi, SCRATCH + 0x20c
	mov ecx, 4
	std
	rep insd
	cld
	cmp edi, SCRATCH + 0x1fc
	check "REP INSD downwards"
	cmp dword [SCRATCH + 0x200], 0x44444444
	check "REP INSD downwards, data"
	mov esi, text
	mov ecx, 5
	mov edx, 0xe9
	rep outsb
	mov eax, esi
	cmp eax, text + 5
	check "REP OUTSB moves ESI"
	xor ecx, ecx
	mov esi, text
	rep outsb
	cmp esi, text
	check "REP OUTSB with a count of 0"

	; ring 3 and back
	mov eax, tss
	mov word [gdt_tss], 103
	mov [gdt_tss + 2], ax
	shr eax, 16
	mov [gdt_tss + 4], al
	mov byte [gdt_tss + 5], 0x89
	mov byte [gdt_tss + 6], 0
	mov [gdt_tss + 7], ah
	mov dword [tss + 4], STACK - 0x1000
	mov dword [tss + 8], SEL_DATA
	mov ax, SEL_TSS
	ltr ax
	mov [saved_esp], esp
	push dword SEL_UDATA
	push dword STACK - 0x2000
	push dword 0x3002 ; IOPL 3
	push dword SEL_UCODE32
	push dword user
	iret
user:
	mov ax, SEL_UDATA ; IRET took ring 0's away
	mov ds, ax
	mov es, ax
	mov eax, 0
	cpuid
	in al, 0xe8
	cmp al, 0x11
	jne .bad
	mov dword [FAULT_RESUME], back
	mov dword [FAULT_VECTOR], 0xff
	hlt
.bad:
	mov dword [FAULT_RESUME], back
	int 0x30
back: ; the handler returns to ring 3's code segment; go to ring 0 through a gate of our own
	mov dword [FAULT_RESUME], 0
	mov dword [IDT_AT + 0x3f * 8], (kernel - $$ + 0x8000) & 0xffff | SEL_CODE32 << 16
	int 0x3f
kernel:
	mov ax, SEL_DATA
	mov ss, ax
	mov ds, ax
	mov es, ax
	mov esp, [saved_esp]
	cmp dword [FAULT_VECTOR], 13
	check "HLT in ring 3: #GP; CPUID and IN with IOPL 3 work"
	finish
	align 4
saved_esp: dd 0
text:	db "text", 10
idt32_support
guest_tables
