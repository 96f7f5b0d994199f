// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A vCPU's file: KVM_RUN, its sleep and its timer, and the requests on it. */
#include "keel.h"
#include <linux/anon_inodes.h>
#include <linux/entry-kvm.h>
#include <linux/file.h>
#include <linux/gfp.h>
#include <linux/kvm_host.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/sched/stat.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

#define RUN_BYTES (KEEL_RUN_PAGES * PAGE_SIZE)
/* The VMM sees the VM's ring in the third page's place: that is free, under the vCPU's mutex. */
#define ARGUMENTS (KVM_COALESCED_MMIO_PAGE_OFFSET * PAGE_SIZE)

/* ---- time ---- */

static ktime_t until(u64 tsc)
{
	s64 ticks = tsc - rdtsc();

	return ticks > 0 ? mul_u64_u64_div_u64(ticks, 1000000, keel_info.tsc_khz) : 0;
}

/* Fires on the CPU where it was set; the guest may run on another one by now. */
static enum hrtimer_restart timer_fired(struct hrtimer *timer)
{
	struct keel_vcpu *vcpu = container_of(timer, struct keel_vcpu, timer);

	WRITE_ONCE(vcpu->armed, ~0ull);
	hypercall(vcpu->handle, KEEL_KICK, 0, 0, 0);
	return HRTIMER_NORESTART;
}

static void timer_set(struct keel_vcpu *vcpu, u64 tsc)
{
	hrtimer_cancel(&vcpu->timer);
	WRITE_ONCE(vcpu->armed, tsc);
	hrtimer_start(&vcpu->timer, until(tsc), HRTIMER_MODE_REL_HARD);
}

static void timer_stop(struct keel_vcpu *vcpu)
{
	if (vcpu->armed == ~0ull)
		return;
	hrtimer_cancel(&vcpu->timer);
	vcpu->armed = ~0ull;
}

/* ---- halts ---- */

static uint poll_default_ns = 200000; /* as Linux's KVM has it here */
module_param_named(halt_poll_ns, poll_default_ns, uint, 0644);

#define POLL_FIRST_NS 10000

static bool has_work(const struct keel_vcpu *vcpu)
{
	return READ_ONCE(vcpu->woken) || signal_pending(current);
}

/* Looks for work for a moment, while nobody else wants this CPU. True: it may run. */
static bool poll(struct keel_vcpu *vcpu, u64 tsc)
{
	u64 begin = ktime_get_ns(), spent;
	bool found;

	vcpu->counts.halt_attempted_poll++;
	do {
		cpu_relax();
		found = has_work(vcpu) || rdtsc() >= tsc;
		spent = ktime_get_ns() - begin;
	} while (!found && spent < vcpu->poll_ns && !need_resched() && single_task_running());
	if (found) {
		vcpu->counts.halt_successful_poll++;
		vcpu->counts.halt_poll_success_ns += spent;
	} else {
		vcpu->counts.halt_poll_fail_ns += spent;
	}
	return found;
}

/* Until Keel has work for it, a signal comes, or the host's TSC is there. */
static void sleep(struct keel_vcpu *vcpu, u64 tsc)
{
	DEFINE_WAIT(wait);
	ktime_t time;

	prepare_to_wait(&vcpu->wait, &wait, TASK_INTERRUPTIBLE);
	if (!has_work(vcpu)) {
		WRITE_ONCE(vcpu->counts.blocking, 1);
		if (tsc == ~0ull) {
			schedule();
		} else {
			time = until(tsc);
			schedule_hrtimeout_range(&time, 0, HRTIMER_MODE_REL);
		}
		WRITE_ONCE(vcpu->counts.blocking, 0);
		vcpu->counts.halt_wakeup++;
	}
	finish_wait(&vcpu->wait, &wait);
}

/*
 * Polls as long as halts have been short of late: longer after one that polling just missed, not at
 * all after a long one.
 */
static void halted(struct keel_vcpu *vcpu, u64 tsc)
{
	u64 most = READ_ONCE(vcpu->vm->poll_most_ns), begin = ktime_get_ns(), spent;

	if (most == ~0ull)
		most = READ_ONCE(poll_default_ns);
	vcpu->poll_ns = min(vcpu->poll_ns, most);
	if (vcpu->poll_ns && poll(vcpu, tsc))
		return;
	sleep(vcpu, tsc);
	spent = ktime_get_ns() - begin;
	vcpu->counts.halt_wait_ns += spent;
	if (spent > most)
		vcpu->poll_ns = 0;
	else if (spent > vcpu->poll_ns)
		vcpu->poll_ns = min(max(2 * vcpu->poll_ns, (u64)POLL_FIRST_NS), most);
}

/* ---- KVM_RUN ---- */

/* Rescheduling, task work and the like, which Linux does before it goes back to a user. */
static void other_work(struct keel_vcpu *vcpu)
{
	struct kvm_vcpu *unused = keel_no_vcpu;

	if (!signal_pending(current))
		xfer_to_guest_mode_handle_work(unused);
}

