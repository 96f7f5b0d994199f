/* SPDX-License-Identifier: MIT */
/*
 * Typed addresses. Mixing a guest-physical with a host-physical address is the classic hypervisor
 * bug; as distinct struct types the compiler refuses it. They stand here, below mm/, because the
 * backend contract (virt.h) speaks in them.
 */
#pragma once

#include "lib/types.h"

typedef struct {
	u64 v;
} hpa_t; /* host-physical: what the second-level tables produce */

typedef struct {
	u64 v;
} gpa_t; /* guest-physical: of the VM at hand */

typedef struct {
	u64 v;
} gva_t; /* guest-linear: after segmentation, before paging */

#define HPA(x) ((hpa_t){(x)})
#define GPA(x) ((gpa_t){(x)})
#define GVA(x) ((gva_t){(x)})

#define HPA_NONE HPA(~0ull)
