; SPDX-License-Identifier: MIT
; Instructions that a guest without virtualisation or the feature does not have, and hypercalls.
%include "guest.inc"
%macro ud 2+
	faults 6, %1
	%2
	end_faults
%endmacro
%macro ud_rax 2
	faults 6, %1
	mov eax, SCRATCH
	%2
	end_faults
%endmacro
; with the opcode's bytes
%macro ud_bytes 2+
	faults 6, %1
	xor eax, eax
	xor ecx, ecx
	xor edx, edx
	mov edi, SCRATCH
	db %2
	end_faults
%endmacro
	guest_header 0, END_STATUS
	enter_protected
	enter_long
	mov eax, 0x80000001
	cpuid
	test ecx, 4
	check "CPUID: no SVM"
	mov eax, 1
	cpuid
	test ecx, 0x20
	check "CPUID: no VMX"
	ud_rax "VMRUN", vmrun
	ud_rax "VMLOAD", vmload
	ud_rax "VMSAVE", vmsave
	ud "CLGI", clgi
	ud "STGI", stgi
	ud "SKINIT", skinit
	ud "INVLPGA", invlpga
	ud_bytes "RDPRU", 0x0f, 0x01, 0xfd
	ud_bytes "INVLPGB", 0x0f, 0x01, 0xfe
	ud_bytes "TLBSYNC", 0x0f, 0x01, 0xff
	ud "VMXON", vmxon [SCRATCH]
	ud "VMXOFF", vmxoff
	ud "VMCLEAR", vmclear [SCRATCH]
	ud "VMPTRLD", vmptrld [SCRATCH]
	ud "VMPTRST", vmptrst [SCRATCH]
	ud "VMREAD", vmread rax, rcx
	ud "VMWRITE", vmwrite rcx, rax
	ud "VMLAUNCH", vmlaunch
	ud "VMRESUME", vmresume
	ud "INVEPT", invept rax, [SCRATCH]
	ud "INVVPID", invvpid rax, [SCRATCH]
	ud "VMFUNC", vmfunc
	ud_bytes "GETSEC", 0x0f, 0x37
	ud_bytes "ENCLS", 0x0f, 0x01, 0xcf
	ud_bytes "ENCLV", 0x0f, 0x01, 0xc0
	ud_bytes "PCONFIG", 0x0f, 0x01, 0xc5
	ud_bytes "LOADIWKEY", 0xf3, 0x0f, 0x38, 0xdc, 0xc1
	ud_bytes "ENQCMD", 0xf2, 0x0f, 0x38, 0xf8, 0x07
	ud_bytes "ENQCMDS", 0xf3, 0x0f, 0x38, 0xf8, 0x07
	ud_bytes "SEAMCALL", 0x66, 0x0f, 0x01, 0xcf
	ud_bytes "TDCALL", 0x66, 0x0f, 0x01, 0xcc
	ud_bytes "RDMSRLIST", 0xf2, 0x0f, 0x01, 0xc6
	ud_bytes "WRMSRLIST", 0xf3, 0x0f, 0x01, 0xc6
	; elsewhere an MFENCE with a prefix
	xor eax, eax
	cpuid
	cmp ebx, 0x756e6547 ; "Genu"
	jne .not_intel
	ud_bytes "UMWAIT", 0xf2, 0x0f, 0xae, 0xf1
	ud_bytes "TPAUSE", 0x66, 0x0f, 0xae, 0xf1
.not_intel:
	mov eax, 1000 ; no such hypercall
	vmmcall
	cmp rax, -1000
	check "unknown hypercall: -KVM_ENOSYS"
	mov eax, 1000
	vmcall
	cmp rax, -1000
	check "the same by VMCALL"
	mov eax, 1
	cpuid
	bt ecx, 26 ; XSAVE
	jc .xsave
	faults 13, "CR4.OSXSAVE without XSAVE"
	mov rax, cr4
	or eax, 0x40000
	mov cr4, rax
	end_faults
	jmp .caches
.xsave:
	faults 13, "XSETBV without X87"
	mov rax, cr4
	or eax, 0x40000
	mov cr4, rax
	xor ecx, ecx
	xor eax, eax
	xor edx, edx
	xsetbv
	end_faults
	faults 13, "XSETBV of AVX without SSE"
	xor ecx, ecx
	xor edx, edx
	mov eax, 5
	xsetbv
	end_faults
	faults 13, "XSETBV of XCR1"
	mov ecx, 1
	xor edx, edx
	mov eax, 1
	xsetbv
	end_faults
	mov dword [FAULT_VECTOR], 0xff
	xor ecx, ecx
	xor edx, edx
	mov eax, 7
	xsetbv
	xgetbv
	cmp eax, 7
	check "XSETBV"
	mov eax, 0xd
	xor ecx, ecx
	cpuid
	cmp ebx, 832
	check_silicon "CPUID 0xD EBX with AVX in XCR0"
	mov eax, 3
	xor ecx, ecx
	xor edx, edx
	xsetbv
	mov eax, 0xd
	xor ecx, ecx
	cpuid
	cmp ebx, 576
	check_silicon "CPUID 0xD EBX without"
	mov eax, 1
	cpuid
	bt ecx, 27
	setc al
	cmp al, 1
	check "CPUID.OSXSAVE follows CR4"
.caches:
	wbinvd
	invd
	mov dword [FAULT_VECTOR], 0xff
	cmp dword [FAULT_VECTOR], 0xff
	check "WBINVD, INVD"
	faults 6, "XSETBV without CR4.OSXSAVE: #UD"
	mov rax, cr4
	and eax, ~0x40000
	mov cr4, rax
	xor ecx, ecx
	mov eax, 1
	xsetbv
	end_faults
	finish
idt32_support
long_support
guest_tables
