/* SPDX-License-Identifier: MIT */
/* Formatted text without a C library. */
#include "lib/printf.h"

#include "lib/string.h"

struct output {
	char *buf;
	size_t size, length;
};

struct field {
	bool left, zero, alternate;
	int width, precision; /* precision -1: none */
	u8 longs;	      /* 0 int, 1 long and size_t, 2 long long */
};

static void put(struct output *o, char c)
{
	if (o->length + 1 < o->size)
		o->buf[o->length] = c;
	o->length++;
}

static void pad(struct output *o, char c, int count)
{
	while (count-- > 0)
		put(o, c);
}

static void put_text(struct output *o, const struct field *f, const char *s, int length)
{
	if (!f->left)
		pad(o, ' ', f->width - length);
	for (int i = 0; i < length; i++)
		put(o, s[i]);
	if (f->left)
		pad(o, ' ', f->width - length);
}

static void put_number(struct output *o, const struct field *f, u64 value, u32 base,
		       const char *prefix, bool upper)
{
	const char *digit = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char text[20];
	int count = 0, prefix_length = (int)strlen(prefix), fill;

	do
		text[count++] = digit[value % base];
	while (value /= base);

	fill = f->width - count - prefix_length;
	if (!f->left && !f->zero)
		pad(o, ' ', fill);
	while (*prefix)
		put(o, *prefix++);
	if (!f->left && f->zero)
		pad(o, '0', fill);
	while (count)
		put(o, text[--count]);
	if (f->left)
		pad(o, ' ', fill);
}

static int parse_count(const char **fmt, va_list *ap)
{
	int n = 0;

	if (**fmt == '*') {
		(*fmt)++;
		return va_arg(*ap, int);
	}
	while (**fmt >= '0' && **fmt <= '9' && n < 1000)
		n = n * 10 + *(*fmt)++ - '0';
	return n;
}

static void parse_field(struct field *f, const char **fmt, va_list *ap)
{
	*f = (struct field){.precision = -1};
	for (;; (*fmt)++) {
		if (**fmt == '-')
			f->left = true;
		else if (**fmt == '0')
			f->zero = true;
		else if (**fmt == '#')
			f->alternate = true;
		else
			break;
	}
	f->width = parse_count(fmt, ap);
	if (f->width < 0) {
		f->left = true;
		f->width = -f->width;
	}
	if (**fmt == '.') {
		(*fmt)++;
		f->precision = parse_count(fmt, ap);
	}
	for (;; (*fmt)++) {
		if (**fmt == 'l')
			f->longs++;
		else if (**fmt == 'z')
			f->longs = 1;
		else if (**fmt != 'h')
			break;
	}
}

static void put_signed(struct output *o, const struct field *f, s64 value)
{
	if (value < 0)
		put_number(o, f, -(u64)value, 10, "-", false);
	else
		put_number(o, f, (u64)value, 10, "", false);
}

static void put_string(struct output *o, const struct field *f, const char *s)
{
	int length = 0;

	if (!s)
		s = "(null)";
	while ((f->precision < 0 || length < f->precision) && s[length])
		length++;
	put_text(o, f, s, length);
}

static void convert(struct output *o, struct field *f, char conversion, va_list *ap)
{
	const char *prefix = f->alternate ? "0x" : "";
	char c;

	switch (conversion) {
	case 'd':
	case 'i':
		put_signed(o, f, f->longs ? va_arg(*ap, s64) : va_arg(*ap, int));
		break;
	case 'u':
		put_number(o, f, f->longs ? va_arg(*ap, u64) : va_arg(*ap, u32), 10, "", false);
		break;
	case 'x':
	case 'X':
		put_number(o, f, f->longs ? va_arg(*ap, u64) : va_arg(*ap, u32), 16, prefix,
			   conversion == 'X');
		break;
	case 'p':
		put_number(o, f, (u64)va_arg(*ap, void *), 16, "0x", false);
		break;
	case 's':
		put_string(o, f, va_arg(*ap, const char *));
		break;
	case 'c':
		c = (char)va_arg(*ap, int);
		put_text(o, f, &c, 1);
		break;
	case '%':
		put(o, '%');
		break;
	default:
		put(o, '%');
		put(o, conversion);
	}
}

int format_string(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct output o = {.buf = buf, .size = size};
	struct field f;
	va_list args;

	va_copy(args, ap);
	while (*fmt) {
		if (*fmt != '%') {
			put(&o, *fmt++);
			continue;
		}
		fmt++;
		parse_field(&f, &fmt, &args);
		if (*fmt)
			convert(&o, &f, *fmt++, &args);
	}
	va_end(args);
	if (size)
		buf[MIN(o.length, size - 1)] = 0;
	return (int)o.length;
}

int format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int length;

	va_start(ap, fmt);
	length = format_string(buf, size, fmt, ap);
	va_end(ap);
	return length;
}
