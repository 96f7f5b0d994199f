// SPDX-License-Identifier: MIT
/* Formatted output. A call's text goes to the console in one piece, as far as it fits a buffer. */
#include "mgmt/uefi/libkeel/format.h"
#include "mgmt/uefi/libkeel/libkeel.h"
#include <assert.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct keel_file {
	int fd;
};

static struct keel_file files[3] = {{0}, {1}, {2}};
FILE *const stdin = &files[0], *const stdout = &files[1], *const stderr = &files[2];

struct line {
	char text[256];
	size_t used;
};

static void flush_line(struct line *l)
{
	console_write(l->text, l->used);
	l->used = 0;
}

static void line_sink(void *context, char c)
{
	struct line *l = context;

	l->text[l->used++] = c;
	if (l->used == sizeof(l->text))
		flush_line(l);
}

int vprintf(const char *format, va_list ap)
{
	struct line l = {.used = 0};
	int n = format_sink_to(line_sink, &l, format, ap);

	flush_line(&l);
	return n;
}

int vfprintf(FILE *f, const char *format, va_list ap)
{
	return vprintf(format, ap);
}

int printf(const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vprintf(format, ap);
	va_end(ap);
	return n;
}

int fprintf(FILE *f, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vprintf(format, ap);
	va_end(ap);
	return n;
}

int dprintf(int fd, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vprintf(format, ap);
	va_end(ap);
	return n;
}

int vsnprintf(char *to, size_t size, const char *format, va_list ap)
{
	return format_to_v(to, size, format, ap);
}

int snprintf(char *to, size_t size, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = format_to_v(to, size, format, ap);
	va_end(ap);
	return n;
}

int sprintf(char *to, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = format_to_v(to, (size_t)1 << 30, format, ap);
	va_end(ap);
	return n;
}

int fputs(const char *s, FILE *f)
{
	console_write(s, strlen(s));
	return 0;
}

int puts(const char *s)
{
	return printf("%s\n", s) < 0 ? EOF : 0;
}

int fputc(int c, FILE *f)
{
	char byte = (char)c;

	console_write(&byte, 1);
	return (unsigned char)c;
}

int putc(int c, FILE *f)
{
	return fputc(c, f);
}

int putchar(int c)
{
	return fputc(c, stdout);
}

size_t fwrite(const void *p, size_t size, size_t count, FILE *f)
{
	console_write(p, size * count);
	return count;
}

int fflush(FILE *f)
{
	return 0;
}

int setvbuf(FILE *f, char *buffer, int mode, size_t size)
{
	return 0;
}

void setbuf(FILE *f, char *buffer)
{
}

void perror(const char *s)
{
	if (s && *s)
		printf("%s: %s\n", s, strerror(errno));
	else
		printf("%s\n", strerror(errno));
}

static void message(int error, const char *format, va_list ap)
{
	char text[256];

	format_to_v(text, sizeof(text), format, ap);
	if (error < 0)
		printf("%s: %s\n", program_name(), text);
	else
		printf("%s: %s: %s\n", program_name(), text, strerror(error));
}

void warn(const char *format, ...)
{
	int error = errno;
	va_list ap;

	va_start(ap, format);
	message(error, format, ap);
	va_end(ap);
}

void warnx(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	message(-1, format, ap);
	va_end(ap);
}

void err(int status, const char *format, ...)
{
	int error = errno;
	va_list ap;

	va_start(ap, format);
	message(error, format, ap);
	exit(status);
}

void errx(int status, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	message(-1, format, ap);
	exit(status);
}

void __assert_fail(const char *text, const char *file, int line)
{
	printf("%s:%d: assertion failed: %s\n", file, line, text);
	abort();
}
