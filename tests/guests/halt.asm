; SPDX-License-Identifier: MIT
; HLT without interrupt controllers in the hypervisor is KVM_EXIT_HLT.
%include "guest.inc"
	guest_header 0, END_HLT
	hlt
	jmp $
guest_tables
