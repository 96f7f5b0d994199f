/* SPDX-License-Identifier: MIT */
/* Keel's configuration: keel.conf and load options. */
#include "boot/efi/config.h"

#include "arch-x86/log.h"
#include "arch-x86/virt.h"
#include "boot/info.h"
#include "lib/string.h"

struct text {
	const char *start;
	u64 length;
};

struct name {
	const char *name;
	u64 value;
};

static const struct name levels[] = {
	{"error", LOG_ERROR}, {"warn", LOG_WARN}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}};
static const struct name features[] = {{"next-rip", VIRT_NEXT_RIP},
				       {"decode-assists", VIRT_DECODE_ASSISTS},
				       {"flush-by-asid", VIRT_FLUSH_BY_ASID},
				       {"clean-bits", VIRT_CLEAN_BITS},
				       {"tsc-scaling", VIRT_TSC_SCALING},
				       {"pause-filter", VIRT_PAUSE_FILTER},
				       {"slat-1g", VIRT_SLAT_1G},
				       {"preemption-timer", VIRT_PREEMPT_TIMER},
				       {"pml", VIRT_PML},
				       {"invpcid", VIRT_INVPCID},
				       {"vpid", VIRT_VPID},
				       {"tpr-shadow", VIRT_TPR_SHADOW},
				       {"rdtscp", VIRT_RDTSCP},
				       {"xsaves", VIRT_XSAVES},
				       {"waitpkg", VIRT_WAITPKG},
				       {"slat-2m", VIRT_SLAT_2M},
				       {"virtual-nmi", VIRT_VIRTUAL_NMI},
				       {"slat-ad", VIRT_SLAT_AD}};
static const struct name tests[] = {{"root-pf", ROOT_TEST_PAGE_FAULT},
				    {"root-df", ROOT_TEST_DOUBLE_FAULT},
				    {"launch-fail", ROOT_TEST_LAUNCH}};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct text trim(struct text t)
{
	while (t.length && is_blank(t.start[0]))
		t = (struct text){t.start + 1, t.length - 1};
	while (t.length && is_blank(t.start[t.length - 1]))
		t.length--;
	return t;
}

static bool equals(struct text t, const char *word)
{
	return strlen(word) == t.length && !memcmp(t.start, word, t.length);
}

static bool find_name(const struct name *names, size_t count, struct text t, u64 *value)
{
	for (size_t i = 0; i < count; i++) {
		if (equals(t, names[i].name)) {
			*value = names[i].value;
			return true;
		}
	}
	return false;
}

static bool parse_number(struct text t, u64 *value)
{
	u32 base = 10;
	u64 n = 0;

	if (t.length > 2 && t.start[0] == '0' && (t.start[1] | 0x20) == 'x') {
		base = 16;
		t = (struct text){t.start + 2, t.length - 2};
	}
	if (!t.length || t.length > 8)
		return false;
	for (u64 i = 0; i < t.length; i++) {
		char c = t.start[i] | 0x20;
		u32 digit = c >= '0' && c <= '9'   ? (u32)(c - '0')
			    : c >= 'a' && c <= 'f' ? (u32)(c - 'a' + 10)
						   : 99;

		if (digit >= base)
			return false;
		n = n * base + digit;
	}
	*value = n;
	return true;
}

static const char *copy(char *to, size_t size, struct text t)
{
	if (t.length >= size)
		return "the value is too long";
	memcpy(to, t.start, t.length);
	to[t.length] = 0;
	return NULL;
}

static const char *set_features(struct config *c, struct text list)
{
	while (list.length) {
		struct text word = list;
		u64 bit, n = 0;

		while (n < list.length && list.start[n] != ',')
			n++;
		word.length = n;
		if (!find_name(features, ARRAY_SIZE(features), trim(word), &bit))
			return "hw-off= names an unknown feature";
		c->hw_off |= bit;
		n = MIN(n + 1, list.length);
		list = (struct text){list.start + n, list.length - n};
	}
	return NULL;
}

