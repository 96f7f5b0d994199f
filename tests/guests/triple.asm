; SPDX-License-Identifier: MIT
; A triple fault is KVM_EXIT_SHUTDOWN.
%include "guest.inc"
	guest_header 0, END_SHUTDOWN
	enter_protected
	mov word [idt_pointer], 0
	lidt [idt_pointer]
	ud2
	hlt
idt32_support
guest_tables
