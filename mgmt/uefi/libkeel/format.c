// SPDX-License-Identifier: MIT
/* printf's formatting into a sink of characters. */
#include "mgmt/uefi/libkeel/format.h"
#include "lib/types.h"

enum {
	LEFT = BIT(0),
	PLUS = BIT(1),
	SPACE = BIT(2),
	ALTERNATE = BIT(3),
	ZERO = BIT(4),
	UPPER = BIT(5)
};

struct output {
	format_sink *sink;
	void *context;
	int count;
};

struct spec {
	u32 flags;
	int width, precision; /* precision < 0: not given */
};

static void emit(struct output *o, char c)
{
	o->sink(o->context, c);
	o->count++;
}

static void pad(struct output *o, char c, int n)
{
	while (n-- > 0)
		emit(o, c);
}

/* sign and prefix, then the digits (with zeros in front up to the precision), in the field's width.
 */
static void field(struct output *o, const struct spec *s, const char *prefix, const char *digits,
		  int length, int zeros)
{
	int before = 0;

	while (prefix[before])
		before++;
	if (s->flags & ZERO && !(s->flags & LEFT))
		zeros = MAX(zeros, s->width - before - length);
	if (!(s->flags & LEFT))
		pad(o, ' ', s->width - before - zeros - length);
	for (int i = 0; i < before; i++)
		emit(o, prefix[i]);
	pad(o, '0', zeros);
	for (int i = 0; i < length; i++)
		emit(o, digits[i]);
	if (s->flags & LEFT)
		pad(o, ' ', s->width - before - zeros - length);
}

static const char *sign(const struct spec *s, bool negative)
{
	return negative ? "-" : s->flags & PLUS ? "+" : s->flags & SPACE ? " " : "";
}

static void integer(struct output *o, struct spec s, u64 value, u32 base, const char *prefix)
{
	const char *set = s.flags & UPPER ? "0123456789ABCDEF" : "0123456789abcdef";
	char buffer[24];
	int n = sizeof(buffer);

	for (u64 rest = value; rest; rest /= base)
		buffer[--n] = set[rest % base];
	n = (int)sizeof(buffer) - n;
	if (s.precision >= 0)
		s.flags &= ~(u32)ZERO;
	else
		s.precision = 1;
	field(o, &s, prefix, buffer + sizeof(buffer) - n, n, MAX(s.precision - n, 0));
}

/* Writes the integer part and `precision` digits of value, which is below 1.8e19. */
static int fixed_digits(char *to, double value, int precision)
{
	u64 whole = (u64)value, scale = 1, part;
	char digits[24];
	int n = 0, count = 0;

	for (int i = 0; i < precision; i++)
		scale *= 10;
	part = (u64)((value - (double)whole) * (double)scale + 0.5);
	if (part >= scale) { /* rounded up to the next whole number */
		part -= scale;
		whole++;
	}
	do
		digits[count++] = (char)('0' + whole % 10);
	while (whole /= 10);
	while (count)
		to[n++] = digits[--count];
	if (precision) {
		to[n++] = '.';
		for (int i = precision - 1; i >= 0; i--, part /= 10)
			to[n + i] = (char)('0' + part % 10);
		n += precision;
	}
	return n;
}

static void floating(struct output *o, struct spec s, double value, char kind)
{
	int precision = s.precision < 0 ? 6 : MIN(s.precision, 15), n, exponent = 0;
	bool negative = __builtin_signbit(value);
	char text[64];

	if (negative)
		value = -value;
	if (__builtin_isnan(value) || __builtin_isinf(value)) {
		u32 name = (__builtin_isnan(value) ? 0 : 6) + (s.flags & UPPER ? 3 : 0);

		s.flags &= ~(u32)ZERO;
		field(o, &s, sign(&s, negative), &"nanNANinfINF"[name], 3, 0);
		return;
	}
	if (kind == 'e' || value >= 1e18) {
		for (; value >= 10; value /= 10)
			exponent++;
		for (; value != 0 && value < 1; value *= 10)
			exponent--;
		n = fixed_digits(text, value, precision);
		text[n++] = s.flags & UPPER ? 'E' : 'e';
		text[n++] = exponent < 0 ? '-' : '+';
		exponent = exponent < 0 ? -exponent : exponent;
		if (exponent >= 100)
			text[n++] = (char)('0' + exponent / 100);
		text[n++] = (char)('0' + exponent / 10 % 10);
		text[n++] = (char)('0' + exponent % 10);
	} else {
		n = fixed_digits(text, value, precision);
	}
	field(o, &s, sign(&s, negative), text, n, 0);
}

static void string(struct output *o, struct spec s, const char *text)
{
	int n = 0;

	if (!text)
		text = "(null)";
	while ((s.precision < 0 || n < s.precision) && text[n])
		n++;
	s.flags &= ~(u32)ZERO;
	field(o, &s, "", text, n, 0);
}

static const char *parse_number(const char *p, int *out)
{
	for (*out = 0; *p >= '0' && *p <= '9'; p++)
		if (*out < 100000)
			*out = *out * 10 + *p - '0';
	return p;
}

