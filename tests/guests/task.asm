; SPDX-License-Identifier: MIT
; 32-bit only: hardware task switches by JMP, CALL and IRET, INTO, BOUND, alignment checks.
%include "guest.inc"
%define SEL_A SEL_TSS
%define SEL_B (SEL_TSS + 8)
%macro tss_descriptor 2 ; where in the GDT, TSS
	mov eax, %2
	mov word [%1], 103
	mov [%1 + 2], ax
	shr eax, 16
	mov [%1 + 4], al
	mov byte [%1 + 5], 0x89
	mov byte [%1 + 6], 0
	mov [%1 + 7], ah
%endmacro
	guest_header 0, END_STATUS
	enter_protected
	mov dword [FAULT_RESUME], 0
	mov dword [FAULT_VECTOR], 0xff
	mov al, 0x7f
	add al, 1
	into
	cmp dword [FAULT_VECTOR], 4
	check "INTO: #OF"
	faults 5, "BOUND: #BR"
	mov eax, 11
	bound eax, [limits]
	end_faults
	mov dword [FAULT_VECTOR], 0xff
	mov eax, 10
	bound eax, [limits]
	cmp dword [FAULT_VECTOR], 0xff
	check "BOUND within"

	tss_descriptor gdt_tss, tss
	tss_descriptor gdt_tss + 8, tss_b
	mov ax, SEL_A
	ltr ax
	clts
	mov ebx, 0x11111111
	jmp SEL_B:0
.back:
	cmp ebx, 0x11111111
	check "back: EBX"
	str ax
	cmp ax, SEL_A
	check "back: TR"
	cmp dword [tss_b + 0x34], 0x33333333
	check "the other task's EBX was saved"
	cmp byte [gdt_tss + 8 + 5], 0x89
	check "JMP leaves it available"
	call SEL_B:0
	cmp ebx, 0x11111111
	check "IRET: EBX"
	str ax
	cmp ax, SEL_A
	check "IRET: TR"
	pushfd
	pop eax
	bt eax, 14
	setc al
	cmp al, 0
	check "IRET: NT clear"
	faults 10, "a TSS too small: #TS"
	mov word [gdt_tss + 8], 50
	jmp SEL_B:0
	end_faults
	mov word [gdt_tss + 8], 103
	faults 13, "a busy TSS: #GP"
	jmp SEL_A:0
	end_faults

	; ring 3 with EFLAGS.AC and CR0.AM
	mov eax, cr0
	or eax, 0x40000
	mov cr0, eax
	mov dword [tss + 4], STACK - 0x1000
	mov dword [tss + 8], SEL_DATA
	mov [saved_esp], esp
	mov dword [FAULT_VECTOR], 0xff
	mov dword [FAULT_RESUME], .after
	push dword SEL_UDATA
	push dword STACK - 0x2000
	push dword 0x43002 ; AC, IOPL 3
	push dword SEL_UCODE32
	push dword .user
	iret
.user:
	mov ax, SEL_UDATA
	mov ds, ax
	mov eax, [SCRATCH + 1]
.after: ; the handler stays in ring 3's code segment: to ring 0 by a gate
	mov dword [FAULT_RESUME], 0
	mov word [IDT_AT + 0x3f * 8], .kernel - $$ + 0x8000
	int 0x3f
.kernel:
	mov ax, SEL_DATA
	mov ss, ax
	mov ds, ax
	mov es, ax
	mov esp, [saved_esp]
	cmp dword [FAULT_VECTOR], 17
	check_silicon "#AC in ring 3"
	finish

task_b:
	cmp ebx, 0x22222222
	check "JMP: the task's EBX"
	str ax
	cmp ax, SEL_B
	check "JMP: TR"
	mov eax, cr0
	test al, 8
	setz al
	cmp al, 0
	check_silicon "JMP: CR0.TS" ; Linux's KVM leaves it out
	clts
	mov ebx, 0x33333333
	jmp SEL_A:0
	cmp ebx, 0x33333333
	check "CALL: goes on where it left"
	pushfd
	pop eax
	bt eax, 14
	setc al
	cmp al, 1
	check "CALL: NT"
	cmp word [tss_b], SEL_A
	check "CALL: the link"
	iret
	align 4
saved_esp: dd 0
limits: dd 1, 10
tss_b:
	dd 0, 0, 0, 0, 0, 0, 0
	dd 0           ; CR3
	dd task_b, 2
	dd 0, 0, 0, 0x22222222
	dd STACK - 0x4000, 0, 0, 0
	dd SEL_DATA, SEL_CODE32, SEL_DATA, SEL_DATA, SEL_DATA, SEL_DATA
	dd 0, 104 << 16
idt32_support
guest_tables
