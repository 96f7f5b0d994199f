; SPDX-License-Identifier: MIT
; PAE paging in 32-bit mode: page faults and their error codes, NX, A and D bits, PSE before it.
%include "guest.inc"
%define PDPT 0x80000
%define PD   0x81000
%define PT   0x82000
	guest_header 0, END_STATUS
	enter_protected
	; first 2-level paging with 4 MiB pages
	mov edi, PDPT
	xor eax, eax
	mov ecx, 4096 * 3 / 4
	rep stosd
	mov dword [PDPT], 0x83
	mov eax, cr4
	or eax, 0x10
	mov cr4, eax
	mov eax, PDPT
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80010000
	mov cr0, eax
	mov dword [SCRATCH], 0x1234
	cmp dword [SCRATCH], 0x1234
	check "2-level paging, 4 MiB page"
	test dword [PDPT], 0x60
	setnz al
	cmp al, 1
	check "A and D bits set"
	faults 14, "2-level: not present"
	mov eax, [0x400000]
	end_faults
	cmp dword [FAULT_CR2], 0x400000
	check "CR2"
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax

	; PAE
	mov edi, PDPT
	xor eax, eax
	mov ecx, 4096 * 3 / 4
	rep stosd
	mov dword [PDPT], PD + 1
	mov dword [PD], PT + 3
	mov dword [PD + 8], 0x200083
	mov edi, PT
	mov eax, 3
	mov ecx, 512
.fill:
	mov [edi], eax
	mov dword [edi + 4], 0
	add eax, 0x1000
	add edi, 8
	loop .fill
	mov eax, cr4
	or eax, 0x20
	mov cr4, eax
	mov eax, PDPT
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x800
	wrmsr
	mov eax, cr0
	or eax, 0x80010000
	mov cr0, eax
	mov dword [0x200000], 0x4321
	cmp dword [0x200000], 0x4321
	check "PAE 2 MiB page"
	mov dword [PT + (SCRATCH >> 12) * 8], 0
	invlpg [SCRATCH]
	faults 14, "PAE: not present, write"
	mov [SCRATCH], eax
	end_faults
	cmp dword [FAULT_ERROR], 2
	check "error code: write"
	mov dword [PT + (SCRATCH >> 12) * 8], SCRATCH + 1
	faults 14, "PAE: read-only with WP"
	mov [SCRATCH + 8], eax
	end_faults
	cmp dword [FAULT_ERROR], 3
	check "error code: present, write"
	mov dword [PT + (SCRATCH >> 12) * 8], SCRATCH + 3
	mov dword [PT + (SCRATCH >> 12) * 8 + 4], 0x80000000
	invlpg [SCRATCH]
	mov byte [SCRATCH], 0xc3
	faults 14, "PAE: execute of an NX page"
	mov eax, SCRATCH
	call eax
	end_faults
	cmp dword [FAULT_ERROR], 0x11
	check "error code: present, fetch"
	; CPUID and port exits under this paging
	mov eax, 0
	cpuid
	in eax, 0xe8
	cmp eax, 0x44444444
	check "exits under PAE"
	mov dword [PDPT + 8], 0x1e7
	xor eax, eax
	cpuid
	cmp ebx, 0x68747541 ; "Auth": with nested paging MOV CR3 reads no PDPTE
	je .on_access
	faults 13, "PDPTE with reserved bits: #GP at MOV CR3"
	mov eax, PDPT
	mov cr3, eax
	end_faults_silicon
	finish
.on_access:
	mov dword [FAULT_VECTOR], 0xff
	mov eax, PDPT
	mov cr3, eax
	cmp dword [FAULT_VECTOR], 0xff
	check "PDPTE with reserved bits: MOV CR3 takes it"
	faults 14, "PDPTE with reserved bits: #PF where it is used"
	mov eax, [0x40000000]
	end_faults
	finish
idt32_support
guest_tables
