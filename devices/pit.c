/* SPDX-License-Identifier: MIT */
/*
 * The 8254: Intel's data sheet "8254 Programmable Interval Timer". Counts are computed from the
 * TSC when somebody looks; only channel 0 has events, as deadlines of vCPU 0. As in KVM there is
 * no BCD counting, and a low gate does not stop a count. Lock: the irqchip's.
 */
#include "devices/pit.h"

#include "arch-x86/insn.h"
#include "core/vm.h"
#include "devices/irqchip.h"
#include "devices/lapic.h"
#include "devices/time.h"

#define CONTROL	      3u /* port 43h */
#define COUNT_MAX     0x10000u
#define MIN_PERIOD_NS 200000ull /* as the LAPIC's: each tick costs an exit */
#define UNPROGRAMMED  0xffu	/* mode after reset */
#define PENDING_MAX   0xffffu

enum { RW_LATCH, RW_LOW, RW_HIGH, RW_WORD, RW_WORD_HIGH /* its second byte is next */ };

enum { PORT61_GATE = 1, PORT61_SPEAKER = 2 };

static u64 tsc_hz(const struct irqchip *chip)
{
	return (u64)chip->vm->tsc_khz * 1000;
}

/* Input clocks since the count was loaded. */
static u64 elapsed(const struct irqchip *chip, u32 i, u64 now)
{
	u64 ticks = now - MIN(chip->pit.loaded[i], now);

	return mul_div(ticks, PIT_HZ, tsc_hz(chip));
}

static u16 current_count(const struct irqchip *chip, u32 i, u64 now)
{
	const struct kvm_pit_channel_state *c = &chip->pit.channel[i];
	u64 d = elapsed(chip, i, now);

	switch (c->mode) {
	case 0:
	case 1:
	case 4:
	case 5:
		return (u16)(c->count - d);
	case 3: /* counts down by two, twice a period */
		return (u16)(c->count - 2 * (d % c->count) % c->count);
	default:
		return (u16)(c->count - d % c->count);
	}
}

static bool output(const struct irqchip *chip, u32 i, u64 now)
{
	const struct kvm_pit_channel_state *c = &chip->pit.channel[i];
	u64 d = elapsed(chip, i, now);

	switch (c->mode) {
	case 2: /* low for the last clock of each period */
		return d % c->count != c->count - 1;
	case 3:
		return d % c->count < (c->count + 1) / 2;
	case 4:
	case 5: /* low for one clock at the end */
		return d != c->count;
	default:
		return d >= c->count;
	}
}

static void reset_reinjection(struct pit *pit)
{
	pit->pending = 0;
	pit->acked = true;
}

/* Channel 0 got a count at `now`: when does its output rise? */
static void start_timer(struct irqchip *chip, u64 now)
{
	struct pit *pit = &chip->pit;
	u64 interval = MAX(mul_div(pit->channel[0].count, tsc_hz(chip), PIT_HZ), 1);
	u64 shortest = ns_to_tsc(MIN_PERIOD_NS, chip->vm->tsc_khz);
	struct vcpu *first = __atomic_load_n(&chip->vm->vcpus[0], __ATOMIC_ACQUIRE);

	reset_reinjection(pit);
	pit->expires = NO_DEADLINE;
	pit->period = 0;
	switch (pit->hpet_legacy ? UNPROGRAMMED : pit->channel[0].mode) {
	case 0:
	case 4:
		pit->expires = add_saturate(now, interval);
		break;
	case 2:
	case 3:
		pit->period = MAX(interval, shortest);
		pit->expires = add_saturate(now, pit->period);
		break;
	default: /* modes 1 and 5 wait for a rising gate, and channel 0's is always high */
		break;
	}
	if (first)
		vcpu_kick(first, REQUEST_TIMER);
}

static void load_count(struct irqchip *chip, u32 i, u32 value)
{
	u64 now = rdtsc();

	chip->pit.channel[i].count = value ? value : COUNT_MAX;
	chip->pit.loaded[i] = now;
	if (i == 0)
		start_timer(chip, now);
}

/* A rising gate restarts the count where the mode says so. */
static void set_gate(struct irqchip *chip, u32 i, bool gate)
{
	struct kvm_pit_channel_state *c = &chip->pit.channel[i];
	bool restarts = c->mode == 1 || c->mode == 2 || c->mode == 3 || c->mode == 5;

	if (restarts && gate && !c->gate)
		chip->pit.loaded[i] = rdtsc();
	c->gate = gate;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void pulse(struct irqchip *chip)
{
	struct vm *vm = chip->vm;

	irqchip_set_gsi(chip, 0, true, IRQ_SOURCE_PIT);
	irqchip_set_gsi(chip, 0, false, IRQ_SOURCE_PIT);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (vm->vcpus[i] && vm->vcpus[i]->lapic)
			lapic_lint0_nmi(vm->vcpus[i]->lapic);
	}
}

static void inject(struct irqchip *chip)
{
	chip->pit.acked = false;
	pulse(chip);
}

