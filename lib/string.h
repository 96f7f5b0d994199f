/* SPDX-License-Identifier: MIT */
/* The part of <string.h> that freestanding code needs: the compiler itself calls the first four. */
#pragma once

#include "lib/types.h"

#ifdef UNIT_TEST
#include <string.h>

/* lib/string.c's own functions, beside the host's libc. */
void *keel_memcpy(void *to, const void *from, size_t n);
void *keel_memmove(void *to, const void *from, size_t n);
void *keel_memset(void *to, int byte, size_t n);
int keel_memcmp(const void *a, const void *b, size_t n);
size_t keel_strlen(const char *s);
int keel_strcmp(const char *a, const char *b);
int keel_strncmp(const char *a, const char *b, size_t n);
#else
void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/* -ffreestanding hides the builtins; through them a small constant size becomes plain moves. */
#define memcpy(to, from, n)  __builtin_memcpy(to, from, n)
#define memset(to, byte, n)  __builtin_memset(to, byte, n)
#define memmove(to, from, n) __builtin_memmove(to, from, n)
#define memcmp(a, b, n)	     __builtin_memcmp(a, b, n)
#endif
