/* SPDX-License-Identifier: MIT */
/* The SVM backend: what boot/ needs to see of it. */
#pragma once

#include "arch-x86/virt.h"

extern const struct virt_ops svm_ops;
