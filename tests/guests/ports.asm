; SPDX-License-Identifier: MIT
; Every port in every width: each access goes to the VMM (which reads as ones), none to hardware.
%include "guest.inc"
%macro read_all 4 ; width in bytes, IN's register, ones, name
	xor edx, edx
	xor ebp, ebp
%%next:
	xor eax, eax
	cmp edx, 0xe8
	je %%skip
	in %2, dx
	cmp eax, %3
	je %%skip
	inc ebp
%%skip:
	inc edx
	cmp edx, 0x10000
	jb %%next
	test ebp, ebp
	check %4
%endmacro
%macro write_all 2 ; register, name
	xor edx, edx
%%next:
	mov eax, 0x06060606
	cmp edx, 0xe9
	je %%skip
	cmp edx, 0xf4
	je %%skip
	out dx, %1
%%skip:
	inc edx
	cmp edx, 0x10000
	jb %%next
	xor eax, eax
	check %2
%endmacro
	guest_header 0, END_STATUS
	enter_protected
	read_all 1, al, 0xff, "IN of every port, byte"
	read_all 2, ax, 0xffff, "IN of every port, word"
	read_all 4, eax, 0xffffffff, "IN of every port, doubleword"
	write_all al, "OUT to every port, byte"
	write_all ax, "OUT to every port, word"
	write_all eax, "OUT to every port, doubleword"
	mov al, 0xfe ; what would reset or switch off a PC
	out 0x64, al
	mov al, 3
	out 0x92, al
	mov dx, 0xcf9
	mov al, 0xe
	out dx, al
	mov dx, 0x604
	mov ax, 0x2000
	out dx, ax
	xor eax, eax
	check "resets and power-off are the VMM's"
	finish
idt32_support
guest_tables
