/* SPDX-License-Identifier: MIT */
/* The VMX backend: what boot/ needs to see of it. */
#pragma once

#include "arch-x86/virt.h"

extern const struct virt_ops vmx_ops;
/* Prints what this processor's VMX offers, and what Keel uses of it: virt_features is set. */
void vmx_report(void);