/* NULL, or what is wrong. */
static const char *set(struct config *c, struct text key, struct text value)
{
	u64 number;

	if (equals(key, "next"))
		return copy(c->next, sizeof(c->next), value);
	if (equals(key, "args"))
		return copy(c->args, sizeof(c->args), value);
	if (equals(key, "log")) {
		c->teach = equals(value, "teach");
		if (c->teach)
			number = LOG_INFO;
		else if (!find_name(levels, ARRAY_SIZE(levels), value, &number))
			return "log= is error, warn, info, debug or teach";
		c->log_level = number;
	} else if (equals(key, "serial")) {
		if (!parse_number(value, &number) || number > 0xfff8)
			return "serial= is a port number, such as 0x3f8, or 0";
		c->serial_port = number;
	} else if (equals(key, "on-fail")) {
		if (!equals(value, "chain") && !equals(value, "stop"))
			return "on-fail= is chain or stop";
		c->stop_on_fail = equals(value, "stop");
	} else if (equals(key, "after")) {
		if (!equals(value, "firmware") && !equals(value, "poweroff"))
			return "after= is firmware or poweroff";
		c->power_off = equals(value, "poweroff");
	} else if (equals(key, "cpus")) {
		if (!parse_number(value, &number) || !number)
			return "cpus= is a number from 1";
		c->max_cpus = number;
	} else if (equals(key, "check")) {
		if (!equals(value, "entry") && !equals(value, "machine"))
			return "check= is entry or machine";
		c->check_entry |= equals(value, "entry");
		c->check_machine |= equals(value, "machine");
	} else if (equals(key, "nmi")) {
		if (!equals(value, "dump"))
			return "nmi= is dump";
		c->nmi_dump = true;
	} else if (equals(key, "hw-off")) {
		return set_features(c, value);
	} else if (equals(key, "test")) {
		if (!find_name(tests, ARRAY_SIZE(tests), value, &number))
			return "test= is root-pf, root-df or launch-fail";
		c->test = number;
	} else {
		return "unknown key";
	}
	return NULL;
}

/* NULL, or what is wrong. */
static const char *set_line(struct config *c, struct text t)
{
	u64 equal = 0;

	t = trim(t);
	if (!t.length || t.start[0] == '#')
		return NULL;
	while (equal < t.length && t.start[equal] != '=')
		equal++;
	if (equal == t.length)
		return "KEY=VALUE is expected";
	return set(c, trim((struct text){t.start, equal}),
		   trim((struct text){t.start + equal + 1, t.length - equal - 1}));
}

const char *config_feature_name(u64 feature)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].value == feature)
			return features[i].name;
	return NULL;
}

void config_defaults(struct config *c)
{
	*c = (struct config){.log_level = LOG_INFO};
}

const char *config_read_file(struct config *c, struct config_text *t)
{
	while (t->at < t->size) {
		struct text line = {t->start + t->at, 0};
		const char *what;

		while (t->at < t->size && t->start[t->at] != '\n')
			t->at++;
		line.length = t->start + t->at++ - line.start;
		t->line++;
		what = set_line(c, line);
		if (what)
			return what;
	}
	return NULL;
}

static const char *set_option(struct config *c, struct text word, bool first)
{
	bool setting = false;

	for (u64 i = 0; i < word.length; i++)
		setting |= word.start[i] == '=';
	if (equals(word, "check"))
		c->check_machine = true;
	else if (setting || !first)
		return set_line(c, word);
	return NULL;
}

const char *config_read_options(struct config *c, struct config_text *t)
{
	while (t->at < t->size) {
		bool first = !t->at;
		struct text word;
		const char *what;

		while (t->at < t->size && is_blank(t->start[t->at]))
			t->at++;
		word = (struct text){t->start + t->at, t->size - t->at};
		if (word.length >= 5 && !memcmp(word.start, "args=", 5)) {
			t->at = t->size;
			return set_line(c, word);
		}
		while (t->at < t->size && !is_blank(t->start[t->at]))
			t->at++;
		word.length = t->start + t->at - word.start;
		what = set_option(c, word, first);
		if (what)
			return what;
	}
	return NULL;
}
