// SPDX-License-Identifier: MIT
/* keelrun's command line. */
#include "mgmt/uefi/keelrun/options.h"
#include <stdio.h>
#include <string.h>

#define MIB	    (1ull << 20)
#define MEMORY_MOST (1ull << 40)

const char options_usage[] =
	"usage: keelrun [run] -k KERNEL [-i INITRD] [-p PARAMS] [-m MIB] [-c CPUS]\n"
	"  -k, --kernel FILE   bzImage (UEFI: on the volume that keelrun came from)\n"
	"  -i, --initrd FILE   initial RAM disk\n"
	"  -p, --params TEXT   kernel command line (console=ttyS0)\n"
	"  -m, --mem MIB       memory in MiB, or with M or G (256)\n"
	"  -c, --cpus N        virtual CPUs, 1 to 8 (1)\n"
	"      --poweroff      power the machine off at the end\n"
	"      --exit-port P   write the status to this debug-exit port at the end\n"
	"      --check-vectors watch over this side's YMM registers and MXCSR\n"
	"  -h, --help          this text\n";

struct option {
	const char *name;
	char letter;
	bool flag; /* takes no value */
};

enum { EXIT_PORT = 1, POWER_OFF, CHECK_VECTORS }; /* in place of a letter */

static const struct option known[] = {
	{"kernel", 'k', false},
	{"initrd", 'i', false},
	{"params", 'p', false},
	{"mem", 'm', false},
	{"cpus", 'c', false},
	{"poweroff", POWER_OFF, true},
	{"check-vectors", CHECK_VECTORS, true},
	{"exit-port", EXIT_PORT, false},
	{"help", 'h', true},
};

/* The whole text as a number (0x for hexadecimal), with M or G where suffix allows. */
static bool parse_number(const char *text, bool suffix, u64 *out)
{
	u32 base = 10;
	u64 value = 0;

	if (text[0] == '0' && (text[1] | 0x20) == 'x') {
		text += 2;
		base = 16;
	}
	if (!*text)
		return false;
	for (; *text; text++) {
		u32 c = (u8)*text, digit = c - '0';

		if (digit > 9)
			digit = base == 16 && (c | 0x20) >= 'a' && (c | 0x20) <= 'f'
					? (c | 0x20) - 'a' + 10
					: 99;
		if (digit >= base)
			break;
		value = value * base + digit;
		if (value > MEMORY_MOST)
			return false;
	}
	if (suffix && (*text | 0x20) == 'g') {
		value *= 1024;
		text++;
	} else if (suffix && (*text | 0x20) == 'm') {
		text++;
	}
	*out = value;
	return !*text;
}

static bool set(struct options *o, const struct option *k, const char *value)
{
	u64 n = 0;

	switch (k->letter) {
	case 'k':
		o->kernel = value;
		return *value;
	case 'i':
		o->initrd = value;
		return *value;
	case 'p':
		o->params = value;
		return true;
	case 'm':
		if (!parse_number(value, true, &n) || !n || n > MEMORY_MOST / MIB)
			return false;
		o->memory = n * MIB;
		return true;
	case 'c':
		if (!parse_number(value, false, &n) || n < 1 || n > OPTIONS_CPUS_MAX)
			return false;
		o->cpus = (u32)n;
		return true;
	case 'h':
		o->help = true;
		return true;
	case EXIT_PORT:
		if (!parse_number(value, false, &n) || n < 1 || n > 0xffff)
			return false;
		o->exit_port = (u32)n;
		return true;
	case POWER_OFF:
		o->power_off = true;
		return true;
	default:
		o->check_vectors = true;
		return true;
	}
}

/* -k, -kVALUE, --kernel, --kernel=VALUE; *value is what is behind the name in the same word. */
static const struct option *find(const char *word, const char **value)
{
	for (u32 i = 0; i < ARRAY_SIZE(known); i++) {
		const struct option *k = &known[i];
		size_t n = strlen(k->name);

		*value = NULL;
		if (word[1] != '-') {
			if (word[1] != k->letter || !word[1])
				continue;
			if (word[2])
				*value = word + 2;
			return k;
		}
		if (strncmp(word + 2, k->name, n) || (word[2 + n] && word[2 + n] != '='))
			continue;
		if (word[2 + n])
			*value = word + 3 + n;
		return k;
	}
	return NULL;
}

int options_parse(struct options *o, int argc, char *const *argv, char *error, size_t size)
{
	int i = argc > 1 && !strcmp(argv[1], "run") ? 2 : 1;

	*o = (struct options){.params = "console=ttyS0", .memory = 256 * MIB, .cpus = 1};
	for (; i < argc; i++) {
		const char *word = argv[i], *value;
		const struct option *k = word[0] == '-' ? find(word, &value) : NULL;

		if (!k || (k->flag && value)) {
			snprintf(error, size, "unknown option '%s'", word);
			return -EINVAL;
		}
		if (!k->flag && !value) {
			if (i + 1 == argc) {
				snprintf(error, size, "option '%s' needs a value", word);
				return -EINVAL;
			}
			value = argv[++i];
		}
		if (!set(o, k, value)) {
			snprintf(error, size, "'%s' is no value for --%s", value, k->name);
			return -EINVAL;
		}
	}
	if (!o->kernel && !o->help) {
		snprintf(error, size, "no kernel given: -k FILE");
		return -EINVAL;
	}
	return 0;
}
