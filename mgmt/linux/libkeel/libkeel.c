// SPDX-License-Identifier: MIT
/* What keel.h offers a program, where Linux is the management guest: all that keelrun uses. */
#include "mgmt/uefi/libkeel/vector.h"
#include <errno.h>
#include <keel.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/io.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

/* ---- threads: where they run is Linux's affair ---- */

struct keel_thread {
	pthread_t id;
	void (*fn)(void *arg);
	void *arg;
};

static void *thread_main(void *arg)
{
	struct keel_thread *t = arg;

	t->fn(t->arg);
	return NULL;
}

static void kicked(int signal)
{
}

struct keel_thread *keel_thread_create(unsigned int cpu, void (*fn)(void *arg), void *arg)
{
	struct keel_thread *t = malloc(sizeof(*t));

	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = kicked}, NULL);
	if (!t)
		return NULL;
	*t = (struct keel_thread){.fn = fn, .arg = arg};
	if (!pthread_create(&t->id, NULL, thread_main, t))
		return t;
	free(t);
	return NULL;
}

int keel_thread_join(struct keel_thread *t, int ms)
{
	pthread_join(t->id, NULL);
	free(t);
	return 0;
}

void keel_thread_kick(struct keel_thread *t)
{
	pthread_kill(t->id, SIGUSR1);
}

/* ---- the console ---- */

static struct termios before;

static void console_restore(void)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

/* Every key is the guest's, and it echoes. */
static void console_begin(void)
{
	struct termios keys;

	if (tcgetattr(STDIN_FILENO, &before))
		return;
	keys = before;
	keys.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IGNCR | IXON);
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
	if (!tcsetattr(STDIN_FILENO, TCSANOW, &keys))
		atexit(console_restore);
}

size_t keel_console_read(char *to, size_t size)
{
	struct pollfd keyboard = {.fd = STDIN_FILENO, .events = POLLIN};
	static bool begun;
	ssize_t n = 0;

	if (!begun)
		console_begin();
	begun = true;
	if (poll(&keyboard, 1, 0) > 0)
		n = read(STDIN_FILENO, to, size);
	return n > 0 ? (size_t)n : 0;
}

/* ---- the machine ---- */

void keel_power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
}

void keel_out32(uint16_t port, uint32_t value)
{
	if (!ioperm(port, 4, 1))
		outl(value, port);
}

/* ---- KVM_RUN, watched: the linker lets each ioctl() come by here ---- */

int __real_ioctl(int fd, unsigned long request, unsigned long argument);
int __wrap_ioctl(int fd, unsigned long request, unsigned long argument);

static bool watching;

int __wrap_ioctl(int fd, unsigned long request, unsigned long argument)
{
	struct vector_call c = {.rax = SYS_ioctl,
				.rdi = (u64)fd,
				.rsi = request,
				.rdx = argument,
				.instruction = VECTOR_SYSCALL};

	if (!watching || request != KVM_RUN)
		return __real_ioctl(fd, request, argument);
	vector_watch(&c);
	if ((s64)c.rax >= 0)
		return (int)c.rax;
	errno = (int)-c.rax;
	return -1;
}

int keel_vectors_check(void)
{
	watching = __builtin_cpu_supports("avx");
	errno = EOPNOTSUPP;
	return watching ? 0 : -1;
}
