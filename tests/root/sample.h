/* SPDX-License-Identifier: MIT */
/*
 * For the root image of build/rules: before entries of a child each sample breaks one rule of the
 * manual, and the processor must refuse what the rule table refuses; then the child is entered with
 * valid state. The including file has the functions that are declared here.
 */
#pragma once

#include "arch-x86/dump.h"
#include "arch-x86/log.h"
#include "arch-x86/virt.h"

struct sample {
	u32 field; /* of the VMCS; offset in the VMCB */
	u32 size;  /* in the VMCB, bytes */
	u64 clear, set;
	const char *subject; /* of the one rule that this breaks */
};

static u64 sample_read(struct virt_vcpu *v, const struct sample *s);
static void sample_write(struct virt_vcpu *v, const struct sample *s, u64 value);
static void sample_rules(struct virt_vcpu *v, struct rules *r);
static void sample_run(struct virt_vcpu *v, struct vm_exit *e);
static bool sample_can(struct virt_vcpu *v);

/* false: the processor took it, and *e is the guest's exit. */
static bool sample_refused(struct virt_vcpu *v, const struct sample *s, struct vm_exit *e, u32 *ok)
{
	u64 valid = sample_read(v, s);
	struct virt_vcpu before = *v;
	struct rules rules;

	sample_write(v, s, (valid & ~s->clear) | s->set);
	sample_rules(v, &rules);
	sample_run(v, e);
	if (e->reason != EXIT_INVALID) {
		sample_write(v, s, valid);
		log_error("rules: %s: the processor took it (exit %llx)", s->subject,
			  (unsigned long long)e->raw);
		return false;
	}
	*v = before;
	sample_write(v, s, valid);
	v->flush = true; /* what was asked of that entry */
	if (rules.count != 1 || __builtin_strcmp(rules.broken[0].subject, s->subject) != 0) {
		log_error("rules: %s: %u rules are broken", s->subject, rules.count);
		return true;
	}
	log_info("rules: %s %s: refused with %llx", s->subject, rules.broken[0].words,
		 (unsigned long long)e->raw);
	*ok += 1;
	return true;
}

/* As svm_run() and vmx_run(): before each entry in 64-bit mode that injects nothing, one sample. */
static void sample_next(struct virt_vcpu *v, struct vm_exit *e, const struct sample *samples,
			u32 count)
{
	static u32 next, ok;
	struct rules rules;

	if (v->vm->kind == VIRT_CHILD && next < count && sample_can(v)) {
		sample_rules(v, &rules);
		if (!rules.count && !sample_refused(v, &samples[next++], e, &ok))
			return;
		if (next == count)
			log_info("rules: the processor refused %u of %u", ok, count);
	}
	sample_run(v, e);
}
