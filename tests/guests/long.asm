; SPDX-License-Identifier: MIT
; Long mode: page faults, canonical addresses, SYSCALL, SWAPGS, CR8, MSRs, rings.
%include "guest.inc"
	guest_header 0, END_STATUS
	enter_protected
	enter_long
	faults 14, "not present: #PF"
	mov rax, 0x0000700000000000
	mov rax, [rax]
	end_faults
	mov rax, 0x0000700000000000
	cmp [FAULT_CR2], rax
	check "CR2 is 64 bits wide"
	faults 13, "non-canonical: #GP"
	mov rax, 0x0000800000000000
	mov rax, [rax]
	end_faults
	faults 12, "non-canonical stack: #SS"
	mov rcx, rsp
	mov rbp, 0x0000800000000000
	mov rax, [rbp]
	end_faults_silicon
	mov rax, cr8
	cmp rax, 0
	check "CR8 is 0"
	mov eax, 9
	mov cr8, rax
	mov rbx, cr8
	cmp rbx, 9
	check "CR8 keeps"
	xor eax, eax
	mov cr8, rax
	faults 13, "CR8 above 15: #GP"
	mov eax, 16
	mov cr8, rax
	end_faults_silicon

	mov ecx, 0xc0000101 ; GS.base, KERNEL_GS_BASE
	mov eax, 0x11110000
	mov edx, 1
	wrmsr
	inc ecx
	mov eax, 0x22220000
	mov edx, 2
	wrmsr
	swapgs
	mov ecx, 0xc0000101
	rdmsr
	cmp eax, 0x22220000
	check "SWAPGS"
	cmp edx, 2
	check "SWAPGS, upper half"
	swapgs
	mov eax, 0
	cpuid
	mov ecx, 0xc0000101
	rdmsr
	cmp eax, 0x11110000
	check "GS.base survives an exit"

	; SYSCALL to ring 0 and SYSRET to ring 3
	mov ecx, 0xc0000081
	xor eax, eax
	mov edx, SEL_CODE64 | (SEL_UDATA - 8) << 16
	wrmsr
	mov ecx, 0xc0000082
	lea rax, [rel .syscall]
	xor edx, edx
	wrmsr
	mov ecx, 0xc0000084
	mov eax, 0x200
	wrmsr
	lea rcx, [rel .user]
	mov r11d, 0x3202
	mov r15, rsp
	o64 sysret
.user:
	mov eax, 0
	cpuid
	mov ax, cs
	mov r14d, eax
	syscall
	ud2
.syscall:
	mov rsp, r15
	mov bx, SEL_DATA
	mov ss, bx
	cmp r14w, SEL_UCODE64
	check "SYSRET to ring 3 and SYSCALL back"
	test r11d, 0x200
	setnz al
	cmp al, 1
	check "SYSCALL saves RFLAGS"
	pushfq
	pop rax
	test eax, 0x200
	check "SFMASK clears IF"

	faults 13, "HLT in ring 3: #GP"
	push SEL_UDATA
	push STACK - 0x3000
	push 0x3002
	push SEL_UCODE64
	lea rax, [rel .user2]
	push rax
	iretq
.user2:
	hlt
	end_faults
	mov ax, cs
	cmp ax, SEL_CODE64
	check "back in ring 0"

	; a supervisor page, from ring 3
	and qword [TABLES + 0x2000 + 8], ~4 ; 2 MiB to 4 MiB
	mov rax, cr3
	mov cr3, rax
	faults 14, "supervisor page from ring 3: #PF"
	push SEL_UDATA
	push STACK - 0x3000
	push 0x3002
	push SEL_UCODE64
	lea rax, [rel .user3]
	push rax
	iretq
.user3:
	mov eax, [0x200000]
	end_faults
	cmp dword [FAULT_ERROR], 5
	check "error code: present, user"
	faults 14, "reserved bit in a PTE: #PF"
	mov rax, 0x0008000000000000
	or [TABLES + 0x2000 + 8], rax
	mov rax, cr3
	mov cr3, rax
	mov eax, [0x200000]
	end_faults
	test dword [FAULT_ERROR], 8
	setnz al
	cmp al, 1
	check "error code: reserved"
	finish
idt32_support
long_support
guest_tables