static void tick(struct irqchip *chip, u64 count)
{
	struct pit *pit = &chip->pit;

	if (!pit->reinject) {
		pulse(chip);
		return;
	}
	pit->pending = (u32)MIN(pit->pending + count, PENDING_MAX);
	if (pit->acked)
		inject(chip);
}

void pit_acked(struct irqchip *chip)
{
	struct pit *pit = &chip->pit;

	pit->acked = true;
	if (!pit->reinject || !pit->pending)
		return;
	if (--pit->pending)
		inject(chip);
}

void pit_unmasked(struct irqchip *chip)
{
	if (chip->pit.reinject)
		reset_reinjection(&chip->pit);
}

static void fire(struct irqchip *chip, u64 now)
{
	struct pit *pit = &chip->pit;
	u64 count = 1;

	if (pit->period) {
		count += (now - pit->expires) / pit->period;
		pit->expires = add_saturate(pit->expires, mul_div(count, pit->period, 1));
	} else {
		pit->expires = NO_DEADLINE;
	}
	tick(chip, count);
}

u64 pit_timers(struct irqchip *chip, u64 now)
{
	u64 deadline;

	spin_lock(&chip->lock);
	if (chip->pit.created && chip->pit.expires != NO_DEADLINE && now >= chip->pit.expires)
		fire(chip, now);
	deadline = chip->pit.created ? chip->pit.expires : NO_DEADLINE;
	spin_unlock(&chip->lock);
	return deadline;
}

/* ---- ports ----------------------------------------------------------------------------------- */

static void latch_count(struct irqchip *chip, u32 i)
{
	struct kvm_pit_channel_state *c = &chip->pit.channel[i];

	if (c->count_latched)
		return; /* the first one holds until it is read */
	c->latched_count = current_count(chip, i, rdtsc());
	c->count_latched = c->rw_mode;
}

static void latch_status(struct irqchip *chip, u32 i)
{
	struct kvm_pit_channel_state *c = &chip->pit.channel[i];

	if (c->status_latched)
		return;
	c->status =
		(u8)(output(chip, i, rdtsc()) << 7 | c->rw_mode << 4 | (c->mode & 7) << 1 | c->bcd);
	c->status_latched = 1;
}

static void read_back(struct irqchip *chip, u8 value)
{
	for (u32 i = 0; i < PIT_CHANNELS; i++) {
		if (!(value & (2u << i)))
			continue;
		if (!(value & 0x20))
			latch_count(chip, i);
		if (!(value & 0x10))
			latch_status(chip, i);
	}
}

static void write_control(struct irqchip *chip, u8 value)
{
	u32 i = value >> 6, access = (value >> 4) & 3, mode = (value >> 1) & 7;
	struct kvm_pit_channel_state *c;

	if (i == PIT_CHANNELS) {
		read_back(chip, value);
		return;
	}
	if (access == RW_LATCH) {
		latch_count(chip, i);
		return;
	}
	c = &chip->pit.channel[i];
	c->rw_mode = c->read_state = c->write_state = access;
	c->mode = mode > 5 ? mode - 4 : mode;
	c->bcd = value & 1;
}

static void write_channel(struct irqchip *chip, u32 i, u8 value)
{
	struct kvm_pit_channel_state *c = &chip->pit.channel[i];

	switch (c->write_state) {
	case RW_HIGH:
		load_count(chip, i, (u32)value << 8);
		break;
	case RW_WORD:
		c->write_latch = value;
		c->write_state = RW_WORD_HIGH;
		break;
	case RW_WORD_HIGH:
		c->write_state = RW_WORD;
		load_count(chip, i, c->write_latch | (u32)value << 8);
		break;
	default: /* RW_LOW, and before any control word */
		load_count(chip, i, value);
		break;
	}
}

static u8 read_latched(struct kvm_pit_channel_state *c)
{
	switch (c->count_latched) {
	case RW_HIGH:
		c->count_latched = 0;
		return c->latched_count >> 8;
	case RW_WORD: /* the low byte now, the high byte stays */
		c->count_latched = RW_HIGH;
		return (u8)c->latched_count;
	default:
		c->count_latched = 0;
		return (u8)c->latched_count;
	}
}

static u8 read_channel(struct irqchip *chip, u32 i)
{
	struct kvm_pit_channel_state *c = &chip->pit.channel[i];
	u16 count;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->count_latched)
		return read_latched(c);
	count = current_count(chip, i, rdtsc());
	switch (c->read_state) {
	case RW_HIGH:
		return count >> 8;
	case RW_WORD:
		c->read_state = RW_WORD_HIGH;
		return (u8)count;
	case RW_WORD_HIGH:
		c->read_state = RW_WORD;
		return count >> 8;
	default:
		return (u8)count;
	}
}

static int ports_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	struct irqchip *chip = container_of(d, struct irqchip, pit.ports);

	*value = size == 1 ? 0 : ~0ull;
	if (size != 1 || offset >= CONTROL) /* 43h is write-only */
		return 0;
	spin_lock(&chip->lock);
	*value = read_channel(chip, (u32)offset);
	spin_unlock(&chip->lock);
	return 0;
}

