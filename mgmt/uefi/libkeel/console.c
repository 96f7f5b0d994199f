// SPDX-License-Identifier: MIT
/*
 * The console: the firmware's, called on the boot processor only; other CPUs write into a ring.
 */
#include "mgmt/uefi/libkeel/libkeel.h"
#include "mgmt/uefi/libkeel/terminal.h"
#include <string.h>

#define RING_SIZE 65536u

static struct spinlock ring_lock;
static char ring[RING_SIZE];
static u32 ring_head, ring_tail; /* written at head, read at tail; free running */
static struct terminal_output screen;

/* Boot processor, thread context. */
static void print(const char *text, size_t size)
{
	CHAR16 line[130];
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		u16 out[2];
		u32 count = terminal_put(&screen, (u8)text[i], out);

		for (u32 k = 0; k < count; k++)
			line[n++] = out[k];
		if (n >= 127) {
			line[n] = 0;
			efi_system->ConOut->OutputString(efi_system->ConOut, line);
			n = 0;
		}
	}
	line[n] = 0;
	if (n)
		efi_system->ConOut->OutputString(efi_system->ConOut, line);
}

/* Takes what there is room for. */
static size_t ring_put(const char *text, size_t size, bool *was_empty)
{
	size_t room, n;

	spin_lock(&ring_lock);
	*was_empty = ring_head == ring_tail;
	room = RING_SIZE - (ring_head - ring_tail);
	n = MIN(size, room);
	for (size_t i = 0; i < n; i++)
		ring[(ring_head + i) % RING_SIZE] = text[i];
	ring_head += (u32)n;
	spin_unlock(&ring_lock);
	return n;
}

void console_drain(void)
{
	char text[256];
	size_t n;

	while (__atomic_load_n(&ring_head, __ATOMIC_RELAXED) != ring_tail) {
		spin_lock(&ring_lock);
		n = MIN(ring_head - ring_tail, (u32)sizeof(text));
		for (size_t i = 0; i < n; i++)
			text[i] = ring[(ring_tail + i) % RING_SIZE];
		ring_tail += (u32)n;
		spin_unlock(&ring_lock);
		print(text, n);
	}
}

void console_post(const char *text, size_t size)
{
	bool was_empty;

	ring_put(text, size, &was_empty);
}

void console_write(const char *text, size_t size)
{
	bool was_empty;
	size_t n;

	if (on_boot_processor()) {
		console_drain();
		print(text, size);
		return;
	}
	for (;;) {
		n = ring_put(text, size, &was_empty);
		text += n;
		size -= n;
		if (was_empty) /* else the boot processor knows already */
			processor_kick(&processors[0]);
		if (!size)
			break;
		keel_sleep_us(1000);
	}
}

struct read_request {
	char *to;
	size_t size, count;
};

static void read_keys(void *arg)
{
	struct read_request *r = arg;
	EFI_INPUT_KEY key;

	while (r->count + TERMINAL_KEY_BYTES <= r->size &&
	       !efi_system->ConIn->ReadKeyStroke(efi_system->ConIn, &key))
		r->count += terminal_key(key.ScanCode, key.UnicodeChar, r->to + r->count);
}

size_t keel_console_read(char *to, size_t size)
{
	struct read_request r = {to, size, 0};

	on_bsp(read_keys, &r);
	return r.count;
}
