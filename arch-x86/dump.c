// SPDX-License-Identifier: MIT
/* Words with their bits named, and the entry rules that are broken. */
#include "arch-x86/dump.h"

#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "lib/string.h"

const struct bit_name dump_cr0[] = {
	{CR0_PE, "PE"}, {CR0_MP, "MP"}, {CR0_EM, "EM"}, {CR0_TS, "TS"},
	{CR0_ET, "ET"}, {CR0_NE, "NE"}, {CR0_WP, "WP"}, {CR0_AM, "AM"},
	{CR0_NW, "NW"}, {CR0_CD, "CD"}, {CR0_PG, "PG"}, {0},
};
const struct bit_name dump_cr4[] = {
	{CR4_VME, "VME"},
	{CR4_PVI, "PVI"},
	{CR4_TSD, "TSD"},
	{CR4_DE, "DE"},
	{CR4_PSE, "PSE"},
	{CR4_PAE, "PAE"},
	{CR4_MCE, "MCE"},
	{CR4_PGE, "PGE"},
	{CR4_PCE, "PCE"},
	{CR4_OSFXSR, "OSFXSR"},
	{CR4_OSXMMEXCPT, "OSXMMEXCPT"},
	{CR4_UMIP, "UMIP"},
	{CR4_LA57, "LA57"},
	{CR4_VMXE, "VMXE"},
	{CR4_SMXE, "SMXE"},
	{CR4_FSGSBASE, "FSGSBASE"},
	{CR4_PCIDE, "PCIDE"},
	{CR4_OSXSAVE, "OSXSAVE"},
	{CR4_KL, "KL"},
	{CR4_SMEP, "SMEP"},
	{CR4_SMAP, "SMAP"},
	{CR4_PKE, "PKE"},
	{CR4_CET, "CET"},
	{CR4_PKS, "PKS"},
	{CR4_UINTR, "UINTR"},
	{CR4_LAM_SUP, "LAM_SUP"},
	{0},
};
const struct bit_name dump_efer[] = {
	{EFER_SCE, "SCE"},
	{EFER_LME, "LME"},
	{EFER_LMA, "LMA"},
	{EFER_NXE, "NXE"},
	{EFER_SVME, "SVME"},
	{EFER_LMSLE, "LMSLE"},
	{EFER_FFXSR, "FFXSR"},
	{EFER_TCE, "TCE"},
	{EFER_MCOMMIT, "MCOMMIT"},
	{EFER_INTWB, "INTWB"},
	{EFER_UAIE, "UAIE"},
	{EFER_AIBRSE, "AIBRSE"},
	{0},
};
const struct bit_name dump_rflags[] = {
	{RFLAGS_CF, "CF"},
	{RFLAGS_PF, "PF"},
	{RFLAGS_AF, "AF"},
	{RFLAGS_ZF, "ZF"},
	{RFLAGS_SF, "SF"},
	{RFLAGS_TF, "TF"},
	{RFLAGS_IF, "IF"},
	{RFLAGS_DF, "DF"},
	{RFLAGS_OF, "OF"},
	{RFLAGS_NT, "NT"},
	{RFLAGS_RF, "RF"},
	{RFLAGS_VM, "VM"},
	{RFLAGS_AC, "AC"},
	{RFLAGS_VIF, "VIF"},
	{RFLAGS_VIP, "VIP"},
	{RFLAGS_ID, "ID"},
	{0},
};

void dump_bits(const char *field, u64 value, const struct bit_name *names)
{
	char line[200];
	size_t used = 0;

	for (; names->name; names++) {
		size_t length = strlen(names->name);

		if (!(value & names->bit) || used + length + 2 > sizeof(line))
			continue;
		line[used++] = ' ';
		memcpy(line + used, names->name, length);
		used += length;
	}
	line[used] = 0;
	log_error("  %s %016llx%s", field, (unsigned long long)value, line);
}

static void flush_list(struct dump_list *list)
{
	list->line[list->used] = 0;
	log_info("  %s%s%s", list->head, *list->head ? ":" : " ", list->line);
	list->head = "";
	list->used = 0;
}

void dump_list_add(struct dump_list *list, const char *word)
{
	size_t length = strlen(word);

	if (list->used)
		list->line[list->used++] = ',';
	if (list->used && list->used + length + 3 > sizeof(list->line))
		flush_list(list);
	length = MIN(length, sizeof(list->line) - 3);
	list->line[list->used] = ' ';
	memcpy(list->line + list->used + 1, word, length);
	list->used += 1 + length;
	list->count++;
}

void dump_list_end(struct dump_list *list)
{
	if (!list->count)
		dump_list_add(list, "none");
	if (list->used)
		flush_list(list);
}

void dump_list_bits(const char *head, u64 value, const struct bit_name *names)
{
	struct dump_list list = {.head = head};

	for (; names->name; names++)
		if (value & names->bit)
			dump_list_add(&list, names->name);
	dump_list_end(&list);
}

void rule_broken(struct rules *r, u64 bits, const char *subject, const char *words)
{
	if (r->count < RULES_MAX)
		r->broken[r->count] = (struct broken_rule){r->section, subject, words, bits};
	r->count++;
}

void dump_rules(const struct rules *r)
{
	for (u32 i = 0; i < MIN(r->count, RULES_MAX); i++) {
		const struct broken_rule *b = &r->broken[i];

		if (b->bits == 1)
			log_error("  broken: %s %s (%s)", b->subject, b->words, b->section);
		else
			log_error("  broken: %s %s: %llx (%s)", b->subject, b->words,
				  (unsigned long long)b->bits, b->section);
	}
	if (r->count > RULES_MAX)
		log_error("  broken: %u rules more", r->count - RULES_MAX);
}

bool pat_is_valid(u64 pat)
{
	for (u32 i = 0; i < 64; i += 8) {
		u8 type = pat >> i;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}
