// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The machine's own ends: it does not sleep (Keel drops S3 and S4), and when it restarts all
 * virtual machines end before. After kexec the next kernel would find pages missing that Keel has
 * for them.
 */
#include "keel.h"
#include <linux/notifier.h>
#include <linux/reboot.h>
#include <linux/suspend.h>

/* Read by who creates a VM or ends it in Keel, written when all end; outside of all other locks. */
static DECLARE_RWSEM(life);
static DEFINE_MUTEX(vms_lock);
static LIST_HEAD(vms);
static bool all_ended;

int power_begin(void)
{
	down_read(&life);
	if (!all_ended)
		return 0;
	up_read(&life);
	return -EIO;
}

void power_add(struct keel_vm *vm)
{
	mutex_lock(&vms_lock);
	list_add(&vm->list, &vms);
	mutex_unlock(&vms_lock);
}

void power_done(void)
{
	up_read(&life);
}

void power_take_back(struct keel_vm *vm)
{
	down_read(&life);
	mutex_lock(&vms_lock);
	list_del(&vm->list);
	mutex_unlock(&vms_lock);
	vm_take_back(vm);
	up_read(&life);
}

static int at_restart(struct notifier_block *block, unsigned long action, void *data)
{
	struct keel_vm *vm;

	down_write(&life);
	all_ended = true;
	keel_donate_no_more();
	list_for_each_entry(vm, &vms, list) vm_end(vm);
	up_write(&life);
	keel_sync();
	hypercall_system(KEEL_SHOW_VIRT, 0, 0, 0);
	return NOTIFY_DONE;
}

static int at_sleep(struct notifier_block *block, unsigned long action, void *data)
{
	switch (action) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		pr_warn("keel: this machine cannot sleep while Keel runs\n");
		return notifier_from_errno(-EBUSY);
	}
	return NOTIFY_DONE;
}

static struct notifier_block restart_block = {.notifier_call = at_restart};
static struct notifier_block sleep_block = {.notifier_call = at_sleep};

int power_load(void)
{
	int error = register_reboot_notifier(&restart_block);

	if (error)
		return error;
	error = register_pm_notifier(&sleep_block);
	if (error)
		unregister_reboot_notifier(&restart_block);
	return error;
}

void power_unload(void)
{
	unregister_pm_notifier(&sleep_block);
	unregister_reboot_notifier(&restart_block);
}
