/* SPDX-License-Identifier: MIT */
/* Formatted output to the console. */
#pragma once

#include <stdarg.h>
#include <sys/types.h>

typedef struct keel_file FILE;
extern FILE *const stdin, *const stdout, *const stderr;
#define stdin  stdin
#define stdout stdout
#define stderr stderr

#define EOF    (-1)
#define BUFSIZ 1024
#define _IOFBF 0
#define _IOLBF 1
#define _IONBF 2

int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int fprintf(FILE *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
int dprintf(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
int snprintf(char *to, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
int sprintf(char *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
int vprintf(const char *format, va_list ap);
int vfprintf(FILE *f, const char *format, va_list ap);
int vsnprintf(char *to, size_t size, const char *format, va_list ap);
int puts(const char *s);
int fputs(const char *s, FILE *f);
int putchar(int c);
int putc(int c, FILE *f);
int fputc(int c, FILE *f);
size_t fwrite(const void *p, size_t size, size_t count, FILE *f);
int fflush(FILE *f);
int setvbuf(FILE *f, char *buffer, int mode, size_t size);
void setbuf(FILE *f, char *buffer);
void perror(const char *s);
