/* SPDX-License-Identifier: MIT */
/*
 * log=teach: one launch, told as it happens. A backend tells its control block before the first
 * entry; what it shares with the other one is here.
 */
#pragma once

#include "arch-x86/virt.h"

/* One line about a field that has just been printed: why Keel writes it, and where to read on. */
void teach_why(const char *why, const char *manual, const char *section);
/* True once: this is CPU 0's first entry, whose control block is to be told. */
bool teach_entry(const struct virt_vcpu *v);
/* After an exit of CPU 0's, decoded as *e: tells it, while there are some left. `name`: its code's.
 */
void teach_exit(const struct virt_vcpu *v, const struct vm_exit *e, const char *name, u64 info2);