/* One entry. Interrupts stay off from the last look at signals until the guest runs. */
static struct keel_result enter(struct keel_vcpu *vcpu)
{
	struct keel_result r = {.value = KEEL_INTERRUPTED};
	u64 delay, flags;

	WRITE_ONCE(vcpu->woken, false);
	local_irq_disable();
	delay = current->sched_info.run_delay;
	flags = delay != vcpu->delay ? KEEL_RUN_DELAYED : 0;
	if (signal_pending(current))
		flags |= KEEL_RUN_IMMEDIATE;
	if (flags & KEEL_RUN_IMMEDIATE || !xfer_to_guest_mode_work_pending()) {
		vcpu->delay = delay;
		guest_timing_enter_irqoff();
		r = hypercall(vcpu->handle, KEEL_RUN, READ_ONCE(vcpu->armed), delay, flags);
		if (r.value == KEEL_INTERRUPTED) { /* a tick finds who ran: the guest */
			local_irq_enable();
			nop(); /* interrupts come behind it: STI's shadow */
			local_irq_disable();
		}
		guest_timing_exit_irqoff();
	}
	local_irq_enable();
	if (r.reply & KEEL_REPLY_WAKE)
		vm_take_wakes(vcpu->vm);
	return r;
}

static void count_exit(struct keel_vcpu *vcpu)
{
	switch (READ_ONCE(vcpu->run->exit_reason)) {
	case KVM_EXIT_MMIO:
		vcpu->counts.mmio_exits++;
		break;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		vcpu->counts.request_irq_exits++;
		break;
	}
}

/* What Keel asks for. 1: run again; else KVM_RUN's result. */
static int outcome(struct keel_vcpu *vcpu, const struct keel_result *r)
{
	int error;

	switch (r->value) {
	case KEEL_USER:
		if (eventfd_settles(vcpu->vm, vcpu->run))
			return 1;
		count_exit(vcpu);
		return 0;
	case KEEL_INTERRUPTED:
	case -EBUSY: /* KVM_CREATE_PIT2 */
		return 1;
	case KEEL_RESAMPLED:
		eventfd_resampled(vcpu->vm, r->second);
		return 1;
	case KEEL_SPINS:
		yield();
		return 1;
	case KEEL_ARM:
		timer_set(vcpu, r->second);
		return 1;
	case KEEL_HALTED:
		timer_stop(vcpu);
		halted(vcpu, r->second);
		return 1;
	case KEEL_FAULT:
		error = memory_fault(vcpu->vm, r->second, r->third & 1);
		vcpu->counts.pf_fixed += !error;
		return error ?: 1;
	case KEEL_MEMORY:
		return vm_grow(vcpu->vm, r->second) ? -ENOMEM : 1;
	case KEEL_EINTR:
		vcpu->counts.signal_exits++;
		return -EINTR;
	case KEEL_EAGAIN:
		return -EAGAIN;
	}
	return r->value < 0 && !READ_ONCE(vcpu->vm->dead) ? r->value : -EIO;
}

static int run(struct keel_vcpu *vcpu)
{
	int result;

	do {
		struct keel_result r;

		if (__xfer_to_guest_mode_work_pending())
			other_work(vcpu);
		r = enter(vcpu);
		result = outcome(vcpu, &r);
	} while (result == 1);
	timer_stop(vcpu);
	return result;
}

/*
 * As sigtimedwait() does: real_blocked keeps what is unblocked for the run alone from killing the
 * process, since nobody has dequeued it yet.
 */
static int run_with_signals(struct keel_vcpu *vcpu)
{
	int result;

	if (!vcpu->sigset_active)
		return run(vcpu);
	sigprocmask(SIG_SETMASK, &vcpu->sigset, &current->real_blocked);
	result = run(vcpu);
	sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
	sigemptyset(&current->real_blocked);
	return result;
}

static int set_signal_mask(struct keel_vcpu *vcpu, const struct kvm_signal_mask __user *arg)
{
	struct kvm_signal_mask mask;
	sigset_t set;

	if (!arg) {
		vcpu->sigset_active = false;
		return 0;
	}
	if (copy_from_user(&mask, arg, sizeof(mask)))
		return -EFAULT;
	if (mask.len != sizeof(set))
		return -EINVAL;
	if (copy_from_user(&set, arg->sigset, sizeof(set)))
		return -EFAULT;
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	vcpu->sigset = set;
	vcpu->sigset_active = true;
	return 0;
}

/* ---- other requests ---- */

/* The walk may need pages of guest memory that are not mapped yet. */
static long translate(struct keel_vcpu *vcpu, void __user *arg)
{
	struct kvm_translation *data = memdup_user(arg, sizeof(*data));
	struct keel_result r;

	if (IS_ERR(data))
		return PTR_ERR(data);
	do {
		r = vm_call(vcpu->vm, vcpu->handle, KVM_TRANSLATE, virt_to_phys(data),
			    sizeof(*data), 0);
		if (r.value != -EFAULT)
			break;
		if (signal_pending(current))
			r.value = -EINTR;
	} while (r.value == -EFAULT && !memory_fault(vcpu->vm, r.second, false));
	if (!r.value && copy_to_user(arg, data, sizeof(*data)))
		r.value = -EFAULT;
	kfree(data);
	return r.value;
}

