/* SPDX-License-Identifier: MIT */
/* Fixed-width types and the few macros that every layer uses. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <asm/errno.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define BIT(n)			      (1ull << (n))
#define MASK(high, low)		      ((~0ull >> (63 - (high))) & (~0ull << (low)))
#define ARRAY_SIZE(a)		      (sizeof(a) / sizeof((a)[0]))
#define ALIGN_DOWN(x, a)	      ((x) & ~((typeof(x))(a)-1))
#define ALIGN_UP(x, a)		      ALIGN_DOWN((x) + (a)-1, a)
#define IS_ALIGNED(x, a)	      (((x) & ((typeof(x))(a)-1)) == 0)
#define MIN(a, b)		      ((a) < (b) ? (a) : (b))
#define MAX(a, b)		      ((a) > (b) ? (a) : (b))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define ASSERT_OFFSET(type, member, offset)                                                        \
	_Static_assert(offsetof(type, member) == (offset), #type "." #member)

#define PAGE_SIZE  4096ull
#define PAGE_SHIFT 12
#define SIZE_2M	   (1ull << 21)
#define SIZE_1G	   (1ull << 30)

/* One access, where and as it stands: of what others change, or see. */
#define READ_ONCE(x)	     (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define noinline       __attribute__((noinline))
#define packed	       __attribute__((packed))
#define aligned(n)     __attribute__((aligned(n)))
#define printf_like(f) __attribute__((format(printf, f, (f) + 1)))