static int ports_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	struct irqchip *chip = container_of(d, struct irqchip, pit.ports);

	if (size != 1)
		return 0;
	spin_lock(&chip->lock);
	if (offset == CONTROL)
		write_control(chip, (u8)value);
	else
		write_channel(chip, (u32)offset, (u8)value);
	spin_unlock(&chip->lock);
	return 0;
}

static int port61_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	struct irqchip *chip = container_of(d, struct irqchip, pit.port61);
	struct pit *pit = &chip->pit;
	u64 now = rdtsc(), refresh;

	*value = ~0ull;
	if (size != 1)
		return 0;
	refresh = (tsc_to_ns(now, chip->vm->tsc_khz) >> 14) & 1; /* toggles every 16 us */
	spin_lock(&chip->lock);
	*value = pit->channel[2].gate | (u64)pit->speaker << 1 | refresh << 4 |
		 (u64)output(chip, 2, now) << 5;
	spin_unlock(&chip->lock);
	return 0;
}

static int port61_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	struct irqchip *chip = container_of(d, struct irqchip, pit.port61);

	if (size != 1)
		return 0;
	spin_lock(&chip->lock);
	chip->pit.speaker = value & PORT61_SPEAKER;
	set_gate(chip, 2, value & PORT61_GATE);
	spin_unlock(&chip->lock);
	return 0;
}

/* ---- KVM's ioctls ---------------------------------------------------------------------------- */

static struct irqchip *chip_with_pit(struct vm *vm)
{
	struct irqchip *chip = vm->devices;

	return chip && chip->pit.created ? chip : NULL;
}

int pit_create(struct vm *vm, const struct kvm_pit_config *config)
{
	struct irqchip *chip = vm->devices;
	int result;

	if (!chip || !chip->full)
		return -ENOENT;
	if (chip->pit.created)
		return -EEXIST;
	chip->pit.ports = (struct bus_device){0x40, 4, ports_read, ports_write};
	chip->pit.port61 = (struct bus_device){0x61, 1, port61_read, port61_write};
	result = bus_add(&vm->ports, &chip->pit.ports);
	if (!result && (config->flags & KVM_PIT_SPEAKER_DUMMY))
		result = bus_add(&vm->ports, &chip->pit.port61);
	if (result)
		return result;
	spin_lock(&chip->lock);
	for (u32 i = 0; i < PIT_CHANNELS; i++) {
		chip->pit.channel[i].mode = UNPROGRAMMED;
		chip->pit.channel[i].gate = i != 2;
		load_count(chip, i, 0);
	}
	chip->pit.reinject = true;
	chip->pit.created = true;
	spin_unlock(&chip->lock);
	return 0;
}

int pit_get(struct vm *vm, struct kvm_pit_state2 *state)
{
	struct irqchip *chip = chip_with_pit(vm);

	if (!chip)
		return -ENXIO;
	*state = (struct kvm_pit_state2){0};
	spin_lock(&chip->lock);
	for (u32 i = 0; i < PIT_CHANNELS; i++) {
		state->channels[i] = chip->pit.channel[i];
		state->channels[i].count_load_time =
			(s64)tsc_to_ns(chip->pit.loaded[i], vm->tsc_khz);
	}
	state->flags = (chip->pit.hpet_legacy ? KVM_PIT_FLAGS_HPET_LEGACY : 0) |
		       (chip->pit.speaker ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0);
	spin_unlock(&chip->lock);
	return 0;
}

static bool channel_valid(const struct kvm_pit_channel_state *c)
{
	return c->count <= COUNT_MAX && (c->mode <= 5 || c->mode == UNPROGRAMMED) &&
	       c->rw_mode <= RW_WORD && c->read_state <= RW_WORD_HIGH &&
	       c->write_state <= RW_WORD_HIGH && c->count_latched <= RW_WORD && c->bcd <= 1 &&
	       c->gate <= 1;
}

int pit_set(struct vm *vm, const struct kvm_pit_state2 *state)
{
	struct irqchip *chip = chip_with_pit(vm);

	if (!chip)
		return -ENXIO;
	for (u32 i = 0; i < PIT_CHANNELS; i++) {
		if (!channel_valid(&state->channels[i]))
			return -EINVAL;
	}
	spin_lock(&chip->lock);
	chip->pit.hpet_legacy = state->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	chip->pit.speaker = state->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	for (u32 i = 0; i < PIT_CHANNELS; i++) {
		chip->pit.channel[i] = state->channels[i];
		load_count(chip, i, state->channels[i].count);
	}
	spin_unlock(&chip->lock);
	return 0;
}

int pit_reinject(struct vm *vm, bool on)
{
	struct irqchip *chip = chip_with_pit(vm);

	if (!chip)
		return -ENXIO;
	spin_lock(&chip->lock);
	if (on && !chip->pit.reinject)
		reset_reinjection(&chip->pit);
	chip->pit.reinject = on;
	spin_unlock(&chip->lock);
	return 0;
}