static const char *parse_flags(const char *p, u32 *flags)
{
	for (;; p++) {
		switch (*p) {
		case '-':
			*flags |= LEFT;
			break;
		case '+':
			*flags |= PLUS;
			break;
		case ' ':
			*flags |= SPACE;
			break;
		case '#':
			*flags |= ALTERNATE;
			break;
		case '0':
			*flags |= ZERO;
			break;
		default:
			return p;
		}
	}
}

/* The argument's size in bytes by its length modifiers. */
static const char *parse_length(const char *p, int *size)
{
	*size = 4;
	for (;; p++) {
		switch (*p) {
		case 'h':
			*size /= 2;
			break;
		case 'l':
		case 'z':
		case 'j':
		case 't':
			*size = 8;
			break;
		default:
			return p;
		}
	}
}

static u64 narrow(u64 value, int size, bool is_signed)
{
	switch (size) {
	case 8:
		return value;
	case 4:
		return is_signed ? (u64)(s64)(s32)value : (u32)value;
	case 2:
		return is_signed ? (u64)(s64)(s16)value : (u16)value;
	default:
		return is_signed ? (u64)(s64)(s8)value : (u8)value;
	}
}

static u32 base_of(char kind)
{
	return kind == 'u' ? 10 : kind == 'o' ? 8 : 16;
}

static const char *prefix_of(u32 flags, char kind, u64 value)
{
	if (!(flags & ALTERNATE) || !value || kind == 'u')
		return "";
	return kind == 'o' ? "0" : kind == 'x' ? "0x" : "0X";
}

/* A copy: a va_list parameter cannot be passed on by address. */
struct arguments {
	va_list ap;
};

static void conversion(struct output *o, struct spec s, int size, char kind, struct arguments *a)
{
	u64 value;
	char c;

	switch (kind) {
	case 'd':
	case 'i':
		value = size == 8 ? va_arg(a->ap, u64) : va_arg(a->ap, u32);
		value = narrow(value, size, true);
		integer(o, s, (s64)value < 0 ? 0 - value : value, 10, sign(&s, (s64)value < 0));
		break;
	case 'X':
		s.flags |= UPPER;
		__attribute__((fallthrough));
	case 'u':
	case 'x':
	case 'o':
		value = size == 8 ? va_arg(a->ap, u64) : va_arg(a->ap, u32);
		value = narrow(value, size, false);
		integer(o, s, value, base_of(kind), prefix_of(s.flags, kind, value));
		break;
	case 'p':
		integer(o, s, (u64)va_arg(a->ap, void *), 16, "0x");
		break;
	case 'c':
		c = (char)va_arg(a->ap, int);
		s.flags &= ~(u32)ZERO;
		field(o, &s, "", &c, 1, 0);
		break;
	case 's':
		string(o, s, va_arg(a->ap, const char *));
		break;
	case 'E':
	case 'F':
	case 'G':
		s.flags |= UPPER;
		__attribute__((fallthrough));
	case 'f':
	case 'e':
	case 'g':
		floating(o, s, va_arg(a->ap, double), kind == 'e' || kind == 'E' ? 'e' : 'f');
		break;
	default: /* not known: printed as it stands */
		emit(o, '%');
		if (kind != '%')
			emit(o, kind);
	}
}

int format_sink_to(format_sink *sink, void *context, const char *format, va_list ap)
{
	struct output o = {sink, context, 0};
	struct arguments a;

	va_copy(a.ap, ap);
	for (const char *p = format; *p; p++) {
		struct spec s = {0, 0, -1};
		int size;

		if (*p != '%') {
			emit(&o, *p);
			continue;
		}
		p = parse_flags(p + 1, &s.flags);
		if (*p == '*') {
			s.width = va_arg(a.ap, int);
			if (s.width < 0) {
				s.flags |= LEFT;
				s.width = -s.width;
			}
			p++;
		} else {
			p = parse_number(p, &s.width);
		}
		if (*p == '.') {
			if (*++p == '*') {
				s.precision = va_arg(a.ap, int);
				p++;
			} else {
				p = parse_number(p, &s.precision);
			}
		}
		p = parse_length(p, &size);
		if (!*p)
			break;
		conversion(&o, s, size, *p, &a);
	}
	va_end(a.ap);
	return o.count;
}

struct buffer {
	char *to;
	size_t room, used;
};

static void buffer_sink(void *context, char c)
{
	struct buffer *b = context;

	if (b->used + 1 < b->room)
		b->to[b->used] = c;
	b->used++;
}

int format_to_v(char *to, size_t size, const char *format, va_list ap)
{
	struct buffer b = {to, size, 0};
	int n = format_sink_to(buffer_sink, &b, format, ap);

	if (size)
		to[MIN(b.used, size - 1)] = 0;
	return n;
}

int format_to(char *to, size_t size, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = format_to_v(to, size, format, ap);
	va_end(ap);
	return n;
}
