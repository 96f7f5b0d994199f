/* SPDX-License-Identifier: MIT */
/* Locks between threads. They spin: never hold one over KVM_RUN, output or a wait. */
#pragma once

#include "lib/spinlock.h"

typedef struct spinlock pthread_mutex_t;

static inline int pthread_mutex_lock(pthread_mutex_t *m)
{
	spin_lock(m);
	return 0;
}

static inline int pthread_mutex_unlock(pthread_mutex_t *m)
{
	spin_unlock(m);
	return 0;
}
