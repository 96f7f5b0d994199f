/* SPDX-License-Identifier: MIT */
/* Keel's configuration: keel.conf and load options. Pure text work, no UEFI. */
#pragma once

#include "lib/types.h"

#define CONFIG_PATH   160
#define CONFIG_ARGS   1024
#define CONFIG_ERRORS 8

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
	u64 hw_off;	 /* enum virt_feature of arch-x86/virt.h */
	u32 test;	 /* enum root_test of boot/info.h */
	u32 error_count; /* of all wrong lines; the first CONFIG_ERRORS are kept */
	struct config_error {
		u32 line; /* from 1; 0: the load options */
		const char *what;
	} errors[CONFIG_ERRORS];
};

/* The name that hw-off= has for one feature of enum virt_feature; NULL: none. */
const char *config_feature_name(u64 feature);
void config_defaults(struct config *c);
/* keel.conf: one KEY=VALUE a line, '#' starts a comment line. Wrong lines are noted and skipped. */
void config_parse_file(struct config *c, const char *text, u64 size);
/*
 * Load options: words KEY=VALUE, blanks between; args= takes all the rest. A first word without
 * '=' is the program's name. The word check is short for check=machine, wherever it stands. Other
 * words that are no setting are noted as line 0.
 */
void config_parse_options(struct config *c, const char *text);