static long request_locked(struct keel_vcpu *vcpu, unsigned int request, unsigned long arg)
{
	long result;

	switch (request) {
	case KVM_RUN:
		return arg ? -EINVAL : run_with_signals(vcpu);
	case KVM_SET_SIGNAL_MASK:
		return set_signal_mask(vcpu, (void __user *)arg);
	}
	down_read(&vcpu->vm->pit_lock);
	if (request == KVM_TRANSLATE)
		result = translate(vcpu, (void __user *)arg);
	else
		result = keel_pass(vcpu->vm, vcpu->handle, request, arg, -EINVAL,
				   (void *)vcpu->run + ARGUMENTS);
	up_read(&vcpu->vm->pit_lock);
	return result;
}

static long vcpu_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	struct keel_vcpu *vcpu = file->private_data;
	long result;

	if (vcpu->vm->mm != current->mm || READ_ONCE(vcpu->vm->dead))
		return -EIO;
	if (unlikely(_IOC_TYPE(request) != KVMIO) && request != KEEL_STATS)
		return -EINVAL;
	if (request == KVM_GET_STATS_FD)
		return stats_open(vcpu->vm, vcpu, vcpu->id);
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	result = request_locked(vcpu, request, arg);
	mutex_unlock(&vcpu->mutex);
	return result;
}

/* ---- the shared pages ---- */

static vm_fault_t run_fault(struct vm_fault *fault)
{
	struct keel_vcpu *vcpu = fault->vma->vm_file->private_data;

	if (fault->pgoff < KVM_COALESCED_MMIO_PAGE_OFFSET)
		fault->page = virt_to_page((void *)vcpu->run + fault->pgoff * PAGE_SIZE);
	else if (fault->pgoff == KVM_COALESCED_MMIO_PAGE_OFFSET)
		fault->page = virt_to_page(vcpu->vm->ring);
	else
		return VM_FAULT_SIGBUS;
	get_page(fault->page);
	return 0;
}

static const struct vm_operations_struct run_ops = {.fault = run_fault};

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &run_ops;
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct keel_vcpu *vcpu = file->private_data;
	struct keel_vm *vm = vcpu->vm;

	if (!vcpu->handle) /* its creation failed */
		vcpu_free(vcpu);
	vm_put(vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.release = vcpu_release,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = vcpu_ioctl,
	.mmap = vcpu_mmap,
	.llseek = noop_llseek,
};

/* ---- beginning and end ---- */

void vcpu_free(struct keel_vcpu *vcpu)
{
	if (vcpu->run)
		free_pages_exact(vcpu->run, RUN_BYTES);
	kfree(vcpu);
	atomic_long_dec(&keel_objects.vcpus);
}

static int add(struct keel_vm *vm, struct keel_vcpu *vcpu, u32 id)
{
	struct keel_create_vcpu *args = kmalloc(sizeof(*args), GFP_KERNEL);
	s64 handle = -EINVAL;

	if (!args)
		return -ENOMEM;
	*args = (struct keel_create_vcpu){.id = id, .run = virt_to_phys(vcpu->run)};
	mutex_lock(&vm->vcpus_lock);
	if (vm->vcpu_count < KEEL_VCPUS)
		handle = vm_call(vm, vm->handle, KEEL_CREATE_VCPU, virt_to_phys(args),
				 sizeof(*args), 0)
				 .value;
	if (handle >= 0) {
		vcpu->handle = handle;
		WRITE_ONCE(vm->vcpus[vm->vcpu_count], vcpu);
		vm->vcpu_count++;
	}
	mutex_unlock(&vm->vcpus_lock);
	kfree(args);
	return handle < 0 ? handle : 0;
}

int vcpu_create(struct keel_vm *vm, u32 id)
{
	struct keel_vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);
	int error = -ENOMEM, fd;
	struct file *file;

	if (!vcpu)
		return error;
	atomic_long_inc(&keel_objects.vcpus);
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->armed = ~0ull;
	mutex_init(&vcpu->mutex);
	init_waitqueue_head(&vcpu->wait);
	hrtimer_init(&vcpu->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	vcpu->timer.function = timer_fired;
	vcpu->run = alloc_pages_exact(RUN_BYTES, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!vcpu->run)
		goto free;
	/* Keel's vCPU comes last: it cannot be taken out of the VM again. */
	error = fd = get_unused_fd_flags(O_CLOEXEC);
	if (error < 0)
		goto free;
	file = anon_inode_getfile("kvm-vcpu", &vcpu_fops, vcpu, O_RDWR);
	error = PTR_ERR_OR_ZERO(file);
	if (error)
		goto put_fd;
	refcount_inc(&vm->users);
	error = add(vm, vcpu, id);
	if (error) {
		fput(file); /* frees it */
		put_unused_fd(fd);
		return error;
	}
	fd_install(fd, file);
	return fd;
put_fd:
	put_unused_fd(fd);
free:
	vcpu_free(vcpu);
	return error;
}
