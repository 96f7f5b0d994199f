/* SPDX-License-Identifier: MIT */
/* keelrun's command line: kvmtool's options, and how the machine ends. */
#pragma once

#include "lib/types.h"

#define OPTIONS_CPUS_MAX 8

struct options {
	const char *kernel, *initrd, *params; /* initrd: NULL when there is none */
	u64 memory;			      /* bytes, whole MiB */
	u32 cpus;
	bool help;
	bool check_vectors; /* that Keel keeps this side's vector registers */
	bool power_off;	    /* the machine, when keelrun is done */
	u32 exit_port;	    /* a debug-exit port that gets the status; 0: none */
};

extern const char options_usage[];

/* argv[0] is the program; a first word "run" is skipped, as after lkvm. -EINVAL with a message. */
int options_parse(struct options *o, int argc, char *const *argv, char *error, size_t size);
