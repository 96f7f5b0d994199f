// SPDX-License-Identifier: MIT
/*
 * Threads: each belongs to one CPU; those of one CPU take turns. A turn ends in KVM_RUN when its
 * slice is over and another thread could run, or where the thread itself waits.
 */
#include "kvm/abi.h"
#include "mgmt/uefi/libkeel/libkeel.h"
#include <errno.h>
#include <string.h>

#define MAGIC 0x6b656c2d73746163ull

struct request { /* for the boot processor; on the asker's stack */
	struct request *next;
	void (*fn)(void *);
	void *arg;
	u32 done;
};

static struct spinlock request_lock;
static struct request *requests;

/* ---- one CPU's threads ---- */

static bool runnable(const struct keel_thread *t)
{
	return t->state == THREAD_RUNNABLE && !t->ending && t != t->cpu->idle;
}

/* An urgent thread takes its time out of nobody's slice: what is left of it comes afterwards. */
static void slice_begin(struct processor *cpu, struct keel_thread *me, struct keel_thread *next)
{
	u64 now = rdtsc(), slice = SLICE_MS * tsc_khz;

	if (next == cpu->cut_short) {
		slice = cpu->left_of_slice;
		cpu->cut_short = NULL;
	} else if (next->urgent && runnable(me) && now < cpu->slice_end) {
		cpu->cut_short = me;
		cpu->left_of_slice = cpu->slice_end - now;
	}
	if (!next->urgent)
		cpu->in_turn = next;
	next->urgent = false;
	cpu->slice_end = now + slice;
}

/* The thread that was left may be joined only once its stack is no longer in use. */
static void switch_done(void)
{
	struct processor *cpu = thread_self()->cpu;
	struct keel_thread *previous = cpu->previous;

	if (previous->ending)
		__atomic_store_n(&previous->state, THREAD_DEAD, __ATOMIC_RELEASE);
}

static void thread_start(void)
{
	struct keel_thread *t = thread_self();

	switch_done();
	sti();
	t->fn(t->arg);
	thread_end();
}

struct keel_thread *thread_new(struct processor *cpu, void (*fn)(void *), void *arg)
{
	u64 base = pages_allocate(STACK_SIZE / PAGE_SIZE, STACK_SIZE);
	struct keel_thread *t = (struct keel_thread *)base;
	u64 *stack = (u64 *)(base + STACK_SIZE);

	if (!base)
		return NULL;
	*t = (struct keel_thread){.magic = MAGIC, .cpu = cpu, .fn = fn, .arg = arg};
	/* What context_switch() pops: control words, six registers, its return address. On entry of
	 * a function the stack is 8 past a multiple of 16. */
	*--stack = 0;
	*--stack = (u64)thread_start;
	for (int i = 0; i < 6; i++)
		*--stack = 0;
	*--stack = 0x37full << 32 | 0x1f80; /* x87 control word, MXCSR: all exceptions masked */
	t->rsp = (u64)stack;
	return t;
}

void thread_free(struct keel_thread *t)
{
	pages_free((u64)t, STACK_SIZE / PAGE_SIZE);
}

/*
 * A woken main thread first; then the one whose slice that cut short; else the next after the one
 * whose turn it was, so that a main thread that wakes at the ends of slices does not restart the
 * round.
 */
static struct keel_thread *pick(struct processor *cpu)
{
	struct keel_thread *from = cpu->in_turn ? cpu->in_turn : cpu->idle;
	struct keel_thread *first = NULL, *t = from;

	do {
		t = t->next;
		if (!runnable(t))
			continue;
		if (t->urgent)
			return t;
		if (!first || t == cpu->cut_short)
			first = t;
	} while (t != from);
	return first ? first : cpu->idle;
}

static void leave_to_firmware(struct processor *cpu)
{
	u64 unused;

	cli();
	context_switch(&unused, cpu->firmware_rsp);
}

void sched_switch(void)
{
	struct keel_thread *me = thread_self(), *next;
	struct processor *cpu = me->cpu;

	if (cpu->stop)
		leave_to_firmware(cpu);
	spin_lock(&cpu->lock);
	next = pick(cpu);
	slice_begin(cpu, me, next);
	spin_unlock(&cpu->lock);
	cpu->event = 1; /* the timer is for another thread now */
	if (next == me)
		return;
	if (me->magic != MAGIC) {
		static const char text[] = "libkeel: a thread has used up its stack\n";

		console_post(text, sizeof(text) - 1);
		program_end(255);
	}
	cpu->previous = me;
	context_switch(&me->rsp, next->rsp);
	switch_done();
}

bool sched_due(struct processor *cpu)
{
	struct keel_thread *me = thread_self();
	bool over = rdtsc() >= cpu->slice_end, due = false;

	spin_lock(&cpu->lock);
	for (struct keel_thread *t = me->next; t != me && !due; t = t->next)
		due = runnable(t) && (over || t->urgent);
	spin_unlock(&cpu->lock);
	return due;
}

void sched_set_timer(struct processor *cpu)
{
	struct keel_thread *me = thread_self();
	u64 first = NO_DEADLINE;

	spin_lock(&cpu->lock);
	for (struct keel_thread *t = me->next; t != me; t = t->next) {
		if (t->state == THREAD_SLEEPING)
			first = MIN(first, t->wake_at);
		else if (runnable(t))
			first = MIN(first, cpu->slice_end);
	}
	spin_unlock(&cpu->lock);
	timer_set(cpu, first);
}

static bool is_main(const struct keel_thread *t)
{
	return t->cpu->index == 0 && !t->fn;
}

