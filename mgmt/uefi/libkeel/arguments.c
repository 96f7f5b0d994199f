// SPDX-License-Identifier: MIT
/* From a program's load options to argc and argv. */
#include "mgmt/uefi/libkeel/arguments.h"

struct parser {
	struct arguments *a;
	u32 used;
	bool full;
};

static void put(struct parser *p, char c)
{
	if (p->used == ARGUMENTS_ROOM)
		p->full = true;
	else
		p->a->text[p->used++] = c;
}

static bool word_begin(struct parser *p)
{
	p->full = p->a->count == ARGUMENTS_MAX || p->used == ARGUMENTS_ROOM;
	if (!p->full)
		p->a->values[p->a->count++] = &p->a->text[p->used];
	return !p->full;
}

/* Cuts off a word that had no room for its end. */
static void word_end(struct parser *p)
{
	put(p, 0);
	if (p->full)
		p->a->count--;
}

static bool is_text(const u16 *options, u32 count)
{
	for (u32 i = 0; i < count && options[i]; i++)
		if (options[i] != '\t' && (options[i] < ' ' || options[i] > 0x7e))
			return false;
	return true;
}

static bool ends_in_efi(const char *word)
{
	static const char suffix[] = ".efi";
	u32 n = 0;

	while (word[n])
		n++;
	if (n < 4)
		return false;
	for (u32 i = 0; i < 4; i++)
		if ((word[n - 4 + i] | 0x20) != (suffix[i] | 0x20))
			return false;
	return true;
}

static void add_word(struct parser *p, const char *text)
{
	if (!word_begin(p))
		return;
	while (*text && !p->full)
		put(p, *text++);
	word_end(p);
}

int arguments_parse(struct arguments *a, const char *program, const u16 *options, u32 bytes)
{
	struct parser p = {a, 0, false};
	u32 count = bytes / 2, i = 0;
	bool quoted;

	a->count = 0;
	add_word(&p, program);
	if (bytes % 2 || !options || !is_text(options, count))
		count = 0;
	while (!p.full) {
		while (i < count && (options[i] == ' ' || options[i] == '\t'))
			i++;
		if (i == count || !options[i])
			break;
		if (!word_begin(&p))
			break;
		for (quoted = false; !p.full && i < count && options[i]; i++) {
			if (options[i] == '"')
				quoted = !quoted;
			else if (!quoted && (options[i] == ' ' || options[i] == '\t'))
				break;
			else
				put(&p, (char)options[i]);
		}
		word_end(&p);
		if (a->count == 2 && ends_in_efi(a->values[1])) {
			/* Only at the very start of the options. */
			a->values[0] = a->values[1];
			a->count = 1;
		}
	}
	a->values[a->count] = NULL;
	return p.full ? -E2BIG : 0;
}
