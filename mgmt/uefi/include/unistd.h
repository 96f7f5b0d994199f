/* SPDX-License-Identifier: MIT */
/* The few POSIX calls that a VMM uses. */
#pragma once

#include <sys/types.h>

#define STDIN_FILENO	     0
#define STDOUT_FILENO	     1
#define STDERR_FILENO	     2
#define SEEK_SET	     0
#define SEEK_CUR	     1
#define SEEK_END	     2
#define _SC_PAGESIZE	     30
#define _SC_NPROCESSORS_ONLN 84

int close(int fd);
/* From fd 0 what the keyboard has, at once: EAGAIN when that is nothing. */
ssize_t read(int fd, void *buffer, size_t size);
ssize_t write(int fd, const void *buffer, size_t size);
off_t lseek(int fd, off_t offset, int whence);
int usleep(unsigned int microseconds);
unsigned int sleep(unsigned int seconds);
long sysconf(int name);
int getpagesize(void);
void _exit(int status) __attribute__((noreturn));
