/* SPDX-License-Identifier: MIT */
/* What the backends' dumps share: words with their bits named, and the entry rules that are broken.
 */
#pragma once

#include "lib/types.h"

struct bit_name { /* a list ends with {0} */
	u64 bit;
	const char *name;
};
extern const struct bit_name dump_cr0[], dump_cr4[], dump_efer[], dump_rflags[];

/* One line: the field, its value, the names of the bits that are set. */
void dump_bits(const char *field, u64 value, const struct bit_name *names);

/* A list of words, in as many lines as it needs. */
struct dump_list {
	const char *head; /* of its first line */
	u32 used, count;
	char line[100];
};
void dump_list_add(struct dump_list *list, const char *word);
/* Prints what is left; a list without a word as "none". */
void dump_list_end(struct dump_list *list);
/* The names of the bits that are set, as such a list. */
void dump_list_bits(const char *head, u64 value, const struct bit_name *names);

/* The manual's rules for an entry that do not hold; those beyond the array are only counted. */
#define RULES_MAX 16
struct broken_rule {
	const char *section;	     /* manual and title */
	const char *subject, *words; /* the field, and what is demanded of it */
	u64 bits;		     /* that break it; 1: the words say all */
};
struct rules {
	const char *section; /* of the rules to come */
	u32 count;
	struct broken_rule broken[RULES_MAX];
};

void rule_broken(struct rules *r, u64 bits, const char *subject, const char *words);
/* `bits` breaks the rule unless it is 0. */
static inline void rule(struct rules *r, u64 bits, const char *subject, const char *words)
{
	if (unlikely(bits))
		rule_broken(r, bits, subject, words);
}
void dump_rules(const struct rules *r);
/* Are all eight memory types of a PAT valid? SDM vol. 3, "IA32_PAT MSR". */
bool pat_is_valid(u64 pat);
