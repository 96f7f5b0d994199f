/* SPDX-License-Identifier: MIT */
/* Keel's configuration: keel.conf and load options. Pure text work, no UEFI. */
#pragma once

#include "lib/types.h"

#define CONFIG_PATH 160
#define CONFIG_ARGS 1024

struct config {
	char next[CONFIG_PATH]; /* empty: keelrun.efi when it is there */
	char args[CONFIG_ARGS];
	u32 log_level;	 /* enum log_level of arch-x86/log.h */
	u16 serial_port; /* 0: none */
	bool stop_on_fail;
	bool power_off; /* after=poweroff: when what was started has ended */
	u32 max_cpus;	/* 0: no limit */
	bool check_entry;
	bool check_machine; /* report on this machine instead of launching */
	bool teach;	    /* log=teach */
	bool nmi_dump;
	u64 hw_off; /* enum virt_feature of arch-x86/virt.h */
	u32 test;   /* enum root_test of boot/info.h */
};

/* A text with settings. */
struct config_text {
	const char *start;
	u64 size; /* bytes */
	u64 at;	  /* what comes next */
	u32 line; /* of keel.conf: that was read last, from 1 */
};

/* The name that hw-off= has for one feature of enum virt_feature; NULL: none. */
const char *config_feature_name(u64 feature);
void config_defaults(struct config *c);
/*
 * Both read on until something is wrong, which is skipped: what is returned says what. NULL: the
 * text is at its end.
 */
/* keel.conf: one KEY=VALUE a line, '#' starts a comment line. */
const char *config_read_file(struct config *c, struct config_text *t);
/*
 * Load options: words KEY=VALUE, blanks between; args= takes all the rest. A first word without
 * '=' is the program's name. The word check is short for check=machine, wherever it stands.
 */
const char *config_read_options(struct config *c, struct config_text *t);
