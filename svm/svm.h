/* SPDX-License-Identifier: MIT */
/* The SVM backend: what boot/ needs to see of it. */
#pragma once

#include "arch-x86/virt.h"

extern const struct virt_ops svm_ops;
/* Prints what this processor's SVM offers, and what Keel uses of it: virt_features is set. */
void svm_report(void);