static void wake_expired(struct processor *cpu)
{
	struct keel_thread *me = thread_self(), *t = me;
	u64 now = rdtsc();

	spin_lock(&cpu->lock);
	do {
		if (t->state == THREAD_SLEEPING && t->wake_at <= now) {
			t->state = THREAD_RUNNABLE;
			t->urgent = is_main(t);
		}
		t = t->next;
	} while (t != me);
	spin_unlock(&cpu->lock);
}

void sched_poll(struct processor *cpu)
{
	__atomic_store_n(&cpu->event, 0, __ATOMIC_SEQ_CST);
	if (cpu->stop)
		leave_to_firmware(cpu);
	if (cpu->index == 0)
		bsp_service();
	wake_expired(cpu);
	if (is_main(thread_self()))
		program_check();
}

void sched_idle(void *arg)
{
	struct processor *cpu = arg;

	for (;;) {
		sched_poll(cpu);
		if (pick(cpu) != cpu->idle) {
			sched_switch();
			continue;
		}
		cli();
		sched_set_timer(cpu);
		/* An interrupt after the check is taken after STI's shadow, and ends the HLT. */
		if (!__atomic_load_n(&cpu->event, __ATOMIC_SEQ_CST) && !cpu->stop)
			__asm__ volatile("sti; hlt" ::: "memory");
		else
			sti();
	}
}

void thread_sleep(u64 deadline)
{
	struct keel_thread *me = thread_self();
	struct processor *cpu = me->cpu;

	spin_lock(&cpu->lock);
	if (!me->woken) {
		me->wake_at = deadline;
		me->state = THREAD_SLEEPING;
	}
	me->woken = false;
	spin_unlock(&cpu->lock);
	if (me->state == THREAD_SLEEPING)
		sched_switch();
	if (is_main(me))
		program_check();
}

void thread_wake(struct keel_thread *t)
{
	struct processor *cpu = t->cpu;

	spin_lock(&cpu->lock);
	if (t->state == THREAD_SLEEPING) {
		t->state = THREAD_RUNNABLE;
		t->urgent = is_main(t);
	} else {
		t->woken = true;
	}
	spin_unlock(&cpu->lock);
	processor_kick(cpu);
}

void thread_end(void)
{
	struct keel_thread *me = thread_self();

	sti();
	if (me == me->cpu->idle) /* an exception in the idle loop: this CPU is lost */
		for (;;)
			__asm__ volatile("hlt");
	me->ending = true;
	for (;;)
		sched_switch();
}

/* ---- requests to the boot processor ---- */

void bsp_service(void)
{
	struct request *r;

	for (;;) {
		spin_lock(&request_lock);
		r = requests;
		if (r)
			requests = r->next;
		spin_unlock(&request_lock);
		if (!r)
			break;
		r->fn(r->arg);
		__atomic_store_n(&r->done, 1, __ATOMIC_RELEASE);
	}
	console_drain();
}

void on_bsp(void (*fn)(void *), void *arg)
{
	struct request r = {NULL, fn, arg, 0};

	if (on_boot_processor()) {
		fn(arg);
		return;
	}
	spin_lock(&request_lock);
	r.next = requests;
	requests = &r;
	spin_unlock(&request_lock);
	processor_kick(&processors[0]);
	while (!__atomic_load_n(&r.done, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
}

/* ---- keel.h ---- */

unsigned int keel_cpu_count(void)
{
	return processors_start() ? 1 : processor_count;
}

unsigned int keel_cpu(void)
{
	return thread_self()->cpu->index;
}

uint64_t keel_tsc_khz(void)
{
	return tsc_khz;
}

struct keel_thread *keel_thread_create(unsigned int index, void (*fn)(void *arg), void *arg)
{
	struct processor *cpu;
	struct keel_thread *t;

	if (index >= keel_cpu_count() || !fn) {
		errno = EINVAL;
		return NULL;
	}
	cpu = &processors[index];
	t = thread_new(cpu, fn, arg);
	if (!t) {
		errno = ENOMEM;
		return NULL;
	}
	spin_lock(&cpu->lock);
	t->next = cpu->idle->next;
	cpu->idle->next = t;
	spin_unlock(&cpu->lock);
	processor_kick(cpu);
	return t;
}

static void unlink_thread(struct keel_thread *t)
{
	struct processor *cpu = t->cpu;
	struct keel_thread *p = t;

	spin_lock(&cpu->lock);
	while (p->next != t)
		p = p->next;
	p->next = t->next;
	if (cpu->cut_short == t)
		cpu->cut_short = NULL;
	if (cpu->in_turn == t)
		cpu->in_turn = p;
	spin_unlock(&cpu->lock);
}

int keel_thread_join(struct keel_thread *t, int ms)
{
	u64 limit = ms < 0 ? NO_DEADLINE : tsc_after_us((u64)ms * 1000);

	while (__atomic_load_n(&t->state, __ATOMIC_ACQUIRE) != THREAD_DEAD) {
		if (rdtsc() >= limit)
			return ETIMEDOUT;
		keel_sleep_us(500);
	}
	kvm_forget_thread(t);
	unlink_thread(t);
	thread_free(t);
	return 0;
}

void keel_thread_kick(struct keel_thread *t)
{
	__atomic_store_n(&t->kicked, KEEL_RUN_IMMEDIATE, __ATOMIC_SEQ_CST);
	thread_wake(t);
}

void keel_yield(void)
{
	struct processor *cpu = thread_self()->cpu;

	if (!cpu->started)
		return;
	sched_poll(cpu);
	sched_switch();
}

/* A wake-up meant for a halted vCPU may end it early. */
void keel_sleep_us(uint64_t us)
{
	u64 limit;

	if (!processors[0].started) {
		efi_boot->Stall(us);
		program_check();
		return;
	}
	limit = tsc_after_us(us);
	while (rdtsc() < limit)
		thread_sleep(limit);
}
