; SPDX-License-Identifier: MIT
; MSR rules: reserved bits, canonical addresses, unknown and hidden ones.
%include "guest.inc"
%macro msr_gp 4 ; write: msr, low, high, name
	faults 13, %4
	mov ecx, %1
	mov eax, %2
	mov edx, %3
	wrmsr
	end_faults
%endmacro
%macro msr_gp_silicon 4
	faults 13, %4
	mov ecx, %1
	mov eax, %2
	mov edx, %3
	wrmsr
	end_faults_silicon
%endmacro
%macro msr_keeps 4
	mov dword [FAULT_VECTOR], 0xff
	lea rax, [rel %%after]
	mov [FAULT_RESUME], rax
	mov ecx, %1
	mov eax, %2
	mov edx, %3
	wrmsr
	rdmsr
	cmp eax, %2
	jne %%after
	cmp edx, %3
%%after:
	check %4
%endmacro
	guest_header 0, END_STATUS
	enter_protected
	enter_long
	msr_gp 0xc0000080, 0xfffff901, 0, "EFER reserved bits"
	msr_gp 0xc0000080, 0x801, 0, "EFER.LME may not change under paging"
	msr_gp_silicon 0xc0000082, 0, 0x8000, "LSTAR non-canonical"
	msr_gp_silicon 0xc0000083, 0, 0x8000, "CSTAR non-canonical"
	msr_gp_silicon 0xc0000102, 0, 0x8000, "KERNEL_GS_BASE non-canonical"
	msr_gp 0x277, 0x00070402, 0, "PAT with a reserved type"
	msr_gp 0x1b, 0xfee00500, 0, "APIC_BASE: x2APIC without enable"
	msr_gp 0x2ff, 0xc09, 0, "MTRR default type 9"
	msr_keeps 0x277, 0x00070406, 0x00070406, "PAT keeps"
	msr_keeps 0xc0000082, 0x1000, 0xffff8000, "LSTAR keeps"
	msr_keeps 0xc0000084, 0x4700, 0, "SFMASK keeps"
	msr_keeps 0x174, 0x10, 0, "SYSENTER_CS keeps"
	msr_keeps 0x2ff, 0xc06, 0, "MTRR default type keeps"
	msr_keeps 0x200, 0x80000006, 0, "MTRR base keeps"
	msr_keeps 0x201, 0xc0000800, 0xf, "MTRR mask keeps"
	faults 13, "unknown MSR: read"
	mov ecx, 0x40000999
	rdmsr
	end_faults
	faults 13, "unknown MSR: write"
	mov ecx, 0x40000999
	wrmsr
	end_faults
	faults 13, "x2APIC MSR in xAPIC mode"
	mov ecx, 0x802
	rdmsr
	end_faults
	mov ecx, 0x10
	rdmsr
	mov ebx, eax
	mov ecx, 0x10
	rdmsr
	cmp eax, ebx
	setne al
	cmp al, 1
	check "TSC runs"
	mov ecx, 0x10
	mov eax, 0
	mov edx, 0x100
	wrmsr
	rdtsc
	cmp edx, 0x100
	check "TSC can be written"
	mov ecx, 0xfe
	rdmsr
	mov dword [FAULT_VECTOR], 0xff
	finish
idt32_support
long_support
guest_tables
